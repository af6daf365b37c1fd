"""Rows that follow entities: as they are now, or with the two axes of when something held and when we knew it."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, ClassVar, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ARRAY,
    Index,
    bindparam,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP, TSTZRANGE, Range
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from shared.calendar import day_of, holds_from
from shared.events.event import Event


class Followed:
    """A row that follows one entity of one service as it is now: no history, for rules that need today only."""

    entity: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]

    @classmethod
    def fields(cls) -> list[str]:
        return sorted(column.key for column in inspect(cls).columns if column.key not in ("entity", "version"))


class Temporal:
    """A row with two time axes: when it held in the world, and when we knew it.

    `since` gives, per field in the order of `fields()`, the moment from which its value was told to hold; by it a fact
    that is told late lands where it belongs, and leaves alone what a later day says.
    """

    reaches_back: ClassVar[bool] = False
    """Whether a fact may hold from before the first one told; an entity's own rows begin when it began."""

    entity: Mapped[UUID] = mapped_column(primary_key=True)
    held: Mapped[Range[datetime]] = mapped_column(TSTZRANGE, primary_key=True)
    known: Mapped[Range[datetime]] = mapped_column(TSTZRANGE, primary_key=True)
    version: Mapped[int]
    since: Mapped[list[datetime | None]] = mapped_column(ARRAY(TIMESTAMP(timezone=True)))

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> Any:
        name = cls.__tablename__  # type: ignore[attr-defined]
        return (
            Index(f"ix_{name}_held_known", "held", "known", postgresql_using="gist"),
            Index(f"ix_{name}_entity", "entity", postgresql_where=text("upper_inf(known)")),
        )

    @classmethod
    def fields(cls) -> list[str]:
        mixed = {"entity", "held", "known", "version", "since"}
        return sorted(column.key for column in inspect(cls).columns if column.key not in mixed)

    @classmethod
    def at(cls, held: datetime, known: datetime) -> tuple[Any, Any]:
        """The rows that held at one moment, as known at another."""
        moment = TIMESTAMP(timezone=True)
        return (
            cls.held.op("@>")(literal(held, moment)),
            cls.known.op("@>")(literal(known, moment)),
        )


@dataclass
class Change:
    row: Any
    entity: UUID
    version: int
    recorded_at: datetime
    holds_from: datetime
    fields: dict[str, Any]
    zone: ZoneInfo


@cache
def _shared_fields(row: Any, kind: type[Event]) -> list[str]:
    """The fields that a row and an event have under the same name."""
    return sorted(set(row.fields()) & set(kind.own_fields()))


async def follow_entity(
    session: AsyncSession,
    row: type[Followed] | type[Temporal],
    event: Event,
    *,
    entity: UUID | None = None,
    holds_on: date | None = None,
    **fields: Any,
) -> None:
    """Set fields of the row that follows the event's entity (or another key), from the moment the fact holds.

    The row's fields that the event has under the same name are taken from it; `fields` gives the others. Taken up in
    the batch and written with it; see `Temporal` for what happens to the moments after.
    """
    assert event.recorded_at is not None
    same_named: list[str] = _shared_fields(cast(Any, row), type(event))
    taken = {name: getattr(event, name) for name in same_named if name not in fields}
    zone = session.info["zone"]
    session.info["changes"].append(
        Change(
            row,
            entity or event.entity,
            event.version,
            event.recorded_at,
            holds_from(holds_on or event.effective_from, event.recorded_at, zone),
            taken | fields,
            zone,
        )
    )


@dataclass
class Piece:
    """A stretch of time over which a row's fields stand still, as known from one moment on."""

    lower: datetime
    upper: datetime | None
    known_from: datetime
    version: int
    values: dict[str, Any]
    since: dict[str, datetime | None]
    stored: bool = False
    known_to: datetime | None = None

    def key(self) -> tuple[Range[datetime], Range[datetime]]:
        return Range(self.lower, self.upper), Range(self.known_from, None)


