"""What the bus holds is lost: all of it, the last hours, a block, a message, a consumer; and the power under it."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import httpx
import pytest
import pytest_asyncio
from nats.js import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from deploy.embedded import LOOPBACK, Nats, end, free_port, spawn, until
from deploy.stack import ROOT
from shared.events.event import stream
from tests.faults import bus
from tests.faults.conftest import SLACK, Measured
from tests.faults.disks import Disk, disk, frozen, run
from tests.faults.proxy import Mode, Proxy
from tests.faults.standing import stored
from tests.faults.writing import Client, caught_up, nothing_lost, shown, writing
from tests.house import Builder, House, eventually

pytestmark = pytest.mark.fault


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    """A house whose readers ask heads so seldom that one sees what comes over the bus."""
    async with builder.house(head_check_seconds=bus.SELDOM) as house:
        yield house


@pytest.mark.row(27)
async def test_when_all_data_of_the_bus_is_lost_under_a_reader_views_are_exact_and_fresh_facts_flow(
    house: House, measured: Measured
) -> None:
    before = await bus.made(house)
    client = Client(house, "lost")
    async with writing(client):
        for _ in range(3):
            await bus.more(client)
            await bus.kill(house.nats)
            house.nats.lose_everything()
            await bus.more(client)
            await bus.start(house.nats)
    slowest = await bus.flows(house)
    assert await bus.made(house) == before, "no view was made again"
    measured(f"lost 3 times; {await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")


@pytest.mark.row(28)
async def test_when_all_data_of_the_bus_is_lost_while_the_reader_is_down_views_are_exact_and_fresh_facts_flow(
    house: House, measured: Measured
) -> None:
    before = await bus.made(house)
    client = Client(house, "lost-unseen")
    async with writing(client):
        await bus.more(client)
        await house.stop("reporting")
        await bus.more(client)
        await bus.kill(house.nats)
        house.nats.lose_everything()
        await bus.start(house.nats)
        await bus.more(client)
        await house.start("reporting")
    slowest = await bus.flows(house)
    assert await bus.made(house) == before
    measured(f"{await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")


@pytest.mark.row(29)
@pytest.mark.parametrize("reader", ["up", "down"])
async def test_when_an_older_copy_of_the_bus_is_put_back_it_heals_without_a_rebuild(
    reader: str, house: House, tmp_path: Path, measured: Measured
) -> None:
    before = await bus.made(house)
    client = Client(house, f"older-{reader}")
    async with writing(client):
        await bus.more(client)
        copy = await bus.copied(house.nats, tmp_path / "copy")
        await bus.more(client, 40)
        if reader == "down":
            await house.stop("reporting")
        await bus.kill(house.nats)
        await bus.put_back(house.nats, copy)
        await bus.more(client)
        await bus.start(house.nats)
        if reader == "down":
            await house.start("reporting")
    slowest = await bus.flows(house)
    assert await bus.made(house) == before
    measured(f"{await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")


@pytest.mark.row(30)
@pytest.mark.parametrize("where", [0.02, 0.5, 0.98])
async def test_when_a_block_of_its_disk_is_damaged_it_heals(where: float, house: House, measured: Measured) -> None:
    before = await bus.made(house)
    client = Client(house, f"damaged-{int(where * 100)}")
    async with writing(client):
        await bus.more(client, 40)
        await bus.published(house)
        await bus.kill(house.nats)
        block = max(house.nats.home.glob("store/**/EVT_PROGRAMME/msgs/*.blk"), key=lambda found: found.stat().st_size)
        held = bytearray(block.read_bytes())
        place = int(len(held) * where)
        held[place : place + 64] = bytes(byte ^ 0xFF for byte in held[place : place + 64])
        block.write_bytes(held)
        await bus.start(house.nats)
        await bus.more(client)
    slowest = await bus.flows(house)
    assert await bus.made(house) == before
    seen = f"64 bytes of {len(held)} flipped at {where:.0%}"
    measured(f"{seen}; {await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")


# --- power -----------------------------------------------------------------------------------------------------


def on(disk: Disk) -> Nats:
    """A server that keeps its data on that disk."""
    run("sync", "-f", str(disk.mounted))
    return Nats(disk.mounted / "nats", free_port(), disk.folder / "nats.log")


@pytest.mark.row(31)
@pytest.mark.parametrize("stream_is", ["settled", "young"])
async def test_when_the_bus_loses_power_nothing_is_lost(stream_is: str, builder: Builder, measured: Measured) -> None:
    """What it acknowledged is on the disk; but the definition of a stream that was just made may not be."""
    with disk() as made:
        server = on(made)
        async with builder.house(bus=server, head_check_seconds=bus.SELDOM, stream_max_bytes=64 << 20) as house:
            try:
                client = Client(house, "power")
                async with writing(client):
                    await bus.more(client, 5)
                    await eventually(lambda: sent(house), 20)
                    if stream_is == "settled":
                        run("sync", "-f", str(made.mounted))
                    await bus.more(client, 60)
                    acknowledged = await sent(house)
                    with frozen(server.process):
                        copy = await asyncio.to_thread(made.copied)
                    assert server.process is not None
                    await asyncio.to_thread(server.process.wait, 10)
                    await asyncio.to_thread(made.unmount)
                    made.image = copy
                    made.mount()
                    kept = await held(server)
                    await bus.start(server)
                    await bus.more(client)
                slowest = await bus.flows(house)
                assert stream_is == "young" or kept >= acknowledged
                seen = f"{stream_is} stream: {acknowledged} acknowledged when the power went, {kept} on the disk"
                flow = f"fresh facts taken up within {slowest:.2f} s"
                measured(f"{seen}; {await nothing_lost(house, client)}; {flow}")
            finally:
                await house.stop()
                server.stop()


async def held(server: Nats) -> int:
    """How many messages a stopped server has on its disk; looked at where no relay can publish them again."""
    apart = replace(server, port=free_port())
    await bus.start(apart)
    try:
        return len(await stored(apart))
    finally:
        await asyncio.to_thread(apart.stop)


async def sent(house: House) -> int:
    """How far the relay knows that the stream goes; 0 until it knows."""
    relay = house.running["programme"].service.relay
    assert relay is not None
    return relay.sent or 0


@pytest.mark.row(31)
async def test_the_bus_that_containers_run_writes_to_disk_before_it_acknowledges(
    tmp_path: Path, measured: Measured
) -> None:
    """Asked of a server that was started with the containers' configuration, but for the place of its data."""
    port, monitor = free_port(), free_port()
    given = (ROOT / "deploy" / "nats" / "nats.conf").read_text()
    config = tmp_path / "nats.conf"
    config.write_text(given.replace('"/data"', f'"{tmp_path}/store"'))
    server = Path(sys.executable).parent / "nats-server"
    log = tmp_path / "nats.log"
    process = spawn([str(server), "-c", str(config), "-a", LOOPBACK, "-p", str(port), "-m", str(monitor)], log)
    try:
        url = f"http://{LOOPBACK}:{monitor}"
        until(lambda: _answers(url), "nats-server", process, log)
        found = httpx.get(f"{url}/varz").json()["jetstream"]["config"]
    finally:
        end(process)
    assert found["sync_always"] is True
    measured("its /varz says sync_always")


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


