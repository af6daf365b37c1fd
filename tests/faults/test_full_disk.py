"""The owner's disk is full: what cannot be kept is not acknowledged, and nothing that was acknowledged is lost."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import Postgres
from tests.faults.conftest import Measured, running_stack
from tests.faults.disks import fill, small_disk
from tests.faults.writing import Client, has_written, nothing_lost, writing
from tests.house import eventually

pytestmark = pytest.mark.fault


@contextlib.contextmanager
def stopped_afterwards(postgres: Postgres) -> Iterator[None]:
    try:
        yield
    finally:
        postgres.stop()


async def revived(postgres: Postgres) -> bool:
    """A server that gave up for want of room is started again, as an ops team or its container would."""
    assert postgres.process is not None
    if postgres.process.poll() is not None:
        await asyncio.to_thread(postgres.start)
    return True


@pytest.mark.row(56)
async def test_on_a_full_disk_nothing_is_acknowledged_that_is_not_kept(tmp_path: Path, measured: Measured) -> None:
    async with running_stack(tmp_path) as stack:
        await asyncio.to_thread(stack.postgres.stop)
        with small_disk(stack.postgres.data, 200), stopped_afterwards(stack.postgres):
            await asyncio.to_thread(stack.postgres.start)
            await asyncio.to_thread(stack.wait_ready, "programme")
            client = Client(stack, "full")
            async with writing(client):
                await eventually(lambda: has_written(client, 31))
                ballast = await asyncio.to_thread(fill, stack.postgres.data)
                await eventually(lambda: _refused(client, 20), 40)
                while_full = client.count
                ballast.unlink()
                await revived(stack.postgres)
                await eventually(lambda: has_written(client, while_full + 30), 30)
            found = await nothing_lost(stack, client)
            assert set(client.statuses) <= {"200", "201", "503", "ReadError", "ConnectError", "RemoteProtocolError"}
            measured(f"{client.statuses['503']} times 503 while it was full; {found}")


async def _refused(client: Client, count: int) -> bool:
    return client.statuses["503"] >= count
