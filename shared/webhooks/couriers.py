"""Couriers: each carries one subscription's facts to its sink, one at a time, in the order of the log.

A fact counts as delivered when the sink's 2xx is noted in the database. Whatever happens in between, it is sent again:
a sink may get an event twice, and never misses one.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from uuid_utils.compat import uuid7

from shared import outbox
from shared.outbox import Stored
from shared.settings import Settings
from shared.webhooks.outcomes import Outcome, Patience, asked_to_wait, consent, outcome, told
from shared.webhooks.rows import STANDING, Attempt, AttemptKind, DeadLetter, Delivery, State, Subscription
from shared.webhooks.signatures import sign
from shared.webhooks.sinks import Answer, Sinks

log = structlog.get_logger("kapstok.webhooks")

AHEAD = 100
"""Events read from the log at once."""
AT_ONCE = 2
"""Connections to the database that all couriers together take; requests have the others."""
MEDIA_TYPE = "application/cloudevents+json; charset=UTF-8"


class Road:
    """What all couriers of a publisher share: its log, the way out, the clock and the rules."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        sinks: Sinks,
        settings: Settings,
        now: Callable[[], datetime],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.sinks = sinks
        self.settings = settings
        self.now = now
        self.chance = chance
        self.patience = Patience.of(settings)
        self._sessions = sessions
        self._room = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A transaction of a courier's own, committed at the end."""
        async with self._room, self._sessions.begin() as session:
            yield session


@dataclass(frozen=True)
class Parcel:
    """An event on its way: the next one of the log, or a dead letter that was asked for."""

    event: Stored
    kind: AttemptKind


@dataclass(frozen=True)
class Rest:
    """There is nothing to do before a moment, or before something is told; or ever again."""

    until: datetime | None = None
    for_good: bool = False


