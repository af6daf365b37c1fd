"""From the outbox to the bus: in order, byte for byte, and again after any loss."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from pydantic import SecretStr
from sqlalchemy import text

from deploy.embedded import Nats, Postgres, free_port
from shared import outbox
from shared.bus import CHAIN, EPOCH, EXPECTED_LAST_SEQUENCE, MESSAGE_ID, SEQUENCE, Message, NatsBus
from shared.database import engine
from shared.events.event import stream
from shared.relay import IN_FLIGHT, Relay, Sent
from shared.settings import Settings
from tests.house import Builder, eventually
from tests.shared.facts import SOURCE
from tests.shared.test_outbox import Writer, rescheduled

SERVICE = "programme"


@dataclass
class Owner:
    """One service's outbox, a bus, and the relays between them."""

    writer: Writer
    server: Nats
    bus: NatsBus
    client: Client
    settings: Settings
    relays: list["asyncio.Task[None]"] = field(default_factory=list)

    async def tell(self, count: int = 1) -> int:
        return await self.writer.tell(*[rescheduled() for _ in range(count)]) or 0

    async def epoch(self) -> str:
        async with self.writer() as session:
            return str((await outbox.end(session)).epoch)

    def relay(self) -> Relay:
        """A new replica's relay, running."""
        relay = Relay(self.writer.engine, self.bus, SERVICE, self.settings)
        self.relays.append(asyncio.create_task(relay.run()))
        return relay

    async def stop(self) -> None:
        while self.relays:
            task = self.relays.pop()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def stored(self) -> list[Message]:
        """Everything that stands in the stream now."""
        js = self.client.jetstream()
        try:
            count = (await js.stream_info(stream(SERVICE))).state.messages
        except NotFoundError:
            return []
        if count == 0:
            return []
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
        reader = await js.pull_subscribe("", stream=stream(SERVICE), config=config)
        raws = await reader.fetch(count, timeout=2)
        while len(raws) < count:
            raws += await reader.fetch(count - len(raws), timeout=2)
        await reader.unsubscribe()
        return [Message(raw.subject, raw.data, raw.headers or {}, raw.metadata.sequence.stream) for raw in raws]

    async def sequences(self) -> list[int]:
        return [int(message.headers[SEQUENCE]) for message in await self.stored() if SEQUENCE in message.headers]

    async def holds(self, *sequences: int) -> None:
        """Wait until exactly these stand in the stream, in this order."""

        async def seen() -> bool:
            assert await self.sequences() == list(sequences)
            return True

        await eventually(seen, 8)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Nats]:
    server = Nats.at(tmp_path, port=free_port())
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def owner(builder: Builder, postgres: Postgres, server: Nats) -> AsyncIterator[Owner]:
    settings = Settings(
        database_url=SecretStr(postgres.url(SERVICE, "kapstok", await builder.database(SERVICE))),
        nats_url=server.url,
        stream_deny_delete=False,
        relay_poll_seconds=0.05,
    )
    made = engine(settings)
    bus = NatsBus(settings, "tests")
    bus.start()
    client = Client()
    await client.connect(server.url, reconnect_time_wait=0, max_reconnect_attempts=-1)
    owner = Owner(Writer(made), server, bus, client, settings)
    yield owner
    await owner.stop()
    await client.close()
    await bus.close()
    await made.dispose()


# --- in order --------------------------------------------------------------------------------------------------


async def test_the_stream_holds_the_outbox_in_order_and_byte_for_byte(owner: Owner) -> None:
    count = 2 * IN_FLIGHT + 10
    await owner.tell(count)
    relay = owner.relay()
    await owner.holds(*range(1, count + 1))
    log, epoch = await owner.writer.log(), await owner.epoch()
    messages = await owner.stored()
    assert [message.payload.decode() for message in messages] == [told.event for told in log]
    for message, told in zip(messages, log, strict=True):
        assert message.subject == f"evt.{told.type}.{told.entity}"
        assert message.headers[MESSAGE_ID] == f"{SOURCE.format(SERVICE)}|{told.id}"
        assert (message.headers[EPOCH], message.headers[CHAIN]) == (epoch, told.chain)
        assert message.headers["Content-Type"] == "application/cloudevents+json; charset=UTF-8"
    assert relay.sent == count


async def test_every_message_expects_the_one_before_it(owner: Owner) -> None:
    await owner.tell(3)
    owner.relay()
    await owner.holds(1, 2, 3)
    assert [message.headers.get(EXPECTED_LAST_SEQUENCE) for message in await owner.stored()] == ["0", "1", "2"]


