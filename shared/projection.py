"""Views: what a service keeps of other services' facts, how it follows them, and how it makes them again."""

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar
from uuid import UUID, uuid4

import structlog
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Table,
    Text,
    TextClause,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.schema import CreateTable

from shared import parking
from shared.bus import CHAIN, EPOCH, Bus, BusUnavailable, Inbox
from shared.database import COMMON, is_passing
from shared.errors import Unavailable
from shared.events.event import Event
from shared.feed import FeedClient, FeedUnavailable, Owner
from shared.outbox import Head, link
from shared.rows import write_changes
from shared.settings import Settings

log = structlog.get_logger("kapstok.projection")

BATCH = 1000

generation = Table(
    "generation",
    COMMON,
    Column("schema", Text, primary_key=True),
    Column("view", Text, nullable=False),
    Column("shape", Text, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("made_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
    Column("retired_at", TIMESTAMP(timezone=True)),
    Index("uq_generation_live", "view", "shape", unique=True, postgresql_where=text("live")),
)
"""Every set of a view's tables, each in a schema of its own; one of them is live."""


# --- the deciding step -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkpoint:
    """How far a view has followed one owner."""

    epoch: str
    sequence: int
    chain: str


class Decision(enum.Enum):
    APPLY = "apply"
    DROP = "drop"
    GAP = "gap"
    DIVERGED = "diverged"


def decide(at: Checkpoint, epoch: str, sequence: int, chain: str, event: str, *, from_feed: bool) -> Decision:
    """What to do with an event: apply `checkpoint + 1` and nothing else.

    From the bus, what does not fit is dropped or read again from the owner's feed; only the owner's own feed can say
    that the log is another one.
    """
    if epoch != at.epoch:
        return Decision.DIVERGED if from_feed else Decision.DROP
    if sequence <= at.sequence:
        return Decision.DROP
    misfit = Decision.DIVERGED if from_feed else Decision.GAP
    if sequence > at.sequence + 1 or link(at.chain, event) != chain:
        return misfit
    return Decision.APPLY


# --- where a reader stands -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Position:
    """How far a view goes, per owner: `r412.p980.m77`."""

    sequences: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return ".".join(f"{owner[0]}{sequence}" for owner, sequence in self.sequences)

    def reached(self, asked: "dict[str, int]") -> bool:
        """Whether every owner that was asked for, by its letter, is at least that far."""
        mine = {owner[0]: sequence for owner, sequence in self.sequences}
        return all(mine[letter] >= sequence for letter, sequence in asked.items() if letter in mine)


@dataclass(frozen=True)
class Standing:
    """A position with what it was read at: the newest applied fact, and until when nothing can be missing."""

    position: Position
    epochs: str
    newest: datetime | None
    checked_at: datetime | None
    generation: str
    """Which set of tables; rows made again are looked at anew, though every replica answers the same from them."""
    parked: tuple[UUID, ...] = ()
    """Entities that are left aside: of these the rows say what was so before, so they count as no data."""

    def same_rows(self, other: "Standing | None") -> bool:
        return other is not None and (self.position, self.epochs, self.generation, self.parked) == (
            other.position,
            other.epochs,
            other.generation,
            other.parked,
        )


# --- the view --------------------------------------------------------------------------------------------------

Handler = Callable[[AsyncSession, Any], Awaitable[None]]
Told = TypeVar("Told", bound=Event)


@dataclass
class Stopped:
    """A view that cannot take up an event: it stands still there and tries again."""

    event_id: str
    sequence: int
    reason: str


@dataclass
class Following:
    """How following one owner goes; for health and metrics."""

    head: int | None = None
    checkpoint: int = 0
    stopped: Stopped | None = None
    owner_answers: bool = False
    bus_answers: bool = False


@dataclass(frozen=True)
class Into:
    """Which tables a batch goes into: the live ones, or those of a generation that is being made."""

    schema: str | None = None
    released: UUID | None = None
    """What is parked under this id is taken up here, as if it were released."""


LIVE = Into()

Entry = tuple[str, int, str, str]
"""An event on its way in: epoch, sequence, chain, and its text."""


class Projection:
    """A view's rows and handlers, and the loops that keep them equal to the owners' logs."""

    def __init__(self, name: str, base: type[DeclarativeBase]) -> None:
        self.name = name
        self.base = base
        self._handlers: dict[str, Handler] = {}
        self.owners: list[str] = []
        self._checkpoint = Table(
            "checkpoint",
            base.metadata,
            Column("owner", Text, primary_key=True),
            Column("epoch", Text, nullable=False),
            Column("sequence", BigInteger, nullable=False),
            Column("chain", Text, nullable=False),
            Column("recorded_at", TIMESTAMP(timezone=True)),
            Column("watermark", TIMESTAMP(timezone=True)),
        )

    def on(self, *kinds: type[Event]) -> Callable[[Handler], Handler]:
        """Register what a view does with a fact: `@progress.on(ActionRescheduled)`."""

        def register(handler: Handler) -> Handler:
            for kind in kinds:
                if kind.type in self._handlers:
                    raise TypeError(f"{self.name} handles {kind.type} twice.")
                self._handlers[kind.type] = handler
                if kind.publisher not in self.owners:
                    self.owners.append(kind.publisher)
            return handler

        return register

    def shape(self) -> str:
        """A fingerprint of the tables: rows of another shape are made again from the logs."""
        tables = self.base.metadata.sorted_tables
        ddl = "".join(
            str(CreateTable(table)) + ",".join(sorted(str(i.name) for i in table.indexes)) for table in tables
        )
        return sha256(ddl.encode()).hexdigest()[:16]

    def attach(self, service: str, engine: AsyncEngine, bus: Bus | None, settings: Settings) -> "Attached":
        return Attached(self, service, engine, bus, settings)


class Attached:
    """A projection on a service's database, following its owners."""

    def __init__(
        self, view: Projection, service: str, engine: AsyncEngine, bus: Bus | None, settings: Settings
    ) -> None:
        self.view = view
        self.service = service
        self._engine = engine
        self._sessions = async_sessionmaker(engine, expire_on_commit=False)
        self._bus = bus
        self._settings = settings
        self._shape = view.shape()
        self.owners: dict[str, Owner] = {owner: FeedClient(settings, owner) for owner in view.owners}
        self.following = {owner: Following() for owner in view.owners}
        self.standing: Standing | None = None
        """Where the live rows stand, as far as this process has seen."""
        self._moved = asyncio.Event()
        self._rebuilding = asyncio.Lock()
        self._applying = {owner: asyncio.Lock() for owner in view.owners}

    # - generations -

    async def prepare(self) -> None:
        """Make the first generation of this shape where there is none."""
        async with self._engine.begin() as connection:
            await connection.execute(text("select pg_advisory_xact_lock(hashtext(:name))"), {"name": self._lock_name})
            if await self._live_schema(connection) is None:
                schema = await self._make_generation(connection)
                await connection.execute(update(generation).where(generation.c.schema == schema).values(live=True))
        await self._look()

    @property
    def _lock_name(self) -> str:
        return f"kapstok-view-{self.view.name}"

    async def _live_schema(self, connection: AsyncConnection) -> str | None:
        found = select(generation.c.schema).where(
            generation.c.view == self.view.name, generation.c.shape == self._shape, generation.c.live
        )
        return await connection.scalar(found)

    async def _make_generation(self, connection: AsyncConnection) -> str:
        schema = f"{self.view.name}_{uuid4().hex[:12]}"
        await connection.execute(text(f'create schema "{schema}"'))
        await connection.execute(text(f'set local search_path to "{schema}"'))
        await connection.run_sync(self.view.base.metadata.create_all, checkfirst=False)
        await connection.execute(text("set local search_path to default"))
        await connection.execute(
            insert(generation).values(schema=schema, view=self.view.name, shape=self._shape, live=False)
        )
        return schema

    async def enter(self, session: AsyncSession, schema: str | None = None) -> None:
        """Point this transaction at the live generation's tables, or at another one's. Raises Unavailable."""
        session.info["zone"] = self._settings.zone
        session.info.setdefault("changes", [])
        if schema is not None:
            await session.execute(text("select set_config('search_path', :path, true)"), {"path": f'"{schema}",public'})
            return
        found = await session.scalar(
            text(
                "select set_config('search_path', '\"' || schema || '\",public', true)"
                " from public.generation where view = :view and shape = :shape and live"
            ),
            {"view": self.view.name, "shape": self._shape},
        )
        if found is None:
            raise Unavailable("These figures are being made; ask again in a moment.")

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A read-only look at the live rows, all from one moment."""
        async with self._sessions() as session:
            await session.connection(
                execution_options={"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            )
            await self.enter(session)
            yield session

    @contextlib.asynccontextmanager
    async def acting(self) -> AsyncIterator[AsyncSession]:
        """A transaction on the live rows and on what is kept about them; committed at the end."""
        async with self._sessions() as session, session.begin():
            await self.enter(session)
            yield session

    # - where we stand -

    async def stand(self, session: AsyncSession) -> Standing:
        """Where the rows that this session sees stand."""
        table = self.view._checkpoint
        rows = {row.owner: row for row in await session.execute(select(table))}
        generation = await session.scalar(text("select current_setting('search_path')"))
        aside = await parking.entities(session, self.view.name)
        marks = [rows[owner].watermark if owner in rows else None for owner in self.view.owners]
        newest = [row.recorded_at for row in rows.values() if row.recorded_at is not None]
        return Standing(
            Position(tuple((owner, rows[owner].sequence if owner in rows else 0) for owner in self.view.owners)),
            ".".join(rows[owner].epoch if owner in rows else "" for owner in self.view.owners),
            max(newest) if newest else None,
            None if any(mark is None for mark in marks) else min(mark for mark in marks if mark is not None),
            str(generation),
            aside,
        )

    async def checkpoints(self, session: AsyncSession) -> dict[str, Checkpoint]:
        """How far the rows that this session sees have followed each owner; an owner not met yet is left out."""
        rows = await session.execute(select(self.view._checkpoint))
        return {row.owner: Checkpoint(row.epoch, row.sequence, row.chain) for row in rows}

    async def _look(self) -> None:
        async with self._sessions() as session:
            await self.enter(session)
            standing = await self.stand(session)
        for owner, sequence in standing.position.sequences:
            following = self.following[owner]
            following.checkpoint = sequence
            if following.stopped is not None and sequence >= following.stopped.sequence:
                following.stopped = None
        before, self.standing = self.standing, standing
        if not standing.same_rows(before):
            self._moved.set()
            self._moved = asyncio.Event()

    async def moved(self, since: Standing | None, timeout: float) -> bool:
        """Wait until the rows stand elsewhere than `since`; False when the time is over first."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            moved = self._moved
            now = self.standing
            if now is not None and not now.same_rows(since):
                return True
            try:
                async with asyncio.timeout_at(deadline):
                    await moved.wait()
            except TimeoutError:
                return False

    async def reach(self, asked: dict[str, int], timeout: float) -> bool:
        """Wait until the rows are at least as far as asked; False when the time is over first."""
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            standing = self.standing
            if standing is not None and standing.position.reached(asked):
                return True
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0 or not await self.moved(standing, remaining):
                return self.standing is not None and self.standing.position.reached(asked)

    @property
    def filled(self) -> bool:
        """Whether the live rows have once been as far as every owner."""
        return self.standing is not None and self.standing.checked_at is not None

    async def rest(self) -> None:
        """Let what is being applied be committed, and take up nothing more."""
        for lock in self._applying.values():
            await lock.acquire()

    # - following -

    async def follow(self, owner: str) -> None:
        """Keep up with one owner for ever; log each new error once, keep the checkpoint, try again."""
        inbox = self._bus.inbox(owner, f"{self.service}_{self.view.name}") if self._bus else None
        told = ""
        clock = asyncio.get_running_loop().time
        next_check = 0.0
        while True:
            try:
                if clock() >= next_check:
                    next_check = clock() + self._settings.head_check_seconds
                    await self._check_head(owner)
                    told = ""
                await self._take_from_bus(owner, inbox, max(0.01, min(1.0, next_check - clock())))
            except (FeedUnavailable, BusUnavailable, Unavailable) as error:
                self.following[owner].owner_answers = not isinstance(error, FeedUnavailable)
                if type(error).__name__ != told:
                    told = type(error).__name__
                    log.info("waiting for an owner", view=self.view.name, owner=owner, reason=str(error))
                await asyncio.sleep(0.1)
            except Exception as error:
                if repr(error) != told:
                    told = repr(error)
                    log.exception("following failed and is tried again", view=self.view.name, owner=owner)
                await asyncio.sleep(0.25)

    async def _take_from_bus(self, owner: str, inbox: Inbox | None, timeout: float) -> None:
        following = self.following[owner]
        if inbox is None or self._bus is None or not self._bus.connected:
            following.bus_answers = False
            await asyncio.sleep(min(timeout, 0.25))
            return
        try:
            messages = await inbox.fetch(200, timeout)
            following.bus_answers = True
        except BusUnavailable:
            following.bus_answers = False
            await asyncio.sleep(min(timeout, 0.25))
            return
        if not messages:
            return
        entries = [
            (
                message.headers.get(EPOCH, ""),
                message.sequence or 0,
                message.headers.get(CHAIN, ""),
                message.payload.decode(errors="replace"),
            )
            for message in messages
        ]
        decision = await self._apply(owner, entries, from_feed=False)
        if decision is Decision.GAP:
            await self.heal(owner)
        for message in messages:
            await message.ack()

    async def _check_head(self, owner: str) -> None:
        """Ask the owner how far it is: silence on the bus proves nothing."""
        head = await self.owners[owner].head()
        following = self.following[owner]
        following.owner_answers = True
        following.head = head.sequence
        async with self._sessions() as session, session.begin():
            await self.enter(session)
            at = await self._locked_checkpoint(session, owner, str(head.epoch))
        following.checkpoint = at.sequence
        misfit = head.sequence == at.sequence and head.chain != at.chain
        if str(head.epoch) != at.epoch or head.sequence < at.sequence or misfit:
            log.error("the owner's log is another one than we followed", view=self.view.name, owner=owner)
            await self.rebuild(compare=False)
        elif head.sequence > at.sequence:
            await self.heal(owner)
        if following.checkpoint >= head.sequence:
            await self._checked(owner, head)
        await self._look()

    async def _checked(self, owner: str, head: Head, into: Into = LIVE) -> None:
        """Where everything up to the owner's head is here, nothing is missing up to its watermark."""
        table = self.view._checkpoint
        here = (table.c.owner == owner) & (table.c.epoch == str(head.epoch)) & (table.c.sequence >= head.sequence)
        async with self._sessions() as session, session.begin():
            await self.enter(session, into.schema)
            await session.execute(update(table).where(here).values(watermark=head.watermark))

    async def heal(self, owner: str) -> None:
        """Read from the owner's feed what the bus did not bring. Raises FeedUnavailable."""
        while True:
            page = await self.owners[owner].after(self.following[owner].checkpoint, BATCH)
            if not page.items:
                return
            entries = [(page.epoch, item.sequence, item.chain, item.event) for item in page.items]
            decision = await self._apply(owner, entries, from_feed=True)
            if decision is Decision.DIVERGED:
                log.error("the owner's feed does not continue what we followed", view=self.view.name, owner=owner)
                await self.rebuild(compare=False)
                return
            if self.following[owner].stopped or self.following[owner].checkpoint >= page.head:
                return

    async def next_of(self, owner: str) -> tuple[Entry | None, UUID | None]:
        """The owner's event after the checkpoint, from its feed, and whose it is. Raises FeedUnavailable."""
        head = await self.owners[owner].head()
        async with self._sessions() as session, session.begin():
            await self.enter(session)
            at = await self._locked_checkpoint(session, owner, str(head.epoch))
        page = await self.owners[owner].after(at.sequence, 1)
        if not page.items:
            return None, None
        [item] = page.items
        return (page.epoch, item.sequence, item.chain, item.event), item.entity

    async def take(self, owner: str, entry: Entry) -> None:
        """Apply one event from the owner's feed. Raises what its handler raises."""
        await self._apply(owner, [entry], from_feed=True)

    async def _apply(self, owner: str, entries: Sequence[Entry], *, from_feed: bool, into: Into = LIVE) -> Decision:
        """Apply a batch in one transaction; when one event fails, event by event up to it."""
        try:
            decision = await self._apply_together(owner, entries, from_feed=from_feed, into=into)
        except Exception as error:
            if isinstance(error, Unavailable) or is_passing(error):
                raise
            if len(entries) == 1:
                if into is LIVE:
                    self._stop(owner, entries[0], error)
                raise
            decision = Decision.APPLY
            for entry in entries:
                decision = await self._apply(owner, [entry], from_feed=from_feed, into=into)
                if decision in (Decision.GAP, Decision.DIVERGED):
                    break
        if into is LIVE:
            await self._look()
        return decision

    def _stop(self, owner: str, entry: Entry, error: Exception) -> None:
        _, sequence, _, event = entry
        marker = event[:200].partition('"id":"')[2][:36]
        previous = self.following[owner].stopped
        self.following[owner].stopped = Stopped(marker, sequence, repr(error)[:300])
        if previous is None or previous.sequence != sequence:
            log.error(
                "a view stopped at an event", view=self.view.name, owner=owner, event_id=marker, sequence=sequence
            )

    async def _apply_together(self, owner: str, entries: Sequence[Entry], *, from_feed: bool, into: Into) -> Decision:
        outcome = Decision.DROP
        newest: datetime | None = None
        resting = self._applying[owner] if into is LIVE else contextlib.nullcontext()
        async with resting, self._sessions() as session, session.begin():
            await self.enter(session, into.schema)
            at = await self._locked_checkpoint(session, owner, entries[0][0] if from_feed else None)
            aside = await parking.aside(session, self.view.name, owner, at.epoch, besides=into.released)
            for epoch, sequence, chain, event in entries:
                decision = decide(at, epoch, sequence, chain, event, from_feed=from_feed)
                if decision is Decision.DROP:
                    continue
                outcome = decision
                if decision is not Decision.APPLY:
                    break
                newest = await self._handle(session, sequence, event, aside) or newest
                at = Checkpoint(epoch, sequence, chain)
            await write_changes(session)
            await self._record(session, owner, at, newest)
        return outcome

    async def _record(self, session: AsyncSession, owner: str, at: Checkpoint, newest: datetime | None) -> None:
        table = self.view._checkpoint
        values: dict[str, Any] = {"epoch": at.epoch, "sequence": at.sequence, "chain": at.chain}
        if newest is not None:
            values["recorded_at"] = newest
        await session.execute(update(table).where(table.c.owner == owner).values(values))

    async def _handle(
        self, session: AsyncSession, sequence: int, text: str, aside: Sequence[parking.Parked]
    ) -> datetime | None:
        if any(one.sequence == sequence for one in aside):
            return None
        event = Event.decode(text)
        if event is None:
            return None
        handler = self.view._handlers.get(event.type)
        left_aside = any(one.entity == event.entity and one.sequence < sequence for one in aside)
        if handler is not None and not left_aside:
            await handler(session, event)
        return event.recorded_at

    async def _locked_checkpoint(self, session: AsyncSession, owner: str, epoch: str | None) -> Checkpoint:
        """The checkpoint, locked. The first one takes its epoch from the owner, never from the bus."""
        table = self.view._checkpoint
        locked = select(table).where(table.c.owner == owner).with_for_update()
        row = (await session.execute(locked)).one_or_none()
        if row is None:
            if epoch is None:
                epoch = str((await self.owners[owner].head()).epoch)
            await session.execute(
                upsert(table).values(owner=owner, epoch=epoch, sequence=0, chain="").on_conflict_do_nothing()
            )
            row = (await session.execute(locked)).one()
        return Checkpoint(row.epoch, row.sequence, row.chain)

    # - making it again -

    async def rebuild(self, *, compare: bool = True, released: UUID | None = None, by: str = "") -> "Rebuilt":
        """Fill a new generation beside the live one from the feeds, compare, and switch in one row.

        With `compare`, rows that differ from the live ones are named and the live ones stay: something is wrong that a
        person must see. Without it (the owner's log is another one) there is nothing to compare with. What is parked
        under the id `released` is taken up, and is released, `by` whom, in the switch.
        """
        async with self.made_beside() as schema:
            return await self._fill_and_switch(Into(schema, released), compare=compare, by=by)

    @contextlib.asynccontextmanager
    async def made_beside(self) -> AsyncIterator[str]:
        """A new generation to fill; taken away again unless it has become the live one."""
        async with self._rebuilding:
            await self._sweep()
            async with self._engine.begin() as connection:
                schema = await self._make_generation(connection)
            try:
                yield schema
            finally:
                async with self._engine.begin() as connection:
                    await self._drop(connection, schema)

    async def _fill_and_switch(self, into: Into, *, compare: bool, by: str) -> "Rebuilt":
        """With `compare`, no further than the live rows have come; without, to the heads as they are when asked."""
        events = 0
        table = self.view._checkpoint
        async with self._sessions() as session:
            await self.enter(session)
            ends = {row.owner: row.sequence for row in await session.execute(select(table))}
        for owner in self.view.owners:
            events += await self.fill(into, owner, upto=ends.get(owner, 0) if compare else None)
        async with self._sessions() as session, session.begin():
            await self.enter(session)
            await take_time(session)
            live = await session.scalar(text("select split_part(current_setting('search_path'), '\"', 2)"))
            locked = select(table).order_by(table.c.owner).with_for_update()
            ends = {row.owner: row.sequence for row in await session.execute(locked)}
            for owner in self.view.owners:
                events += await self.fill(into, owner, upto=ends.get(owner, 0) if compare else None)
            differing = await self.differing(session, into.schema) if compare else []
            if not differing:
                retired = {"live": False, "retired_at": func.now()}
                await session.execute(update(generation).where(generation.c.schema == live).values(retired))
                await session.execute(update(generation).where(generation.c.schema == into.schema).values(live=True))
                await session.execute(_inherited(str(live), str(into.schema)))
                if into.released is not None:
                    await parking.released(session, into.released, by)
        for following in self.following.values():
            following.stopped = None
        await self._look()
        return Rebuilt(events, differing)

    async def fill(self, into: Into, owner: str, upto: int | None = None) -> int:
        """Follow the feed into a generation, to a sequence or to the head of now; the number of events taken.

        Not to whatever the head has become: an owner that goes on telling would be followed for ever.
        """
        async with self._sessions() as session, session.begin():
            await self.enter(session, into.schema)
            head = await self.owners[owner].head()
            at = await self._locked_checkpoint(session, owner, str(head.epoch))
        start = at.sequence
        end = head.sequence if upto is None else upto
        while at.sequence < end:
            page = await self.owners[owner].after(at.sequence, min(BATCH, end - at.sequence))
            if not page.items:
                break
            entries = [(page.epoch, item.sequence, item.chain, item.event) for item in page.items]
            decision = await self._apply(owner, entries, from_feed=True, into=into)
            if decision is not Decision.APPLY:
                raise FeedUnavailable(f"The log of {owner} changed while it was read; try again.")
            at = Checkpoint(page.epoch, page.items[-1].sequence, page.items[-1].chain)
        await self._checked(owner, head, into)
        return at.sequence - start

    async def differing(self, live: AsyncSession, made: str | None) -> list[str]:
        """The tables whose rows differ between the tables that a session sees and those of a generation."""
        found = []
        async with self._sessions() as session:
            await self.enter(session, made)
            await take_time(session)
            for table in self.view.base.metadata.sorted_tables:
                digest = text(
                    "select count(*) || ':' || coalesce(md5(string_agg(h, '' order by h)), '') from"  # noqa: S608  # our own names
                    f' (select md5({_whole_row(table)}) as h from "{table.name}") as rows'
                )
                if await live.scalar(digest) != await session.scalar(digest):
                    found.append(table.name)
        return found

    async def first_difference(self, live: AsyncSession, made: str, name: str) -> str:
        """Of a table that differs, the first row that only one side has, or that both have unlike; by its key."""
        table = next(one for one in self.view.base.metadata.sorted_tables if one.name == name)
        keys = ", ".join(f'"{column.name}"::text' for column in table.primary_key)
        query = text(f'select array[{keys}] as key, md5({_whole_row(table)}) as digest from "{name}" order by 1')  # noqa: S608
        async with self._sessions() as session:
            await self.enter(session, made)
            await take_time(session)
            ours = {tuple(row.key): row.digest for row in await live.execute(query)}
            theirs = {tuple(row.key): row.digest for row in await session.execute(query)}
        key = min(one for one in ours.keys() | theirs.keys() if ours.get(one) != theirs.get(one))
        how = "unlike the logs" if key in ours and key in theirs else "not in the logs" if key in ours else "missing"
        named = ", ".join(f"{column.name}={value}" for column, value in zip(table.primary_key, key, strict=True))
        return f"{name} ({named}): {how}"

    async def _sweep(self) -> None:
        """Drop generations that nobody can still be reading, and the leftovers of a rebuild that was killed."""
        unused = select(generation.c.schema).where(
            generation.c.view == self.view.name,
            ~generation.c.live,
            or_(
                generation.c.retired_at < func.now() - text("interval '1 minute'"),
                generation.c.made_at < func.now() - text("interval '1 day'"),
            ),
        )
        async with self._engine.begin() as connection:
            for schema in list(await connection.scalars(unused)):
                await self._drop(connection, schema)

    async def _drop(self, connection: AsyncConnection, schema: str) -> None:
        """Take a generation away, unless it is live: a rebuild that fails after its switch has succeeded."""
        unused = delete(generation).where(generation.c.schema == schema, ~generation.c.live)
        if (await connection.execute(unused)).rowcount:
            await connection.execute(text(f'drop schema if exists "{schema}" cascade'))

    async def close(self) -> None:
        for owner in self.owners.values():
            if isinstance(owner, FeedClient):
                await owner.close()


def _inherited(live: str, made: str) -> TextClause:
    """Until when nothing can be missing holds of the new rows too, as far as they go on from the live ones."""
    return text(
        f'update "{made}".checkpoint m set watermark = greatest(m.watermark, l.watermark)'  # noqa: S608  # our own names
        f' from "{live}".checkpoint l where m.owner = l.owner and m.epoch = l.epoch and m.sequence >= l.sequence'
    )


def _whole_row(table: Table) -> str:
    """A row as text, but for what is no part of the truth: until when nothing can be missing."""
    columns = ",".join(f'"{column.name}"' for column in table.columns if column.name != "watermark")
    return f"row({columns})::text"


async def take_time(session: AsyncSession) -> None:
    """Let this transaction last as long as reading whole logs takes."""
    await session.execute(text("set local statement_timeout to '30min'"))
    await session.execute(text("set local idle_in_transaction_session_timeout to '2h'"))


@dataclass(frozen=True)
class Rebuilt:
    """What making a view again brought: events read, and the tables that differ from the live ones."""

    events: int
    differing: list[str] = field(default_factory=list)