class Courier:
    def __init__(self, id: UUID, road: Road) -> None:
        self.id = id
        self._road = road
        self._ahead: list[Stored] = []
        self._woken = asyncio.Event()
        self._heard: tuple[int, int] | None = None
        self._logged = ""

    def hear(self, version: int, head: int) -> None:
        """Look again if the subscription or the log has changed."""
        if (version, head) != self._heard:
            self._heard = (version, head)
            self._woken.set()

    def wake(self) -> None:
        self._woken.set()

    async def run(self, going: Callable[[], bool]) -> None:
        """Carry until the subscription stands no more, or no one is `going` on."""
        while going():
            self._woken.clear()
            try:
                rest = await self.step()
                self._logged = ""
            except Exception as error:
                self._log(error)
                rest = Rest(self._road.now() + timedelta(seconds=1))
            if rest is not None and rest.for_good:
                return
            if rest is not None:
                await self._wait(rest.until)

    def _log(self, error: Exception) -> None:
        if repr(error) != self._logged:
            self._logged = repr(error)
            log.exception("a courier failed and tries again", subscription=str(self.id))

    async def _wait(self, until: datetime | None) -> None:
        seconds = None if until is None else max(0.0, (until - self._road.now()).total_seconds())
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def step(self) -> Rest | None:
        """Call the sink once, if it is time; None to look again at once."""
        async with self._road.session() as session:
            subscription = await _read(session, self.id)
            if subscription.state not in STANDING:
                return Rest(for_good=True)
            next_at = subscription.delivery.next_at
            if next_at is not None and next_at > self._road.now():
                return Rest(next_at)
            asking = subscription.state is State.REQUESTED
            found = None if asking else await self._next(session, subscription)
        if asking:
            await self._ask(subscription)
        if isinstance(found, Parcel):
            await self._deliver(subscription, found)
            return None
        return found

    # --- what is next ------------------------------------------------------------------------------------------

    async def _next(self, session: AsyncSession, subscription: Subscription) -> Parcel | Rest | None:
        """The next event that the subscription wants; None when some were passed over, and more may come."""
        letter = await _letter_asked_for(session, self.id)
        if letter is not None:
            event = await outbox.told_before(session, letter.event_id)
            assert event is not None  # the log is never emptied
            return Parcel(event, AttemptKind.REDELIVERY)
        events = await self._after(session, subscription.delivery.position)
        wanted = next((event for event in events if subscription.wants(event)), None)
        if wanted is not None:
            return Parcel(wanted, AttemptKind.DELIVERY)
        if not events:
            return Rest()
        await _pass_over(session, subscription, events[-1].sequence)
        return None

    async def _after(self, session: AsyncSession, position: int) -> list[Stored]:
        """The log from a position on; what was read of it stays as it is, and is not read again."""
        self._ahead = [event for event in self._ahead if event.sequence > position]
        if not self._ahead or self._ahead[0].sequence != position + 1:
            self._ahead = await outbox.after(session, position, AHEAD)
        return self._ahead

    # --- calling -----------------------------------------------------------------------------------------------

    async def _ask(self, seen: Subscription) -> None:
        """The handshake of CloudEvents' webhooks: nothing is sent to a sink that did not say that it wants it."""
        settings, began = self._road.settings, self._road.now()
        headers = {"WebHook-Request-Rate": str(settings.webhook_rate)}
        answer = await self._call("OPTIONS", seen, headers)
        allowed = consent(answer, settings.webhook_origin, settings.webhook_rate)
        async with self._road.session() as session:
            problem = None if allowed else _why_not(answer)
            subscription = await self._note(session, Attempt.made(AttemptKind.HANDSHAKE, None, began, answer, problem))
            if subscription.version != seen.version:
                return  # somebody acted in the meantime; what was asked is asked anew
            if allowed is not None:
                subscription.allow(allowed)
            elif outcome(answer) is Outcome.GONE:
                subscription.end(f"The sink wants nothing any more. {told(answer)}")
            elif not self._try_again(subscription, answer):
                subscription.pause(f"The sink did not allow us to send in {self._patience()}. {problem}")

    async def _deliver(self, seen: Subscription, parcel: Parcel) -> None:
        began, event = self._road.now(), parcel.event
        body = event.event.encode()
        answer = await self._call("POST", seen, _dressed(event, body, seen, began), body)
        async with self._road.session() as session:
            problem = None if outcome(answer) is Outcome.DELIVERED else told(answer)
            subscription = await self._note(session, Attempt.made(parcel.kind, event.id, began, answer, problem))
            if problem is None:
                if subscription.delivery.position == seen.delivery.position:
                    _move(subscription, parcel)
                subscription.delivery.succeed(self._road.now(), began + subscription.spacing)
                await _raise_up(session, self.id, event.id, self._road.now())
            elif subscription.version != seen.version:
                return  # somebody acted in the meantime; this failure says nothing of how it is now
            elif outcome(answer) is Outcome.GONE:
                subscription.end(f"The sink wants nothing any more. {problem}")
            elif not self._try_again(subscription, answer):
                await self._give_up(session, subscription, parcel, answer)

    async def _call(
        self, method: str, seen: Subscription, headers: dict[str, str], body: bytes | None = None
    ) -> Answer:
        introduction = {"User-Agent": "Kapstok", "WebHook-Request-Origin": self._road.settings.webhook_origin}
        return await self._road.sinks.call(method, seen.sink, introduction | headers, body)

    # --- what came of it ---------------------------------------------------------------------------------------

    async def _note(self, session: AsyncSession, attempt: Attempt) -> Subscription:
        """Write down an attempt; the subscription as it stands now, locked for what follows from it."""
        subscription = await _read(session, self.id, lock=True)
        attempt.subscription_id = self.id
        session.add(attempt)
        return subscription

    def _try_again(self, subscription: Subscription, answer: Answer) -> bool:
        """Wait for the next try, longer each time; False when it was enough."""
        delivery, now = subscription.delivery, self._road.now()
        asked = asked_to_wait(answer, now)
        wait = self._road.patience.wait(delivery.failures, delivery.waited, asked, self._road.chance())
        if wait is None:
            return False
        delivery.fail(now, max(wait, subscription.spacing.total_seconds()))
        return True

    async def _give_up(self, session: AsyncSession, subscription: Subscription, parcel: Parcel, answer: Answer) -> None:
        """Lay the event aside, to be seen; go on after it, unless it is the sink itself that is not there."""
        await _bury(session, subscription, parcel.event, told(answer), self._road.now())
        _move(subscription, parcel)
        if outcome(answer) is Outcome.REFUSED:
            subscription.delivery.start_over()
        else:
            subscription.pause(f"The sink took nothing in {self._patience()}. {told(answer)}")
        log.warning("an event was given up", subscription=str(self.id), event_id=str(parcel.event.id))

    def _patience(self) -> str:
        return f"{self._road.settings.webhook_patience_hours:g} hours of trying"


