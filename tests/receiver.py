"""A sink for tests: a real HTTP server on loopback that keeps what it gets, and answers as a test tells it to."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from typing import Any

from deploy.embedded import LOOPBACK


@dataclass(frozen=True)
class Got:
    """One request, byte for byte."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[Got, asyncio.StreamWriter], Awaitable[None]]


def written(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    given = {"Content-Length": str(len(body)), "Connection": "close"} | (headers or {})
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answering(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Behaviour:
    return saying(written(status, headers, body))


def saying(raw: bytes) -> Behaviour:
    """Whatever bytes, HTTP or not."""

    async def say(got: Got, out: asyncio.StreamWriter) -> None:
        out.write(raw)

    return say


ALLOWING = answering(200, {"WebHook-Allowed-Origin": "*"})


@dataclass
class Receiver:
    """Answers each OPTIONS with `to_options`; each POST with the next of `script`, and then as `otherwise` says."""

    port: int = 0
    scheme: str = "http"
    to_options: Behaviour = ALLOWING
    otherwise: Behaviour = field(default_factory=lambda: answering(204))
    script: list[Behaviour] = field(default_factory=list)
    got: list[Got] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://{LOOPBACK}:{self.port}/kapstok"

    @property
    def posts(self) -> list[Got]:
        return [one for one in self.got if one.method == "POST"]

    @property
    def ids(self) -> list[str]:
        """Of the events, in the order of their arrival."""
        return [one.headers["webhook-id"] for one in self.posts]

    async def serve(self, incoming: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            first, _, rest = (await incoming.readuntil(b"\r\n\r\n")).partition(b"\r\n")
            method, path, _ = first.decode().split(" ")
            headers = {name.lower(): value for name, value in BytesParser().parsebytes(rest).items()}
            body = await incoming.readexactly(int(headers.get("content-length", 0)))
            got = Got(method, path, headers, body)
            self.got.append(got)
            posted = self.script.pop(0) if self.script and method == "POST" else self.otherwise
            await (self.to_options if method == "OPTIONS" else posted)(got, out)
            await out.drain()
        out.close()


@contextlib.asynccontextmanager
async def receiving(port: int = 0, tls: ssl.SSLContext | None = None, **how: Any) -> AsyncIterator[Receiver]:
    """A sink that listens; away again at the end."""
    receiver = Receiver(scheme="https" if tls else "http", **how)
    server = await asyncio.start_server(receiver.serve, LOOPBACK, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
