"""The outbox on a real PostgreSQL: numbered without holes in the order of commits, chained, never changed."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime
from itertools import pairwise
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import event as on
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from deploy.embedded import Postgres
from shared import outbox
from shared.database import Work, engine, sessions
from shared.errors import TooLarge
from shared.events.event import MAX_BYTES, Actor, Event
from shared.events.programme import ActionRescheduled
from shared.receipts import receipt
from shared.settings import Settings
from tests.house import Builder
from tests.shared.facts import SOURCE

PROGRAMME = SOURCE.format("programme")


class Writer:
    """Sessions on one service's database, each with the work of a request."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._sessions = sessions(engine)

    def __call__(self) -> AsyncSession:
        work = Work(Actor(organisation="jenv", function="coordinator"), account="local-jenv", today=date(2018, 10, 19))
        return self._sessions(info={"work": work})

    async def tell(self, *facts: Event) -> int | None:
        async with self() as session:
            await outbox.add(session, *facts)
            sequence = await outbox.number(session, PROGRAMME)
            await session.commit()
            return sequence

    async def log(self) -> list[outbox.Stored]:
        async with self() as session:
            return await outbox.after(session, 0, 10_000)

    async def times(self) -> list[datetime]:
        async with self() as session:
            return list(await session.scalars(text("select recorded_at from outbox order by sequence")))


def rescheduled(reason: str = "Later.") -> ActionRescheduled:
    return ActionRescheduled(
        entity=uuid4(), version=1, effective_from=date(2018, 10, 19), due_on=date(2019, 1, 1), reason=reason
    )


@pytest_asyncio.fixture(loop_scope="session")
async def name(builder: Builder) -> str:
    return await builder.database("programme")


@pytest_asyncio.fixture(loop_scope="session")
async def writer(postgres: Postgres, name: str) -> AsyncIterator[Writer]:
    made = engine(Settings(database_url=SecretStr(postgres.url("programme", "kapstok", name))))
    yield Writer(made)
    await made.dispose()


def chain_of(log: list[outbox.Stored]) -> list[str]:
    """What the chain must be, from the texts alone."""
    chains, last = [], ""
    for stored in log:
        last = outbox.link(last, stored.event)
        chains.append(last)
    return chains


# --- numbered in the order of commits --------------------------------------------------------------------------


async def test_facts_are_numbered_from_one_in_the_order_told(writer: Writer) -> None:
    assert await writer.tell(rescheduled("a"), rescheduled("b")) == 2
    assert await writer.tell(rescheduled("c")) == 3
    log = await writer.log()
    assert [stored.sequence for stored in log] == [1, 2, 3]
    facts = [Event.decode(stored.event) for stored in log]
    assert [fact.reason for fact in facts] == ["a", "b", "c"]  # type: ignore[union-attr]
    assert [fact.sequence for fact in facts] == [1, 2, 3]  # type: ignore[union-attr]
    assert [fact.id for fact in facts] == [stored.id for stored in log]  # type: ignore[union-attr]


async def test_a_request_that_tells_nothing_takes_no_number(writer: Writer) -> None:
    assert await writer.tell() is None
    assert await writer.log() == []


async def test_the_one_that_began_first_and_commits_last_gets_the_last_number(writer: Writer) -> None:
    async with writer() as first, writer() as second:
        await first.execute(text("select 1"))
        await outbox.add(first, rescheduled("began first"))
        await second.execute(text("select 1"))
        await outbox.add(second, rescheduled("committed first"))
        assert await outbox.number(second, PROGRAMME) == 1
        await second.commit()
        assert await outbox.number(first, PROGRAMME) == 2
        await first.commit()
    reasons = [Event.decode(stored.event).reason for stored in await writer.log()]  # type: ignore[union-attr]
    assert reasons == ["committed first", "began first"]


async def test_who_has_a_number_commits_before_the_next_gets_one(writer: Writer) -> None:
    async with writer() as first, writer() as second:
        await outbox.add(first, rescheduled())
        assert await outbox.number(first, PROGRAMME) == 1
        await outbox.add(second, rescheduled())
        waiting = asyncio.create_task(outbox.number(second, PROGRAMME))
        done, _ = await asyncio.wait({waiting}, timeout=0.2)
        assert not done, "two transactions held a number at once"
        await first.commit()
        assert await waiting == 2
        await second.commit()