# --- the call of a delivery ------------------------------------------------------------------------------------


def _dressed(event: Stored, body: bytes, subscription: Subscription, now: datetime) -> dict[str, str]:
    """The headers of a delivery: signed by every key that signs now, so that a sink may know the old one or the new."""
    id, timestamp = str(event.id), int(now.timestamp())
    signatures = [sign(key.private, id, timestamp, body) for key in subscription.keys if key.signs_at(now)]
    headers = {
        "Content-Type": MEDIA_TYPE,
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
    trace = _trace_of(body)
    return headers | {"traceparent": trace} if trace else headers


class _Traced(msgspec.Struct):
    traceparent: str | None = None


_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def _trace_of(body: bytes) -> str | None:
    """The trace that an event came from."""
    try:
        trace = msgspec.json.decode(body, type=_Traced).traceparent
    except msgspec.DecodeError:  # an event that is no JSON is sent as it is
        return None
    return trace if trace and _TRACEPARENT.fullmatch(trace) else None


def _why_not(answer: Answer) -> str:
    if outcome(answer) is Outcome.DELIVERED:
        return f"It answered {answer.status}, without a WebHook-Allowed-Origin that allows ours."
    return told(answer)


# --- the rows --------------------------------------------------------------------------------------------------


async def _read(session: AsyncSession, id: UUID, *, lock: bool = False) -> Subscription:
    query = select(Subscription).where(Subscription.id == id)
    return (await session.scalars(query.with_for_update() if lock else query)).one()


def _move(subscription: Subscription, parcel: Parcel) -> None:
    """A dead letter comes from where the log was passed already; it moves nothing."""
    if parcel.kind is AttemptKind.DELIVERY:
        subscription.delivery.position = parcel.event.sequence


async def _pass_over(session: AsyncSession, subscription: Subscription, sequence: int) -> None:
    """Move on, unless somebody set another position at the same time: theirs stands."""
    here = (Delivery.subscription_id == subscription.id) & (Delivery.position == subscription.delivery.position)
    await session.execute(update(Delivery).where(here).values(position=sequence))


async def _letter_asked_for(session: AsyncSession, id: UUID) -> DeadLetter | None:
    asked = (DeadLetter.subscription_id == id) & DeadLetter.asked_at.is_not(None) & DeadLetter.redelivered_at.is_(None)
    return await session.scalar(select(DeadLetter).where(asked).order_by(DeadLetter.sequence).limit(1))


async def _bury(session: AsyncSession, subscription: Subscription, event: Stored, reason: str, now: datetime) -> None:
    """Keep an event as a dead letter; one that was dead before is so anew."""
    attempts = subscription.delivery.failures + 1
    died = {"attempts": attempts, "reason": reason, "died_at": now, "asked_at": None, "redelivered_at": None}
    named = {"subscription_id": subscription.id, "event_id": event.id, "sequence": event.sequence, "type": event.type}
    kept = insert(DeadLetter).values(id=uuid7(), **named, **died)
    await session.execute(kept.on_conflict_do_update(index_elements=["subscription_id", "event_id"], set_=died))


async def _raise_up(session: AsyncSession, id: UUID, event_id: UUID, now: datetime) -> None:
    """An event was delivered: if it was a dead letter, it is none any more."""
    dead = (DeadLetter.subscription_id == id) & (DeadLetter.event_id == event_id) & DeadLetter.redelivered_at.is_(None)
    await session.execute(update(DeadLetter).where(dead).values(redelivered_at=now))
