"""What is done to a bus past the services, and how one sees that it was survived without making a view again."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from uuid import uuid4

import httpx
import nats
from nats.js import JetStreamContext

from deploy.embedded import Nats, end
from shared.events.event import stream
from tests.faults.writing import Client, System, heads
from tests.house import House, eventually

OWNER = "programme"
READER = "reporting_progress"
"""The durable name of reporting's place at each stream."""
AT_ONCE = 1.0
"""Seconds; the houses here ask the owners' heads so seldom that only the bus is as quick."""
SELDOM = 3.0


@asynccontextmanager
async def connected(system: System) -> AsyncIterator[JetStreamContext]:
    """A look past the services, straight at the streams."""
    client = await nats.connect(system.nats.url.split(","))
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def kill(server: Nats) -> None:
    await asyncio.to_thread(end, server.process, signal.SIGKILL)


async def start(server: Nats) -> None:
    await asyncio.to_thread(server.start)


async def copied(server: Nats, to: Path) -> Path:
    """The data of a running server as it is on the disk after a stop; it runs again afterwards."""
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(shutil.copytree, server.home / "store", to)
    await start(server)
    return to


async def put_back(server: Nats, copy: Path) -> None:
    """An older copy in the place of a killed server's data."""
    server.lose_everything()
    await asyncio.to_thread(shutil.copytree, copy, server.home / "store")


async def published(system: System, service: str = OWNER) -> int:
    """Wait until all that was told before now is on the bus, whatever is told meanwhile; how far it then goes."""

    async def outbox() -> dict[str, int]:
        async with httpx.AsyncClient(timeout=5) as client:
            return dict((await client.get(f"{system.url(service)}/health/detail")).json()["outbox"])

    head = (await outbox())["head"]

    async def reached() -> int | None:
        found = await outbox()
        return found["published"] + 1 if found["leading"] and found["published"] >= head else None

    return int(await eventually(reached, 20)) - 1


async def followed(house: House) -> dict[str, int]:
    """How far reporting's answers go, by the owner's letter; past a number as well as at it, when others write too."""
    answer = await house.get("/reporting/v1/progress/domains", by=None)
    return {part[0]: int(part[1:]) for part in answer["position"].split(".")}


async def flows(house: House) -> float:
    """Fresh facts reach the reader over the bus, and not because it asks heads: the slowest of five, in seconds."""

    async def taken(sequence: int) -> bool:
        return (await followed(house))[OWNER[0]] >= sequence

    async def at_once() -> float:
        slowest = 0.0
        for _ in range(5):
            code = f"fresh-{uuid4().hex[:12]}"
            await house.post("/programme/v1/partners", {"code": code, "name": {"nl": code}, "kind": "ngo"})
            started, sequence = monotonic(), (await heads(house))[OWNER]["sequence"]
            await eventually(lambda sequence=sequence: taken(sequence), SELDOM + 2)  # type: ignore[misc]
            slowest = max(slowest, monotonic() - started)
        assert slowest < AT_ONCE, f"a fresh fact was taken up after {slowest:.1f} s"
        return slowest

    return float(await eventually(at_once, 20))


async def made(house: House) -> dict[str, tuple[str, str]]:
    """Each publisher's epoch, and which set of rows is live in reporting: what changes when a view is made again."""
    connection = await house.postgres.connect(house.databases["reporting"])
    try:
        live = str(await connection.fetchval("select schema from generation where live and view = 'progress'"))
    finally:
        await connection.close()
    return {owner: (head["epoch"], live) for owner, head in (await heads(house)).items()}


async def more(client: Client, count: int = 20) -> None:
    """Wait until so many further writes were acknowledged."""
    enough = client.count + count

    async def there() -> bool:
        return client.count >= enough

    await eventually(there, 20)


def name_of(service: str = OWNER) -> str:
    return stream(service)
