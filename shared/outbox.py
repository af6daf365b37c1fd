"""The outbox: every fact of a service in commit order, numbered without holes, chained, never emptied."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    bindparam,
    insert,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from uuid_utils.compat import uuid7

from shared.database import COMMON, work
from shared.errors import TooLarge
from shared.events.event import MAX_BYTES, Event

LOCK = 7_310_001
"""Advisory lock: exclusive while facts are numbered, shared while the head is read."""

outbox = Table(
    "outbox",
    COMMON,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Uuid, nullable=False, unique=True),
    Column("type", Text, nullable=False),
    Column("entity", Uuid, nullable=False),
    Column("version", Integer, nullable=False),
    Column("recorded_at", TIMESTAMP(timezone=True), nullable=False),
    Column("event", Text, nullable=False),
    Column("chain", Text, nullable=False),
    UniqueConstraint("entity", "version"),
)

outbox_origin = Table(
    "outbox_origin",
    COMMON,
    Column("epoch", Uuid, primary_key=True),
    Column("promised", TIMESTAMP(timezone=True)),
)
"""Which log this is; `promised` is the last moment that a watermark was given for, which no fact may go back behind."""

relayed = Table("relayed", COMMON, Column("sequence", BigInteger, primary_key=True, autoincrement=False))
"""How far the stream goes as the leading relay last noted: a hint, for health and metrics only."""

acted = Table(
    "acted",
    COMMON,
    Column("event_id", Uuid, primary_key=True),
    Column("account", Text, nullable=False),
)
"""Which account acted; apart from the events and their chain, so that it can be erased."""


@dataclass(frozen=True)
class Stored:
    """One row of the outbox, as it goes out."""

    sequence: int
    id: UUID
    type: str
    entity: UUID
    event: str
    chain: str


@dataclass(frozen=True)
class Head:
    """How far a service's facts go. `watermark`: nothing will later be recorded at or before it, ever."""

    epoch: UUID
    sequence: int
    chain: str
    watermark: datetime


def link(previous: str, event: str) -> str:
    """The chain after an event: sha256 over the chain before it and the event's text."""
    return sha256((previous + event).encode()).hexdigest()


async def add(session: AsyncSession, *events: Event) -> None:
    """Take the facts up in the transaction; they are numbered as its last statements."""
    work(session).told.extend(events)


_LAST = text(
    """
    select o.epoch, o.promised, l.sequence, l.recorded_at, l.chain, clock_timestamp() as now
    from outbox_origin o left join lateral
         (select sequence, recorded_at, chain from outbox order by sequence desc limit 1) l on true
    """
)


async def number(session: AsyncSession, source: str, traceparent: str | None = None) -> int | None:
    """Number and store what was told; the sequence of the last fact, or None when nothing was told.

    The lock is a statement of its own, so that the next one sees the last writer's row. Raises TooLarge.
    """
    told = work(session).told
    if not told:
        return None
    await session.flush()
    await session.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    last = (await session.execute(_LAST)).one()
    sequence, chain, at = last.sequence or 0, last.chain or "", last.now
    if last.promised is not None:
        at = max(at, last.promised)  # the clock may have stepped back
    if last.recorded_at is not None:
        at = max(at, last.recorded_at + timedelta(microseconds=1))
    rows = []
    for event in told:
        sequence += 1
        recorded = event.model_copy(
            update={"id": uuid7(), "sequence": sequence, "recorded_at": at, "acted_by": work(session).actor}
        )
        encoded = recorded.encode(source=source, traceparent=traceparent)
        if len(encoded.encode()) > MAX_BYTES:
            raise TooLarge(f"This would make an event of more than {MAX_BYTES // 1024} KiB; shorten the texts.")
        chain = link(chain, encoded)
        rows.append(
            {
                "sequence": sequence,
                "id": recorded.id,
                "type": recorded.type,
                "entity": recorded.entity,
                "version": recorded.version,
                "recorded_at": at,
                "event": encoded,
                "chain": chain,
            }
        )
        at += timedelta(microseconds=1)
    await session.execute(insert(outbox), rows)
    account = work(session).account
    await session.execute(insert(acted), [{"event_id": row["id"], "account": account} for row in rows])
    told.clear()
    return sequence


_PROMISE = text(
    """
    update outbox_origin set promised = greatest(
        promised, clock_timestamp(), (select recorded_at + interval '1 microsecond' from outbox
                                      order by sequence desc limit 1))
    returning promised
    """
)


async def head(connection: AsyncConnection) -> Head:
    """The head with its watermark. Commit afterwards: what was promised of time must outlive this transaction.

    Read under the shared lock: a number given out is then committed or gone. The promise is kept in the database, so
    that no replica breaks it, also when the clock steps back; it is not worth a wait for the disk.
    """
    await connection.execute(text("set local synchronous_commit to off"))
    await connection.execute(text("select pg_advisory_xact_lock_shared(:lock)"), {"lock": LOCK})
    promised = (await connection.execute(_PROMISE)).scalar_one()
    last = (await connection.execute(_LAST)).one()
    return Head(last.epoch, last.sequence or 0, last.chain or "", promised - timedelta(microseconds=1))


@dataclass(frozen=True)
class End:
    """Which log it is, and its last number."""

    epoch: UUID
    sequence: int


async def end(connection: AsyncConnection | AsyncSession) -> End:
    """How far the log goes, without a promise of time."""
    last = (await connection.execute(_LAST)).one()
    return End(last.epoch, last.sequence or 0)


@dataclass(frozen=True)
class Waiting:
    """What the stream does not have yet: how many facts, and for how many seconds the oldest of them waits."""

    head: int
    published: int
    seconds: float

    @property
    def events(self) -> int:
        return max(0, self.head - self.published)


_WAITING = text(
    """
    select coalesce((select max(sequence) from outbox), 0) as head, p.published,
           coalesce(extract(epoch from clock_timestamp() - (
               select recorded_at from outbox where sequence = p.published + 1)), 0) as seconds
    from (select coalesce(cast(:known as bigint), (select sequence from relayed)) as published) p
    """
)


async def waiting(connection: AsyncConnection, known: int | None) -> Waiting:
    """The relay's backlog; `known` is what this process knows to be published, else what was last noted counts."""
    row = (await connection.execute(_WAITING, {"known": known})).one()
    return Waiting(row.head, row.published, max(0.0, float(row.seconds)))


_AFTER = (
    select(outbox.c.sequence, outbox.c.id, outbox.c.type, outbox.c.entity, outbox.c.event, outbox.c.chain)
    .where(outbox.c.sequence > bindparam("after"))
    .order_by(outbox.c.sequence)
    .limit(bindparam("limit"))
)


async def after(connection: AsyncConnection | AsyncSession, sequence: int, limit: int) -> list[Stored]:
    rows = await connection.execute(_AFTER, {"after": sequence, "limit": limit})
    return [_stored(row) for row in rows]


async def told_before(connection: AsyncConnection | AsyncSession, event_id: UUID) -> Stored | None:
    """The stored event with this id."""
    row = (
        await connection.execute(
            select(
                outbox.c.sequence, outbox.c.id, outbox.c.type, outbox.c.entity, outbox.c.event, outbox.c.chain
            ).where(outbox.c.id == event_id)
        )
    ).one_or_none()
    return None if row is None else _stored(row)


def _stored(row: Any) -> Stored:
    return Stored(row.sequence, row.id, row.type, row.entity, row.event, row.chain)
