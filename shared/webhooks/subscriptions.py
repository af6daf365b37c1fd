"""Subscriptions: what a client may ask about getting facts sent to its sink, and what it is shown of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import Field, StringConstraints
from sqlalchemy import ColumnElement, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from shared import outbox
from shared.database import Slice, work
from shared.errors import Conflict, Invalid, NotFound, Stale
from shared.events.event import Event
from shared.screening import Screened
from shared.settings import Settings
from shared.texts import Prose, Value
from shared.webhooks.filters import EventType, Filter
from shared.webhooks.rows import Attempt, DeadLetter, Delivery, Key, LetterState, State, Subscription
from shared.webhooks.sinks import must_be_sink

# --- commands --------------------------------------------------------------------------------------------------

Sink = Annotated[str, StringConstraints(min_length=1, max_length=1000), Field(json_schema_extra={"format": "uri"})]
Position = Annotated[int, Field(ge=0, le=2**62)]
"""A sequence of this service's log; what comes is what was recorded after it."""


class Subscribe(Screened):
    """Facts are sent to the sink once it says that it wants them. Without types and filters, all of them are."""

    sink: Sink
    protocol: Literal["HTTP"] = "HTTP"
    types: Annotated[list[EventType], Field(max_length=100)] = Field(default_factory=list)
    filters: Annotated[list[Filter], Field(max_length=20)] = Field(default_factory=list)
    after: Position | None = None
    """From now on when left out; 0 for everything from the beginning."""


class Pause(Screened):
    reason: Prose


class Resume(Value):
    after: Position | None = None
    """From where it was when left out."""


class Replay(Value):
    after: Position


class EndSubscription(Screened):
    reason: Prose


class RotateKey(Value):
    overlap_hours: Annotated[int, Field(ge=0, le=168)] = 24
    """How long the keys until now sign beside the new one; 0 when one of them may have leaked."""


class Redeliver(Value):
    event_ids: Annotated[list[UUID], Field(max_length=1000)] = Field(default_factory=list)
    """All that are waiting when left out."""


@dataclass(frozen=True)
class Terms:
    """What a publisher's subscriptions depend on besides what is asked."""

    publisher: str
    settings: Settings
    now: datetime


async def begin(session: AsyncSession, command: Subscribe, terms: Terms) -> Subscription:
    must_be_sink(command.sink, terms.settings)
    _must_be_told(command.types, terms.publisher)
    organisation = work(session).actor.organisation
    await _must_have_room(session, organisation, terms.settings.webhook_subscriptions)
    subscription = Subscription(
        id=uuid7(),
        version=1,
        organisation=organisation,
        sink=command.sink,
        types=command.types,
        filters=command.filters,
        state=State.REQUESTED,
        began_at=terms.now,
        keys=[Key.made(terms.now)],
        delivery=Delivery(position=await _within_log(session, command.after), failures=0, waited=0),
    )
    session.add(subscription)
    session.info["subject"] = subscription
    return subscription


async def pause(session: AsyncSession, id: UUID, command: Pause) -> Subscription:
    subscription = await _to_change(session, id)
    subscription.pause(command.reason)
    return subscription


async def resume(session: AsyncSession, id: UUID, command: Resume) -> Subscription:
    subscription = await _to_change(session, id)
    subscription.resume()
    if command.after is not None:
        subscription.replay(await _within_log(session, command.after))
    return subscription


async def replay(session: AsyncSession, id: UUID, command: Replay) -> Subscription:
    subscription = await _to_change(session, id)
    subscription.replay(await _within_log(session, command.after))
    return subscription


async def end(session: AsyncSession, id: UUID, command: EndSubscription) -> Subscription:
    subscription = await _to_change(session, id)
    subscription.end(command.reason)
    return subscription


async def rotate_key(session: AsyncSession, id: UUID, command: RotateKey, terms: Terms) -> Subscription:
    subscription = await _to_change(session, id)
    subscription.rotate_key(terms.now, timedelta(hours=command.overlap_hours))
    return subscription


async def redeliver(session: AsyncSession, id: UUID, command: Redeliver, terms: Terms) -> Subscription:
    """Ask for dead letters after all; they are sent before what else is waiting."""
    subscription = await _to_change(session, id)
    subscription.redeliver()
    dead = [DeadLetter.subscription_id == id, DeadLetter.redelivered_at.is_(None)]
    if command.event_ids:
        dead.append(DeadLetter.event_id.in_(command.event_ids))
    asked = await session.scalars(update(DeadLetter).where(*dead).values(asked_at=terms.now).returning(DeadLetter.id))
    if len(asked.all()) < max(1, len(set(command.event_ids))):
        raise Conflict("Not all of these are dead letters of this subscription that still wait.")
    return subscription


def _must_be_told(types: Sequence[str], publisher: str) -> None:
    told = {type for type, kind in Event.registry.items() if kind.publisher == publisher}
    unknown = len(set(types) - told)
    if unknown:
        raise Invalid(f"{unknown} of these types is not told here; told are {', '.join(sorted(told))}.", field="/types")