# --- messages, streams, consumers ------------------------------------------------------------------------------


@pytest.mark.row(34)
async def test_when_messages_are_deleted_and_streams_purged_or_made_anew_it_heals(
    house: House, measured: Measured
) -> None:
    before = await bus.made(house)
    client = Client(house, "deleted")
    chance = random.Random(20181019)
    deleted = 0
    async with writing(client), bus.connected(house) as js:
        for what in ("deleted", "purged", "made anew", "deleted", "purged", "made anew"):
            await bus.more(client)
            await eventually(lambda: _has_stream(js))
            if what == "purged":
                await js.purge_stream(bus.name_of())
            elif what == "made anew":
                await js.delete_stream(bus.name_of())
            else:
                state = (await js.stream_info(bus.name_of())).state
                for number in chance.sample(range(state.first_seq, state.last_seq + 1), min(10, state.messages)):
                    try:
                        deleted += await js.delete_msg(bus.name_of(), number)
                    except APIError:
                        continue  # it was gone before
    slowest = await bus.flows(house)
    assert await bus.made(house) == before
    seen = f"{deleted} messages deleted, the stream purged twice and deleted twice"
    measured(f"{seen}; {await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")


@pytest.mark.row(35)
async def test_when_the_last_message_is_lost_and_nothing_follows_the_reader_finds_out(
    builder: Builder, measured: Measured
) -> None:
    """Given to a reader that never got it, then gone from the stream: only the owner's head tells."""
    proxy = Proxy(0)
    own = {"reporting": {"nats_url": f"nats://{LOOPBACK}:{proxy.port}", "head_check_seconds": 1.0}}
    async with proxy, builder.house("programme", own=own) as house:
        proxy.target = house.nats.port
        await house.start("recommendations", "monitor", "reporting")
        client = Client(house, "last")
        longest = 0.0
        async with httpx.AsyncClient(timeout=15) as writer, bus.connected(house) as js:
            await client.write(writer, "last-before")
            await caught_up(house)
            for number in range(3):
                proxy.mode = Mode.NO_ANSWERS
                await client.write(writer, f"last-{number}")
                started = monotonic()
                await bus.published(house)
                await js.purge_stream(stream("programme"))
                await caught_up(house, 5)
                longest = max(longest, monotonic() - started)
                proxy.cut()
                proxy.mode = Mode.PASS
        assert longest < 2.0 * SLACK
        assert "last-2" in await shown(house, "programme")
        measured(f"3 times the last of a stream; found out within {longest:.1f} s; {await nothing_lost(house, client)}")


