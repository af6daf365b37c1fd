"""Entities that count their versions and tell their facts, and the connection to a service's database."""

import enum
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Annotated, Any, ClassVar, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, Field, TypeAdapter
from sqlalchemy import ColumnElement, Date, Enum, MetaData, Text, Uuid, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, TypeEngine
from uuid_utils.compat import uuid7

from shared.cursors import Cursor, Order, walk
from shared.errors import Conflict, DomainError, Invalid, NotFound, Stale
from shared.events.event import Actor, Basis, Event, Precision
from shared.screening import Screened
from shared.settings import Settings
from shared.texts import Day, SystemName

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

COMMON = MetaData(naming_convention=NAMING)
"""The tables that every service has: outbox, receipts, generations of views."""


class Json(TypeDecorator[Any]):
    """A pydantic value, or a list of them, kept as JSONB."""

    impl = JSONB
    cache_ok = True

    def __init__(self, kind: Any) -> None:
        super().__init__(none_as_null=True)
        self.kind = kind
        self._adapter = TypeAdapter(kind)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self._adapter.dump_python(value, mode="json", exclude_none=True)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else self._adapter.validate_python(value)


def _values(kind: type[enum.Enum]) -> list[str]:
    return [str(member.value) for member in kind]


TYPES: dict[Any, TypeEngine[Any] | type[TypeEngine[Any]]] = {
    enum.Enum: Enum(enum.Enum, native_enum=False, values_callable=_values, length=40, create_constraint=False),
    str: Text(),
    UUID: Uuid(),
    date: Date(),
    datetime: TIMESTAMP(timezone=True),
    list[UUID]: ARRAY(Uuid()),
    list[str]: ARRAY(Text()),
}
"""How annotated fields are stored."""


def _few(external_ids: dict[str, str]) -> dict[str, str]:
    if len(external_ids) > 10:
        raise ValueError("Ten external ids at most.")
    return external_ids


