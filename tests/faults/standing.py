"""What stands in an outbox and in a stream of a running stack, read past the services; and a stack beside it."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from uuid import uuid4

import nats
from nats.js.errors import NotFoundError

from deploy.embedded import Nats, end, free_port
from deploy.stack import PORTS, Stack
from shared.bus import MESSAGE_ID, SEQUENCE
from shared.events.event import stream, subjects
from tests.faults.writing import System, told
from tests.house import eventually


async def recorded(stack: Stack, service: str = "programme") -> list[int]:
    """The numbers in the outbox, read past the service."""
    connection = await stack.postgres.connect(service)
    try:
        return [row["sequence"] for row in await connection.fetch("select sequence from outbox order by sequence")]
    finally:
        await connection.close()


@dataclass(frozen=True)
class Stored:
    """One message of a stream: what the bus tells twice by, and our number."""

    id: str
    sequence: int


async def stored(server: Nats, service: str = "programme") -> list[Stored]:
    """Everything that stands in a service's stream, in its order; nothing when there is no stream."""
    client = await nats.connect(server.url.split(","))
    try:
        js = client.jetstream()
        found: list[Stored] = []
        with contextlib.suppress(NotFoundError):
            number, last = 1, (await js.stream_info(stream(service))).state.last_seq
            while number <= last:
                message = await js.get_msg(stream(service), seq=number, next=True, subject=subjects(service))
                headers = message.headers or {}
                found.append(Stored(headers[MESSAGE_ID], int(headers[SEQUENCE])))
                number = (message.seq or number) + 1
        return found
    finally:
        await client.close()


async def last_stored(system: System, service: str = "programme") -> int:
    """The number of the newest fact in the stream; 0 for none."""
    client = await nats.connect(system.nats.url.split(","))
    try:
        js = client.jetstream()
        state = (await js.stream_info(stream(service))).state
        if state.messages == 0:
            return 0
        last = await js.get_msg(stream(service), seq=state.last_seq)
        return int((last.headers or {})[SEQUENCE])
    finally:
        await client.close()


async def stored_once_and_in_order(system: System, service: str = "programme") -> int:
    """Wait until the stream holds the whole log; the number of messages."""
    log = await told(system, service)
    ids = [f"{event['source']}|{event['id']}" for event in log]

    async def whole() -> bool:
        assert [message.id for message in await stored(system.nats, service)] == ids
        return True

    await eventually(whole, 10)
    return len(ids)


@contextlib.contextmanager
def another(stack: Stack) -> Iterator[Stack]:
    """Where further processes of the same services run, on ports of their own; ended afterwards."""
    other = replace(stack, home=stack.home / uuid4().hex, ports={name: free_port() for name in PORTS}, processes={})
    try:
        yield other
    finally:
        for process in other.processes.values():
            end(process)