@pytest.mark.row(36)
async def test_when_its_consumer_is_deleted_a_reader_binds_again(house: House, measured: Measured) -> None:
    before = await bus.made(house)
    client = Client(house, "unbound")
    async with writing(client), bus.connected(house) as js:
        longest = 0.0
        for _ in range(3):
            await bus.more(client)
            await eventually(lambda: _has_consumer(js))
            await js.delete_consumer(bus.name_of(), bus.READER)
            started = monotonic()
            await eventually(lambda: _has_consumer(js))
            longest = max(longest, monotonic() - started)
    slowest = await bus.flows(house)
    assert await bus.made(house) == before
    seen = f"deleted 3 times, bound again within {longest:.2f} s"
    measured(f"{seen}; {await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")


async def _has_stream(js: JetStreamContext) -> bool:
    try:
        return (await js.stream_info(bus.name_of())).state.messages > 0
    except NotFoundError:
        return False


async def _has_consumer(js: JetStreamContext) -> bool:
    try:
        return (await js.consumer_info(bus.name_of(), bus.READER)).name == bus.READER
    except NotFoundError:
        return False


@pytest.mark.row(39)
async def test_what_went_by_age_before_it_was_read_comes_from_the_feed(house: House, measured: Measured) -> None:
    client = Client(house, "aged")
    async with bus.connected(house) as js:
        config = (await js.stream_info(bus.name_of())).config
        await house.stop("reporting")
        await js.update_stream(config.evolve(max_msgs=10))
        async with writing(client):
            await bus.more(client, 60)
        head = await bus.published(house)
        state = (await js.stream_info(bus.name_of())).state
        assert state.messages == 10
        await house.start("reporting")
        found = await nothing_lost(house, client)
        await js.update_stream(config)
    slowest = await bus.flows(house)
    measured(f"10 messages left of {head}; {found}; fresh facts taken up within {slowest:.2f} s")
