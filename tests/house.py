"""A whole Kapstok in the test's own process: real PostgreSQL, a real nats-server, real HTTP, on free ports."""

import asyncio
import contextlib
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import uvicorn
from pydantic import SecretStr

from deploy.embedded import LOOPBACK, Nats, Postgres, free_port
from deploy.issuer import Issuer
from deploy.stack import SERVICES
from services.monitor.app import create_app as monitor
from services.programme.app import create_app as programme
from services.recommendations.app import create_app as recommendations
from services.reporting.app import create_app as reporting
from shared.service import Service
from shared.settings import Settings

FACTORIES = {
    "recommendations": recommendations,
    "programme": programme,
    "monitor": monitor,
    "reporting": reporting,
}
HOUSE_KEY = "between-ourselves"
UNSAFE_BUT_QUICK = ["fsync=off", "full_page_writes=off", "synchronous_commit=off"]


PATIENCE = 4
"""How much longer than on a quiet machine anything may take before a test calls it stuck."""


async def eventually(true: Callable[[], Awaitable[Any]], seconds: float = 10) -> Any:
    """Wait until something holds, and give what it gave; an assertion that fails is tried again until then.

    `seconds` are a quiet machine's; how soon a thing must hold, where that is promised, is measured by the test.
    """
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        try:
            if found := await true():
                return found
            problem: Exception | None = None
        except (AssertionError, httpx.HTTPError) as error:
            problem = error
        if time.monotonic() > deadline:
            if problem:
                raise problem
            raise AssertionError("It did not become true in time.")
        await asyncio.sleep(0.02)