async def test_the_trap_is_real_an_identity_column_shows_two_before_one(writer: Writer) -> None:
    """The control: without the lock, a reader that goes on after the highest number it saw loses a fact."""
    async with writer() as session:
        await session.execute(text("create table naive (n bigint generated always as identity, who text)"))
        await session.commit()
    insert, after = "insert into naive (who) values (:who)", "select n from naive where n > :after order by n"
    async with writer() as first, writer() as second, writer() as reader:
        await first.execute(text(insert), {"who": "began first"})
        await second.execute(text(insert), {"who": "committed first"})
        await second.commit()
        seen = list(await reader.scalars(text(after), {"after": 0}))
        assert seen == [2]
        await first.commit()
        assert list(await reader.scalars(text(after), {"after": seen[-1]})) == [], "1 is never seen"


async def test_a_rollback_leaves_no_hole(writer: Writer) -> None:
    await writer.tell(rescheduled())
    async with writer() as session:
        await outbox.add(session, rescheduled(), rescheduled())
        assert await outbox.number(session, PROGRAMME) == 3
        await session.rollback()
    assert await writer.tell(rescheduled()) == 2


async def test_among_many_writers_of_whom_some_give_up_a_reader_always_sees_a_log_without_holes(
    writer: Writer,
) -> None:
    chance = random.Random(20181019)
    committed = 0

    async def write() -> None:
        nonlocal committed
        for _ in range(6):
            async with writer() as session:
                await outbox.add(session, *[rescheduled() for _ in range(chance.randint(1, 3))])
                told = len(session.info["work"].told)
                await outbox.number(session, PROGRAMME)
                if chance.random() < 0.25:
                    await session.rollback()
                else:
                    await session.commit()
                    committed += told

    writers = [asyncio.create_task(write()) for _ in range(6)]
    while not all(task.done() for task in writers):
        log = await writer.log()
        assert [stored.sequence for stored in log] == list(range(1, len(log) + 1))
    await asyncio.gather(*writers)
    log = await writer.log()
    assert [stored.sequence for stored in log] == list(range(1, committed + 1))
    assert [stored.chain for stored in log] == chain_of(log)
    times = await writer.times()
    assert all(before < after for before, after in pairwise(times))


async def test_under_repeatable_read_a_late_writer_fails_and_never_takes_a_number_twice(writer: Writer) -> None:
    async with writer() as late:
        await late.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        await late.execute(text("select count(*) from outbox"))
        await writer.tell(rescheduled())
        await outbox.add(late, rescheduled())
        with pytest.raises(Exception, match="duplicate key"):
            await outbox.number(late, PROGRAMME)
    assert len(await writer.log()) == 1


# --- when ------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def set_clock(postgres: Postgres, name: str) -> AsyncIterator[Callable[[str], object]]:
    """Stands before PostgreSQL's own `clock_timestamp` for this one database."""
    connection = await postgres.connect(name)

    async def set_to(moment: str) -> None:
        await connection.execute(
            "create or replace function public.clock_timestamp() returns timestamptz language sql stable"
            f" return timestamptz '{moment}'"
        )

    await set_to("2018-10-19 09:30:00+00")
    await connection.execute(f'alter database "{name}" set search_path = public, pg_catalog')
    yield set_to
    await connection.close()


async def test_recorded_at_rises_while_the_clock_stands_still(set_clock: object, writer: Writer) -> None:
    await writer.tell(rescheduled(), rescheduled())
    await writer.tell(rescheduled())
    times = await writer.times()
    assert [str(at) for at in times] == [
        "2018-10-19 09:30:00+00:00",
        "2018-10-19 09:30:00.000001+00:00",
        "2018-10-19 09:30:00.000002+00:00",
    ]


async def test_recorded_at_rises_when_the_clock_steps_back(
    set_clock: Callable[[str], asyncio.Future[None]], writer: Writer
) -> None:
    await writer.tell(rescheduled())
    await set_clock("2018-10-18 09:30:00+00")
    await writer.tell(rescheduled())
    before, after = await writer.times()
    assert before < after


async def promised(writer: Writer) -> outbox.Head:
    async with writer() as session:
        head = await outbox.head(await session.connection())
        await session.commit()
    return head


async def test_nothing_is_recorded_at_or_before_a_watermark_that_was_given_out(
    set_clock: Callable[[str], asyncio.Future[None]], writer: Writer
) -> None:
    """Also when the clock stands still, or steps back after the watermark was given."""
    empty = await promised(writer)
    await writer.tell(rescheduled())
    told = await promised(writer)
    await set_clock("2018-10-19T11:00:00Z")
    later = await promised(writer)
    await set_clock("2018-10-19T09:00:00Z")
    assert (await promised(writer)).watermark >= later.watermark, "what was promised stays promised"
    await writer.tell(rescheduled())
    first, second = await writer.times()
    assert empty.watermark < first <= told.watermark < later.watermark < second


