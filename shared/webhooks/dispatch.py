"""Dispatch: in one replica of a publisher, a courier for each subscription; and how they all fare, for health."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared import outbox
from shared.database import is_passing, sessions
from shared.leadership import leadership
from shared.settings import Settings
from shared.webhooks.couriers import Courier, Road
from shared.webhooks.rows import STANDING, Attempt, DeadLetter, State, Subscription
from shared.webhooks.sinks import Sinks

log = structlog.get_logger("kapstok.webhooks")

LEADER = 7_310_004
"""Advisory lock held by the one replica that delivers."""
SWEEP_EVERY = timedelta(hours=1)


class Dispatch:
    def __init__(self, engine: AsyncEngine, settings: Settings, now: Callable[[], datetime]) -> None:
        self._engine = engine
        self._settings = settings
        self._now = now
        self._sinks = Sinks(settings)
        self._road = Road(sessions(engine), self._sinks, settings, now)
        self._couriers: dict[UUID, tuple[Courier, asyncio.Task[None]]] = {}
        self._woken = asyncio.Event()
        self._resting = False
        self._swept_at: datetime | None = None
        self._logged = ""
        self.leading = False

    def wake(self) -> None:
        """A commit calls this; the poll is the net under it, and how a commit of another replica is noticed."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver for ever. Errors are logged once each, then it begins anew."""
        while True:
            try:
                async with leadership(self._engine, LEADER) as connection:
                    self.leading = True
                    await self._lead(connection)
            except Exception as error:
                self._log(error)
            self.leading = False
            await asyncio.sleep(0.25)

    def _log(self, error: Exception) -> None:
        if repr(error) == self._logged:
            return
        self._logged = repr(error)
        if is_passing(error):
            log.warning("webhooks wait for the database", reason=self._logged[:300])
        else:
            log.exception("delivering failed and begins anew")

    async def _lead(self, connection: AsyncConnection) -> None:
        """See to it that each standing subscription has a courier, and that they hear what is told."""
        try:
            while True:
                self._woken.clear()
                head = (await outbox.end(connection)).sequence
                for id, version in (await _standing(connection)).items():
                    if not self._resting:
                        self._courier_of(id).hear(version, head)
                await self._sweep(connection)
                self._logged = ""
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settings.webhook_poll_seconds):
                        await self._woken.wait()
        finally:
            await self._call_back()

    def _courier_of(self, id: UUID) -> Courier:
        """The courier under way; when it came home, because the subscription did not stand, another one goes."""
        if id not in self._couriers or self._couriers[id][1].done():
            courier = Courier(id, self._road)
            self._couriers[id] = courier, asyncio.create_task(courier.run(lambda: not self._resting), name=f"to-{id}")
        return self._couriers[id][0]

    async def _call_back(self) -> None:
        """End all couriers. What a sink did not answer yet is sent again by whoever leads next."""
        under_way = [task for _, task in self._couriers.values()]
        self._couriers.clear()
        for task in under_way:
            task.cancel()
        if under_way:
            await asyncio.wait(under_way)

    async def rest(self, seconds: float) -> None:
        """Begin no call any more, and give those under way a moment to be answered and noted."""
        self._resting = True
        under_way = [task for _, task in self._couriers.values()]
        for courier, _ in self._couriers.values():
            courier.wake()
        if under_way:
            await asyncio.wait(under_way, timeout=seconds)

    async def close(self) -> None:
        await self._sinks.close()

    async def _sweep(self, connection: AsyncConnection) -> None:
        """Now and then, remove attempts of long ago, and dead letters that nobody waits for since then."""
        now = self._now()
        if self._swept_at is not None and now < self._swept_at + SWEEP_EVERY:
            return
        self._swept_at = now
        await sweep(connection, now - timedelta(days=self._settings.webhook_attempt_days))


async def _standing(connection: AsyncConnection) -> Mapping[UUID, int]:
    """The subscriptions for which there may be something to send, with their versions."""
    rows = await connection.execute(
        select(Subscription.id, Subscription.version).where(Subscription.state.in_(STANDING))
    )
    return {row.id: row.version for row in rows}


async def sweep(connection: AsyncConnection, before: datetime) -> None:
    """Remove what is older than that: attempts, and dead letters that were delivered, or whose subscription ended."""
    await connection.execute(delete(Attempt).where(Attempt.at < before))
    ended = select(Subscription.id).where(Subscription.state == State.ENDED)
    left = (DeadLetter.died_at < before) & DeadLetter.subscription_id.in_(ended)
    await connection.execute(delete(DeadLetter).where((DeadLetter.redelivered_at < before) | left))


# --- how they fare ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Standing:
    """How all subscriptions together fare."""

    states: Mapping[str, int]
    waiting: int
    """Facts that active subscriptions have not been past yet, summed over them."""
    oldest_seconds: float
    failing: int
    """Active subscriptions whose last call failed."""
    dead_letters: int


_WAITING = text(
    """
    select coalesce(sum(greatest(0, h.sequence - d.position)), 0) as events,
           coalesce(greatest(0, extract(epoch from clock_timestamp() - min(o.recorded_at))), 0) as seconds,
           count(*) filter (where d.failures > 0) as failing
    from subscription s
         join subscription_delivery d on d.subscription_id = s.id
         cross join (select coalesce(max(sequence), 0) as sequence from outbox) h
         left join outbox o on o.sequence = d.position + 1
    where s.state = 'active'
    """
)
_DEAD = text(
    "select count(*) from subscription_dead_letter l join subscription s on s.id = l.subscription_id"
    " where l.redelivered_at is null and s.state <> 'ended'"
)


async def standing(connection: AsyncConnection) -> Standing:
    by_state = select(Subscription.state, func.count().label("number")).group_by(Subscription.state)
    counted = {row.state: row.number for row in await connection.execute(by_state)}
    waiting = (await connection.execute(_WAITING)).one()
    return Standing(
        states={state.value: counted.get(state, 0) for state in State},
        waiting=int(waiting.events),
        oldest_seconds=float(waiting.seconds),
        failing=int(waiting.failing),
        dead_letters=int(await connection.scalar(_DEAD) or 0),
    )
