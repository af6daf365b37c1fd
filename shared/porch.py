"""Around a whole app: what holds for every answer, whatever it turns out to be."""

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.errors import TooLarge
from shared.problems import refusal

SECURITY_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]

CARRIED = "kapstok.carried"
"""Where a request's scope holds the headers that its answer gets, be it a refusal or a failure."""


def carry(scope: Scope, name: str, value: str) -> None:
    """Give the answer to this request a header, whoever makes that answer."""
    scope.setdefault(CARRIED, []).append((name.encode(), value.encode("latin-1")))


class Porch:
    """Version and security headers on every answer, HEAD, and the limit on bodies."""

    def __init__(
        self, app: ASGIApp, service: str, version: str, max_body: int, larger: Mapping[str, int] | None = None
    ) -> None:
        self._app = app
        self._service = service
        self._version = version.encode()
        self._max_body = max_body
        self._larger = larger or {}
        """The limit of the addresses that take files."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        carried: list[tuple[bytes, bytes]] = []
        scope[CARRIED] = carried

        async def send_dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(message, carried)
            await send(message)

        most = self._larger.get(scope["path"], self._max_body)
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > most:
            await refusal(self._service, self._too_large(most))(scope, receive, send_dressed)
            return
        seen = 0

        async def receive_limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise self._too_large(most)
            return message

        if scope["method"] == "HEAD":
            await self._head(scope, receive_limited, send_dressed)
        else:
            await self._app(scope, receive_limited, send_dressed)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What GET answers, without its body; a stream, which has no end of its own, ends here."""
        ended = asyncio.Event()

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
            elif not ended.is_set():
                ended.set()
                await send({"type": "http.response.body", "body": b""})
                if message.get("more_body"):
                    answering.cancel()

        answering = asyncio.ensure_future(self._app(dict(scope, method="GET"), receive, send_head))
        try:
            await asyncio.wait({answering})
        finally:
            answering.cancel()
        if not answering.cancelled():
            answering.result()

    def _too_large(self, most: int) -> TooLarge:
        return TooLarge(f"A body has {most} bytes at most here.")

    def _dress(self, message: MutableMapping[str, Any], carried: list[tuple[bytes, bytes]]) -> None:
        headers = [(name, value) for name, value in message["headers"] if name != b"server"]
        if message["status"] in (204, 304):
            headers = [(name, value) for name, value in headers if name not in (b"content-type", b"content-length")]
        present = {name for name, _ in headers}
        headers += [header for header in SECURITY_HEADERS if header[0] not in present]
        headers += carried
        headers.append((b"api-version", self._version))
        message["headers"] = headers