async def test_the_head_waits_for_whoever_holds_a_number(writer: Writer) -> None:
    async with writer() as session, writer() as reader:
        await outbox.add(session, rescheduled())
        await outbox.number(session, PROGRAMME)
        asking = asyncio.create_task(outbox.head(await reader.connection()))
        done, _ = await asyncio.wait({asking}, timeout=0.2)
        assert not done
        await session.commit()
        head = await asking
    assert head.sequence == 1
    assert head.watermark >= (await writer.times())[0]


# --- chained and final -----------------------------------------------------------------------------------------


async def test_the_chain_verifies_from_the_stored_texts(writer: Writer) -> None:
    for _ in range(3):
        await writer.tell(rescheduled(), rescheduled())
    log = await writer.log()
    assert [stored.chain for stored in log] == chain_of(log)
    async with writer() as session:
        assert (await outbox.head(await session.connection())).chain == log[-1].chain


async def test_the_chain_notices_one_letter(writer: Writer) -> None:
    await writer.tell(rescheduled("Later."), rescheduled())
    first, second = await writer.log()
    forged = outbox.Stored(1, first.id, first.type, first.entity, first.event.replace("Later.", "Sooner"), first.chain)
    assert chain_of([forged, second])[1] != second.chain


@pytest.mark.parametrize(
    "statement",
    [
        "update outbox set event = '{}'",
        "update outbox set recorded_at = now() where sequence = 1",
        "delete from outbox",
        "delete from outbox where sequence = 99",
        "truncate outbox",
    ],
)
async def test_the_database_refuses_to_change_or_empty_the_outbox_even_for_its_master(
    postgres: Postgres, name: str, writer: Writer, statement: str
) -> None:
    await writer.tell(rescheduled())
    connection = await postgres.connect(name)
    with pytest.raises(asyncpg.RaiseError, match="never changed or emptied"):
        await connection.execute(statement)
    await connection.close()
    assert len(await writer.log()) == 1


async def test_a_version_of_an_entity_is_told_once(writer: Writer) -> None:
    fact = rescheduled()
    await writer.tell(fact)
    with pytest.raises(Exception, match="uq_outbox_entity_version"):
        await writer.tell(fact)
    assert len(await writer.log()) == 1


async def test_who_acted_stands_in_the_fact_and_the_account_apart(writer: Writer) -> None:
    await writer.tell(rescheduled())
    (stored,) = await writer.log()
    fact = Event.decode(stored.event)
    assert fact is not None and fact.acted_by == Actor(organisation="jenv", function="coordinator")
    assert "local-jenv" not in stored.event
    async with writer() as session:
        assert (await session.execute(outbox.acted.select())).one() == (stored.id, "local-jenv")


# --- too large -------------------------------------------------------------------------------------------------


async def test_a_fact_over_64_kib_is_refused_and_nothing_of_its_request_is_saved(writer: Writer) -> None:
    async with writer() as session:
        await session.execute(receipt.insert().values(caller="jenv", key="k", digest="d"))
        await outbox.add(session, rescheduled(), rescheduled("x" * MAX_BYTES))
        with pytest.raises(TooLarge, match="64 KiB"):
            await outbox.number(session, PROGRAMME)
    assert await writer.log() == []
    async with writer() as session:
        assert (await session.execute(receipt.select())).all() == []


async def test_the_limit_counts_bytes_on_the_wire(writer: Writer) -> None:
    """A fact of exactly the limit is taken; one letter more, or the same letters with accents, is not."""
    await writer.tell(rescheduled(""))
    empty = len((await writer.log())[0].event.encode())
    await writer.tell(rescheduled("x" * (MAX_BYTES - empty)))
    assert len((await writer.log())[1].event.encode()) == MAX_BYTES
    with pytest.raises(TooLarge):
        await writer.tell(rescheduled("x" * (MAX_BYTES - empty + 1)))
    with pytest.raises(TooLarge):
        await writer.tell(rescheduled("é" * (MAX_BYTES - empty)))


async def test_the_lock_and_the_last_row_are_read_by_statements_of_their_own(writer: Writer) -> None:
    """In one statement, the row would be read as it stood before the lock was waited for."""
    statements: list[str] = []
    on.listen(writer.engine.sync_engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    await writer.tell(rescheduled())
    lock = next(number for number, statement in enumerate(statements) if "advisory_xact_lock" in statement)
    assert "from outbox" not in statements[lock]
    assert "from outbox" in statements[lock + 1]
