"""What every bus promises: the same claims of NATS JetStream and of its twin in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats
import pytest
import pytest_asyncio
from nats.js import JetStreamContext
from pydantic import SecretStr

from deploy.embedded import Nats, free_port
from shared.bus import (
    EPOCH,
    EXPECTED_LAST_SEQUENCE,
    MESSAGE_ID,
    Bus,
    BusRefused,
    BusUnavailable,
    Inbox,
    MemoryBus,
    Message,
    NatsBus,
)
from shared.events.event import stream
from shared.settings import Settings
from tests.house import eventually

SERVICE = "monitor"


def settings_for(server: Nats) -> Settings:
    return Settings(database_url=SecretStr(""), nats_url=server.url, stream_deny_delete=False)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Nats]:
    server = Nats.at(tmp_path, port=free_port())
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def js(server: Nats) -> AsyncIterator[JetStreamContext]:
    """A look past the bus, straight at the server; made anew where it was started anew."""
    client = await nats.connect(server.url, max_reconnect_attempts=-1)
    yield client.jetstream()
    await client.close()


@asynccontextmanager
async def connected(server: Nats) -> AsyncIterator[NatsBus]:
    bus = NatsBus(settings_for(server), "tests")
    bus.start()
    await eventually(lambda: _is(bus.connected))
    try:
        yield bus
    finally:
        await bus.close()


async def _is(value: Any) -> Any:
    return value


@pytest_asyncio.fixture(params=["memory", "nats"], loop_scope="session")
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryBus()
        return
    async with connected(request.getfixturevalue("server")) as bus:
        yield bus


async def publish(bus: Bus, text: str, *, id: str | None = None, **headers: str) -> None:
    given = {MESSAGE_ID: id} if id else {}
    names = {"last_number": EXPECTED_LAST_SEQUENCE, "epoch": EPOCH}
    await bus.publish(
        f"evt.nl.kapstok-{SERVICE}.round-opened.v1.{uuid4()}",
        text.encode(),
        given | {names[name]: value for name, value in headers.items()},
    )


async def read(inbox: Inbox, count: int) -> list[Message]:
    """The next messages, each acknowledged; fails where they do not come."""
    found: list[Message] = []

    async def come() -> bool:
        found.extend(await inbox.fetch(count - len(found), 0.2))
        return len(found) >= count

    await eventually(come)
    for message in found:
        await message.ack()
    return found


def texts(messages: list[Message]) -> list[str]:
    return [message.payload.decode() for message in messages]


# --- publishing ------------------------------------------------------------------------------------------------


async def test_a_new_stream_is_empty(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    assert await bus.last(SERVICE) is None
    assert await bus.last_number(SERVICE) == 0


async def test_a_stream_that_is_there_is_left_as_it_is(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    await publish(bus, "first")
    await bus.ensure_stream(SERVICE)
    assert await bus.last_number(SERVICE) == 1


async def test_the_last_message_comes_back_as_it_was_published(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    await publish(bus, "first", id="a")
    await publish(bus, "sécond", id="b", epoch="e")
    last = await bus.last(SERVICE)
    assert last is not None
    assert (last.payload.decode(), last.number) == ("sécond", 2)
    assert (last.headers[MESSAGE_ID], last.headers[EPOCH]) == ("b", "e")
    assert last.subject.startswith("evt.nl.kapstok-monitor.round-opened.v1.")


async def test_without_its_stream_nothing_can_be_published(bus: Bus) -> None:
    with pytest.raises(BusUnavailable):
        await publish(bus, "first")


async def test_a_publish_that_expects_a_number_is_stored_after_it_and_nowhere_else(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    with pytest.raises(BusRefused):
        await publish(bus, "ahead", id="z", last_number="1")
    await publish(bus, "first", id="a", last_number="0")
    with pytest.raises(BusRefused):
        await publish(bus, "stale", id="b", last_number="0")
    with pytest.raises(BusRefused):
        await publish(bus, "a hole", id="c", last_number="2")
    assert await bus.last_number(SERVICE) == 1


async def test_the_same_message_again_is_acknowledged_and_not_stored(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    await publish(bus, "first", id="a")
    await publish(bus, "second", id="b", last_number="1")
    await publish(bus, "first", id="a", last_number="2")
    await publish(bus, "second", id="b", last_number="2")
    with pytest.raises(BusRefused):
        await publish(bus, "second", id="b", last_number="1")
    assert await bus.last_number(SERVICE) == 2


async def test_messages_without_an_id_are_never_taken_for_the_same(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    await publish(bus, "first")
    await publish(bus, "first")
    assert await bus.last_number(SERVICE) == 2


async def test_many_in_flight_are_stored_in_order(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    await asyncio.gather(
        *(publish(bus, str(number), id=f"id-{number}", last_number=str(number)) for number in range(100))
    )
    assert texts(await read(bus.inbox(SERVICE, "reader"), 100)) == [str(number) for number in range(100)]


async def test_two_services_have_streams_of_their_own(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    await bus.ensure_stream("programme")
    await publish(bus, "first")
    assert await bus.last("programme") is None


# --- reading ---------------------------------------------------------------------------------------------------


async def test_an_inbox_brings_everything_in_order_also_from_before_it_was_there(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    await publish(bus, "first")
    inbox = bus.inbox(SERVICE, "reader")
    await publish(bus, "second")
    messages = await read(inbox, 2)
    assert texts(messages) == ["first", "second"]
    assert [message.number for message in messages] == [1, 2]


async def test_an_inbox_brings_no_more_than_asked_for(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    for text in "abc":
        await publish(bus, text)
    inbox = bus.inbox(SERVICE, "reader")
    assert texts(await inbox.fetch(2, 1)) == ["a", "b"]
    assert texts(await inbox.fetch(2, 1)) == ["c"]


async def test_when_nothing_comes_a_fetch_ends_with_nothing(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    async with asyncio.timeout(2):
        assert await bus.inbox(SERVICE, "reader").fetch(10, 0.1) == []


async def test_a_waiting_fetch_wakes_for_the_first_message(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    inbox = bus.inbox(SERVICE, "reader")
    await inbox.fetch(1, 0.05)
    waiting = asyncio.create_task(inbox.fetch(200, 5))
    await asyncio.sleep(0.05)
    await publish(bus, "first")
    async with asyncio.timeout(1):
        assert texts(await waiting) == ["first"]


async def test_two_names_read_apart_and_one_name_goes_on_where_it_was(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    await publish(bus, "first")
    await publish(bus, "second")
    assert texts(await read(bus.inbox(SERVICE, "reporting_progress"), 1)) == ["first"]
    assert texts(await read(bus.inbox(SERVICE, "programme_known"), 2)) == ["first", "second"]
    assert texts(await read(bus.inbox(SERVICE, "reporting_progress"), 1)) == ["second"]


async def test_an_inbox_of_a_stream_that_is_not_there_is_unavailable_until_it_is(bus: Bus) -> None:
    inbox = bus.inbox(SERVICE, "reader")
    with pytest.raises(BusUnavailable):
        await inbox.fetch(1, 0.1)
    await bus.ensure_stream(SERVICE)
    await publish(bus, "first")
    assert texts(await read(inbox, 1)) == ["first"]


async def test_a_bus_that_was_closed_is_unavailable(bus: Bus) -> None:
    await bus.ensure_stream(SERVICE)
    inbox = bus.inbox(SERVICE, "reader")
    await bus.close()
    assert not bus.connected
    with pytest.raises(BusUnavailable):
        await publish(bus, "first")
    with pytest.raises(BusUnavailable):
        await bus.last(SERVICE)
    with pytest.raises(BusUnavailable):
        await bus.ensure_stream(SERVICE)
    with pytest.raises(BusUnavailable):
        await inbox.fetch(1, 0.1)


# --- NATS when it fails ----------------------------------------------------------------------------------------


@pytest_asyncio.fixture(loop_scope="session")
async def nats_bus(server: Nats) -> AsyncIterator[NatsBus]:
    async with connected(server) as bus:
        await bus.ensure_stream(SERVICE)
        yield bus


async def test_a_consumer_that_was_deleted_is_bound_again(nats_bus: NatsBus, js: JetStreamContext) -> None:
    inbox = nats_bus.inbox(SERVICE, "reader")
    await publish(nats_bus, "first")
    await read(inbox, 1)
    await js.delete_consumer(stream(SERVICE), "reader")
    await publish(nats_bus, "second")

    async def comes() -> bool:
        try:
            return "second" in texts(await inbox.fetch(10, 0.2))
        except BusUnavailable:
            return False

    await eventually(comes)


async def test_a_stream_that_was_deleted_is_unavailable_and_can_be_made_again(
    nats_bus: NatsBus, js: JetStreamContext
) -> None:
    inbox = nats_bus.inbox(SERVICE, "reader")
    await publish(nats_bus, "first", id="a")
    await read(inbox, 1)
    await js.delete_stream(stream(SERVICE))
    assert await nats_bus.last(SERVICE) is None
    with pytest.raises(BusUnavailable):
        await publish(nats_bus, "second", id="b", last_number="1")
    await nats_bus.ensure_stream(SERVICE)
    await publish(nats_bus, "first", id="a", last_number="0")

    async def comes() -> bool:
        try:
            return "first" in texts(await inbox.fetch(10, 0.2))
        except BusUnavailable:
            return False

    await eventually(comes)


async def test_a_purged_stream_has_no_last_message_but_goes_on_counting(
    nats_bus: NatsBus, js: JetStreamContext
) -> None:
    await publish(nats_bus, "first")
    await js.purge_stream(stream(SERVICE))
    assert await nats_bus.last(SERVICE) is None
    assert await nats_bus.last_number(SERVICE) == 1


async def test_a_server_that_was_gone_is_found_again(nats_bus: NatsBus, server: Nats) -> None:
    await publish(nats_bus, "first", id="a")
    server.stop()
    await eventually(lambda: _is(not nats_bus.connected))
    with pytest.raises(BusUnavailable):
        await nats_bus.last(SERVICE)
    server.start()
    await eventually(lambda: _is(nats_bus.connected))
    last = await nats_bus.last(SERVICE)
    assert last is not None and last.payload == b"first"
    await publish(nats_bus, "second", id="b", last_number="1")


async def test_starting_does_not_wait_for_a_server_that_is_not_there(tmp_path: Path) -> None:
    server = Nats.at(tmp_path, port=free_port())
    bus = NatsBus(settings_for(server), "tests")
    bus.start()
    with pytest.raises(BusUnavailable):
        await bus.ensure_stream(SERVICE)
    server.start()
    await eventually(lambda: _is(bus.connected))
    await bus.close()
    server.stop()


async def test_a_stream_is_made_to_last(server: Nats, js: JetStreamContext) -> None:
    """File storage, oldest out first, nothing deleted or purged from outside."""
    made = NatsBus(settings_for(server).model_copy(update={"stream_deny_delete": True}), "tests")
    made.start()
    await eventually(lambda: _is(made.connected))
    await made.ensure_stream(SERVICE)
    config = (await js.stream_info(stream(SERVICE))).config
    assert (config.storage, config.retention, config.discard) == ("file", "limits", "old")
    assert (config.deny_delete, config.deny_purge) == (True, True)
    assert config.subjects == ["evt.nl.kapstok-monitor.>"]
    assert (config.duplicate_window, config.max_age) == (120, 30 * 86_400)
    await made.close()
