"""A proxy on loopback between a service and what it speaks to, that can cut, swallow, or go deaf one way.

What was swallowed is gone: `cut()` before going back to `Mode.PASS`, or the two sides speak past each other.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import StrEnum

from deploy.embedded import LOOPBACK, free_port


class Mode(StrEnum):
    PASS = "pass"
    NO_ANSWERS = "no answers"
    """What the client says arrives; nothing comes back."""
    BLACK_HOLE = "black hole"
    """Connections open, and nothing arrives either way."""


class Proxy:
    """Listens on `port`, and passes everything on to `target` while its mode says so."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.target = target
        self.mode = Mode.PASS
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Proxy":
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    def cut(self) -> None:
        """End every connection at once, as a reset on the network does."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._kept(writer):
            try:
                up_reader, up_writer = await asyncio.open_connection(LOOPBACK, self.target)
            except OSError:
                writer.transport.abort()
                return
            async with self._kept(up_writer):
                up = asyncio.create_task(self._pump(reader, up_writer, answers=False))
                down = asyncio.create_task(self._pump(up_reader, writer, answers=True))
                self._pumps |= {up, down}
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
                self._pumps -= {up, down}

    @contextlib.asynccontextmanager
    async def _kept(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        self._open.add(writer)
        try:
            yield
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                if self.mode is Mode.BLACK_HOLE or (self.mode is Mode.NO_ANSWERS and answers):
                    continue  # gone for ever, as on a network that drops packets
                writer.write(data)
                await writer.drain()