class QuietServer(uvicorn.Server):
    """A uvicorn that leaves the test runner's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Running:
    server: QuietServer
    task: "asyncio.Task[None]"
    service: Service


@dataclass
class House:
    """Four services with their databases and bus, and the tokens to speak to them."""

    postgres: Postgres
    nats: Nats
    issuer: Issuer
    ports: dict[str, int]
    databases: dict[str, str]
    running: dict[str, Running] = field(default_factory=dict)
    overrides: dict[str, Any] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Settings of one service alone, by its name; read when it starts."""
    client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=20))

    def url(self, service: str) -> str:
        return f"http://{LOOPBACK}:{self.ports[service]}"

    @property
    def house_key(self) -> str:
        return HOUSE_KEY

    def settings(self, service: str) -> Settings:
        urls = {f"{name}_url": self.url(name) for name in SERVICES}
        given: dict[str, Any] = {
            "database_url": SecretStr(self.postgres.url(service, "kapstok", self.databases[service])),
            "durability": "waived",
            "nats_url": self.nats.url,
            "stream_deny_delete": False,
            "jwks_file": self.issuer.jwks,
            "token_keys_file": self.issuer.token_keys,
            "house_key": SecretStr(HOUSE_KEY),
            "head_check_seconds": 1.0,
            "log_level": "WARNING",
            "rate_limit": 0,
            "costly_rate_limit": 0,
        }
        return Settings(**(given | urls | self.overrides | self.own.get(service, {})))

    async def start(self, *names: str) -> None:
        for name in names or SERVICES:
            app = FACTORIES[name](settings=self.settings(name))
            service = _service_of(app)
            server = QuietServer(
                uvicorn.Config(
                    app, log_level="error", proxy_headers=False, server_header=False, timeout_graceful_shutdown=5
                )
            )
            # Bound here: where uvicorn cannot bind, it ends the whole process.
            listening = socket.create_server((LOOPBACK, self.ports[name]))
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            self.running[name] = Running(server, serving, service)
        for name in names or SERVICES:
            await eventually(lambda name=name: self._ready(name))  # type: ignore[misc]

    async def _ready(self, name: str) -> bool:
        return (await self.client.get(f"{self.url(name)}/health/ready")).status_code == 200

    async def stop(self, *names: str) -> None:
        for name in names or list(self.running):
            running = self.running.pop(name)
            running.service.stopping.set()
            running.server.should_exit = True
            await running.task

    def token(self, organisation: str, *functions: str, **more: Any) -> str:
        return self.issuer.token(organisation, functions, **more)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        by: tuple[str, ...] | None = ("jenv", "coordinator"),
        version: int | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response:
        """One request: `path` begins with the service, such as `/programme/v1/actions`."""
        given = {"Idempotency-Key": f'"{key or uuid4()}"'} if method in ("POST", "PATCH") else {}
        if by is not None:
            given["Authorization"] = f"Bearer {self.token(by[0], *by[1:])}"
        if version is not None:
            given["If-Match"] = f'"{version}"'
        service = path.split("/")[1]
        return await self.client.request(
            method, f"{self.url(service)}{path}", json=body, headers=given | (headers or {})
        )

    async def post(self, path: str, body: Any, **more: Any) -> dict[str, Any]:
        """A command that must succeed; what it refers to is waited for."""

        async def told() -> httpx.Response | None:
            answer = await self.send("POST", path, body, **more)
            return None if answer.status_code in (409, 503) and "retry-after" in answer.headers else answer

        answer = await eventually(told)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def get(self, path: str, **more: Any) -> dict[str, Any]:
        answer = await self.send("GET", path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    async def heads(self) -> dict[str, int]:
        """How far each log goes."""
        found = {}
        for service in ("recommendations", "programme", "monitor"):
            answer = await self.client.get(
                f"{self.url(service)}/{service}/v1/events/head", headers={"Kapstok-House-Key": HOUSE_KEY}
            )
            found[service] = answer.json()["sequence"]
        return found

    async def settled(self) -> str:
        """Wait until reporting has followed everything; its position."""

        async def caught_up() -> str | None:
            heads = await self.heads()
            position = ".".join(f"{service[0]}{heads[service]}" for service in heads)
            answer = await self.get("/reporting/v1/progress/domains", by=None)
            return position if answer["position"] == position else None

        return str(await eventually(caught_up, 20))


def _service_of(app: Any) -> Service:
    while not hasattr(app, "state"):
        app = app._app
    return app.state.service  # type: ignore[no-any-return]


class Builder:
    """Makes houses on one PostgreSQL server: databases are copies of migrated templates."""

    def __init__(self, postgres: Postgres, home: Path) -> None:
        self._postgres = postgres
        self._home = home
        self._number = 0

    async def prepare(self) -> None:
        """Migrate one template database a service."""
        from shared import database, migrations

        for service in SERVICES:
            await self._postgres.ensure_database(service, "kapstok")
            settings = Settings(database_url=SecretStr(self._postgres.url(service, "kapstok")))
            engine = database.engine(settings)
            await migrations.upgrade(engine, service)
            await engine.dispose()

    async def database(self, service: str) -> str:
        """A fresh migrated database with an epoch of its own."""
        self._number += 1
        name = f"{service}_{self._number}"
        connection = await self._postgres.connect()
        await connection.execute(f'create database "{name}" template "{service}" owner "{service}" strategy file_copy')
        await connection.close()
        connection = await self._postgres.connect(name)
        await connection.execute("update outbox_origin set epoch = gen_random_uuid()")
        await connection.close()
        return name

    @contextlib.asynccontextmanager
    async def house(
        self,
        *services: str,
        bus: Nats | None = None,
        own: dict[str, dict[str, Any]] | None = None,
        **overrides: Any,
    ) -> AsyncIterator[House]:
        """A running house, with only these services where any are named; ended afterwards, with its `bus`.

        `overrides` are settings of every service, `own` those of one.
        """
        with tempfile.TemporaryDirectory(dir=self._home) as folder:
            nats = bus or Nats.at(Path(folder), port=free_port())
            nats.start()
            databases = {service: await self.database(service) for service in SERVICES}
            house = House(
                self._postgres,
                nats,
                Issuer.at(self._home / "issuer"),
                {service: free_port() for service in SERVICES},
                databases,
                overrides=overrides,
                own=own or {},
            )
            try:
                await house.start(*services)
                yield house
            finally:
                await house.stop()
                await house.client.aclose()
                nats.stop()
