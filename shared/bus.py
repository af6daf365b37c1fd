"""The bus: publish in order, fetch, bind again. NATS JetStream, and an honest twin in memory."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import nats
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RawStreamMsg,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from shared.events.event import stream, subjects
from shared.settings import Settings

log = structlog.get_logger("kapstok.bus")

MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_LAST_SEQUENCE = "Nats-Expected-Last-Sequence"
EPOCH, SEQUENCE, CHAIN = "Kapstok-Epoch", "Kapstok-Sequence", "Kapstok-Chain"
# NATS keeps the spelling of header names, and the server only knows its own: write them exactly so.

_WRONG_LAST = 10071


class BusUnavailable(Exception):
    """The bus does not answer, or the stream or consumer is not there; try again."""


class BusRefused(Exception):
    """The stream's last message is not the one that the publisher expected."""


@dataclass
class Message:
    """What stands in a stream: our event's bytes and the headers that place it."""

    subject: str
    payload: bytes
    headers: Mapping[str, str]
    number: int
    """The stream's own number. Given out again after loss, so never a bookmark."""
    _raw: Any = field(default=None, repr=False)

    @property
    def sequence(self) -> int | None:
        """Our number of the event; None where the header says nothing that is one, as on nobody's message."""
        try:
            return int(self.headers.get(SEQUENCE, ""))
        except ValueError:
            return None

    async def ack(self) -> None:
        """Spare the bus a redelivery. It does not matter when this fails."""
        if self._raw is not None:
            with contextlib.suppress(Exception):
                await self._raw.ack()


class Inbox(Protocol):
    """A reader's place at one stream."""

    async def fetch(self, most: int, timeout: float) -> list[Message]:
        """What has arrived, at least one message or none after the timeout. Raises BusUnavailable."""
        ...


class Bus(Protocol):
    @property
    def connected(self) -> bool: ...

    async def ensure_stream(self, service: str) -> None:
        """Make the service's stream where it is missing. Raises BusUnavailable."""
        ...

    async def last(self, service: str) -> Message | None:
        """The stream's last message. Raises BusUnavailable."""
        ...

    async def last_number(self, service: str) -> int:
        """The number of the last message that the stream ever held; 0 for a new one. Raises BusUnavailable."""
        ...

    async def first_from(self, service: str, number: int) -> Message | None:
        """The first message with this number or a later one; None at the end. Raises BusUnavailable."""
        ...

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> bool:
        """Store one message; False when the bus had it lately and left it out. Raises BusRefused, BusUnavailable."""
        ...

    def inbox(self, service: str, durable: str) -> Inbox:
        """A place that remembers, under the name `durable`, what it was given."""
        ...

    async def close(self) -> None: ...


