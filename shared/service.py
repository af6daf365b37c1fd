"""A service: routes in front, relay and views behind, health and metrics beside them."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import structlog
from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from shared import (
    bulk,
    contract,
    event_contract,
    logs,
    migrations,
    outbox,
    parking,
    receipts,
    reception,
    reference,
    verification,
)
from shared import settings as settings_module
from shared.access import Permissions
from shared.addresses import Addresses
from shared.bus import Bus, NatsBus
from shared.calendar import day_of, written
from shared.database import check_durability, engine, sessions
from shared.endings import Endings, mark_deprecated
from shared.errors import NotFound
from shared.feed import LONGEST_WAIT, MOST, spliced
from shared.gate import Gate
from shared.http import Door, Out, Session, shielded
from shared.imports import Importer
from shared.kinds import Kind
from shared.limits import Limited, Limits
from shared.nightly import each_night
from shared.origins import Origins
from shared.porch import Porch
from shared.problem_types import UNAVAILABLE
from shared.problems import install_problems, problem
from shared.projection import Attached, Following, Projection
from shared.relay import Relay
from shared.roster import Roster
from shared.settings import Settings
from shared.tracing import Traced
from shared.webhooks import dispatch
from shared.webhooks.api import router as subscriptions
from shared.webhooks.dispatch import Dispatch

log = structlog.get_logger("kapstok.service")

VERSION = "0.1.0"


@dataclass
class Service:
    """What a running service holds."""

    name: str
    settings: Settings
    engine: AsyncEngine
    sessions: async_sessionmaker[AsyncSession]
    bus: Bus | None
    gate: Gate
    permissions: Permissions
    """Who may use which operation; an operation that is not in it is not there."""
    limits: Limits
    endings: Endings = field(default_factory=dict)
    """Which operations end, and when."""
    addresses: Addresses = field(default_factory=Addresses)
    relay: Relay | None = None
    webhooks: Dispatch | None = None
    importer: Importer | None = None
    view: Attached | None = None
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    ready: bool = False
    relaying: asyncio.Task[None] | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    recorded: asyncio.Event = field(default_factory=asyncio.Event)
    closing: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    _running: set[asyncio.Task[Response]] = field(default_factory=set)

    @property
    def source(self) -> str:
        return self.settings.source(self.name)

    def today(self) -> date:
        """The day it is where the programme runs."""
        return day_of(self.now(), self.settings.zone)

    def wake(self) -> None:
        """A commit told something: wake the relay and whoever waits at the feed."""
        if self.relay is not None:
            self.relay.wake()
        if self.webhooks is not None:
            self.webhooks.wake()
        if self.importer is not None:
            self.importer.wake()
        self.recorded.set()
        self.recorded = asyncio.Event()

    async def finish(self, work: Awaitable[Response]) -> Response:
        return await shielded(work, self._running)

    async def finish_all(self) -> None:
        if self._running:
            await asyncio.wait(self._running, timeout=3)


def app_factory(
    name: str,
    *routers: APIRouter,
    permissions: Permissions,
    view: Projection | None = None,
    roster: Roster | None = None,
    publishes: bool = True,
    kinds: Sequence[Kind] = (),
    front: Callable[[FastAPI, Service], ASGIApp] | None = None,
    endings: Endings | None = None,
    settings: Settings | None = None,
    bus: Bus | None = None,
) -> ASGIApp:
    """An ASGI app for one service. `settings` and `bus` are for tests; a process reads its environment."""
    settings = settings or settings_module.read()
    logs.configure(settings.log_level)
    database = engine(settings)
    service = Service(
        name=name,
        settings=settings,
        engine=database,
        sessions=sessions(database),
        bus=bus or NatsBus(settings, name),
        gate=Gate(settings, lambda: service.today()),
        permissions=permissions,
        limits=Limits(settings),
        endings=endings or {},
    )
    if publishes:
        assert service.bus is not None
        service.relay = Relay(database, service.bus, name, settings)
        service.webhooks = Dispatch(database, settings, lambda: service.now())
        service.closing.append(service.webhooks.close)
    if view is not None:
        service.view = view.attach(name, database, service.bus, settings)
        if roster is not None:
            service.gate.follow(roster, service.view)
    if kinds:
        service.importer = Importer(service, kinds)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(_start(service), name="start")
        behind: list[asyncio.Task[None]] = [starting]
        try:
            with _noticing_signals(service):
                yield
        finally:
            await _stop(service, behind)

    app = FastAPI(
        title=f"Kapstok {name}",
        version=VERSION,
        openapi_url=f"/{name}/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
        contact={"name": "Kapstok", "url": "https://example.org/kapstok", "email": "kapstok@example.org"},
    )
    app.state.service = service
    app.add_middleware(logs.Requests)
    install_problems(app)
    for router in routers:
        app.include_router(router, prefix=f"/{name}/v1")
    if publishes:
        app.include_router(_feed(), prefix=f"/{name}/v1")
        app.include_router(reception.receipts(), prefix=f"/{name}/v1")
        app.include_router(subscriptions, prefix=f"/{name}/v1")
        for router in bulk.routes(name, kinds):
            app.include_router(router, prefix=f"/{name}/v1")
    app.include_router(reception.problems(), prefix=f"/{name}/v1")
    app.include_router(reception.well_known())
    app.include_router(_health())
    app.include_router(_documents(app, service), prefix=f"/{name}/v1")
    described = contract.complete(app.openapi(), name, permissions)
    app.openapi = lambda: described  # type: ignore[method-assign]  # as FastAPI's own documentation does it
    service.addresses.learn(described["paths"])
    must_be_permitted({one["operationId"] for _, _, one in contract.operations(described)}, permissions)
    mark_deprecated(described["paths"], service.endings)
    _surround(app, service)
    fronted: ASGIApp = front(app, service) if front is not None else app
    return Porch(
        Origins(fronted, settings.origins, [f"/{name}/v1/openapi.json"]),
        name,
        VERSION,
        settings.max_body,
        {f"/{name}/v1/imports": settings.import_max_body},
    )


def _surround(app: FastAPI, service: Service) -> None:
    """What stands around the routes, the innermost first: answers kept in front of them pass none of it."""
    app.add_middleware(Limited, service=service.name, limits=service.limits, gate=service.gate)
    app.add_middleware(Traced)
    if service.settings.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=service.settings.trusted_proxies)


def must_be_permitted(operations: set[str], permissions: Permissions) -> None:
    """Each operation of the API has its row, and each row its operation. Raises TypeError."""
    unlike = sorted((operations - {"live", "ready", "detail", "metrics"}) ^ set(permissions))
    if unlike:
        raise TypeError(f"Who may do what is not said of, or not there: {', '.join(unlike)}.")


# --- start and stop --------------------------------------------------------------------------------------------


async def _start(service: Service) -> None:
    """Database, migrations, durability; then serve, and follow and publish in the background. Never gives up."""
    told = ""
    while True:
        try:
            await _prepare(service)
            break
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if repr(error) != told:
                told = repr(error)
                log.warning("waiting for the database", service=service.name, reason=told[:300])
            await asyncio.sleep(0.25)
        except Exception as error:
            # Nothing that waiting mends, such as a database without durability: say so and end.
            known = isinstance(error, RuntimeError)
            log.error("cannot start", service=service.name, reason=str(error), exc_info=None if known else error)
            signal.raise_signal(signal.SIGTERM)
            return
    service.ready = True
    log.info("ready", service=service.name)
    if isinstance(service.bus, NatsBus):
        service.bus.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(_stay_prepared(service), name="prepared")
        if service.relay is not None:
            service.relaying = group.create_task(service.relay.run(), name="relay")
            group.create_task(_sweep_receipts(service), name="sweep")
        if service.webhooks is not None:
            group.create_task(service.webhooks.run(), name="webhooks")
        if service.importer is not None:
            group.create_task(service.importer.run(), name="imports")
        if service.view is not None:
            for owner in service.view.owners:
                group.create_task(service.view.follow(owner), name=f"follow-{owner}")
            given = service.settings.verify_at, service.settings.zone, service.now
            group.create_task(verification.nightly(service.view, service.engine, *given), name="verify")


async def _sweep_receipts(service: Service) -> None:
    """Take away, each night, the receipts that have been kept for as long as was told."""

    async def sweep() -> None:
        await receipts.sweep(service.engine, service.now() - timedelta(days=service.settings.receipt_days))

    settings = service.settings
    await each_night(service.engine, "sweep", sweep, at=settings.verify_at, zone=settings.zone, now=service.now)


async def _prepare(service: Service) -> None:
    """Database, durability, tables. Raises RuntimeError for a database that may forget."""
    async with service.engine.connect() as connection:
        if service.settings.durability == "required":
            await check_durability(connection)
    await migrations.upgrade(service.engine, service.name)
    if service.view is not None:
        await service.view.prepare()


async def _stay_prepared(service: Service) -> None:
    """When the database comes back empty (lost, and made anew), make its tables again; views then fill themselves."""
    while True:
        await asyncio.sleep(1)
        try:
            async with service.engine.connect() as connection:
                if await _has_tables(connection):
                    continue
            service.ready = False
            log.error("the database came back empty; its tables are made again", service=service.name)
            await _prepare(service)
            service.ready = True
        except (SQLAlchemyError, OSError, TimeoutError, RuntimeError) as error:
            log.debug("the database does not answer", service=service.name, reason=repr(error)[:300])


async def _has_tables(connection: AsyncConnection) -> bool:
    return bool(await connection.scalar(text("select to_regclass('public.generation') is not null")))


@contextlib.contextmanager
def _noticing_signals(service: Service) -> Iterator[None]:
    """Open event streams would hold the server: end them as soon as it is told to stop."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def stop(number: int, frame: Any) -> None:
        service.ready = False
        service.stopping.set()
        passed_on = before[signal.Signals(number)]
        if callable(passed_on):
            passed_on(number, frame)
        elif passed_on is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def _stop(service: Service, behind: Sequence[asyncio.Task[None]]) -> None:
    """Requests first, then relay and views, then the bus, then the database. Correctness needs none of it."""
    service.ready = False
    service.stopping.set()
    await service.finish_all()
    if service.webhooks is not None:
        await service.webhooks.rest(seconds=1)
    with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
        async with asyncio.timeout(3):
            if service.relay is not None:
                await service.relay.drained(seconds=2)
            if service.relaying is not None:
                service.relaying.cancel()
                await asyncio.wait([service.relaying])
            if service.view is not None:
                await service.view.rest()
    for task in behind:
        task.cancel()
    await asyncio.wait(behind, timeout=3)
    for close in service.closing:
        await close()
    await service.gate.close()
    if service.view is not None:
        await service.view.close()
    if service.bus is not None:
        await service.bus.close()
    await service.engine.dispose()


