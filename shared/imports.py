"""Imports: a file checked line by line, then taken, each line by the same command that a single request runs."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import structlog
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    delete,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from shared import outbox
from shared.calendar import day_of
from shared.columns import Column as FileColumn
from shared.database import COMMON, Begin, Command, Entity, Work, is_passing, memory, violated, work
from shared.errors import SENTENCES, Conflict, DomainError, Forbidden, Invalid, TooLarge
from shared.events.event import MAX_BYTES, Actor, Event
from shared.kinds import Kind, Move, own_fields
from shared.lines import Lines, Unit, Wrong, mentions, own_names, speakable, units_of, with_ids
from shared.names import OWN, Names, NotNamed, gathered
from shared.screening import known_domains

if TYPE_CHECKING:
    from shared.service import Service

log = structlog.get_logger("kapstok.imports")

LEADER = 7_310_021
"""Advisory lock held by the one replica that takes imports."""
CHUNK = 500
"""Units that are looked up and taken together; in mode `each`, in one transaction."""
PARTS = 8
"""Into how many parts those are split to find a line that is refused."""
NUMBERS_AT_ONCE = 20
"""Reference numbers taken at once; what is not used of them is a gap."""
MOST_ATTEMPTS = 30
"""How often an import is begun anew, after a restart or a database that was away, before it is given up."""
MOST_WAITING = 20
"""Imports that an organisation may have unfinished."""
MOST_WRONG = 100_000
"""Errors that are kept of one import."""
UNSAID = "So it stood in a file that was imported."
"""The reason of a verb, where a line gives a state and no reason for it."""
NOBODY = UUID(int=0)


class Mode(StrEnum):
    """What happens to the good lines when there are bad ones."""

    ALL_OR_NOTHING = "all-or-nothing"
    EACH = "each"


class State(StrEnum):
    CHECKING = "checking"
    TAKING = "taking"
    DONE = "done"
    REFUSED = "refused"


class Outcome(StrEnum):
    """What came of a line, or would have."""

    MADE = "made"
    CHANGED = "changed"
    SKIPPED = "skipped"
    """It was there already, just so."""
    REFUSED = "refused"


import_job = Table(
    "import_job",
    COMMON,
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("organisation", Text, nullable=False),
    Column("function", Text, nullable=False),
    Column("account", Text),
    Column("operations", ARRAY(Text), nullable=False),
    Column("mode", Text, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("digest", Text, nullable=False),
    Column("lines", LargeBinary),
    Column("traceparent", Text),
    Column("received_at", TIMESTAMP(timezone=True), nullable=False),
    Column("finished_at", TIMESTAMP(timezone=True)),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False, server_default=text("0")),
    Column("units", Integer, nullable=False, server_default=text("0")),
    Column("made", Integer, nullable=False, server_default=text("0")),
    Column("changed", Integer, nullable=False, server_default=text("0")),
    Column("skipped", Integer, nullable=False, server_default=text("0")),
    Column("refused", Integer, nullable=False, server_default=text("0")),
    Column("errors", Integer, nullable=False, server_default=text("0")),
    Column("problem", Text),
    Index("ix_import_job_unfinished", "received_at", postgresql_where=text("finished_at is null")),
)
"""One file and how far it is: `done` of its `total` lines, of which the first `units` things are settled. The lines and
the account are kept until it is finished, the rest for `import_days`."""

import_line = Table(
    "import_line",
    COMMON,
    Column("job_id", Uuid, ForeignKey("import_job.id", ondelete="CASCADE"), primary_key=True),
    Column("line", Integer, primary_key=True, autoincrement=False),
    Column("outcome", Text, nullable=False),
    Column("entity", Uuid),
    Column("reference", Text),
)
"""What came of each line."""

import_error = Table(
    "import_error",
    COMMON,
    Column("job_id", Uuid, ForeignKey("import_job.id", ondelete="CASCADE"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("line", Integer, nullable=False),
    Column("column", Text),
    Column("detail", Text, nullable=False),
)
"""What is wrong, in the words of the file."""


@dataclass(frozen=True)
class Request:
    """What was asked: the lines of a file, by whom, and how."""

    id: UUID
    kind: Kind
    mode: Mode
    dry_run: bool
    actor: Actor
    account: str
    operations: list[str]
    """What the caller may do, of what the lines may lead to."""
    digest: str
    lines: Lines
    traceparent: str | None
    received_at: datetime


async def keep(session: AsyncSession, asked: Request) -> None:
    """Put it in the row of what is to be taken. Raises Conflict for an organisation that has too much waiting."""
    waiting = select(func.count()).where(
        import_job.c.organisation == asked.actor.organisation, import_job.c.finished_at.is_(None)
    )
    if (await session.scalar(waiting) or 0) >= MOST_WAITING:
        raise Conflict(f"Your organisation has {MOST_WAITING} imports that are not finished yet; wait for one of them.")
    row = {
        "id": asked.id,
        "kind": asked.kind.name,
        "organisation": asked.actor.organisation,
        "function": asked.actor.function,
        "account": asked.account,
        "operations": asked.operations,
        "mode": asked.mode,
        "dry_run": asked.dry_run,
        "digest": asked.digest,
        "lines": asked.lines.packed(),
        "traceparent": asked.traceparent,
        "received_at": asked.received_at,
        "state": _begins_as(asked.mode, asked.dry_run),
        "total": len(asked.lines.cells),
    }
    await session.execute(insert(import_job).values(row))


def _begins_as(mode: str, dry_run: bool) -> State:
    return State.TAKING if mode == Mode.EACH and not dry_run else State.CHECKING


# --- what is read of one ---------------------------------------------------------------------------------------


async def found(session: AsyncSession, id: UUID, organisation: str) -> Any:
    """The import with this id, where it is this organisation's; else None."""
    columns = [column for column in import_job.c if column.name not in ("lines", "account", "operations")]
    mine = select(*columns).where(import_job.c.id == id, import_job.c.organisation == organisation)
    return (await session.execute(mine)).one_or_none()


