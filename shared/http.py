"""The HTTP edge: one request is one transaction, answered after its commit."""

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from fastapi import Depends, Query, Request, Response
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel, to_snake
from pydantic_core import PydanticCustomError
from sqlalchemy.ext.asyncio import AsyncSession

from shared import access, cursors, outbox, screening
from shared.cursors import Cursor, Order
from shared.database import Entity, ExternalIds, Page, Slice, Work
from shared.errors import Invalid, MediaTypeNotTaken, NotAcceptable, Unavailable, VersionNeeded
from shared.events.event import Actor, Basis, Precision
from shared.gate import Function
from shared.limits import client_of
from shared.negotiation import has_already, preferred
from shared.problems import MERGE_PATCH
from shared.receipts import close_receipt, key_of, open_receipt
from shared.texts import Day

if TYPE_CHECKING:
    from shared.service import Service

Handle = Callable[[Request], Coroutine[Any, Any, Response]]

DEEPEST = 20
"""Levels of nesting in a request body."""


# --- one request, one transaction ------------------------------------------------------------------------------


class StrictRequest(Request):
    """A request whose JSON says each thing once: duplicate keys, NaN and deep nesting are refused."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            try:
                text = (await self.body()).decode()
                self._json = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)
            except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of thousands of digits, too deep
                raise Invalid("The body is not JSON in UTF-8.") from None
            if _depth(self._json) > DEEPEST:
                raise Invalid(f"The body is nested deeper than {DEEPEST} levels.")
        return self._json


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Invalid("The body names a field twice.")
    return found


def _no_constant(name: str) -> Any:
    raise Invalid("The body holds a number that JSON does not have.")


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level and deepest <= DEEPEST:
        deepest += 1
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return deepest


class Door(APIRoute):
    """Every route of a service: reads get a session, writes get a unit of work that ends before the answer leaves."""

    tells = True
    """Whether a write tells a fact, and so takes a caller, a key and JSON, and gives a receipt."""
    files: tuple[str, ...] = ()
    """The media types of a body that is a file, which the route itself reads; else a body is one JSON object."""

    def get_route_handler(self) -> Handle:
        inner = super().get_route_handler()
        names_version = "{id}" in self.path
        parameters = get_flat_params(self.dependant)
        asked = {one.alias for one in parameters if getattr(one.field_info, "in_", None) is ParamTypes.query}
        offers = self._offers()
        needs_session = _needs(self.dependant, _session)

        async def handle(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            service: Service = request.app.state.service
            if not service.ready:
                raise Unavailable("Starting or stopping; ask again in a moment.")
            permitted = service.permissions[self.name]
            if self.name in service.endings:
                service.endings[self.name].tell(request.scope, service.now())
            acting = await access.admit(request, service.name, self.name, permitted)
            if permitted.costly:
                await service.limits.take(request.scope, await client_of(request, service.gate), service.limits.costly)
            request.state.media_type = _form_of_answer(request, offers)
            _must_be_asked(request, asked)
            await _wait_for_position(request, service)
            if request.method in access.READING:
                answer = await (_read(request, service, inner) if needs_session else inner(request))
                if service.addresses.is_patched(self.name):
                    answer.headers["accept-patch"] = MERGE_PATCH
                return answer
            if not self.tells:
                return await _exchange(request, service, inner)
            return await _write(request, service, inner, acting, names_version=names_version, files=self.files)

        return handle

    def _offers(self) -> list[str]:
        """The media types that this route can answer in: its own, and what its `responses` tell of besides."""
        own = self.response_class
        usual = (own.value if isinstance(own, DefaultPlaceholder) else own).media_type
        told: dict[str, Any] = self.responses.get(200, {}).get("content", {})
        return list(dict.fromkeys(([usual] if usual else []) + list(told))) or ["application/json"]


def _needs(dependant: Dependant, call: Callable[..., Any]) -> bool:
    return any(one.call is call or _needs(one, call) for one in dependant.dependencies)


class Counter(Door):
    """A door where something is exchanged and no fact is told of it; what is noted there is committed all the same."""

    tells = False


async def _exchange(request: Request, service: "Service", inner: Handle) -> Response:
    async def unit_of_work() -> Response:
        async with service.sessions() as session:
            request.state.session = session
            answer = await inner(request)
            await session.commit()
        return answer

    return await service.finish(unit_of_work())


async def _read(request: Request, service: "Service", inner: Handle) -> Response:
    async with service.sessions() as session:
        request.state.session = session
        if service.view is not None and service.relay is not None:
            await service.view.enter(session)
        answer = await inner(request)
        _describe(request, session, answer)
    etag, held = answer.headers.get("etag"), request.headers.get("if-none-match")
    if etag and held and answer.status_code == 200 and has_already(held, etag):
        kept = {name: answer.headers[name] for name in _TOLD_AGAIN if name in answer.headers}
        return Response(status_code=304, headers=kept)
    return answer


_TOLD_AGAIN = ("cache-control", "etag", "link", "vary")
"""What 304 says of the answer that the caller has already (RFC 9110, 15.4.5)."""


async def _write(
    request: Request,
    service: "Service",
    inner: Handle,
    acting: Function | None,
    *,
    names_version: bool,
    files: tuple[str, ...],
) -> Response:
    caller = access.calling(request)
    screening.known_domains.set(service.settings.known_domains)
    _check_media_type(request, await request.body(), files)
    key = await key_of(request, caller.account)
    expected = _expected_version(request) if names_version else None
    request.state.work = Work(
        actor=Actor(organisation=caller.organisation, function=acting or ""),
        account=caller.account,
        today=service.today(),
        expected=expected,
    )

    async def unit_of_work() -> Response:
        async with service.sessions() as session:
            request.state.session = session
            earlier = await open_receipt(session, key)
            if earlier is not None:
                return earlier
            if names_version and "if-match" not in request.headers:
                raise VersionNeeded('Send If-Match with the version that you read, such as "3".')
            if service.view is not None:
                await service.view.enter(session)
            session.info["work"] = request.state.work
            if not files:
                await _read_body(request)
            answer = await inner(request)
            if answer.status_code >= 400:
                return answer
            sequence = await outbox.number(session, service.source, str(request.state.trace))
            _describe(request, session, answer)
            if sequence is not None:
                answer.headers["kapstok-position"] = f"{service.name[0]}{sequence}"
            await close_receipt(session, key, answer)
            await session.commit()
        service.wake()
        return answer

    # A caller who goes away must not stop a transaction half-way through its commit.
    return await service.finish(unit_of_work())


async def _wait_for_position(request: Request, service: "Service") -> None:
    asked = request.headers.get("kapstok-at-least")
    if asked is None or service.view is None:
        return
    parts = [re.fullmatch(r"([a-z])([0-9]{1,18})", part) for part in asked.split(".")]
    wanted = {part[1]: int(part[2]) for part in parts if part}
    followed = {owner[0] for owner in service.view.owners} | {service.name[0]}
    if not all(parts) or not followed & set(wanted):
        raise Invalid(
            "Write Kapstok-At-Least as a position that was given: r412 or r412.p980.", field="Kapstok-At-Least"
        )
    reached = await service.view.reach(wanted, timeout=2)
    if not reached and request.method in ("GET", "HEAD"):
        raise Unavailable("This is not followed as far as you ask yet; ask again in a moment.")


def _must_be_asked(request: Request, known: set[str]) -> None:
    """A misspelt query key is refused; answering as if it were not there would answer another question."""
    unknown = set(request.query_params) - known
    if unknown:
        takes = f"This address takes {', '.join(sorted(known))}." if known else "This address takes no query."
        raise Invalid(f"{len(unknown)} of these query keys does not exist. {takes}")


def media_type_of(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_media_type(request: Request, body: bytes, files: tuple[str, ...]) -> None:
    if not body:
        return
    wanted = files or ((MERGE_PATCH, "application/json") if request.method == "PATCH" else ("application/json",))
    if media_type_of(request) not in wanted:
        raise MediaTypeNotTaken(f"Send the body as {' or '.join(files or wanted[:1])}.")


def _form_of_answer(request: Request, offers: Sequence[str]) -> str:
    found = preferred(",".join(request.headers.getlist("accept")), offers)
    if found is None:
        raise NotAcceptable(f"This address answers as {' or '.join(offers)}; say so in Accept, or leave it out.")
    return found


async def _read_body(request: Request) -> None:
    """Read it before FastAPI does, which would say only that there was an error; what it reads then is kept."""
    if await request.body():
        await request.json()


def _expected_version(request: Request) -> int | None:
    """The version in If-Match; None for `*` or nothing."""
    written = request.headers.get("if-match")
    if written is None or written.strip() == "*":
        return None
    found = re.fullmatch(r'"(\d{1,9})"', written.strip())
    if not found:
        raise Invalid('Write If-Match as the ETag that you read, such as "3".', field="If-Match")
    return int(found[1])


def _describe(request: Request, session: AsyncSession, answer: Response) -> None:
    """ETag, Location and Link, from what the command or query found."""
    subject: Entity | None = session.info.get("subject")
    if subject is not None:
        answer.headers["etag"] = f'"{subject.version}"'
        if answer.status_code == 201:
            answer.headers["location"] = f"{request.url.path}/{subject.id}"
    page: Slice[Any] | None = session.info.get("page")
    if page is not None:
        # The version of a list is what it says.
        answer.headers["etag"] = f'"{sha256(bytes(answer.body)).hexdigest()[:32]}"'
        links = _links(request, page)
        if links:
            answer.headers["link"] = links


def _links(request: Request, page: Slice[Any]) -> str:
    """The pages around this one (RFC 8288)."""
    first = request.url.remove_query_params("cursor") if "cursor" in request.query_params else None
    targets = {
        "next": page.next and request.url.include_query_params(cursor=page.next),
        "prev": page.prev and request.url.include_query_params(cursor=page.prev),
        "first": first,
    }
    return ", ".join(
        f'<{url.path}{"?" if url.query else ""}{url.query}>; rel="{relation}"'
        for relation, url in targets.items()
        if url
    )


async def _session(request: Request) -> AsyncSession:
    return request.state.session  # type: ignore[no-any-return]


Session = Annotated[AsyncSession, Depends(_session)]
"""The request's transaction. Nobody commits it: the door does, before the answer leaves."""


