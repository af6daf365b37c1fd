"""A view of its own in reporting's database, on a log in memory: for tests of what every view does."""

import asyncio
from datetime import date
from itertools import cycle
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped

from shared.bus import CHAIN, EPOCH, SEQUENCE
from shared.database import TYPES
from shared.events.event import Event, subject
from shared.events.programme import ActionAssigned, ActionDescribed, ActionPlanned, ActionRescheduled
from shared.projection import Attached, Projection
from shared.rows import Followed, Temporal, follow_entity
from tests.house import eventually
from tests.shared.facts import Log, example

OWNER = "programme"


class Kept(DeclarativeBase):
    type_annotation_map = TYPES


class Plan(Temporal, Kept):
    __tablename__ = "plan"
    name: Mapped[str | None]
    lead_id: Mapped[UUID | None]
    due_on: Mapped[date | None]


class Due(Followed, Kept):
    __tablename__ = "due"
    name: Mapped[str]
    due_on: Mapped[date | None]


plans = Projection("plans", Kept)
POISON = "poison"


@plans.on(ActionPlanned)
async def planned(session: AsyncSession, event: ActionPlanned) -> None:
    name = event.name.nl or ""
    await follow_entity(session, Plan, event, name=name, lead_id=event.lead_id, due_on=event.due_on)
    await follow_entity(session, Due, event, name=name, due_on=event.due_on)


@plans.on(ActionRescheduled)
async def rescheduled(session: AsyncSession, event: ActionRescheduled) -> None:
    if event.reason == POISON:
        raise ValueError(POISON)
    await follow_entity(session, Plan, event, due_on=event.due_on)
    await follow_entity(session, Due, event, due_on=event.due_on)


async def mended(session: AsyncSession, event: ActionRescheduled) -> None:
    await rescheduled(session, event.model_copy(update={"reason": "Mended."}))


@plans.on(ActionAssigned)
async def assigned(session: AsyncSession, event: ActionAssigned) -> None:
    await follow_entity(session, Plan, event, lead_id=event.lead_id)


@plans.on(ActionDescribed)
async def described(session: AsyncSession, event: ActionDescribed) -> None:
    await follow_entity(session, Plan, event, name=event.name.nl)
    await follow_entity(session, Due, event, name=event.name.nl)


async def follow_anew(view: Attached, log: Log, *sizes: int) -> None:
    """Make the view again from this log, read in pages of these sizes over and over."""
    log.sizes = cycle(sizes or (1000,))
    view.owners = {OWNER: log}
    assert (await view.rebuild(compare=False)).differing == []


async def rows(view: Attached, row: Any) -> list[Any]:
    async with view.reading() as session:
        table = row.__table__
        return [tuple(one) for one in await session.execute(select(table).order_by(*table.primary_key))]


async def checkpoint(view: Attached) -> tuple[str, int, str]:
    async with view.reading() as session:
        return tuple((await session.execute(text("select epoch, sequence, chain from checkpoint"))).one())


async def at_head(view: Attached, log: Log) -> None:
    head = await log.head()
    assert await checkpoint(view) == (str(head.epoch), head.sequence, head.chain)


def plan(entity: UUID | None = None) -> Event:
    return example(ActionPlanned).model_copy(update={"entity": entity or uuid4(), "version": 1})


def reschedule(entity: UUID, version: int, reason: str = "Later.", **fields: Any) -> Event:
    given = {"entity": entity, "version": version, "reason": reason} | fields
    return example(ActionRescheduled).model_copy(update=given)


async def publish(view: Attached, log: Log, *sequences: int, epoch: str | None = None) -> None:
    """Put events of a log on the bus, as its relay would; any of them, in any order."""
    bus = view._bus
    assert bus is not None
    await bus.ensure_stream(OWNER)
    for sequence in sequences:
        item = log.events[sequence - 1]
        headers = {EPOCH: epoch or str(log.epoch), SEQUENCE: str(sequence), CHAIN: item.chain}
        await bus.publish(subject("nl.kapstok-programme.any.v1", uuid4()), item.event.encode(), headers)


class Following:
    """The view's loop, running while a test looks on."""

    def __init__(self, view: Attached) -> None:
        self.view = view

    async def __aenter__(self) -> "Following":
        self.task = asyncio.create_task(self.view.follow(OWNER))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})

    async def reaches(self, log: Log) -> None:
        async def there() -> bool:
            await at_head(self.view, log)
            return True

        await eventually(there)


async def is_so(value: bool) -> bool:
    return value