async def test_what_is_written_meanwhile_follows_in_order(owner: Owner) -> None:
    owner.relay()
    await asyncio.gather(*(owner.tell() for _ in range(40)))
    await owner.holds(*range(1, 41))


async def test_a_commit_wakes_the_relay_long_before_its_poll(owner: Owner) -> None:
    owner.settings = owner.settings.model_copy(update={"relay_poll_seconds": 60})
    relay = owner.relay()
    await eventually(lambda: _is(relay.sent == 0))
    await owner.tell()
    relay.wake()
    await owner.holds(1)


async def test_without_a_wake_the_poll_finds_it(owner: Owner) -> None:
    relay = owner.relay()
    await eventually(lambda: _is(relay.sent == 0))
    await owner.tell()
    await owner.holds(1)


async def _is(value: bool) -> bool:
    return value


# --- again after a stop or a loss ------------------------------------------------------------------------------


async def test_a_new_relay_goes_on_after_what_stands_in_the_stream(owner: Owner) -> None:
    await owner.tell(3)
    owner.relay()
    await owner.holds(1, 2, 3)
    await owner.stop()
    await owner.tell(2)
    owner.relay()
    await owner.holds(1, 2, 3, 4, 5)
    assert [message.number for message in await owner.stored()] == [1, 2, 3, 4, 5], "nothing was tried twice"


async def test_what_was_told_while_the_bus_was_down_is_published_once_when_it_is_back(owner: Owner) -> None:
    relay = owner.relay()
    await owner.tell(2)
    await owner.holds(1, 2)
    owner.server.stop()
    await owner.tell(3)
    await eventually(lambda: _is(not relay.leading))
    assert relay.sent == 2, "what it last knew stays known"
    owner.server.start()
    await owner.holds(1, 2, 3, 4, 5)


async def test_a_stream_that_was_deleted_is_made_again_and_filled(owner: Owner) -> None:
    owner.relay()
    await owner.tell(5)
    await owner.holds(1, 2, 3, 4, 5)
    await owner.client.jetstream().delete_stream(stream(SERVICE))
    await owner.tell()
    await owner.holds(1, 2, 3, 4, 5, 6)


async def test_after_the_bus_lost_everything_the_stream_is_filled_from_the_outbox(owner: Owner) -> None:
    relay = owner.relay()
    await owner.tell(5)
    await owner.holds(1, 2, 3, 4, 5)
    owner.server.stop()
    owner.server.lose_everything()
    await eventually(lambda: _is(not owner.bus.connected))
    await owner.tell()
    owner.server.start()
    await owner.holds(1, 2, 3, 4, 5, 6)
    await eventually(lambda: _is(relay.sent == 6))


async def test_a_new_stream_is_filled_with_the_newest_facts_only(owner: Owner) -> None:
    """Older ones are in the feed; a stream is a cache."""
    owner.settings = owner.settings.model_copy(update={"refill": 3})
    await owner.tell(10)
    owner.relay()
    await owner.holds(8, 9, 10)


async def test_after_a_purge_new_facts_flow_at_once(owner: Owner) -> None:
    owner.relay()
    await owner.tell(5)
    await owner.holds(1, 2, 3, 4, 5)
    await owner.client.jetstream().purge_stream(stream(SERVICE))
    await owner.tell()
    await owner.holds(6)
    await owner.stop()
    await owner.client.jetstream().purge_stream(stream(SERVICE))
    owner.relay()
    await owner.tell()
    await owner.holds(7)


# --- what others put in the stream -----------------------------------------------------------------------------


async def forge(owner: Owner, **headers: str) -> None:
    """Another publisher stores a message at the stream's end."""
    subject = f"evt.nl.kapstok-{SERVICE}.action-started.v1.{uuid4()}"
    names = {"epoch": EPOCH, "sequence": SEQUENCE, "chain": CHAIN, "id": MESSAGE_ID}
    given = {names[name]: value for name, value in headers.items()}
    await owner.client.jetstream().publish(subject, b"{}", headers=given)


async def test_after_a_foreign_message_at_the_end_new_facts_flow_at_once(owner: Owner) -> None:
    """The bus refuses what expected another last message; the relay looks again and goes on after that one."""
    owner.relay()
    await owner.tell(3)
    await owner.holds(1, 2, 3)
    await forge(owner, id="foreign")
    await owner.tell()
    await owner.holds(1, 2, 3, 4)