async def _must_have_room(session: AsyncSession, organisation: str, most: int) -> None:
    # Who begins another one for the same organisation at the same time waits here, and then counts this one.
    await session.execute(
        text("select pg_advisory_xact_lock(hashtext(:who))"), {"who": f"subscriptions {organisation}"}
    )
    standing = (Subscription.organisation == organisation) & (Subscription.state != State.ENDED)
    if (await session.scalar(select(func.count()).select_from(Subscription).where(standing)) or 0) >= most:
        raise Conflict(f"An organisation has {most} subscriptions at most; end one first.")


async def _within_log(session: AsyncSession, after: int | None) -> int:
    head = (await outbox.end(session)).sequence
    if after is not None and after > head:
        raise Invalid(f"The log goes up to {head}; give that or less.", field="/after")
    return head if after is None else after


async def _to_change(session: AsyncSession, id: UUID) -> Subscription:
    """The caller's own subscription, locked. Raises NotFound; Stale when `If-Match` named another version."""
    subscription = await _one(session, id, work(session).actor.organisation, lock=True)
    expected = work(session).expected
    if expected is not None and expected != subscription.version:
        raise Stale(f"This subscription is at version {subscription.version} now; read it again and decide anew.")
    return subscription


# --- queries ---------------------------------------------------------------------------------------------------


async def find(session: AsyncSession, id: UUID, organisation: str) -> Subscription:
    """Raises NotFound, for another organisation's as for one that never was."""
    return await _one(session, id, organisation)


async def _one(session: AsyncSession, id: UUID, organisation: str, *, lock: bool = False) -> Subscription:
    query = select(Subscription).where(Subscription.id == id, Subscription.organisation == organisation)
    subscription = (await session.scalars(query.with_for_update() if lock else query)).one_or_none()
    if subscription is None:
        raise NotFound("Your organisation has no subscription with this id.")
    session.info["subject"] = subscription
    return subscription


R = TypeVar("R", Subscription, Attempt, DeadLetter)


@dataclass(frozen=True)
class InTime:
    """Which part of what is kept in the order of time: after which id, and how many at most."""

    cursor: UUID | None = None
    limit: int = 100


async def listed(session: AsyncSession, organisation: str, page: InTime, state: State | None) -> Slice[Any]:
    where = [Subscription.organisation == organisation]
    if state is not None:
        where.append(Subscription.state == state)
    return await _part(session, Subscription, page, *where)


async def attempts(session: AsyncSession, id: UUID, organisation: str, page: InTime) -> Slice[Any]:
    """The newest first."""
    await _must_be_own(session, id, organisation)
    return await _part(session, Attempt, page, Attempt.subscription_id == id, newest_first=True)


async def dead_letters(
    session: AsyncSession, id: UUID, organisation: str, page: InTime, state: LetterState | None
) -> Slice[Any]:
    await _must_be_own(session, id, organisation)
    where = [DeadLetter.subscription_id == id]
    if state is not None:
        delivered = DeadLetter.redelivered_at.is_not(None)
        where.append(delivered if state is LetterState.DELIVERED else ~delivered)
    return await _part(session, DeadLetter, page, *where)


@dataclass(frozen=True)
class Progress:
    """How far a subscription is in the log, and how its sink is doing."""

    position: int
    head: int
    behind: int
    failures: int
    failing_since: datetime | None
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    dead_letters: int


async def progress(session: AsyncSession, id: UUID, organisation: str) -> Progress:
    delivery = (await _one(session, id, organisation)).delivery
    session.info.pop("subject")  # this moves without a new version, so the version is no ETag for it
    head = (await outbox.end(session)).sequence
    dead = (DeadLetter.subscription_id == id) & DeadLetter.redelivered_at.is_(None)
    return Progress(
        position=delivery.position,
        head=head,
        behind=head - delivery.position,
        failures=delivery.failures,
        failing_since=delivery.failing_since,
        next_attempt_at=delivery.next_at if delivery.failures else None,
        delivered_at=delivery.delivered_at,
        dead_letters=await session.scalar(select(func.count()).select_from(DeadLetter).where(dead)) or 0,
    )


async def _must_be_own(session: AsyncSession, id: UUID, organisation: str) -> None:
    await _one(session, id, organisation)
    session.info.pop("subject")


async def _part(
    session: AsyncSession, kind: type[R], page: InTime, *where: ColumnElement[bool], newest_first: bool = False
) -> Slice[Any]:
    """One page in the order of ids, which is the order of time."""
    query = select(kind).where(*where).limit(page.limit + 1)
    query = query.order_by(kind.id.desc() if newest_first else kind.id)
    if page.cursor is not None:
        query = query.where(kind.id < page.cursor if newest_first else kind.id > page.cursor)
    found = list(await session.scalars(query))
    items = found[: page.limit]
    following = str(items[-1].id) if len(found) > page.limit else None
    session.info["page"] = part = Slice(items, following, None)
    return part
