"""Parking: by a person's decision, and with a trace, a view leaves aside an event that it cannot take up.

Never one event alone: all later events of the same entity go with it, for they build on it. What is parked holds for
one log (its epoch); the entity counts as no data until it is released.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Table,
    Text,
    Uuid,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from shared.database import COMMON, is_passing
from shared.errors import Conflict, Invalid, NotFound

if TYPE_CHECKING:
    from shared.projection import Attached, Rebuilt

parked = Table(
    "parked",
    COMMON,
    Column("id", Uuid, primary_key=True),
    Column("view", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("entity", Uuid, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("parked_by", Text, nullable=False),
    Column("parked_at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
    Column("released_by", Text),
    Column("released_at", TIMESTAMP(timezone=True)),
    Index(
        "uq_parked_open",
        "view",
        "owner",
        "epoch",
        "entity",
        unique=True,
        postgresql_where=text("released_at is null"),
    ),
)
"""Rows are never removed: released ones are the trace."""


@dataclass(frozen=True)
class Parked:
    """What is parked: from which event of which entity on, and who decided it, when and why."""

    id: UUID
    owner: str
    sequence: int
    entity: UUID
    event_id: str
    error: str
    reason: str
    parked_by: str
    parked_at: datetime


_OPEN = select(*(parked.c[name] for name in Parked.__dataclass_fields__)).where(parked.c.released_at.is_(None))


async def aside(
    session: AsyncSession, view: str, owner: str, epoch: str, *, besides: UUID | None = None
) -> list[Parked]:
    """What a view leaves aside of one owner's log; without what is parked under the id `besides`."""
    here = (parked.c.view == view) & (parked.c.owner == owner) & (parked.c.epoch == epoch)
    rows = await session.execute(_OPEN.where(here))
    return [Parked(*row) for row in rows if row.id != besides]


async def standing(session: AsyncSession, view: str) -> list[Parked]:
    """Everything that is parked now, of every owner, in the order of parking."""
    rows = await session.execute(_OPEN.where(parked.c.view == view).order_by(parked.c.parked_at, parked.c.id))
    return [Parked(*row) for row in rows]


_ENTITIES = text(
    "select array(select distinct p.entity from public.parked p join checkpoint c on c.owner = p.owner"
    " and c.epoch = p.epoch where p.view = :view and p.released_at is null order by p.entity)"
)


async def entities(session: AsyncSession, view: str) -> tuple[UUID, ...]:
    """The entities that are parked in the logs that the rows of this session follow."""
    return tuple(await session.scalar(_ENTITIES, {"view": view}) or ())


async def retry(view: "Attached", owner: str) -> bool:
    """Try once more to take up the event after the checkpoint. Raises what the handler raises; False at the head."""
    entry, _ = await view.next_of(owner)
    if entry is None:
        return False
    await view.take(owner, entry)
    return True


async def park(view: "Attached", owner: str, *, by: str, reason: str) -> Parked:
    """Park the event at which a view stands still. Raises Conflict when the view does not stand still there."""
    entry, entity = await view.next_of(owner)
    if entry is None or entity is None:
        raise Conflict(f"{view.view.name} has taken up everything of {owner}; there is nothing to park.")
    try:
        await view.take(owner, entry)
    except Exception as error:
        if is_passing(error):
            raise
        return await _set_aside(view, owner, entry, entity, repr(error)[:1000], by=by, reason=reason)
    raise Conflict(f"{view.view.name} has just taken up event {entry[1]} of {owner}; nothing was parked.")


async def _set_aside(
    view: "Attached", owner: str, entry: tuple[str, int, str, str], entity: UUID, error: str, *, by: str, reason: str
) -> Parked:
    if not by.strip() or not reason.strip():
        raise Invalid("Say who decides this, and why: it stays on record.")
    epoch, sequence, _, event = entry
    row = {
        "id": uuid7(),
        "view": view.view.name,
        "owner": owner,
        "epoch": epoch,
        "sequence": sequence,
        "entity": entity,
        "event_id": event[:200].partition('"id":"')[2][:36],
        "error": error,
        "reason": reason,
        "parked_by": by,
    }
    async with view.acting() as session:
        await session.execute(insert(parked).values(row))
        found = (await session.execute(_OPEN.where(parked.c.id == row["id"]))).one()
    return Parked(*found)


async def release(view: "Attached", id: UUID, *, by: str) -> "Rebuilt":
    """Take up after all what is parked: the view is made again with it, beside the live rows, and then switched.

    Raises NotFound for what is not parked, and what the handler raises while the event still cannot be taken up; it
    then stays parked.
    """
    async with view.acting() as session:
        if id not in {one.id for one in await standing(session, view.view.name)}:
            raise NotFound(f"Nothing is parked in {view.view.name} under this id.")
    if not by.strip():
        raise Invalid("Say who decides this: it stays on record.")
    return await view.rebuild(compare=False, released=id, by=by)


async def released(session: AsyncSession, id: UUID, by: str) -> None:
    """Note the release, in the transaction that switches to the rows that hold it."""
    done = {"released_by": by, "released_at": func.now()}
    await session.execute(update(parked).where(parked.c.id == id, parked.c.released_at.is_(None)).values(done))