def tell(pieces: list[Piece], change: Change, *, reaches_back: bool) -> tuple[list[Piece], list[Piece]]:
    """The pieces as known after a change, and those that were known until then.

    A field takes the new value wherever nothing that holds from a later day was told about it; told again for the same
    day, the later telling stands, also over what held from some hour of that day because it was told then.
    """
    start = change.holds_from
    if not pieces:
        begun = Piece(start, None, change.recorded_at, change.version, dict(change.fields), {})
        begun.since = dict.fromkeys(change.fields, start)
        return [begun], []
    first = pieces[0].lower
    if start < first and not reaches_back:
        start = first
    day = day_of(start, change.zone)
    after: list[Piece] = []
    closed: list[Piece] = []
    if start < first:
        after.append(
            Piece(
                start,
                first,
                change.recorded_at,
                change.version,
                dict(change.fields),
                dict.fromkeys(change.fields, start),
            )
        )
    for piece in pieces:
        wins = {
            name: value
            for name, value in change.fields.items()
            if (told := piece.since.get(name)) is None or told <= start or day_of(told, change.zone) == day
        }
        if not wins or (piece.upper is not None and piece.upper <= start):
            after.append(piece)
            continue
        closed.append(piece)
        if piece.lower < start:
            after.append(Piece(piece.lower, start, change.recorded_at, piece.version, piece.values, piece.since))
        after.append(
            Piece(
                max(piece.lower, start),
                piece.upper,
                change.recorded_at,
                change.version,
                piece.values | wins,
                piece.since | dict.fromkeys(wins, start),
            )
        )
    for piece in closed:
        piece.known_to = change.recorded_at
    return after, closed


async def write_changes(session: AsyncSession) -> None:
    by_row: dict[Any, list[Change]] = defaultdict(list)
    for change in session.info["changes"]:
        by_row[change.row].append(change)
    session.info["changes"].clear()
    for row, changes in by_row.items():
        if issubclass(row, Temporal):
            await _write_temporal(session, row, changes)
        else:
            await _write_current(session, row, changes)


async def _write_current(session: AsyncSession, row: Any, changes: list[Change]) -> None:
    table = row.__table__
    merged: dict[UUID, dict[str, Any]] = {}
    for change in changes:
        merged.setdefault(change.entity, {}).update(change.fields, version=change.version)
    here = set(await session.scalars(select(row.entity).where(row.entity.in_(list(merged)))))
    fresh = [{"entity": entity} | fields for entity, fields in merged.items() if entity not in here]
    for one in fresh:
        await session.execute(insert(table), one)
    for entity in here:
        await session.execute(update(table).where(table.c.entity == entity).values(merged[entity]))


async def _write_temporal(session: AsyncSession, row: Any, changes: list[Change]) -> None:
    table, names = row.__table__, row.fields()
    entities = list({change.entity for change in changes})
    pieces: dict[UUID, list[Piece]] = defaultdict(list)
    open_rows = select(table).where(table.c.entity.in_(entities), func.upper_inf(table.c.known)).order_by(table.c.held)
    for one in (await session.execute(open_rows)).mappings():
        since = dict(zip(names, one["since"], strict=True))
        pieces[one["entity"]].append(
            Piece(
                one["held"].lower,
                one["held"].upper,
                one["known"].lower,
                one["version"],
                {name: one[name] for name in names},
                since,
                stored=True,
            )
        )
    closed_stored: list[dict[str, Any]] = []
    past: list[tuple[UUID, Piece]] = []
    for change in changes:
        unknown = set(change.fields) - set(names)
        if unknown:
            raise TypeError(f"{row.__name__} has no field {', '.join(sorted(unknown))}.")
        pieces[change.entity], closed = tell(pieces[change.entity], change, reaches_back=row.reaches_back)
        for piece in closed:
            if piece.stored:
                held, known = piece.key()
                closed_stored.append(
                    {
                        "b_entity": change.entity,
                        "b_held": held,
                        "b_known": known,
                        "b_closed": Range(piece.known_from, piece.known_to),
                    }
                )
            elif piece.known_from != piece.known_to:
                past.append((change.entity, piece))
    if closed_stored:
        await (await session.connection()).execute(
            update(table)
            .where(
                table.c.entity == bindparam("b_entity"),
                table.c.held == bindparam("b_held", type_=TSTZRANGE),
                table.c.known == bindparam("b_known", type_=TSTZRANGE),
            )
            .values(known=bindparam("b_closed", type_=TSTZRANGE)),
            closed_stored,
        )
    fresh = past + [(entity, piece) for entity, some in pieces.items() for piece in some if not piece.stored]
    if fresh:
        await (await session.connection()).execute(
            insert(table),
            [
                {
                    "entity": entity,
                    "held": Range(piece.lower, piece.upper),
                    "known": Range(piece.known_from, piece.known_to),
                    "version": piece.version,
                    "since": [piece.since.get(name) for name in names],
                }
                | {name: piece.values.get(name) for name in names}
                for entity, piece in fresh
            ],
        )
