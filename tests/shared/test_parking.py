"""Parking: a poisonous event left aside with all later ones of its entity, on record, and taken up after all."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from shared import parking
from shared.errors import Conflict, Invalid, NotFound
from shared.events.programme import ActionRescheduled
from shared.feed import Item
from shared.outbox import link
from shared.projection import Attached
from tests.house import eventually
from tests.shared.facts import Log
from tests.shared.plans import (
    OWNER,
    POISON,
    Due,
    Following,
    Plan,
    checkpoint,
    follow_anew,
    is_so,
    mended,
    plan,
    plans,
    reschedule,
    rows,
)

WHO = {"by": "coordinator", "reason": "Mended in the next version."}


@contextmanager
def a_mended_handler() -> Iterator[None]:
    handler = plans._handlers[ActionRescheduled.type]
    plans._handlers[ActionRescheduled.type] = mended
    try:
        yield
    finally:
        plans._handlers[ActionRescheduled.type] = handler


def poisoned(log: Log) -> UUID:
    """A log of two entities, of which one gets a poisonous event, and a later one that would be fine by itself."""
    entity, other = uuid4(), uuid4()
    log.tell(plan(entity))
    log.tell(plan(other))
    log.tell(reschedule(entity, 2, POISON, due_on=date(2020, 2, 2)))
    log.tell(reschedule(other, 2, due_on=date(2020, 3, 3)))
    log.tell(reschedule(entity, 3, due_on=date(2020, 4, 4)))
    log.tell(plan())
    return entity


def log_of(view: Attached) -> Log:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    return log


async def stand_still(view: Attached) -> None:
    with pytest.raises(ValueError, match=POISON):
        await view.heal(OWNER)


async def due(view: Attached, entity: UUID) -> date | None:
    async with view.reading() as session:
        return await session.scalar(select(Due.due_on).where(Due.entity == entity))


async def trace(view: Attached) -> list[dict[str, Any]]:
    async with view.acting() as session:
        found = await session.execute(text("select * from parked where view = 'plans' order by parked_at"))
        return [dict(row) for row in found.mappings()]


@pytest.fixture(autouse=True)
async def nothing_parked(view: Attached) -> None:
    async with view.acting() as session:
        await session.execute(text("delete from parked"))


async def test_a_parked_entity_is_left_aside_from_there_on_and_everything_else_goes_on(view: Attached) -> None:
    entity = poisoned(log_of(view))
    await stand_still(view)
    before = await due(view, entity)
    stopped = view.following[OWNER].stopped
    assert stopped is not None and stopped.sequence == 3

    found = await parking.park(view, OWNER, **WHO)
    assert (found.sequence, found.entity, found.event_id) == (3, entity, stopped.event_id)
    await view.heal(OWNER)

    assert (await checkpoint(view))[1] == 6
    assert view.following[OWNER].stopped is None
    assert len(await rows(view, Due)) == 3
    assert await due(view, entity) == before, "a later event of the entity was taken up without the one it builds on"
    assert view.standing is not None and view.standing.parked == (entity,)


async def test_who_parked_it_when_why_and_for_which_error_stays_on_record(view: Attached) -> None:
    poisoned(log_of(view))
    await stand_still(view)
    await parking.park(view, OWNER, **WHO)
    [row] = await trace(view)
    assert (row["parked_by"], row["reason"]) == (WHO["by"], WHO["reason"])
    assert POISON in row["error"] and row["parked_at"] is not None and row["released_at"] is None


async def test_a_view_made_again_leaves_the_same_aside(view: Attached) -> None:
    poisoned(log_of(view))
    await stand_still(view)
    await parking.park(view, OWNER, **WHO)
    await view.heal(OWNER)
    assert (await view.rebuild()).differing == []


async def test_a_running_view_goes_on_by_itself_once_its_event_is_parked(view: Attached) -> None:
    poisoned(log_of(view))
    async with Following(view) as following:
        await eventually(lambda: is_so(view.following[OWNER].stopped is not None))
        await parking.park(view, OWNER, **WHO)
        await following.reaches(log_of(view))


async def test_released_after_its_handler_was_mended_the_rows_are_as_if_it_never_happened(view: Attached) -> None:
    log = log_of(view)
    entity = poisoned(log)
    await stand_still(view)
    found = await parking.park(view, OWNER, **WHO)
    await view.heal(OWNER)
    with a_mended_handler():
        await parking.release(view, found.id, by="operator")
        released = await rows(view, Plan), await rows(view, Due)
        await follow_anew(view, log)
        assert released == (await rows(view, Plan), await rows(view, Due))
    assert await due(view, entity) == date(2020, 4, 4)
    [row] = await trace(view)
    assert row["released_by"] == "operator" and row["released_at"] is not None
    assert view.standing is not None and view.standing.parked == ()


async def test_released_too_early_it_stays_parked_and_the_live_rows_stay(view: Attached) -> None:
    poisoned(log_of(view))
    await stand_still(view)
    found = await parking.park(view, OWNER, **WHO)
    await view.heal(OWNER)
    before = await rows(view, Due)
    with pytest.raises(ValueError, match=POISON):
        await parking.release(view, found.id, by="operator")
    assert await rows(view, Due) == before
    assert (await checkpoint(view))[1] == 6
    [row] = await trace(view)
    assert row["released_at"] is None
    assert view.following[OWNER].stopped is None, "the live view does not stand still"


async def test_nothing_is_parked_where_the_view_does_not_stand_still(view: Attached) -> None:
    log = log_of(view)
    log.tell(plan())
    with pytest.raises(Conflict, match="has just taken up event 1"):
        await parking.park(view, OWNER, **WHO)
    with pytest.raises(Conflict, match="taken up everything"):
        await parking.park(view, OWNER, **WHO)
    assert await trace(view) == []


@pytest.mark.parametrize("missing", ["by", "reason"])
async def test_nobody_parks_without_saying_who_and_why(missing: str, view: Attached) -> None:
    poisoned(log_of(view))
    await stand_still(view)
    with pytest.raises(Invalid, match="on record"):
        await parking.park(view, OWNER, **(WHO | {missing: " "}))
    assert await trace(view) == []


async def test_only_what_is_parked_can_be_released(view: Attached) -> None:
    with pytest.raises(NotFound):
        await parking.release(view, uuid4(), by="operator")


async def test_retried_it_is_taken_up_once_its_handler_is_mended(view: Attached) -> None:
    poisoned(log_of(view))
    await stand_still(view)
    with pytest.raises(ValueError, match=POISON):
        await parking.retry(view, OWNER)
    with a_mended_handler():
        assert await parking.retry(view, OWNER)
        assert (await checkpoint(view))[1] == 3
        await view.heal(OWNER)
        assert not await parking.retry(view, OWNER), "there is nothing left to try"


@pytest.mark.parametrize("bytes", ["", "{", "null", '{"data": 1}', "geen json", '"a text"'])
async def test_an_event_that_cannot_be_read_at_all_is_parked_by_whose_it_is(bytes: str, view: Attached) -> None:
    log = log_of(view)
    entity = uuid4()
    log.tell(plan(entity))
    log.events.append(Item(2, link(log.events[-1].chain, bytes), bytes, entity))
    log.tell(plan())
    with pytest.raises(ValueError):
        await view.heal(OWNER)
    found = await parking.park(view, OWNER, **WHO)
    assert (found.sequence, found.entity, found.event_id) == (2, entity, "")
    await view.heal(OWNER)
    assert len(await rows(view, Due)) == 2


async def test_what_is_parked_in_one_log_means_nothing_in_another(view: Attached) -> None:
    log = log_of(view)
    entity = poisoned(log)
    await stand_still(view)
    await parking.park(view, OWNER, **WHO)
    other = Log()
    other.tell(plan(entity))
    other.tell(plan())
    other.tell(reschedule(entity, 2, due_on=date(2021, 1, 1)))
    await follow_anew(view, other)
    assert await due(view, entity) == date(2021, 1, 1)
    assert view.standing is not None and view.standing.parked == ()
