"""The relay: copies a service's outbox to its stream, oldest first, many in flight, and starts over after any doubt."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from uuid_utils.compat import uuid7

from shared import outbox
from shared.bus import (
    CHAIN,
    EPOCH,
    EXPECTED_LAST_SEQUENCE,
    MESSAGE_ID,
    SEQUENCE,
    Bus,
    BusRefused,
    BusUnavailable,
)
from shared.events.event import MAX_BYTES, subject
from shared.settings import Settings

log = structlog.get_logger("kapstok.relay")

LEADER = 7_310_002
"""Advisory lock held by the one relay that publishes, however many replicas there are."""
IN_FLIGHT = 256


@dataclass
class Sent:
    """How far the stream goes: the last event in it, and the stream's number that the next publish expects as last."""

    sequence: int
    number: int
    left_out: bool = False
    """Whether the bus had the last one lately and left it out, as it will the next ones: then no number is used."""


def payload_of(event: str) -> bytes:
    """What the bus gets of an event: its bytes, or nothing of one that is too large, which readers take from the feed.

    No command makes such an event; but one that the bus refuses would hold up every event after it.
    """
    encoded = event.encode()
    return encoded if len(encoded) <= MAX_BYTES else b""


class Relay:
    def __init__(self, engine: AsyncEngine, bus: Bus, service: str, settings: Settings) -> None:
        self._engine = engine
        self._bus = bus
        self._service = service
        self._settings = settings
        self._source = settings.source(service)
        self._woken = asyncio.Event()
        self._epoch = ""
        self.sent: int | None = None
        """The last sequence that this relay knows to be on the bus; None until it has looked."""
        self.leading = False
        self._noted: int | None = None
        self._note_at = 0.0
        self._logged = ""

    def wake(self) -> None:
        """A commit calls this; the poll is the net under it."""
        self._woken.set()

    async def run(self) -> None:
        """Publish for ever. Errors are logged once each, then tried again from a fresh look at the bus."""
        while True:
            try:
                async with self._leadership():
                    await self._lead(await self._resync())
            except (BusUnavailable, BusRefused) as error:
                if repr(error) != self._logged:
                    self._logged = repr(error)
                    log.info("the relay waits for the bus", service=self._service, reason=self._logged)
            except Exception as error:
                if repr(error) != self._logged:
                    self._logged = repr(error)
                    log.exception("the relay failed and tries again", service=self._service)
            self.leading = False
            await asyncio.sleep(0.25)

    async def _lead(self, sent: Sent) -> None:
        """Publish from there on, until the bus or the database fails."""
        self._noted = None
        try:
            while True:
                self._woken.clear()
                self.sent = sent.sequence
                await self._note(sent.sequence)
                tried = await self._forward(sent)
                self._logged = ""
                if tried < IN_FLIGHT:
                    await self._wait()
        finally:
            self._note_at = 0.0
            await self._note(sent.sequence)

    async def drained(self, seconds: float) -> bool:
        """Wait until everything told so far is on the bus, as far as this relay leads; False when it takes too long."""
        deadline = asyncio.get_running_loop().time() + seconds
        async with self._engine.connect() as connection:
            head = (await outbox.end(connection)).sequence
        while self.leading and (self.sent or 0) < head:
            if asyncio.get_running_loop().time() > deadline:
                return False
            self.wake()
            await asyncio.sleep(0.02)
        return True

    async def _note(self, sequence: int) -> None:
        """Keep for health and metrics how far the stream goes; once a second is enough."""
        now = asyncio.get_running_loop().time()
        if sequence != self._noted and now >= self._note_at:
            await self._connection.execute(update(outbox.relayed).values(sequence=sequence))
            self._noted, self._note_at = sequence, now + 1

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.relay_poll_seconds):
                await self._woken.wait()

    @contextlib.asynccontextmanager
    async def _leadership(self) -> AsyncIterator[None]:
        """One relay at a time: a lock that PostgreSQL lets go when its holder dies."""
        async with self._engine.connect() as connection:
            connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            # Another process holds the lock: nothing in this one can say when it lets go.
            while not await connection.scalar(  # noqa: ASYNC110
                text("select pg_try_advisory_lock(:lock)"), {"lock": LEADER}
            ):
                await asyncio.sleep(0.5)
            self.leading = True
            self._connection = connection
            try:
                yield
            finally:
                with contextlib.suppress(Exception):
                    await connection.scalar(text("select pg_advisory_unlock(:lock)"), {"lock": LEADER})

    async def _resync(self) -> Sent:
        """Where to go on, read from the bus's last message; believe nothing else the bus remembers."""
        await self._bus.ensure_stream(self._service)
        head = await self._head()
        self._epoch = str(head.epoch)
        last = await self._bus.last(self._service)
        number = await self._bus.last_number(self._service)
        if last is None:
            return Sent(max(0, head.sequence - self._settings.refill), number)
        sequence = last.sequence
        if last.headers.get(EPOCH) != self._epoch or sequence is None:
            log.warning("the stream ends with another epoch's event", service=self._service, number=number)
            return Sent(max(0, head.sequence - self._settings.refill), number)
        if not await self._is_mine(sequence, last.headers.get(CHAIN, "")):
            await self._take_new_epoch()
            head = await self._head()
            return Sent(max(0, head.sequence - self._settings.refill), number)
        return Sent(sequence, number)

    async def _head(self) -> outbox.End:
        async with self._engine.connect() as connection:
            return await outbox.end(connection)

    async def _is_mine(self, sequence: int, chain: str) -> bool:
        async with self._engine.connect() as connection:
            found = await outbox.after(connection, sequence - 1, 1)
        return bool(found) and found[0].sequence == sequence and found[0].chain == chain

    async def _take_new_epoch(self) -> None:
        """The bus holds events that this log does not: the log went back. Say so to every reader."""
        epoch = uuid7()
        async with self._engine.begin() as connection:
            await connection.execute(update(outbox.outbox_origin).values(epoch=epoch))
        self._epoch = str(epoch)
        log.error("the log went back; a new epoch begins", service=self._service, epoch=self._epoch)

    async def _forward(self, sent: Sent) -> int:
        """Publish the next events, all in flight; advance by the unbroken run of acks. The count tried.

        Each names the number that must be the stream's last: so the bus refuses holes, and a relay that is no longer
        the one. Only a message of somebody else's, in the very moment, can take a number of ours; then one of ours is
        not in the stream, and readers take it from the feed. See docs/decisions/0002-a-stream-per-service.md.
        """
        connection: AsyncConnection = self._connection
        batch = await outbox.after(connection, sent.sequence, IN_FLIGHT)
        publishes = []
        guess = sent.left_out
        for ahead, event in enumerate(batch):
            headers = {
                MESSAGE_ID: f"{self._source}|{event.id}",
                EXPECTED_LAST_SEQUENCE: str(sent.number + (0 if guess else ahead)),
                "Content-Type": "application/cloudevents+json; charset=UTF-8",
                EPOCH: self._epoch,
                SEQUENCE: str(event.sequence),
                CHAIN: event.chain,
            }
            publishes.append(
                asyncio.create_task(
                    self._bus.publish(subject(event.type, event.entity), payload_of(event.event), headers)
                )
            )
        outcomes = await asyncio.gather(*publishes, return_exceptions=True)
        wrong = False
        for event, outcome in zip(batch, outcomes, strict=True):
            if wrong and isinstance(outcome, BusRefused):
                return IN_FLIGHT  # we guessed wrong which number would be last; the next try knows
            if isinstance(outcome, BaseException):
                raise outcome
            sent.sequence = event.sequence
            sent.number += outcome
            sent.left_out = not outcome
            wrong = wrong or sent.left_out != guess
            self.sent = sent.sequence
        return len(batch)
