"""The database under the services: connections cut, the server crashed, the power lost."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.embedded import Postgres, free_port
from deploy.stack import PORTS, Stack
from tests.faults.conftest import Measured
from tests.faults.writing import Client, has_written, nothing_lost, writing
from tests.house import eventually

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]

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
    assert slowest < 5
    seen = f"crashed 3 times, {client.statuses['503']} times 503, writing again within {slowest:.1f} s"
    measured(f"{seen}; {await nothing_lost(stack, client, moments=10)}")


async def refuses(client: Client, count: int) -> bool:
    return client.statuses["503"] >= count


# --- power loss ----------------------------------------------------------------------------------------------------


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")


@dataclass
class Disk:
    """A file system of its own in an image file, which can lose what was not yet on it."""

    folder: Path
    image: Path

    @property
    def mounted(self) -> Path:
        return self.folder / "mounted"

    def mount(self) -> None:
        # Its journal is written when something asks to sync, and not because five seconds are over.
        run("mount", "-o", "loop,commit=300", str(self.image), str(self.mounted))

    def unmount(self) -> None:
        if os.path.ismount(self.mounted):
            run("umount", str(self.mounted))

    async def unmounted(self) -> bool:
        """Not at once after a kill: its last processes may still be ending."""
        with contextlib.suppress(RuntimeError):
            self.unmount()
        return not os.path.ismount(self.mounted)

    def copied(self) -> Path:
        """What stands on the disk at this moment, without what the system still keeps in memory."""
        copy = self.folder / "copy.img"
        run("cp", "--sparse=always", str(self.image), str(copy))
        return copy


@contextlib.contextmanager
def disk() -> Iterator[Disk]:
    """Skips where nothing may be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="kapstok-disk-", dir="/var/tmp"))
    folder.chmod(0o755)
    made = Disk(folder, folder / "disk.img")
    try:
        made.mounted.mkdir()
        with made.image.open("wb") as image:
            image.truncate(768 << 20)
        try:
            run("mkfs.ext4", "-q", "-F", str(made.image))
            made.mount()
        except (OSError, RuntimeError) as error:
            pytest.skip(f"could not be made here: no permission to mount ({error})")
        try:
            yield made
        finally:
            made.unmount()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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


def processes_of(server: Postgres) -> list[int]:
    """The postmaster and its children."""
    assert server.process is not None
    mother = server.process.pid
    found = [mother]
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = status.read_text().rpartition(")")[2].split()[1]
            if int(parent) == mother:
                found.append(int(status.parent.name))
    return found


@contextlib.contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """The server does nothing more from here; afterwards it is gone, all at once."""
    stopped: list[int] = []
    try:
        while missing := [pid for pid in processes_of(server) if pid not in stopped]:
            for pid in missing:
                send(pid, signal.SIGSTOP)
                stopped.append(pid)
        yield
    finally:
        for pid in stopped:
            send(pid, signal.SIGKILL)


def send(pid: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)


@pytest.mark.row(19)
async def test_when_the_database_loses_power_nothing_is_lost(tmp_path: Path, measured: Measured) -> None:
    """Frozen at one moment, so that nothing is acknowledged after the copy; then killed, and started on the copy."""
    with disk() as made:
        async with stack_on(made, tmp_path) as stack:
            server = stack.postgres
            client = Client(stack, "power", services=BOTH)
            async with writing(client):
                await eventually(lambda: has_written(client, 60), 20)
                with frozen(server):
                    acknowledged = client.count
                    copy = await asyncio.to_thread(made.copied)
                assert server.process is not None
                await asyncio.to_thread(server.process.wait, 10)
                await eventually(made.unmounted)
                assert client.count - acknowledged <= 4, "only what had been committed is still answered"
                made.image = copy
                made.mount()
                await asyncio.to_thread(server.start)
                so_far = client.count
                await eventually(lambda: has_written(client, so_far + 20), 20)
            seen = f"{acknowledged} acknowledged when the power went"
            measured(f"{seen}; {await nothing_lost(stack, client, moments=10)}")