ExternalIds = Annotated[
    dict[SystemName, Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[\x21-\x7e]+$")]],
    AfterValidator(_few),
]
"""What other systems call the same thing: `{"zaaksysteem": "Z-2018-114"}`."""


class Command(Screened):
    """What is asked of an entity, and from which day it holds; its texts are screened, see `screening`."""

    effective_from: Day | None = None
    """Today when left out. A day in the past is fine: the fact then lands where it belongs."""
    effective_from_basis: Basis = Basis.STATED
    effective_from_precision: Precision = Precision.DAY


class Begin(Command):
    """A command that makes a new entity."""

    external_ids: ExternalIds = Field(default_factory=dict)


@dataclass
class Work:
    """What one transaction knows of the request that it serves."""

    actor: Actor
    account: str
    today: date
    expected: int | None = None
    """The version that `If-Match` named."""
    told: list[Event] = field(default_factory=list)
    makes: int = 1
    """How many new things may come of it: their reference numbers are taken at once."""
    trial: bool = False
    """Whether nothing of it will be kept: then it uses up no reference numbers."""
    numbers: dict[str, list[int]] = field(default_factory=dict)


def work(session: AsyncSession) -> Work:
    found = session.info.get("work")
    if not isinstance(found, Work):
        raise RuntimeError("This session serves no request; open it with http.Session or database.acting.")
    return found


E = TypeVar("E", bound="Entity")
F = TypeVar("F", bound=Event)
Row = TypeVar("Row")


class Entity:
    """Something a service owns: it has an id for ever, a version for each change, and tells each change."""

    prefix: ClassVar[str]
    """How references of this kind begin: `ACT` in `ACT-2018-0007`."""
    __tablename__: str

    id: Mapped[UUID] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(unique=True)
    version: Mapped[int]
    began_on: Mapped[date]
    effective_from: Mapped[date]
    effective_from_basis: Mapped[Basis]
    effective_from_precision: Mapped[Precision]
    external_ids: Mapped[dict[str, str]] = mapped_column(Json(dict[str, str]))

    @classmethod
    def word(cls) -> str:
        return cls.__tablename__.replace("_", " ")

    def take_effect(self, command: Command, today: date) -> None:
        """The day from which the change that follows will hold.

        Raises Invalid for a day before the entity began or after today: what will hold later is told later.
        """
        day = command.effective_from or today
        if day > today:
            raise Invalid("A fact holds from today or earlier; tell it when that day comes.", field="/effectiveFrom")
        if day < self.began_on:
            raise Invalid(
                f"This {self.word()} began on {self.began_on}; a change cannot hold before that.",
                field="/effectiveFrom",
            )
        self.effective_from = day
        self.effective_from_basis = command.effective_from_basis
        self.effective_from_precision = command.effective_from_precision

    def tell(self, kind: type[F], **more: Any) -> F:
        """One change, one version, one event: filled from the fields of the same name, and from `more`."""
        self.version += 1
        fields = {name: getattr(self, name) for name in kind.own_fields() if name not in more}
        return kind(
            entity=self.id,
            version=self.version,
            effective_from=self.effective_from,
            effective_from_basis=self.effective_from_basis,
            effective_from_precision=self.effective_from_precision,
            **fields,
            **more,
        )


async def begin(session: AsyncSession, kind: type[E], command: Begin, **more: Any) -> E:
    """A new entity with the fields of its command, an id and a reference; version 0 until it tells its first fact."""
    number = await _number(session, kind)
    today = work(session).today
    day = command.effective_from or today
    fields = {name: getattr(command, name) for name in type(command).model_fields if name not in Command.model_fields}
    given: dict[str, Any] = {
        "id": uuid7(),
        "reference": f"{kind.prefix}-{day.year}-{number:04d}",
        "version": 0,
        "began_on": day,
    }
    entity = kind(**fields, **more, **given)
    entity.take_effect(command, today)
    session.add(entity)
    session.info.setdefault("subject", entity)
    return entity


async def _number(session: AsyncSession, kind: type[Entity]) -> int:
    """The next of this kind's reference numbers; what a transaction takes at once and does not use is a gap."""
    given = work(session)
    if given.trial:
        return secrets.randbelow(10**15) + 10**15
    numbers = given.numbers.setdefault(kind.__tablename__, [])
    if not numbers:
        taken = select(func.nextval(f"{kind.__tablename__}_reference")).select_from(
            func.generate_series(1, given.makes)
        )
        numbers += sorted(await session.scalars(taken), reverse=True)
    return numbers.pop()


def memory(session: AsyncSession) -> dict[Any, Any]:
    """What this transaction need not ask again; lost with a savepoint that is rolled back, as are its locks."""
    found: dict[Any, Any] = session.info.setdefault("memory", {})
    return found


def seen(session: AsyncSession, kind: type[Any]) -> set[Any]:
    """Which things of a kind this transaction has found to be there; nothing is ever deleted, so once is enough."""
    found: set[Any] = memory(session).setdefault(kind, set())
    return found


async def find(session: AsyncSession, kind: type[E], id: UUID, command: Command | None = None) -> E:
    """The entity with this id; with a command, locked for the change that follows.

    Raises NotFound; with a command also Stale when `If-Match` named another version than the one that stands.
    """
    entity = await session.get(
        kind, id, with_for_update=True if command else None, populate_existing=command is not None
    )
    if entity is None:
        raise NotFound(f"There is no {kind.word()} with this id.")
    session.info.setdefault("subject", entity)
    if command is not None:
        expected = work(session).expected
        if expected is not None and expected != entity.version:
            raise Stale(f"This {kind.word()} is at version {entity.version} now; read it again and decide anew.")
        entity.take_effect(command, work(session).today)
    return entity


async def must_exist(session: AsyncSession, kind: type[Entity], id: UUID | None, field: str) -> None:
    """Refuse a reference in a body to something this service owns and does not have."""
    if id is None or id in seen(session, kind):
        return
    if await session.scalar(select(kind.id).where(kind.id == id)) is None:
        raise Invalid(f"There is no {kind.word()} with this id.", field=field)
    seen(session, kind).add(id)


async def must_exist_by_code(session: AsyncSession, codes: Sequence[str], known: Sequence[str], field: str) -> None:
    unknown = sorted(set(codes) - set(known))
    if unknown:
        raise Invalid(f"Not in the vocabulary: {', '.join(unknown)}.", field=field)


def show_once(session: AsyncSession, *fields: str) -> None:
    """These fields of the answer are shown this once: what is kept of it for a repetition has null in their place."""
    session.info["shown_once"] = fields


@dataclass(frozen=True)
class Page:
    """Which part of a list: from which row on, how many at most, in which order."""

    cursor: Cursor | None = None
    limit: int = 100
    order: Order = field(default_factory=Order)


@dataclass
class Slice(Generic[Row]):
    """The part that was found, and the cursors of the parts around it."""

    items: list[Row]
    next: str | None
    prev: str | None


async def page_of(session: AsyncSession, kind: type[E], page: Page, *where: ColumnElement[bool]) -> Slice[E]:
    """One page; without an order it is that of ids, which is the order of entry. Stable while others are added."""
    order, cursor = page.order, page.cursor
    query = walk(select(kind).where(*where), kind, order, cursor).limit(page.limit + 1)
    found = list(await session.scalars(query))
    items, more = found[: page.limit], len(found) > page.limit
    backwards = cursor is not None and cursor.backwards
    if backwards:
        items.reverse()
    after = str(Cursor.at(order, items[-1])) if items and (more or backwards) else None
    before = str(Cursor.at(order, items[0], backwards=True)) if items and cursor and (more or not backwards) else None
    session.info["page"] = found_page = Slice(items, after, before)
    return found_page


def called(kind: type[Entity], external_id: str | None) -> list[ColumnElement[bool]]:
    """Those that another system calls so; `external_id` is `system:id`, or None for all."""
    if external_id is None:
        return []
    system, _, name = external_id.partition(":")
    return [cast(kind.external_ids, JSONB).contains(cast({system: name}, JSONB))]


def engine(settings: Settings) -> AsyncEngine:
    """Connections to the service's database; every wait has an end."""
    server = {
        "lock_timeout": "5s",
        "statement_timeout": "10s",
        "idle_in_transaction_session_timeout": "10s",
        "timezone": "UTC",
        "application_name": "kapstok",
    }
    return create_async_engine(
        settings.database_url.get_secret_value(),
        pool_size=settings.pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"server_settings": server, "command_timeout": 10, "timeout": 5},
    )