# --- the routes that every service has -------------------------------------------------------------------------


class HeadOut(Out):
    """How far a log goes; nothing will be recorded at or before `watermark`."""

    epoch: UUID
    sequence: int
    chain: str
    watermark: datetime


class EventType(Out):
    """A type of fact, and what it means."""

    type: str
    meaning: str


class EventTypes(Out):
    items: list[EventType]


class FedEvent(Out):
    """One fact: its number, the chain after it, what it is about, and the CloudEvent as it was told."""

    sequence: int
    chain: str
    entity: UUID
    event: dict[str, Any]


class FeedPage(Out):
    """Facts in the order of the log, and how far it goes."""

    epoch: UUID
    head: int
    items: list[FedEvent]


def _feed() -> APIRouter:
    router = APIRouter(route_class=Door, tags=["events"])

    @router.get("/events/head", response_model=HeadOut)
    async def head_of_events(request: Request, session: Session) -> HeadOut:
        """How far the log goes: epoch, sequence, chain; nothing will be recorded at or before `watermark`."""
        service: Service = request.app.state.service
        await session.rollback()  # one connection a request: many at once would wait for each other's second
        async with service.engine.begin() as connection:
            head = await outbox.head(connection)
        return HeadOut(epoch=head.epoch, sequence=head.sequence, chain=head.chain, watermark=head.watermark)

    @router.get("/event-types", response_model=EventTypes)
    async def list_event_types(request: Request, session: Session) -> EventTypes:
        """Every type of fact that is told here, with what it means; each has a JSON Schema at its own address."""
        service: Service = request.app.state.service
        kinds = event_contract.types_of(service.name)
        return EventTypes(items=[EventType(type=kind.type, meaning=event_contract.meaning_of(kind)) for kind in kinds])

    @router.get("/event-types/{type}")
    async def read_event_type(
        type: Annotated[str, Path(max_length=120, pattern=r"^[a-z0-9][a-z0-9.-]*$")], request: Request, session: Session
    ) -> dict[str, Any]:
        """The JSON Schema of a whole message of one type."""
        service: Service = request.app.state.service
        kinds = {kind.type: kind for kind in event_contract.types_of(service.name)}
        if type not in kinds:
            raise NotFound("There is no such type of fact here; see the list of types.")
        return event_contract.schema_of(kinds[type], service.source)

    @router.get(
        "/events/{id}",
        response_class=Response,
        responses={200: {"content": {"application/cloudevents+json": {"schema": {"type": "object"}}}}},
    )
    async def read_event(id: UUID, request: Request, session: Session) -> Response:
        """One fact by its id, as the CloudEvent that was told."""
        stored = await outbox.told_before(session, id)
        if stored is None:
            raise NotFound("There is no fact with this id here.")
        return Response(stored.event, media_type="application/cloudevents+json")

    @router.get("/events", response_model=FeedPage)
    async def events_after(
        request: Request,
        session: Session,
        after: Annotated[int, Query(ge=0, le=2**62, description="The sequence after which to begin.")] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST, description="How many at most.")] = 200,
        wait: Annotated[int, Query(ge=0, le=LONGEST_WAIT, description="Seconds to wait for one.")] = 0,
    ) -> Response:
        """The facts after a sequence, as CloudEvents, byte for byte as told; waits up to `wait` seconds for one."""
        service: Service = request.app.state.service
        recorded = service.recorded
        rows = await outbox.after(session, after, limit)
        if not rows and wait:
            await session.rollback()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await recorded.wait()
            rows = await outbox.after(session, after, limit)
        end = await outbox.end(session)
        return Response(spliced(end.epoch, end.sequence, rows), media_type="application/json")

    return router


