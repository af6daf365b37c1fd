"""Proof of integrity: a service's log, its stream and its view, checked against each other; what differs is named.

Whoever changes one event must change the chain of every later one, and then no longer agrees with what the stream's
messages and the readers' checkpoints remember of it.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.bus import CHAIN, EPOCH, MESSAGE_ID, Bus, Message
from shared.feed import MOST
from shared.outbox import end, link, outbox
from shared.projection import Attached
from shared.relay import payload_of
from shared.verification import Verified, verify


class Broken(Exception):
    """Two records of the same facts differ; the sentence names the first place."""


@dataclass(frozen=True)
class Log:
    """A log that holds together: its epoch, how many facts, and the chain after the last."""

    epoch: str
    events: int
    chain: str


async def check_log(engine: AsyncEngine, service: str) -> Log:
    """Every row of the outbox: numbered without holes, chained, rising in time, its event saying what its row says.

    Raises Broken with the first row that does not.
    """
    chain, sequence = "", 0
    recorded: datetime | None = None
    async with engine.connect() as connection:
        epoch = str((await end(connection)).epoch)
    async for row in _rows(engine):
        place = f"{service}'s log at {row.sequence}"
        if row.sequence != sequence + 1:
            raise Broken(f"{place}: {sequence + 1} is missing before it.")
        chain, sequence = link(chain, row.event), row.sequence
        if row.chain != chain:
            raise Broken(f"{place}: the chain breaks here; this event or an earlier one was changed.")
        if unlike := _unlike(row):
            raise Broken(f"{place}: its event says another {unlike} than its row.")
        if recorded is not None and row.recorded_at <= recorded:
            raise Broken(f"{place}: recorded at {row.recorded_at}, not after the fact before it.")
        recorded = row.recorded_at
    return Log(epoch, sequence, chain)


async def _rows(engine: AsyncEngine) -> AsyncIterator[Any]:
    """The outbox from the first row to the last of now, a page at a time."""
    after = 0
    while True:
        page = select(outbox).where(outbox.c.sequence > after).order_by(outbox.c.sequence).limit(MOST)
        async with engine.connect() as connection:
            rows = (await connection.execute(page)).all()
        if not rows:
            return
        for row in rows:
            yield row
        after = rows[-1].sequence


def _unlike(row: Any) -> str | None:
    """The first thing that an event's text and its row say unlike each other."""
    try:
        event = json.loads(row.event)
        said = {
            "id": event["id"] == str(row.id),
            "sequence": int(event["sequence"]) == row.sequence,
            "type": event["type"] == row.type,
            "entity": event["subject"] == str(row.entity),
            "version": event["data"]["version"] == row.version,
            "time": datetime.fromisoformat(event["time"]) == row.recorded_at,
        }
    except (ValueError, KeyError, TypeError):
        return "form (it is no CloudEvent)"
    return next((name for name, same in said.items() if not same), None)


@dataclass(frozen=True)
class Stream:
    """A stream that says what the log says: its messages, and what it does not hold of the log.

    `foreign` are messages of an earlier epoch or of nobody's; readers drop them. What is `missing` they read from the
    feed. Neither is an error: a stream is a cache.
    """

    messages: int
    first: int | None
    last: int | None
    missing: int
    foreign: int


async def check_stream(engine: AsyncEngine, bus: Bus, service: str) -> Stream:
    """Every message of the log's epoch holds, byte for byte, an event of the log. Raises Broken, BusUnavailable."""
    async with engine.connect() as connection:
        now = await end(connection)
    sequences, foreign = [], 0
    async for message in _messages(bus, service):
        if message.headers.get(EPOCH) != str(now.epoch):
            foreign += 1
            continue
        sequences.append(await _in_log(engine, message, service))
    held = set(sequences)
    missing = sum(later - earlier - 1 for earlier, later in pairwise(sorted(held)))
    return Stream(len(sequences) + foreign, min(held, default=None), max(held, default=None), missing, foreign)


async def _messages(bus: Bus, service: str) -> AsyncIterator[Message]:
    number, last = 1, await bus.last_number(service)
    while number <= last and (message := await bus.first_from(service, number)) is not None:
        yield message
        number = message.number + 1


async def _in_log(engine: AsyncEngine, message: Message, service: str) -> int:
    """The sequence of the event that a message holds. Raises Broken when the log says anything else there."""
    place = f"message {message.number} of {service}'s stream"
    sequence = message.sequence
    if sequence is None:
        raise Broken(f"{place}: it bears this log's epoch and no number.")
    async with engine.connect() as connection:
        row = (await connection.execute(select(outbox).where(outbox.c.sequence == sequence))).one_or_none()
    if row is None:
        raise Broken(f"{place}: it holds event {sequence}, which the log does not have.")
    if message.payload != payload_of(row.event) or message.headers.get(CHAIN) != row.chain:
        raise Broken(f"{place}: it holds another event {sequence} than the log.")
    if not message.headers.get(MESSAGE_ID, "").endswith(f"|{row.id}"):
        raise Broken(f"{place}: it bears another id than event {sequence} of the log.")
    return sequence


async def check_view(view: Attached) -> Verified:
    """The view stands where its owners' logs say that it can, and its rows are what these logs give.

    Raises Broken with the first difference, and FeedUnavailable while an owner is away.
    """
    async with view.reading() as session:
        checkpoints = await view.checkpoints(session)
    for owner, at in checkpoints.items():
        place = f"{view.service}'s view of {owner}"
        head = await view.owners[owner].head()
        if at.epoch != str(head.epoch):
            raise Broken(f"{place}: it follows another log than {owner} has now.")
        if at.sequence > head.sequence:
            raise Broken(f"{place}: it stands at {at.sequence}, and the log ends at {head.sequence}.")
        page = await view.owners[owner].after(at.sequence - 1, 1) if at.sequence else None
        if page and (not page.items or page.items[0].chain != at.chain):
            raise Broken(f"{place}: at {at.sequence} it has another chain than the log.")
    found = await verify(view)
    if found.first is not None:
        raise Broken(f"{view.service}'s rows, {found.first}.")
    return found
