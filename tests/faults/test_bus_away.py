"""The bus is away, freezes, answers nothing, or has no room: writes go on, and views follow by the owners' feeds."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest
import pytest_asyncio

from deploy.embedded import LOOPBACK, Nats, free_port
from tests.faults import bus
from tests.faults.conftest import SLACK, Measured
from tests.faults.disks import fill, small_disk
from tests.faults.proxy import Mode, Proxy
from tests.faults.standing import stored_once_and_in_order
from tests.faults.writing import Client, heads, nothing_lost, writing
from tests.house import Builder, House, eventually

pytestmark = pytest.mark.fault

AWAY = 65.0 if "FAULTS_REPORT" in os.environ else 4.0
"""Seconds; a client that gives up after 60 tries would do so within a minute."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    async with builder.house() as house:
        yield house


async def follows(house: House) -> None:
    """What was written before now is shown soon, whatever the bus does."""
    ends = await heads(house)

    async def there() -> bool:
        shown = await bus.followed(house)
        return all(shown[service[0]] >= head["sequence"] for service, head in ends.items())

    await eventually(there, 5)


@pytest.mark.row(25)
async def test_while_the_bus_is_away_writes_go_on_and_views_follow_by_feed(house: House, measured: Measured) -> None:
    client = Client(house, "away", pause=0.02)
    async with writing(client):
        await bus.more(client)
        await asyncio.to_thread(house.nats.stop)
        started, so_far = monotonic(), client.count
        while monotonic() - started < AWAY:
            await asyncio.sleep(1)
            await follows(house)
        meanwhile = client.count - so_far
        await bus.start(house.nats)
        started = monotonic()
        await bus.published(house)
        drained = monotonic() - started
    assert meanwhile > 10 * AWAY
    assert not {"500", "503"} & set(client.statuses), client.statuses
    await stored_once_and_in_order(house)
    seen = f"away {AWAY:.0f} s, {meanwhile} written and shown meanwhile, on the bus {drained:.1f} s after its return"
    measured(f"{seen}; {await nothing_lost(house, client)}")


@pytest.mark.row(32)
async def test_when_the_bus_freezes_it_is_noticed_and_writes_go_on(house: House, measured: Measured) -> None:
    client = Client(house, "frozen", pause=0.02)
    assert house.nats.process is not None

    async def noticed() -> bool:
        found = (await house.client.get(f"{house.url('reporting')}/health/detail")).json()["views"]["progress"]
        relay = (await house.client.get(f"{house.url('programme')}/health/detail")).json()["outbox"]
        return relay["oldestWaitsSeconds"] > 1 and not found["programme"]["busAnswers"]

    async with writing(client):
        await bus.more(client)
        house.nats.process.send_signal(signal.SIGSTOP)
        try:
            started, so_far = monotonic(), client.count
            await eventually(noticed, 8)
            took = monotonic() - started
            await follows(house)
            meanwhile = client.count - so_far
        finally:
            house.nats.process.send_signal(signal.SIGCONT)
        await bus.published(house)
    assert took < 5 * SLACK and meanwhile > 20
    assert not {"500", "503"} & set(client.statuses), client.statuses
    count = await stored_once_and_in_order(house)
    seen = f"noticed after {took:.1f} s, {meanwhile} written and shown meanwhile; {count} messages, {count} ids"
    measured(f"{seen}; {await nothing_lost(house, client)}")


@pytest.mark.row(33)
@pytest.mark.parametrize("way", [Mode.NO_ANSWERS, Mode.BLACK_HOLE])
async def test_when_acknowledgements_get_lost_nothing_is_stored_twice_and_nothing_is_missing(
    way: Mode, builder: Builder, measured: Measured
) -> None:
    proxy = Proxy(0)
    own = {"programme": {"nats_url": f"nats://{LOOPBACK}:{proxy.port}"}}
    async with proxy, builder.house("recommendations", own=own) as house:
        proxy.target = house.nats.port
        await house.start("programme", "monitor", "reporting")
        client = Client(house, "deaf", pause=0.005)
        async with writing(client):
            for _ in range(3):
                await bus.more(client, 30)
                proxy.mode = way
                await bus.more(client, 30)
                await asyncio.sleep(0.5)
                proxy.cut()
                proxy.mode = Mode.PASS
            await bus.more(client)
        count = await stored_once_and_in_order(house)
        measured(f"deaf 3 times; {count} messages, {count} ids; {await nothing_lost(house, client)}")


@pytest.mark.row(55)
async def test_when_the_disk_of_the_bus_is_full_writes_go_on_and_views_follow_by_feed(
    builder: Builder, tmp_path: Path, measured: Measured
) -> None:
    server = Nats.at(tmp_path, port=free_port())
    server.home.mkdir(parents=True)
    with small_disk(server.home, 24):
        async with builder.house(bus=server, stream_max_bytes=4 << 20) as house:
            try:
                client = Client(house, "full", pause=0.01)
                async with writing(client):
                    await bus.more(client)
                    await bus.published(house)
                    ballast = await asyncio.to_thread(fill, server.home)
                    await eventually(lambda: backlog(house))
                    so_far = client.count
                    await bus.more(client, 60)
                    await follows(house)
                    meanwhile = client.count - so_far
                    ballast.unlink()
                    await asyncio.to_thread(server.stop)
                    await bus.start(server)
                    await bus.published(house)
                assert not {"500", "503"} & set(client.statuses), client.statuses
                await stored_once_and_in_order(house)
                measured(f"{meanwhile} written and shown while it was full; {await nothing_lost(house, client)}")
            finally:
                await house.stop()
                server.stop()


async def backlog(house: House) -> bool:
    found = (await house.client.get(f"{house.url('programme')}/health/detail")).json()["outbox"]
    return bool(found["oldestWaitsSeconds"] > 1)


@pytest.mark.row(57)
async def test_without_a_bus_services_start_and_are_written_to(house: House, measured: Measured) -> None:
    await house.stop()
    await asyncio.to_thread(house.nats.stop)
    await house.start()
    client = Client(house, "alone")
    async with writing(client):
        await bus.more(client, 30)
        await follows(house)
        meanwhile = client.count
        await bus.start(house.nats)
        await bus.published(house)
    await stored_once_and_in_order(house)
    measured(f"ready; {meanwhile} written and shown without it; {await nothing_lost(house, client)}")