def _documents(app: FastAPI, service: Service) -> APIRouter:
    """Beside openapi.json: the contract of the events, and both as a page."""
    router = APIRouter(include_in_schema=False)
    kinds = event_contract.types_of(service.name)

    @router.get("/reference")
    async def reference_page() -> Response:
        html = reference.page(app.openapi(), events=bool(kinds))
        return Response(html, media_type="text/html", headers={"content-security-policy": reference.POLICY})

    if kinds:

        @router.get("/asyncapi.json")
        async def events_contract() -> Response:
            document = event_contract.asyncapi(service.name, service.source, VERSION)
            return Response(json.dumps(document), media_type="application/json")

    return router


def _health() -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        """The process runs."""
        return {"status": "live"}

    @router.get("/health/ready")
    async def ready(request: Request) -> Response:
        """It can do its job: the database answers and the tables are there. Never depends on the bus."""
        service: Service = request.app.state.service
        reason = await _not_ready(service)
        if reason:
            return problem(service.name, UNAVAILABLE, reason, retry_after=1)
        return Response('{"status":"ready"}', media_type="application/json")

    @router.get("/health/detail")
    async def detail(request: Request) -> dict[str, Any]:
        """In words and numbers: what is not published yet, and how far each view has followed."""
        service: Service = request.app.state.service
        found: dict[str, Any] = {"service": service.name, "reason": await _not_ready(service) or "ready"}
        if service.relay is not None and service.ready:
            waiting = await _waiting(service, service.relay)
            found["outbox"] = {
                "head": waiting.head,
                "published": waiting.published,
                "waiting": waiting.events,
                "oldestWaitsSeconds": round(waiting.seconds, 3),
                "leading": service.relay.leading,
            }
        if service.webhooks is not None and service.ready:
            found["webhooks"] = await _webhooks_detail(service, service.webhooks)
        if service.view is not None:
            found["views"] = {service.view.view.name: await _view_detail(service)}
        return found

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics(request: Request) -> Response:
        service: Service = request.app.state.service
        found = await _gauges(service)
        return Response(generate_latest(_registry(found)), media_type="text/plain; version=0.0.4")

    return router


