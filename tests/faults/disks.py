"""Disks that are full, and disks that lose what was not yet on them when the power went."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


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
        unmount(self.mounted)

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


@contextlib.contextmanager
def small_disk(data: Path, megabytes: int) -> Iterator[None]:
    """Let a stopped server's data stand on a file system of its own, of this size. Skips where none can be mounted.

    The server must be stopped again before the end.
    """
    aside = data.with_name(data.name + "-aside")
    data.rename(aside)
    data.mkdir(mode=0o700)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(data)]
    mounted = False
    try:
        done = subprocess.run(mounting, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"could not be made here: no permission to mount ({done.stderr.strip()})")
        mounted = True
        subprocess.run(["cp", "-a", f"{aside}/.", str(data)], check=True)
        yield
    finally:
        if mounted:
            unmount(data)
        shutil.rmtree(aside, ignore_errors=True)


def unmount(mounted: Path) -> None:
    """Not at once after a kill: the last processes of a server may still be ending."""
    deadline = time.monotonic() + 10
    while os.path.ismount(mounted):
        try:
            run("umount", str(mounted))
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def fill(disk: Path) -> Path:
    """Take up all room that is left."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(b"\0" * 65_536):
            pass
    return ballast


def processes_of(mother: int) -> list[int]:
    """A process and its children."""
    found = [mother]
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            parent = status.read_text().rpartition(")")[2].split()[1]
            if int(parent) == mother:
                found.append(int(status.parent.name))
    return found


@contextlib.contextmanager
def frozen(server: "subprocess.Popen[bytes] | None") -> Iterator[None]:
    """A server does nothing more from here; afterwards it is gone, all at once."""
    assert server is not None
    stopped: list[int] = []
    try:
        while missing := [pid for pid in processes_of(server.pid) if pid not in stopped]:
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