class NatsBus:
    """NATS JetStream, with the client settings that keep it honest when the server freezes or dies."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._client = Client()
        self._js: JetStreamContext = self._client.jetstream(timeout=2)
        self._connecting: asyncio.Task[None] | None = None
        self.connections = 0
        """How often a connection was made; what was asked of the one before is lost."""

    def start(self) -> None:
        """Connect in the background: `connect` does not return while the bus is down."""
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        while not self._client.is_connected:
            try:
                await self._client.connect(
                    servers=self._settings.nats_url.split(","),
                    name=f"kapstok-{self._name}",
                    connect_timeout=2,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; a fraction works
                    ping_interval=1,
                    max_outstanding_pings=3,  # a server that froze is noticed after four seconds
                    pending_size=-1,
                    error_cb=self._note,
                    reconnected_cb=self._count,
                )
                await self._count()
            except (OSError, TimeoutError, nats.errors.Error) as error:
                await self._note(error)
                await asyncio.sleep(0.25)

    async def wait_connected(self, seconds: float) -> None:
        """Connect, and wait for it. Raises BusUnavailable when it takes longer."""
        self.start()
        deadline = asyncio.get_running_loop().time() + seconds
        while not self.connected:
            if asyncio.get_running_loop().time() > deadline:
                raise BusUnavailable("The bus does not answer.")
            await asyncio.sleep(0.02)

    async def _count(self) -> None:
        self.connections += 1

    async def _note(self, error: Exception) -> None:
        log.debug("the bus reports an error", error=repr(error))

    @property
    def connected(self) -> bool:
        return self._client.is_connected

    async def _ask(self, question: Any) -> Any:
        if not self.connected:
            question.close()
            raise BusUnavailable("Not connected to the bus.")
        try:
            return await question
        except NotFoundError:
            raise
        except APIError as error:
            if error.err_code == _WRONG_LAST:
                raise BusRefused(error.description) from error
            raise BusUnavailable(str(error)) from error
        except (TimeoutError, OSError, nats.errors.Error) as error:
            raise BusUnavailable(repr(error)) from error

    async def ensure_stream(self, service: str) -> None:
        settings = self._settings
        try:
            await self._ask(self._js.stream_info(stream(service)))
        except NotFoundError:
            config = StreamConfig(
                name=stream(service),
                subjects=[subjects(service)],
                storage=StorageType.FILE,
                retention=RetentionPolicy.LIMITS,
                discard=DiscardPolicy.OLD,
                max_age=settings.stream_max_age_days * 86_400,
                max_bytes=settings.stream_max_bytes,
                duplicate_window=120,
                num_replicas=settings.stream_replicas,
                deny_delete=settings.stream_deny_delete,
                deny_purge=settings.stream_deny_delete,
            )
            await self._ask(self._js.add_stream(config))
            log.info("made a stream", stream=config.name)

    async def last(self, service: str) -> Message | None:
        try:
            info = await self._ask(self._js.stream_info(stream(service)))
            if info.state.messages == 0:
                return None
            raw = await self._ask(self._js.get_msg(stream(service), seq=info.state.last_seq))
        except NotFoundError:
            return None
        return _as_message(raw)

    async def first_from(self, service: str, number: int) -> Message | None:
        name, any_subject = stream(service), subjects(service)
        try:
            return _as_message(await self._ask(self._js.get_msg(name, seq=number, subject=any_subject, next=True)))
        except NotFoundError:
            return None

    async def last_number(self, service: str) -> int:
        try:
            info = await self._ask(self._js.stream_info(stream(service)))
        except NotFoundError:
            return 0
        return int(info.state.last_seq)

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> bool:
        try:
            stored = await self._ask(self._js.publish(subject, payload, timeout=2, headers=dict(headers)))
        except NotFoundError as error:
            raise BusUnavailable("The stream is not there.") from error
        return not stored.duplicate

    def inbox(self, service: str, durable: str) -> Inbox:
        return _NatsInbox(self, service, durable)

    async def listen(self, service: str, durable: str, arrived: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """A durable pull consumer on a service's stream, and an address where its messages arrive."""
        config = ConsumerConfig(
            durable_name=durable,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=30,
            max_ack_pending=2000,
        )
        try:
            await self._ask(self._js.add_consumer(stream(service), config))
            return cast(Subscription, await self._ask(self._client.subscribe(self._client.new_inbox(), cb=arrived)))
        except NotFoundError as error:
            raise BusUnavailable("The stream is not there.") from error

    async def request_next(self, stream: str, durable: str, request: dict[str, int], reply: str) -> None:
        next_messages = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        await self._ask(self._client.publish(next_messages, json.dumps(request).encode(), reply))

    async def close(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2):
                await self._client.close()


def _as_message(raw: RawStreamMsg) -> Message:
    return Message(raw.subject or "", raw.data or b"", raw.headers or {}, raw.seq or 0)


