"""Proof of integrity: whatever is changed in a log, a stream or a view, the first difference is named."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from pydantic import SecretStr
from sqlalchemy import text

from deploy.embedded import Postgres
from shared.bus import CHAIN, EPOCH, MESSAGE_ID, SEQUENCE, MemoryBus, Message
from shared.integrity import Broken, check_log, check_stream, check_view
from shared.projection import Attached
from shared.relay import Relay
from shared.settings import Settings
from tests.house import eventually
from tests.shared.facts import Log
from tests.shared.plans import OWNER, plan
from tests.shared.test_outbox import Writer, name, rescheduled, writer

__all__ = ["name", "writer"]
SERVICE = "programme"


# --- the log ---------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def five(writer: Writer) -> Writer:
    """A log of five facts."""
    for number in range(5):
        await writer.tell(rescheduled(f"Reason {number}."))
    return writer


async def tamper(postgres: Postgres, database: str, *statements: str) -> None:
    """As somebody with all rights on the database, who first takes the guard away."""
    connection = await postgres.connect(database)
    await connection.execute("alter table outbox disable trigger outbox_is_final")
    for statement in statements:
        assert not (await connection.execute(statement)).endswith(" 0"), "nothing was changed"
    await connection.close()


async def test_a_log_that_holds_together_is_told_with_its_end(five: Writer) -> None:
    found = await check_log(five.engine, SERVICE)
    last = (await five.log())[-1]
    assert (found.events, found.chain) == (5, last.chain)


async def test_an_empty_log_holds_together(writer: Writer) -> None:
    assert (await check_log(writer.engine, SERVICE)).events == 0


REPLACED = "event = replace(event, 'Reason', 'Excuse')"
CHAINED = (  # what a forger would do: every later link made again
    "with recursive again as (select sequence, encode(sha256(convert_to(event, 'UTF8')), 'hex') as c from outbox where"
    " sequence = 1 union all select o.sequence, encode(sha256(convert_to(again.c || o.event, 'UTF8')), 'hex')"
    " from outbox o join again on o.sequence = again.sequence + 1)"
    " update outbox set chain = again.c from again where again.sequence = outbox.sequence"
)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (f"update outbox set {REPLACED} where sequence = 3", "at 3: the chain breaks here"),
        ("update outbox set event = event || ' ' where sequence = 1", "at 1: the chain breaks here"),
        ("update outbox set chain = repeat('0', 64) where sequence = 5", "at 5: the chain breaks here"),
        ("delete from outbox where sequence = 2", "at 3: 2 is missing before it"),
        ("delete from outbox where sequence = 1", "at 2: 1 is missing before it"),
        ("update outbox set id = gen_random_uuid() where sequence = 4", "at 4: its event says another id"),
        ("update outbox set type = 'other' where sequence = 4", "at 4: its event says another type"),
        ("update outbox set entity = gen_random_uuid() where sequence = 4", "at 4: its event says another entity"),
        ("update outbox set version = 9 where sequence = 4", "at 4: its event says another version"),
        ("update outbox set recorded_at = now() where sequence = 4", "at 4: its event says another time"),
    ],
)
async def test_the_first_row_that_was_changed_is_named(
    statement: str, words: str, five: Writer, postgres: Postgres, name: str
) -> None:
    await tamper(postgres, name, statement)
    with pytest.raises(Broken, match=words):
        await check_log(five.engine, SERVICE)


@pytest.mark.parametrize("broken", ["{", "[]", "null", '{"id": 3}'])
async def test_an_event_that_is_none_is_named(broken: str, five: Writer, postgres: Postgres, name: str) -> None:
    await tamper(postgres, name, f"update outbox set event = '{broken}' where sequence = 2", CHAINED)
    with pytest.raises(Broken, match="at 2: its event says another form"):
        await check_log(five.engine, SERVICE)


async def test_the_database_itself_refuses_to_change_the_log(five: Writer, postgres: Postgres, name: str) -> None:
    connection = await postgres.connect(name)
    for statement in (f"update outbox set {REPLACED}", "delete from outbox", "truncate outbox"):
        with pytest.raises(Exception, match="never changed or emptied"):
            await connection.execute(statement)
    await connection.close()


# --- the stream ------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def bus(five: Writer) -> AsyncIterator[MemoryBus]:
    """A stream that its relay has filled with the five."""
    bus = MemoryBus()
    relay = Relay(five.engine, bus, SERVICE, Settings(database_url=SecretStr("")))
    running = asyncio.create_task(relay.run())

    async def filled() -> bool:
        return relay.sent == 5

    await eventually(filled)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    yield bus


def messages(bus: MemoryBus) -> list[Message]:
    [found] = bus._streams.values()
    return found


async def test_a_stream_that_says_what_the_log_says(five: Writer, bus: MemoryBus) -> None:
    found = await check_stream(five.engine, bus, SERVICE)
    assert (found.messages, found.first, found.last, found.missing, found.foreign) == (5, 1, 5, 0, 0)


async def test_what_a_stream_has_lost_or_of_others_is_told_and_is_no_difference(five: Writer, bus: MemoryBus) -> None:
    del messages(bus)[1:3]
    messages(bus)[0].headers = dict(messages(bus)[0].headers) | {EPOCH: str(uuid4())}
    found = await check_stream(five.engine, bus, SERVICE)
    assert (found.messages, found.first, found.last, found.missing, found.foreign) == (3, 4, 5, 0, 1)
    del messages(bus)[:]
    assert (await check_stream(five.engine, bus, SERVICE)).messages == 0


async def test_a_hole_in_a_stream_is_counted(five: Writer, bus: MemoryBus) -> None:
    del messages(bus)[2]
    assert (await check_stream(five.engine, bus, SERVICE)).missing == 1


@pytest.mark.parametrize(
    ("header", "value", "words"),
    [
        (SEQUENCE, "6", "event 6, which the log does not have"),
        (SEQUENCE, "2", "another event 2 than the log"),
        (SEQUENCE, "x", "no number"),
        (CHAIN, "0" * 64, "another event 4 than the log"),
        (MESSAGE_ID, "x|y", "another id than event 4"),
    ],
)
async def test_a_message_that_says_anything_else_is_named(
    header: str, value: str, words: str, five: Writer, bus: MemoryBus
) -> None:
    messages(bus)[3].headers = dict(messages(bus)[3].headers) | {header: value}
    with pytest.raises(Broken, match=f"message 4 of programme's stream: .*{words}"):
        await check_stream(five.engine, bus, SERVICE)


async def test_one_changed_byte_in_a_message_is_named(five: Writer, bus: MemoryBus) -> None:
    messages(bus)[1].payload = messages(bus)[1].payload.replace(b"Reason 1", b"Reason 7")
    with pytest.raises(Broken, match=r"message 2 .* another event 2"):
        await check_stream(five.engine, bus, SERVICE)


async def test_a_log_forged_with_a_whole_new_chain_no_longer_agrees_with_its_stream(
    five: Writer, bus: MemoryBus, postgres: Postgres, name: str
) -> None:
    await tamper(postgres, name, f"update outbox set {REPLACED} where sequence = 3", CHAINED)
    await check_log(five.engine, SERVICE)
    with pytest.raises(Broken, match=r"message 3 .* another event 3 than the log"):
        await check_stream(five.engine, bus, SERVICE)


async def test_the_last_message_is_read_too(five: Writer, bus: MemoryBus) -> None:
    messages(bus)[-1].payload += b" "
    with pytest.raises(Broken, match="message 5"):
        await check_stream(five.engine, bus, SERVICE)


# --- the view --------------------------------------------------------------------------------------------------


async def at_three(view: Attached) -> Log:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    for _ in range(3):
        log.tell(plan())
    await view.heal(OWNER)
    return log


async def test_a_view_that_is_what_its_logs_say(view: Attached) -> None:
    log = await at_three(view)
    log.tell(plan())
    assert (await check_view(view)).events == 3, "it is compared as far as it has come"


async def test_a_view_of_another_log_is_named(view: Attached) -> None:
    log = await at_three(view)
    view.owners[OWNER] = Log(events=log.events, at=log.at)
    with pytest.raises(Broken, match="follows another log"):
        await check_view(view)


async def test_a_view_that_is_further_than_its_log_is_named(view: Attached) -> None:
    log = await at_three(view)
    view.owners[OWNER] = Log(epoch=log.epoch, events=log.events[:2], at=log.at)
    with pytest.raises(Broken, match="stands at 3, and the log ends at 2"):
        await check_view(view)


async def test_a_view_whose_log_was_rewritten_is_named(view: Attached) -> None:
    log = await at_three(view)
    other = Log(epoch=log.epoch, events=log.events[:2], at=log.at)
    other.tell(plan())
    view.owners[OWNER] = other
    with pytest.raises(Broken, match="at 3 it has another chain"):
        await check_view(view)


async def test_a_row_that_is_not_what_the_logs_give_is_named(view: Attached) -> None:
    await at_three(view)
    async with view.acting() as session:
        await session.execute(text("update due set name = 'changed'"))
    with pytest.raises(Broken, match=r"due \(entity=.*unlike the logs"):
        await check_view(view)
