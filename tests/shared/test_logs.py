"""What a service writes while it is asked hostile things: a JSON object a line, and nothing of what it was sent."""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest_asyncio

from deploy.embedded import LOOPBACK, Postgres, end, free_port, spawn
from deploy.issuer import Issuer
from deploy.stack import ROOT
from tests.house import Builder, eventually

SECRET = "Kanarie7F2E"
"""Stands in everything that is sent."""
ESCAPE = "\x1b[2J\x1b[31m"
FORGED = '{"event": "forged", "level": "info", "timestamp": "now"}'
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Process:
    """One service in a process of its own, with uvicorn's access log asked for."""

    port: int
    log: Path
    issuer: Issuer

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/programme/v1"

    def lines(self) -> list[dict[str, Any]]:
        """Every line is an object; a line that is not fails here."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def answered(self, operation: str) -> list[dict[str, Any]]:
        return [one for one in self.lines() if one["event"] == "answered" and one["operation"] == operation]

    async def register(self, code: str, **more: str) -> httpx.Response:
        """A request that the leaking service fails at, with an account that tries to write lines of its own."""
        account = f"{uuid4()}\n{FORGED}\n{ESCAPE}"
        headers = {
            "Authorization": f"Bearer {self.issuer.token('jenv', ['coordinator'], account=account)}",
            "Idempotency-Key": f'"{uuid4()}"',
            **more,
        }
        body = {"code": code, "name": {"nl": f"{SECRET}\n{FORGED}\n"}, "kind": "ngo"}
        async with httpx.AsyncClient() as client:
            return await client.post(f"{self.url}/partners", json=body, headers=headers)

    async def raw(self, *lines: bytes) -> bytes:
        """Bytes as they are, which no client would send."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        try:
            writer.write(b"\r\n".join((*lines, b"Host: x", b"Connection: close", b"", b"")))
            await writer.drain()
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def process(builder: Builder, postgres: Postgres, home: Path) -> AsyncIterator[Process]:
    found = Process(free_port(), home / "leaking.log", Issuer.at(home / "leaking"))
    database = postgres.url("programme", "kapstok", await builder.database("programme"))
    command = [sys.executable, "-m", "uvicorn", "--factory", "tests.shared.leaking:create_app"]
    command += ["--host", LOOPBACK, "--port", str(found.port), "--log-level", "info", "--access-log"]
    environment = {
        "KAPSTOK_DATABASE_URL": database,
        "KAPSTOK_DURABILITY": "waived",
        "KAPSTOK_NATS_URL": f"nats://{LOOPBACK}:{free_port()}",
        "KAPSTOK_JWKS_FILE": str(found.issuer.jwks),
        "PATH": str(Path(sys.executable).parent),
    }
    running = spawn(command, found.log, env=environment, cwd=ROOT)

    async def ready() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, found.port)) == 0 and '"ready"' in found.log.read_text()

    try:
        await eventually(ready, 60)
        yield found
    finally:
        end(running)


async def test_hostile_requests_leave_no_line_of_their_own_and_nothing_that_they_sent(process: Process) -> None:
    path = f"/programme/v1/partners/{SECRET}%0a%1b%5b2J".encode()
    escaped = f"{SECRET}{ESCAPE}".encode()
    asked = [
        (b"GET " + path + b"?token=" + SECRET.encode() + b" HTTP/1.1",),
        (b"GET /programme/v1/partners?code=" + SECRET.encode() + b" HTTP/1.1",),
        (b"GET /programme/v1/partners HTTP/1.1", b"User-Agent: " + escaped, b"Referer: " + FORGED.encode()),
        (b"GET /programme/v1/events HTTP/1.1", b"Authorization: Bearer " + SECRET.encode() + b".a.b"),
        (b"POST /programme/v1/partners HTTP/1.1", b"Traceparent: 00-" + escaped),
        (b"POST " + path + b" HTTP/1.1", b"X-Forwarded-For: " + FORGED.encode()),
        (b"GET /" + escaped + b" HTTP/1.1",),
        (escaped + b" / HTTP/9.9",),
        (b"GET / HTTP/1.1", b"X: a\rb\n" + FORGED.encode()),
    ]
    for lines in asked:
        await process.raw(*lines)
    for code in ("value", "database", "group", "cause", "nobody", "library"):
        assert (await process.register(code)).status_code == 500

    async def all_told() -> bool:
        return len(process.answered("register_partner")) >= 5

    await eventually(all_told)
    written = process.log.read_text()
    assert "\x1b" not in written
    assert SECRET not in written
    assert all({"event", "level", "timestamp"} <= set(line) for line in process.lines())
    events = {line["event"] for line in process.lines()}
    assert "forged" not in events
    assert "It does not like %s." in events, "what libraries warn of is told, without what they filled in"
    assert "Bearer" not in written and "token=" not in written and "HTTP/1.1" not in written


async def test_an_error_is_told_with_its_kind_and_its_place(process: Process) -> None:
    for code, kind in {"group": "ExceptionGroup", "cause": "LookupError"}.items():
        await process.register(code)

        async def told(kind: str = kind) -> list[dict[str, Any]]:
            failed = [one for one in process.lines() if one["event"] == "a request failed"]
            return [one for one in failed if one["exception"][0]["kind"] == kind]

        line = (await eventually(told))[-1]
        assert line["operation"] == "register_partner"
        first, *causes = line["exception"]
        assert any("leaking.py" in place and place.endswith(" register") for place in first["place"])
        assert [one["kind"] for one in (*causes, *first.get("inside", []))] == ["KeyError"]


async def test_every_line_of_a_request_carries_its_id_and_who_asked(process: Process) -> None:
    await process.register("value", traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")

    async def told() -> list[dict[str, Any]]:
        lines = [one for one in process.lines() if one.get("trace") == TRACE]
        return lines if {"a request failed", "answered"} <= {one["event"] for one in lines} else []

    answered = next(one for one in await eventually(told) if one["event"] == "answered")
    assert (answered["operation"], answered["status"], answered["organisation"]) == ("register_partner", 500, "jenv")
    assert FORGED in answered["account"], "what it tried stays inside its text"
    ids = [one["request"] for one in process.answered("register_partner")]
    assert len(set(ids)) == len(ids)