async def errors_of(session: AsyncSession, id: UUID, after: int, limit: int) -> list[Any]:
    wanted = select(import_error).where(import_error.c.job_id == id, import_error.c.number > after)
    return list(await session.execute(wanted.order_by(import_error.c.number).limit(limit)))


async def lines_of(session: AsyncSession, id: UUID, after: int, limit: int) -> list[Any]:
    wanted = select(import_line).where(import_line.c.job_id == id, import_line.c.line > after)
    return list(await session.execute(wanted.order_by(import_line.c.line).limit(limit)))


# --- one transaction's worth -----------------------------------------------------------------------------------


@dataclass
class Taken:
    """What came of one unit."""

    unit: Unit
    outcome: Outcome
    entity: UUID | None = None
    reference: str | None = None
    wrong: list[Wrong] = field(default_factory=list)


class Mistaken(Exception):
    """A line does not fit its command, at these places."""

    def __init__(self, wrong: list[Wrong]) -> None:
        super().__init__("This line does not fit.")
        self.wrong = wrong


class Taking:
    """Lines being taken in one transaction, with the names that were met in the whole file."""

    def __init__(self, session: AsyncSession, kind: Kind, operations: Iterable[str], names: Names) -> None:
        self._session = session
        self._kind = kind
        self._operations = set(operations)
        self._names = names
        self._by_key: dict[tuple[Any, ...], UUID] = {}

    async def take(self, units: Sequence[Unit]) -> list[Taken]:
        """Take each of them, or say what is wrong with it; nothing stays of one that is refused."""
        await self._learn(units)
        work(self._session).makes = min(len(units), NUMBERS_AT_ONCE)
        return await self._together(units)

    async def _together(self, units: Sequence[Unit]) -> list[Taken]:
        """All in one savepoint when all is well. Where a rule or the database refuses, once more in smaller parts.

        So the right line is blamed, and only that one, and a file without errors needs few savepoints.
        """
        told = len(work(self._session).told)
        try:
            async with self._session.begin_nested():
                taken = [await self._one(unit) for unit in units]
                await self._session.flush()
            return taken
        except Exception as error:
            if is_passing(error):
                raise
            self._take_back(told)
            if len(units) == 1:
                return [self._blamed(units[0], error)]
        parts = [await self._together(part) for part in _chunks(units, -(-len(units) // PARTS))]
        return [one for part in parts for one in part]

    def _blamed(self, unit: Unit, error: Exception) -> Taken:
        if isinstance(error, IntegrityError):
            error = violated(error)
        if not isinstance(error, DomainError):
            log.error("a line of an import failed", kind=self._kind.name, line=unit.line, exc_info=error)
            error = DomainError("Something went wrong here with this line; it has been noted.")
        wrong = [unit.at(self._kind, _steps(pointer), detail) for pointer, detail in error.errors]
        return Taken(unit, Outcome.REFUSED, wrong=wrong or [unit.at(self._kind, (), str(error))])

    def _take_back(self, told: int) -> None:
        """What a savepoint has taken back in the database is taken back here as well."""
        undone = work(self._session).told[told:]
        del work(self._session).told[told:]
        memory(self._session).clear()
        self._names.forget(self._kind.space, {event.entity for event in undone if event.version == 1})

    async def _one(self, unit: Unit) -> Taken:
        """Make what a line says, or see that it is there; then bring it to its state. Raises DomainError."""
        try:
            command, asked = self._read(unit)
        except Mistaken as mistaken:
            return Taken(unit, Outcome.REFUSED, wrong=mistaken.wrong)
        self._session.info.pop("subject", None)
        told = len(work(self._session).told)
        here = await self._own(self._recognised(unit))
        if here is None:
            entity = await self._kind.take(self._session, command)
            outcome = Outcome.MADE
        else:
            entity = await self._session.get_one(self._kind.entity, here)
            changed = await self._change(entity, command)
            outcome = Outcome.CHANGED if changed else Outcome.SKIPPED
        moved = await self._move(entity, command, asked)
        if moved and outcome is Outcome.SKIPPED:
            outcome = Outcome.CHANGED
        _must_fit(unit, work(self._session).told[told:])
        self._names.made(self._kind.space, _names_of(self._kind, unit.body), entity.id)
        return Taken(unit, outcome, entity.id, entity.reference)

    # - a line as a command -

    async def _learn(self, units: Sequence[Unit]) -> None:
        """Look up, for all of them at once, what they refer to and what is there of them already."""
        wanted = [
            (mention.column.space, mention.name)
            for unit in units
            for mention in mentions(self._kind, unit.body)
            if mention.column.space and speakable(mention.name)
        ]
        own = self._kind.space
        wanted += [(own, name) for unit in units for name in own_names(unit.body)]
        await self._names.learn(self._session, gathered(wanted))
        keys = {key for unit in units if (key := self._key(unit)) is not None}
        self._by_key = {}
        if keys:
            columns = [getattr(self._kind.entity, name) for name in self._kind.key]
            there = select(self._kind.entity).where(tuple_(*columns).in_(list(keys)))
            if self._kind.among is not None:
                there = there.where(self._kind.among)
            for entity in await self._session.scalars(there):
                self._by_key[tuple(_as_key(getattr(entity, name)) for name in self._kind.key)] = entity.id
                self._names.kept.append(entity)

    def _key(self, unit: Unit) -> tuple[Any, ...] | None:
        """The fields that there is only one of, with ids for names; None where a line does not give them all."""
        key = tuple(self._of_key(column, unit.body.get(column.also)) for column in self._kind.key_columns)
        return key if key and all(isinstance(one, UUID) or speakable(one) for one in key) else None

    def _of_key(self, column: FileColumn, value: Any) -> Any:
        if column.space is None or not speakable(value):
            return value
        try:
            return self._names.called(column.space, value)
        except NotNamed:
            return None

    def _recognised(self, unit: Unit) -> UUID | None:
        """What a line is about, where that is there already: by its reference, else another name, else its key.

        Raises Invalid when its names are of several things.
        """
        names = own_names(unit.body)
        try:
            if names and names[0].startswith(f"{OWN}:") and (own := self._names.called(self._kind.space, names[0])):
                return own
            ids = {self._names.called(self._kind.space, name) for name in names} - {None}
        except NotNamed as error:
            raise Invalid(str(error), field="/externalIds") from None
        if len(ids) > 1:
            raise Invalid("These external ids are of different things.", field="/externalIds")
        key = self._key(unit)
        return next(iter(ids), None) or (self._by_key.get(key) if key is not None else None)

    async def _own(self, id: UUID | None) -> UUID | None:
        """What was recognised, where the organisation may know of it: another's is not there for it."""
        if id is None:
            return None
        limits = await self._kind.own(self._session, work(self._session).actor.organisation)
        if not limits:
            return id
        return await self._session.scalar(select(self._kind.entity.id).where(self._kind.entity.id == id, *limits))

    def _read(self, unit: Unit) -> tuple[Begin, dict[str, Any]]:
        """The command of a line, and what it says of the state. Raises Mistaken with everything that does not fit."""
        wrong = list(unit.wrong)
        ids: dict[tuple[str | int, ...], str] = {}
        for mention in mentions(self._kind, unit.body):
            assert mention.column.space is not None
            ids[mention.place] = str(NOBODY)
            try:
                if not speakable(mention.name):
                    raise NotNamed("This is no name: give an id, reference or code, or system:id.")
                ids[mention.place] = str(self._names.must_be_called(mention.column.space, mention.name, unit.line))
            except NotNamed as error:
                wrong.append(unit.at(self._kind, mention.place, str(error)))
        body = with_ids(unit.body, ids)
        asked = {column.path[0]: body.pop(column.path[0], None) for column in self._kind.standing}
        reference, given = body.pop("reference", None), body.get("externalIds") or {}
        if reference is not None and isinstance(given, dict):
            body["externalIds"] = {OWN: reference} | given
        try:
            command = self._kind.command.model_validate(body)
        except ValidationError as error:
            raise Mistaken(wrong + _told_by(unit, self._kind, error)) from None
        if wrong:
            raise Mistaken(wrong)
        return command, {name: value for name, value in asked.items() if value is not None}

    # - what is there already -

    async def _change(self, entity: Entity, command: Begin) -> bool:
        """Give it what a line has otherwise, as far as its describing verb goes. Raises Conflict for anything else."""
        unlike = _unlike(entity, command)
        if not unlike:
            return False
        change = self._kind.change
        if change is None or not unlike <= change.fields:
            names = sorted(unlike - (change.fields if change else set()))
            said = f"{entity.reference} is there already, and this is otherwise there; change it by its own verbs."
            raise Conflict(said, errors=[(f"/{_alias(self._kind, name)}", said) for name in names])
        field = f"/{_alias(self._kind, min(unlike))}"
        self._must_be_allowed(change.operation, field)
        described = change.command.model_validate({name: getattr(command, name) for name in change.fields})
        await change.run(self._session, entity.id, described)
        return True

    async def _move(self, entity: Entity, command: Begin, asked: dict[str, Any]) -> bool:
        """Bring it to the state that a line says, by the verbs that lead there."""
        wanted = asked.get("state")
        if wanted is None or wanted == (standing := self._kind.state(entity)):
            return False
        way = self._kind.way(standing, wanted) if isinstance(wanted, str) else None
        if way is None:
            reached = sorted({self._kind.first, *(move.end for move in self._kind.moves)})
            raise Invalid(
                f"It is {standing} here; no line brings it from there to another state than: {', '.join(reached)}.",
                field="/state",
            )
        for move in way:
            self._must_be_allowed(move.operation, "/state")
            await move.run(self._session, entity.id, _moving(move, command, asked))
        return True

    def _must_be_allowed(self, operation: str, field: str) -> None:
        if operation not in self._operations:
            verb = operation.replace("_", "-")
            raise Forbidden(f"This line leads to {verb}, which your function or token does not open.", field=field)


def _moving(move: Move, command: Begin, asked: dict[str, Any]) -> Command:
    """What a verb is told: from when, as precise as the line is, and its reason. Raises Invalid."""
    given: dict[str, Any] = {"effectiveFrom": asked["stateSince"]} if "stateSince" in asked else {}
    for name in ("effective_from_basis", "effective_from_precision"):
        if name in command.model_fields_set:
            given[name] = getattr(command, name)
    for name in own_fields(move.command):
        alias = move.command.model_fields[name].alias or name
        if alias in asked or name == "reason":
            given[alias] = asked.get(alias, UNSAID)
    try:
        return move.command.model_validate(given)
    except ValidationError as error:
        errors = [(f"/{_field_at(one['loc'])}", _sentence(one)) for one in _errors(error)]
        raise Invalid(errors[0][1], errors=errors) from None


def _field_at(place: tuple[int | str, ...]) -> str:
    field = str(place[0]) if place else ""
    return "stateSince" if field == "effectiveFrom" else field


def _errors(error: ValidationError) -> list[Any]:
    """Without the caller's values."""
    return error.errors(include_url=False, include_input=False, include_context=False)


def _sentence(one: Any) -> str:
    return SENTENCES.get(one["type"]) or str(one["msg"])


def _told_by(unit: Unit, kind: Kind, error: ValidationError) -> list[Wrong]:
    """Each thing that does not fit."""
    return [unit.at(kind, [_plainly(step) for step in one["loc"]], _sentence(one)) for one in _errors(error)]


def _plainly(step: str | int) -> str | int:
    return re.sub(r"[^\w.-]", "?", step)[:60] if isinstance(step, str) else step


def _steps(pointer: str | None) -> list[str]:
    return [step for step in (pointer or "").split("/") if step]


def _alias(kind: Kind, name: str) -> str:
    return kind.command.model_fields[name].alias or name


def _as_key(value: Any) -> Any:
    return value if isinstance(value, UUID) else str(value)


def _names_of(kind: Kind, body: dict[str, Any]) -> list[str]:
    """What may be used in later lines for the thing of this one."""
    code = body.get("code") if kind.key == ("code",) else None
    return own_names(body) + [str(one) for one in (code, body.get("reference")) if speakable(one)]


def _identities(kind: Kind, body: dict[str, Any]) -> list[tuple[str, ...]]:
    """What no other line of a file may have as well: Kapstok's own name, else the other names; and the key."""
    names = own_names(body)
    found: list[tuple[str, ...]] = [
        (name,) for name in (names[:1] if names and names[0].startswith(f"{OWN}:") else names)
    ]
    key = tuple(str(body.get(column.also)) for column in kind.key_columns if speakable(body.get(column.also)))
    whole = kind.among is None and len(key) == len(kind.key) > 0
    return [*found, ("key", *key)] if whole else found


def _unlike(entity: Entity, command: Begin) -> set[str]:
    """The fields that a line gives otherwise than they are; what it does not give is not compared."""
    given = command.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    if entity.version > 1:  # how well a day is known is said anew with every change
        given = {name: value for name, value in given.items() if name not in _HOW_WELL}
    own = {OWN: entity.reference}
    found = set()
    for name, value in given.items():
        there = getattr(entity, "began_on" if name == "effective_from" else name)
        there = to_jsonable_python(there, by_alias=False, exclude_none=True)
        if not _says(value, own | there if name == "external_ids" else there):
            found.add(name)
    return found


_HOW_WELL = ("effective_from_basis", "effective_from_precision")


def _says(given: Any, there: Any) -> bool:
    """Whether everything that is given is there just so."""
    if isinstance(given, dict) and isinstance(there, dict):
        return all(name in there and _says(value, there[name]) for name, value in given.items())
    if isinstance(given, list) and isinstance(there, list):
        return len(given) == len(there) and all(map(_says, given, there))
    return bool(given == there)


def _must_fit(unit: Unit, events: Sequence[Event]) -> None:
    """Refuse what would make too large an event here, where the line is known; only long lines can."""
    if len(str(unit.body)) < MAX_BYTES // 8:
        return
    if any(len(event.model_dump_json(by_alias=True).encode()) > MAX_BYTES - 2048 for event in events):
        raise TooLarge(f"This would make an event of more than {MAX_BYTES // 1024} KiB; shorten the texts.")


# --- the worker ------------------------------------------------------------------------------------------------


class Importer:
    """Takes imports one after another, in one replica at a time, and goes on where a stopped one was."""

    def __init__(self, service: "Service", kinds: Sequence[Kind]) -> None:
        self._service = service
        self.kinds = {kind.name: kind for kind in kinds}
        self._woken = asyncio.Event()
        self._swept_at: datetime | None = None

    def wake(self) -> None:
        """Something was put in the row; the poll is the net under it."""
        self._woken.set()

    async def run(self) -> None:
        """Take imports for ever. Errors are logged once each, then tried again."""
        told = ""
        while True:
            try:
                async with self._leadership() as connection:
                    told = ""
                    await self._lead(connection)
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                if type(error).__name__ != told:
                    told = type(error).__name__
                    log.warning("imports wait for the database", service=self._service.name, reason=str(error)[:300])
            except Exception as error:
                if type(error).__name__ != told:
                    told = type(error).__name__
                    log.exception("imports failed and are tried again", service=self._service.name)
            await asyncio.sleep(0.5)

    @contextlib.asynccontextmanager
    async def _leadership(self) -> AsyncIterator[AsyncConnection]:
        """One replica at a time: a lock that PostgreSQL lets go when its holder dies."""
        while True:
            async with self._service.engine.connect() as connection:
                connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
                if await connection.scalar(text("select pg_try_advisory_lock(:lock)"), {"lock": LEADER}):
                    try:
                        yield connection
                    finally:
                        with contextlib.suppress(Exception):
                            await connection.scalar(text("select pg_advisory_unlock(:lock)"), {"lock": LEADER})
                    return
            await asyncio.sleep(1)

    async def _lead(self, connection: AsyncConnection) -> None:
        known_domains.set(self._service.settings.known_domains)
        while True:
            self._woken.clear()
            job = await self._next(connection)
            if job is not None:
                await self._carry_out(connection, job)
                continue
            await self._sweep(connection)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._service.settings.relay_poll_seconds):
                    await self._woken.wait()

    async def _next(self, connection: AsyncConnection) -> Any:
        """The oldest one that is not finished, counted as begun once more."""
        oldest = (
            select(import_job.c.id)
            .where(import_job.c.finished_at.is_(None))
            .order_by(import_job.c.received_at, import_job.c.id)
            .limit(1)
        )
        begun = update(import_job).where(import_job.c.id == oldest.scalar_subquery())
        counted = begun.values(attempts=import_job.c.attempts + 1).returning(import_job)
        return (await connection.execute(counted)).one_or_none()

    async def _carry_out(self, connection: AsyncConnection, job: Any) -> None:
        kind = self.kinds.get(job.kind)
        if kind is None or job.attempts > MOST_ATTEMPTS:
            await self._give_up(job, "This could not be carried out; nothing more of it is taken. Send it again.")
            return
        try:
            lines = await asyncio.to_thread(Lines.unpacked, job.lines)
            units = await asyncio.to_thread(units_of, kind, lines)
            names = Names()
            _promise(kind, units, names)
            if job.mode == Mode.EACH and not job.dry_run:
                await self._each(job, kind, units, names)
            else:
                await self._whole(connection, job, kind, units, names)
        except TakenElsewhere:
            log.warning("an import was taken elsewhere", service=self._service.name)
        except Exception as error:
            if is_passing(error):
                raise
            log.exception("an import failed", service=self._service.name, kind=job.kind)
            await self._give_up(job, "Something went wrong here; nothing more of it is taken. It has been noted.")

    async def _whole(
        self, connection: AsyncConnection, job: Any, kind: Kind, units: Sequence[Unit], names: Names
    ) -> None:
        """All of it in one transaction; kept when nothing is wrong, and more than a trial is asked."""
        taken: list[Taken] = []
        async with self._session(job, 0) as session:
            taking = Taking(session, kind, job.operations, names)
            done = 0
            for chunk in _chunks(units, CHUNK):
                taken += await taking.take(chunk)
                done += sum(len(unit.numbers) for unit in chunk)
                await _note(connection, job.id, done)
                await asyncio.sleep(0)
            refused = any(one.outcome is Outcome.REFUSED for one in taken)
            state = State.REFUSED if refused and job.mode == Mode.ALL_OR_NOTHING else State.DONE
            if state is State.DONE and not job.dry_run:
                await _note(connection, job.id, job.total, State.TAKING)
                await _write(session, job.id, taken, after=0)
                await _finish(session, job.id, state, taken, self._service.now())
                await outbox.number(session, self._service.source, job.traceparent)
                await session.commit()
                self._service.wake()
                return
        async with self._session(job, 0) as session:
            await _write(session, job.id, taken, after=0, kept=False)
            await _finish(session, job.id, state, taken, self._service.now())
            await session.commit()

    async def _each(self, job: Any, kind: Kind, units: Sequence[Unit], names: Names) -> None:
        """Some at a time, each time in a transaction that also holds how far it is."""
        settled, errors = job.units, job.errors
        for chunk in _chunks(units[settled:], CHUNK):
            async with self._session(job, settled) as session:
                taken = await Taking(session, kind, job.operations, names).take(chunk)
                settled += len(chunk)
                await _write(session, job.id, taken, after=errors)
                errors += sum(len(one.wrong) for one in taken)
                await _count(session, job.id, taken, settled)
                await outbox.number(session, self._service.source, job.traceparent)
                await session.commit()
            self._service.wake()
            await asyncio.sleep(0)
        async with self._service.sessions() as session:
            await _finish(session, job.id, State.DONE, [], self._service.now())
            await session.commit()

    @contextlib.asynccontextmanager
    async def _session(self, job: Any, settled: int) -> AsyncIterator[AsyncSession]:
        """A unit of work as a request of the one who sent the file has it, on the day that the file came."""
        async with self._service.sessions() as session:
            await _must_be_the_only_one(session, job.id, settled)
            if self._service.view is not None:
                await self._service.view.enter(session)
            session.info["work"] = Work(
                actor=Actor(organisation=job.organisation, function=job.function),
                account=job.account,
                today=day_of(job.received_at, self._service.settings.zone),
                trial=job.dry_run,
            )
            yield session

    async def _give_up(self, job: Any, problem: str) -> None:
        async with self._service.sessions() as session:
            await session.execute(update(import_job).where(import_job.c.id == job.id).values(problem=problem))
            await _finish(session, job.id, State.REFUSED, [], self._service.now())
            await session.commit()

    async def _sweep(self, connection: AsyncConnection) -> None:
        """Take away, once an hour, what is kept no longer."""
        now = self._service.now()
        if self._swept_at is not None and now - self._swept_at < timedelta(hours=1):
            return
        self._swept_at = now
        await connection.execute(
            delete(import_job).where(
                import_job.c.finished_at < now - timedelta(days=self._service.settings.import_days)
            )
        )


class TakenElsewhere(Exception):
    """Another replica, which had the lead while this one lost it, has gone on with the import."""


async def _must_be_the_only_one(session: AsyncSession, id: UUID, settled: int) -> None:
    """Keep others from this import until the transaction ends. Raises TakenElsewhere when it has gone on already."""
    await session.execute(text("select pg_advisory_xact_lock(:lock, hashtext(:id))"), {"lock": LEADER, "id": str(id)})
    standing = select(import_job.c.units, import_job.c.finished_at).where(import_job.c.id == id)
    row = (await session.execute(standing)).one()
    if row.finished_at is not None or row.units != settled:
        raise TakenElsewhere


def _promise(kind: Kind, units: Sequence[Unit], names: Names) -> None:
    """Note which line makes what; two lines about the same thing are wrong, both readings being possible."""
    first: dict[tuple[str, ...], int] = {}
    for unit in units:
        names.promise(kind.space, _names_of(kind, unit.body), unit.line)
        said = [first.setdefault(identity, unit.line) for identity in _identities(kind, unit.body)]
        earlier = next((line for line in said if line != unit.line), None)
        if earlier is not None:
            unit.wrong.append(unit.at(kind, (), f"Line {earlier} is about the same; take one of the two out."))


T = TypeVar("T")


def _chunks(some: Iterable[T], size: int) -> Iterable[list[T]]:
    left = iter(some)
    while chunk := list(islice(left, size)):
        yield chunk


async def _note(connection: AsyncConnection, id: UUID, done: int, state: State | None = None) -> None:
    """How far it is, for who asks meanwhile."""
    values: dict[str, Any] = {"done": done} | ({"state": state} if state else {})
    await connection.execute(update(import_job).where(import_job.c.id == id).values(values))


async def _write(session: AsyncSession, id: UUID, taken: Sequence[Taken], *, after: int, kept: bool = True) -> None:
    """What came of each line, and what is wrong; ids only of what is kept."""
    lines = [
        {
            "job_id": id,
            "line": number,
            "outcome": one.outcome,
            "entity": one.entity if kept or one.outcome is Outcome.SKIPPED else None,
            "reference": one.reference if kept or one.outcome is Outcome.SKIPPED else None,
        }
        for one in taken
        for number in one.unit.numbers
    ]
    wrong = [
        {"job_id": id, "number": number, "line": one.line, "column": one.column, "detail": one.detail}
        for number, one in enumerate((each for one in taken for each in one.wrong), start=after + 1)
        if number <= MOST_WRONG
    ]
    for table, rows in ((import_line, lines), (import_error, wrong)):
        for chunk in _chunks(rows, 2000):
            await session.execute(insert(table), chunk)


def _counted(taken: Sequence[Taken]) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in taken:
        found[one.outcome] += len(one.unit.numbers)
        found["done"] += len(one.unit.numbers)
        found["errors"] += len(one.wrong)
    return found


async def _count(session: AsyncSession, id: UUID, taken: Sequence[Taken], settled: int) -> None:
    columns = ("done", "errors", *(outcome.value for outcome in Outcome))
    found = _counted(taken)
    more = {name: import_job.c[name] + found[name] for name in columns}
    values = {"units": settled, "attempts": 0} | more
    await session.execute(update(import_job).where(import_job.c.id == id).values(values))


async def _finish(session: AsyncSession, id: UUID, state: State, taken: Sequence[Taken], now: datetime) -> None:
    """The end of it: what was sent is not kept, nor who sent it."""
    values: dict[str, Any] = {"state": state, "finished_at": now, "lines": None, "account": None}
    if taken:
        found = _counted(taken)
        values |= {name: found[name] for name in ("done", "errors", *(outcome.value for outcome in Outcome))}
    await session.execute(update(import_job).where(import_job.c.id == id).values(values))


def kept_until(finished_at: datetime | None, days: int) -> datetime | None:
    return None if finished_at is None else (finished_at + timedelta(days=days)).astimezone(UTC)
