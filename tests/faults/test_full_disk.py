"""The owner's disk is full: what cannot be kept is not acknowledged, and nothing that was acknowledged is lost."""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.embedded import Postgres
from tests.faults.conftest import Measured, running_stack
from tests.faults.writing import Client, has_written, nothing_lost, writing
from tests.house import eventually

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]


@contextlib.contextmanager
def small_disk(postgres: Postgres, megabytes: int) -> Iterator[None]:
    """Let a stopped server's data stand on a file system of its own, of this size. Skips where none can be mounted."""
    aside = postgres.data.with_name(postgres.data.name + "-aside")
    postgres.data.rename(aside)
    postgres.data.mkdir(mode=0o700)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(postgres.data)]
    mounted = False
    try:
        done = subprocess.run(mounting, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"could not be made here: no permission to mount ({done.stderr.strip()})")
        mounted = True
        subprocess.run(["cp", "-a", f"{aside}/.", str(postgres.data)], check=True)
        yield
    finally:
        postgres.stop()
        if mounted:
            subprocess.run(["umount", str(postgres.data)], check=True)
        shutil.rmtree(aside, ignore_errors=True)


def fill(disk: Path) -> Path:
    """Take up all room that is left."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * 65_536):
            pass
    return ballast


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
        with small_disk(stack.postgres, 200):
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