def sessions(engine: AsyncEngine) -> async_sessionmaker[AsyncSession]:
    return async_sessionmaker(engine, expire_on_commit=False)


_PASSING = ("08", "3D", "40", "42P01", "53", "55", "57")
"""SQLSTATEs of errors that go away: connection, no such database, rollback, no such table (a database that came back
empty, whose tables are made again), resources, locks and timeouts, operator."""


def is_passing(error: BaseException) -> bool:
    """Whether trying again may help: the database was away, busy or too slow; nothing was wrong with the request."""
    if isinstance(error, OSError | TimeoutError | InterfaceError | PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "sqlstate", None) or ""
    return error.connection_invalidated or state.startswith(_PASSING)


def violated(error: IntegrityError) -> DomainError:
    """A constraint that refused, in words."""
    name = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None) or ""
    found = re.fullmatch(r"uq_(?P<rest>.+)", name)
    if found:
        return Conflict(f"There is one of these already ({found['rest'].replace('_', ' ')}).")
    return Conflict("This does not fit with what is there already.")


async def check_durability(connection: AsyncConnection) -> None:
    """Refuse a database that may forget what it has committed."""
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        value = await connection.scalar(text(f"show {name}"))
        if value == "off":
            raise RuntimeError(
                f"PostgreSQL runs with {name} = off and may lose acknowledged writes. Switch it on and start again."
            )