async def _not_ready(service: Service) -> str | None:
    if not service.ready:
        return "Starting or stopping."
    try:
        async with asyncio.timeout(2), service.engine.connect() as connection:
            there = await _has_tables(connection)
    except (SQLAlchemyError, OSError, TimeoutError):
        return "The database does not answer."
    if not there:
        return "The database is empty; its tables are being made."
    if service.view is not None and service.relay is None and not service.view.filled:
        return "The view is being filled."
    return None


async def _waiting(service: Service, relay: Relay) -> outbox.Waiting:
    async with service.engine.connect() as connection:
        return await outbox.waiting(connection, relay.sent if relay.leading else None)


async def _webhooks_detail(service: Service, webhooks: Dispatch) -> dict[str, Any]:
    async with service.engine.connect() as connection:
        found = await dispatch.standing(connection)
    return {
        "subscriptions": found.states,
        "waiting": found.waiting,
        "oldestWaitsSeconds": round(found.oldest_seconds, 3),
        "failing": found.failing,
        "deadLetters": found.dead_letters,
        "leading": webhooks.leading,
    }


async def _view_detail(service: Service) -> dict[str, Any]:
    """How far the view has followed each owner, what is parked, and what the last verification found."""
    assert service.view is not None
    found: dict[str, Any] = {owner: _following(one) for owner, one in service.view.following.items()}
    if service.ready:
        aside, last = await _kept_about(service.view)
        found["parked"] = [
            {
                "id": str(one.id),
                "owner": one.owner,
                "entity": str(one.entity),
                "sequence": one.sequence,
                "eventId": one.event_id,
                "parkedAt": written(one.parked_at),
            }
            for one in aside
        ]
        found["verified"] = None if last is None else last.told()
    return found