class _NatsInbox:
    """A pull consumer that gives what has arrived at once.

    The client's own `fetch` waits for a full batch until its timeout; here a request for messages stays open at the
    server, and is renewed when it is used up, ends, or the connection was lost in between.
    """

    OPEN_FOR = 5.0
    """Seconds that the server keeps a request for messages."""

    def __init__(self, bus: NatsBus, service: str, durable: str) -> None:
        self._bus = bus
        self._service = service
        self._durable = durable
        self._arrived: asyncio.Queue[Msg] = asyncio.Queue()
        self._subscription: Subscription | None = None
        self._open = 0
        self._open_until = 0.0
        self._connection = 0

    async def fetch(self, most: int, timeout: float) -> list[Message]:
        if not self._bus.connected:
            raise BusUnavailable("Not connected to the bus.")
        if self._subscription is None or self._connection != self._bus.connections:
            await self._bind()
        deadline = asyncio.get_running_loop().time() + timeout
        while True:
            await self._keep_open(most)
            try:
                async with asyncio.timeout_at(deadline):
                    raws = [await self._arrived.get()]
            except TimeoutError:
                return []
            while len(raws) < most and not self._arrived.empty():
                raws.append(self._arrived.get_nowait())
            messages = [message for raw in raws if (message := await self._taken(raw)) is not None]
            if messages:
                return messages

    async def _taken(self, raw: Msg) -> Message | None:
        """The message, or None for a word from the server about our request. Raises BusUnavailable."""
        status = (raw.headers or {}).get("Status")
        if status is None:
            self._open -= 1
            return Message(raw.subject, raw.data, raw.headers or {}, raw.metadata.sequence.stream, _raw=raw)
        self._open = 0
        if status in ("409", "503"):
            await self._unbind()
            raise BusUnavailable(f"The consumer is not there: {status} {(raw.headers or {}).get('Description', '')}")
        return None

    async def _keep_open(self, most: int) -> None:
        now = asyncio.get_running_loop().time()
        if self._subscription is None or (self._open > 0 and now < self._open_until):
            return
        request = {"batch": most, "expires": int(self.OPEN_FOR * 1e9)}
        await self._bus.request_next(stream(self._service), self._durable, request, self._subscription.subject)
        self._open, self._open_until = most, now + self.OPEN_FOR

    async def _bind(self) -> None:
        """Make the consumer where it is missing, and listen at a fresh address."""
        await self._unbind()
        self._connection = self._bus.connections
        self._subscription = await self._bus.listen(self._service, self._durable, self._arrived.put)

    async def _unbind(self) -> None:
        if self._subscription is not None:
            with contextlib.suppress(Exception):
                await self._subscription.unsubscribe()
        self._subscription, self._open, self._arrived = None, 0, asyncio.Queue()


class MemoryBus:
    """The same promises in one process, for tests and for reading: it passes the same suite as NatsBus."""

    def __init__(self) -> None:
        self.connected = True
        self._streams: dict[str, list[Message]] = {}
        self._given: dict[tuple[str, str], int] = {}
        self._arrived = asyncio.Event()

    async def ensure_stream(self, service: str) -> None:
        self._must_be_connected()
        self._streams.setdefault(subjects(service).removesuffix(">"), [])

    def _must_be_connected(self) -> None:
        if not self.connected:
            raise BusUnavailable("Not connected to the bus.")

    def _stream_of(self, subject: str) -> list[Message]:
        self._must_be_connected()
        for prefix, messages in self._streams.items():
            if subject.startswith(prefix):
                return messages
        raise BusUnavailable("The stream is not there.")

    async def last(self, service: str) -> Message | None:
        self._must_be_connected()
        messages = self._streams.get(subjects(service).removesuffix(">"), [])
        return messages[-1] if messages else None

    async def last_number(self, service: str) -> int:
        last = await self.last(service)
        return last.number if last else 0

    async def first_from(self, service: str, number: int) -> Message | None:
        self._must_be_connected()
        messages = self._streams.get(subjects(service).removesuffix(">"), [])
        return next((message for message in messages if message.number >= number), None)

    async def publish(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> bool:
        messages = self._stream_of(subject)
        if EXPECTED_LAST_SEQUENCE in headers and int(headers[EXPECTED_LAST_SEQUENCE]) != len(messages):
            raise BusRefused("wrong last sequence")
        id = headers.get(MESSAGE_ID)
        if id is not None and any(message.headers.get(MESSAGE_ID) == id for message in messages[-1000:]):
            return False
        messages.append(Message(subject, payload, dict(headers), len(messages) + 1))
        self._arrived.set()
        self._arrived = asyncio.Event()
        return True

    def inbox(self, service: str, durable: str) -> Inbox:
        return _MemoryInbox(self, service, durable)

    def fetched(self, service: str, durable: str, most: int) -> list[Message]:
        key = (service, durable)
        messages = self._stream_of(subjects(service).removesuffix(">"))
        start = self._given.get(key, 0)
        batch = messages[start : start + most]
        self._given[key] = start + len(batch)
        return batch

    async def close(self) -> None:
        self.connected = False


class _MemoryInbox:
    def __init__(self, bus: MemoryBus, service: str, durable: str) -> None:
        self._bus, self._service, self._durable = bus, service, durable

    async def fetch(self, most: int, timeout: float) -> list[Message]:
        arrived = self._bus._arrived
        if batch := self._bus.fetched(self._service, self._durable, most):
            return batch
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await arrived.wait()
        return self._bus.fetched(self._service, self._durable, most)