# --- shapes of answers -----------------------------------------------------------------------------------------


class Out(BaseModel):
    """An answer's part: camelCase, read from an entity's fields."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class EntityOut(Out):
    """What every entity shows."""

    id: uuid.UUID
    reference: Annotated[str, Field(examples=["ABC-2018-0007"])]
    version: Annotated[int, Field(examples=[3])]
    began_on: Day
    effective_from: Day
    effective_from_basis: Basis
    effective_from_precision: Precision
    external_ids: ExternalIds


T = TypeVar("T")


class Listing(Out, Generic[T]):
    """One page; `next` is the cursor of the page after it."""

    items: list[T]
    next: Annotated[str | None, Field(examples=[cursors.EXAMPLE])] = None


SORTABLE = ("reference", "beganOn", "effectiveFrom")
"""What every list can be sorted by."""


def paging(*more: str) -> Any:
    """Which part of a list, in which order; `more` names what this list can be sorted by besides, as JSON has it."""
    orders = [f"{sign}{name}" for name in (*SORTABLE, *more) for sign in ("", "-")]

    def known(sort: str) -> str:
        if sort not in orders:
            raise PydanticCustomError(
                "no_such_order", "This list cannot be sorted so; it takes {orders}.", {"orders": ", ".join(orders)}
            )
        return sort

    sort_of_list = Annotated[str, AfterValidator(known), WithJsonSchema({"type": "string", "enum": orders})]

    def page(
        cursor: Annotated[
            str | None, Query(pattern=cursors.PATTERN, description="Where another page ended, as `Link` gave it.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=500, description="How many at most.")] = 100,
        sort: Annotated[
            sort_of_list | None,
            Query(description="By which field; with `-` the last comes first. In the order of entry when left out."),
        ] = None,
    ) -> Page:
        order = Order() if sort is None else Order(to_snake(sort.removeprefix("-")), sort.startswith("-"))
        return Page(None if cursor is None else Cursor.read(cursor, order), limit, order)

    return Depends(page)


Paging = Annotated[Page, paging()]

ExternalId = Annotated[
    str | None,
    Query(
        alias="externalId",
        max_length=200,
        pattern=r"^[a-z0-9][a-z0-9.-]*:[\x21-\x7e]+$",
        description="What another system calls it: system:id.",
    ),
]


# --- to the end -----------------------------------------------------------------------------------------------------


async def shielded(work: Awaitable[Response], running: set[asyncio.Task[Response]]) -> Response:
    """Run to the end, also when the one who waits goes away."""
    task = asyncio.ensure_future(work)
    running.add(task)
    task.add_done_callback(running.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            await asyncio.wait({task}, timeout=5)
        raise