async def _kept_about(view: Attached) -> tuple[list[parking.Parked], verification.Verified | None]:
    async with view.acting() as session:
        return await parking.standing(session, view.view.name), await verification.last(session, view.view.name)


def _following(following: Following) -> dict[str, Any]:
    return {
        "head": following.head,
        "checkpoint": following.checkpoint,
        "ownerAnswers": following.owner_answers,
        "busAnswers": following.bus_answers,
        "stoppedAt": None
        if following.stopped is None
        else {
            "eventId": following.stopped.event_id,
            "sequence": following.stopped.sequence,
            "reason": following.stopped.reason,
        },
    }


def _gauge(name: str, help: str, values: Mapping[tuple[str, ...], float], *labels: str) -> GaugeMetricFamily:
    found = GaugeMetricFamily(f"kapstok_{name}", help, labels=labels)
    for at, value in values.items():
        found.add_metric(at, value)
    return found


async def _gauges(service: Service) -> list[GaugeMetricFamily]:
    """What is measured now; without the database, what this process knows by itself."""
    found = [_gauge("ready", "1 when the service can do its job", {(): 0.0 if await _not_ready(service) else 1.0})]
    with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
        if service.relay is not None and service.ready:
            waiting = await _waiting(service, service.relay)
            found += [
                _gauge("outbox_head_sequence", "Last sequence told", {(): float(waiting.head)}),
                _gauge("relay_sent_sequence", "Last sequence known to be on the bus", {(): float(waiting.published)}),
                _gauge("relay_backlog_events", "Facts that the bus does not have yet", {(): float(waiting.events)}),
                _gauge("relay_backlog_seconds", "How long the oldest of them waits", {(): waiting.seconds}),
                _gauge("relay_leading", "1 when this replica publishes", {(): float(service.relay.leading)}),
            ]
        if service.webhooks is not None and service.ready:
            found += await _webhooks_gauges(service, service.webhooks)
    if service.view is not None:
        found += await _view_gauges(service, service.view)
    return found


async def _webhooks_gauges(service: Service, webhooks: Dispatch) -> list[GaugeMetricFamily]:
    async with service.engine.connect() as connection:
        standing = await dispatch.standing(connection)
    states: dict[tuple[str, ...], float] = {(state,): float(count) for state, count in standing.states.items()}
    return [
        _gauge("webhook_subscriptions", "Subscriptions by state", states, "state"),
        _gauge("webhook_backlog_events", "Facts before active subscriptions, summed", {(): float(standing.waiting)}),
        _gauge("webhook_backlog_seconds", "How long the oldest of them waits", {(): standing.oldest_seconds}),
        _gauge("webhook_failing", "Active subscriptions whose last call failed", {(): float(standing.failing)}),
        _gauge("webhook_dead_letters", "Events given up and not delivered since", {(): float(standing.dead_letters)}),
        _gauge("webhook_leading", "1 when this replica delivers", {(): float(webhooks.leading)}),
    ]


async def _view_gauges(service: Service, view: Attached) -> list[GaugeMetricFamily]:
    name = view.view.name
    following: dict[tuple[str, ...], Following] = {(name, owner): one for owner, one in view.following.items()}
    lag = {at: float(max(0, (one.head or 0) - one.checkpoint)) for at, one in following.items()}
    stopped = {at: float(one.stopped is not None) for at, one in following.items()}
    found = [
        _gauge("view_lag_events", "Events behind the owner", lag, "view", "owner"),
        _gauge("view_stopped", "1 when stopped at an event", stopped, "view", "owner"),
    ]
    with contextlib.suppress(SQLAlchemyError, OSError, TimeoutError):
        if service.ready:
            aside, last = await _kept_about(view)
            found.append(_gauge("view_parked", "Entities left aside", {(name,): float(len(aside))}, "view"))
            if last is not None:
                differing, at = float(len(last.differing)), last.at.timestamp()
                found += [
                    _gauge(
                        "view_differing_tables", "Tables unlike the logs, as verified", {(name,): differing}, "view"
                    ),
                    _gauge("view_verified_timestamp_seconds", "When last verified", {(name,): at}, "view"),
                ]
    return found


def _registry(gauges: list[GaugeMetricFamily]) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)

    class Now:
        def collect(self) -> list[GaugeMetricFamily]:
            return gauges

    registry.register(Now())
    return registry
