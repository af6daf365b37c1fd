"""The database under the services: connections cut, the server crashed, the power lost."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.embedded import free_port
from deploy.stack import PORTS, Stack
from tests.faults.conftest import SLACK, Measured
from tests.faults.disks import Disk, disk, frozen, run
from tests.faults.writing import Client, has_written, nothing_lost, writing
from tests.house import eventually

pytestmark = pytest.mark.fault

BOTH = ("programme", "recommendations")


@pytest.mark.row(17)
async def test_when_every_connection_is_cut_again_and_again_nothing_is_lost(stack: Stack, measured: Measured) -> None:
    client = Client(stack, "cut", services=BOTH)
    master = await stack.postgres.connect()
    cut = 0
    async with writing(client):
        for _ in range(8):
            so_far = client.count
            await eventually(lambda so_far=so_far: has_written(client, so_far + 10))  # type: ignore[misc]
            cut += await master.fetchval(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
        so_far, began = client.count, time.monotonic()
        await eventually(lambda: has_written(client, so_far + 10))
        recovered = time.monotonic() - began
    await master.close()
    assert client.statuses["503"] > 0, "some were cut in the middle of a request"
    seen = f"{cut} connections cut in 8 rounds, {client.statuses['503']} times 503, writing again in {recovered:.1f} s"
    measured(f"{seen}; {await nothing_lost(stack, client, moments=10)}")


@pytest.mark.row(18)
async def test_when_the_database_crashes_nothing_is_lost(stack: Stack, measured: Measured) -> None:
    client = Client(stack, "crash", services=BOTH)
    slowest = 0.0
    async with writing(client):
        for _ in range(3):
            so_far = client.count
            await eventually(lambda so_far=so_far: has_written(client, so_far + 15))  # type: ignore[misc]
            postmaster = stack.postgres.process
            assert postmaster is not None
            postmaster.send_signal(signal.SIGQUIT)
            await asyncio.to_thread(postmaster.wait, 20)
            refused = client.statuses["503"]
            await eventually(lambda refused=refused: refuses(client, refused + 4))  # type: ignore[misc]
            await asyncio.to_thread(stack.postgres.start)
            so_far, began = client.count, time.monotonic()
            await eventually(lambda so_far=so_far: has_written(client, so_far + 5), 20)  # type: ignore[misc]
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < 5 * SLACK
    seen = f"crashed 3 times, {client.statuses['503']} times 503, writing again within {slowest:.1f} s"
    measured(f"{seen}; {await nothing_lost(stack, client, moments=10)}")


async def refuses(client: Client, count: int) -> bool:
    return client.statuses["503"] >= count


# --- power loss ----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def stack_on(disk: Disk, home: Path) -> AsyncIterator[Stack]:
    """A stack whose PostgreSQL keeps its data on the disk; the bus keeps its own elsewhere."""
    stack = Stack.at(home, {name: free_port() for name in PORTS})
    run("cp", "-a", str(stack.postgres.data), str(disk.mounted / "postgres"))
    stack.postgres.discard()
    stack.postgres.data = disk.mounted / "postgres"
    run("sync", "-f", str(disk.mounted))
    try:
        await stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.mark.row(19)
async def test_when_the_database_loses_power_nothing_is_lost(tmp_path: Path, measured: Measured) -> None:
    """Frozen at one moment, so that nothing is acknowledged after the copy; then killed, and started on the copy."""
    with disk() as made:
        async with stack_on(made, tmp_path) as stack:
            server = stack.postgres
            client = Client(stack, "power", services=BOTH)
            async with writing(client):
                await eventually(lambda: has_written(client, 60), 20)
                with frozen(server.process):
                    acknowledged = client.count
                    copy = await asyncio.to_thread(made.copied)
                assert server.process is not None
                await asyncio.to_thread(server.process.wait, 10)
                await asyncio.to_thread(made.unmount)
                assert client.count - acknowledged <= 4, "only what had been committed is still answered"
                made.image = copy
                made.mount()
                await asyncio.to_thread(server.start)
                so_far = client.count
                await eventually(lambda: has_written(client, so_far + 20), 20)
            seen = f"{acknowledged} acknowledged when the power went"
            measured(f"{seen}; {await nothing_lost(stack, client, moments=10)}")