async def test_after_a_foreign_message_without_an_id_new_facts_flow_at_once(owner: Owner) -> None:
    owner.relay()
    await owner.tell(3)
    await owner.holds(1, 2, 3)
    await forge(owner)
    await owner.tell()
    await owner.holds(1, 2, 3, 4)


async def test_an_own_old_message_at_the_end_does_not_hold_up_new_facts(owner: Owner) -> None:
    owner.relay()
    await owner.tell(3)
    await owner.holds(1, 2, 3)
    first = (await owner.stored())[0]
    await forge(owner, epoch=first.headers[EPOCH], sequence="1", chain=first.headers[CHAIN])
    await owner.tell()
    await owner.holds(1, 2, 3, 1, 4)


async def test_a_foreign_message_that_takes_a_number_of_ours_makes_a_hole_and_holds_up_nothing(owner: Owner) -> None:
    """Two are in flight: the first is refused, the second finds the number that it expects. Readers use the feed."""
    owner.relay()
    await owner.tell(3)
    await owner.holds(1, 2, 3)
    await forge(owner, id="foreign")
    await owner.tell(2)
    await owner.holds(1, 2, 3, 5)
    await owner.tell(2)
    await owner.holds(1, 2, 3, 5, 6, 7)


async def test_many_that_the_bus_had_lately_are_passed_over_a_batch_at_a_time(owner: Owner) -> None:
    """The stream was purged and the relay begins anew: all is tried again and left out, then fresh facts follow."""
    count = 4 * IN_FLIGHT
    await owner.tell(count)
    relay = owner.relay()
    await eventually(lambda: _is(relay.sent == count))
    await owner.stop()
    await owner.client.jetstream().purge_stream(stream(SERVICE))
    tried: list[int] = []
    relay = owner.relay()
    forward = relay._forward

    async def counted(sent: Sent) -> int:
        tried.append(sent.sequence)
        return await forward(sent)

    relay._forward = counted  # type: ignore[method-assign]
    await owner.tell(2)
    await owner.holds(count + 1, count + 2)
    assert len([sequence for sequence in tried if sequence < count]) <= 6


async def test_an_event_of_mine_that_my_log_does_not_have_means_the_log_went_back(owner: Owner) -> None:
    await owner.tell(2)
    before = await owner.epoch()
    await owner.bus.ensure_stream(SERVICE)
    await forge(owner, epoch=before, sequence="3", chain="of a fact that was lost", id="lost")
    owner.relay()
    await owner.holds(3, 1, 2)
    after = await owner.epoch()
    assert after != before
    assert [message.headers[EPOCH] for message in await owner.stored()] == [before, after, after]


# --- two relays ------------------------------------------------------------------------------------------------


async def test_a_second_relay_does_not_publish_while_the_first_leads(owner: Owner) -> None:
    first = owner.relay()
    await eventually(lambda: _is(first.leading))
    second = owner.relay()
    for _ in range(10):
        sequence = await owner.tell()
        second.wake()
        await eventually(lambda sequence=sequence: _is(first.sent == sequence))  # type: ignore[misc]
    assert not second.leading and second.sent is None
    await owner.holds(*range(1, 11))


async def test_when_the_first_is_gone_the_second_goes_on(owner: Owner) -> None:
    first = owner.relay()
    await owner.tell(2)
    await eventually(lambda: _is(first.sent == 2))
    second = owner.relay()
    owner.relays[0].cancel()
    await owner.tell(2)
    await owner.holds(1, 2, 3, 4)
    assert second.leading


async def test_a_leader_whose_connection_was_cut_does_not_publish_twice(owner: Owner, postgres: Postgres) -> None:
    first = owner.relay()
    await owner.tell(2)
    await eventually(lambda: _is(first.sent == 2))
    second = owner.relay()
    master = await postgres.connect()
    await master.execute(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and database ="
        " (select oid from pg_database where datname = $1)",
        owner.settings.database_url.get_secret_value().rpartition("/")[2],
    )
    await master.close()
    await owner.tell(3)
    await owner.holds(1, 2, 3, 4, 5)
    assert [first.leading, second.leading].count(True) == 1


async def test_the_message_on_the_bus_is_the_cloudevent_itself(owner: Owner) -> None:
    owner.relay()
    await owner.tell()
    await owner.holds(1)
    async with owner.writer() as session:
        kept = await session.scalar(text("select event from outbox"))
    (message,) = await owner.stored()
    assert message.payload.decode() == kept
    assert json.loads(kept or "")["specversion"] == "1.0"
