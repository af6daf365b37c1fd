"""Verification: a view made again beside its live rows and compared; each night, by one replica."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from shared import verification
from shared.feed import FeedUnavailable
from shared.nightly import last_turn
from shared.outbox import Head
from shared.projection import Attached
from shared.verification import Verified, nightly, verify
from tests.shared.facts import Log
from tests.shared.plans import OWNER, POISON, Following, plan, reschedule

ZONE = ZoneInfo("Europe/Amsterdam")


def log_of(view: Attached) -> Log:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    return log


async def generations(view: Attached) -> list[tuple[str, bool]]:
    async with view.acting() as session:
        rows = await session.execute(text("select schema, live from generation where retired_at is null"))
        return sorted((row.schema, row.live) for row in rows)


async def kept(view: Attached) -> Verified | None:
    async with view.acting() as session:
        return await verification.last(session, view.view.name)


@pytest.fixture(autouse=True)
async def never_verified(view: Attached) -> None:
    async with view.acting() as session:
        await session.execute(text("delete from verification"))


async def change(view: Attached, statement: str) -> None:
    async with view.acting() as session:
        assert (await session.execute(text(statement))).rowcount > 0  # type: ignore[attr-defined]


async def test_rows_that_follow_the_logs_are_found_the_same_and_the_result_is_kept(view: Attached) -> None:
    entity = plan().entity
    log_of(view).tell(plan(entity))
    log_of(view).tell(reschedule(entity, 2))
    await view.heal(OWNER)
    before = await generations(view)
    found = await verify(view)
    assert (found.events, found.differing, found.first, found.position) == (2, [], None, "p2")
    assert await kept(view) == found
    assert await generations(view) == before, "what was made beside is taken away again, and nothing was switched"


@pytest.mark.parametrize(
    ("statement", "how"),
    [
        ("update due set name = 'changed'", "unlike the logs"),
        ("delete from due", "missing"),
        ("insert into due (entity, version, name) values (gen_random_uuid(), 1, 'one too many')", "not in the logs"),
    ],
)
async def test_the_first_row_that_differs_is_named_and_left_as_it_is(statement: str, how: str, view: Attached) -> None:
    log_of(view).tell(plan())
    await view.heal(OWNER)
    await change(view, statement)
    found = await verify(view)
    assert found.differing == ["due"]
    assert found.first is not None and found.first.startswith("due (entity=") and found.first.endswith(how)
    assert (await verify(view)).differing == ["due"], "it was not mended: a person must see it"
    assert await kept(view) is not None


async def test_a_view_is_verified_as_of_one_moment_while_it_follows_on(view: Attached) -> None:
    log = log_of(view)
    for _ in range(50):
        log.tell(plan())
    async with Following(view) as following:
        await following.reaches(log)
        for _ in range(5):
            checking = asyncio.create_task(verify(view))
            while not checking.done():
                log.tell(plan())
                await asyncio.sleep(0.002)
            found = checking.result()
            assert found.differing == [] and found.events >= 50
        await following.reaches(log)


async def test_a_poisonous_event_makes_verification_fail_and_leaves_nothing_behind(view: Attached) -> None:
    entity = plan().entity
    log = log_of(view)
    log.tell(plan(entity))
    await view.heal(OWNER)
    before = await generations(view)
    log.events.clear()
    log.tell(reschedule(entity, 1, POISON))
    with pytest.raises(ValueError, match=POISON):
        await verify(view)
    assert await generations(view) == before
    assert view.following[OWNER].stopped is None, "the live view goes on"


@pytest.mark.parametrize(
    ("now", "turn"),
    [
        ("2018-10-19T12:00:00+00:00", "2018-10-19T01:30:00+00:00"),
        ("2018-10-19T01:30:00+00:00", "2018-10-19T01:30:00+00:00"),
        ("2018-10-19T01:29:59+00:00", "2018-10-18T01:30:00+00:00"),
        ("2018-01-05T00:00:00+00:00", "2018-01-04T02:30:00+00:00"),
        ("2018-03-25T12:00:00+00:00", "2018-03-25T01:30:00+00:00"),
    ],
)
def test_the_turn_is_by_the_clock_where_the_programme_runs(now: str, turn: str) -> None:
    """Also over the change to summer time, on 25 March 2018."""
    assert last_turn(datetime.fromisoformat(now), "03:30", ZONE) == datetime.fromisoformat(turn)


async def a_while(view: Attached, now: datetime, replicas: int = 1) -> None:
    """Let replicas do what they do at night, with the clock at `now`."""
    tasks = [asyncio.create_task(nightly(view, view._engine, "03:30", ZONE, lambda: now)) for _ in range(replicas)]
    await asyncio.wait(tasks, timeout=1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def count(view: Attached) -> int:
    async with view.acting() as session:
        return int(await session.scalar(text("select count(*) from verification")) or 0)


async def test_each_night_one_of_the_replicas_verifies_once(view: Attached) -> None:
    log_of(view).tell(plan())
    await view.heal(OWNER)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await a_while(view, tomorrow, replicas=3)
    assert await count(view) == 1
    await a_while(view, tomorrow)
    assert await count(view) == 1
    await a_while(view, tomorrow + timedelta(days=1))
    assert await count(view) == 2


async def test_rows_made_since_the_last_turn_wait_for_the_next(view: Attached) -> None:
    await a_while(view, datetime.now(UTC))
    assert await count(view) == 0


class Away(Log):
    """An owner that does not answer until told to."""

    answers = False

    async def head(self) -> Head:
        if not self.answers:
            raise FeedUnavailable("away")
        return await super().head()


async def test_an_owner_that_is_away_at_night_is_no_difference(view: Attached) -> None:
    log_of(view).tell(plan())
    await view.heal(OWNER)
    view.owners[OWNER] = Away(events=log_of(view).events, epoch=log_of(view).epoch)
    await a_while(view, datetime.now(UTC) + timedelta(days=1))
    assert await count(view) == 0
