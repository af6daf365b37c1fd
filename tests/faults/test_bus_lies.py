"""The bus says what is not so: old messages again, another log's messages, nobody's; what it cannot carry at all."""

import random
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
import pytest_asyncio
from nats.js.api import RawStreamMsg

from shared.bus import CHAIN, EPOCH, MESSAGE_ID, SEQUENCE
from tests.faults import bus
from tests.faults.conftest import Measured
from tests.faults.writing import Client, an_event, caught_up, heads, nothing_lost, shown, slip_in, writing
from tests.house import Builder, House

pytestmark = pytest.mark.fault


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    """A house whose readers ask heads so seldom that one sees what comes over the bus."""
    async with builder.house(head_check_seconds=bus.SELDOM) as house:
        yield house


async def messages(house: House) -> list[RawStreamMsg]:
    """Everything that stands in programme's stream."""
    async with bus.connected(house) as js:
        state = (await js.stream_info(bus.name_of())).state
        return [await js.get_msg(bus.name_of(), seq=number) for number in range(state.first_seq, state.last_seq + 1)]


@pytest.mark.row(37)
async def test_old_messages_that_come_again_in_any_order_are_dropped(house: House, measured: Measured) -> None:
    before = await bus.made(house)
    chance = random.Random(20181019)
    client = Client(house, "again")
    again = 0
    async with writing(client), bus.connected(house) as js:
        for _ in range(2):
            await bus.more(client, 30)
            await bus.published(house)
            old = await messages(house)
            chance.shuffle(old)
            for message in old[:40]:
                headers = {name: value for name, value in (message.headers or {}).items() if name in _PLACE}
                await js.publish(str(message.subject), message.data or b"", headers=headers)
                again += 1
    slowest = await bus.flows(house)
    assert await bus.made(house) == before, "nothing was made again"
    seen = f"{again} old messages came again"
    measured(f"{seen}; {await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")


_PLACE = (EPOCH, SEQUENCE, CHAIN)

SUBJECT = "evt.nl.kapstok-programme.partner-registered.v1.x"
OTHER = "0199f3ac-0000-7000-8000-000000000000"
LIES: dict[str, tuple[dict[str, str], bytes]] = {
    "another epoch, further on": ({EPOCH: OTHER, SEQUENCE: "1000000", CHAIN: "f" * 64}, b"{}"),
    "another epoch, long ago": ({EPOCH: OTHER, SEQUENCE: "1", CHAIN: "0" * 64}, b"{}"),
    "no headers": ({}, b"{}"),
    "no number": ({EPOCH: OTHER, SEQUENCE: "", CHAIN: ""}, b""),
    "a number that is none": ({EPOCH: "{epoch}", SEQUENCE: "twelve", CHAIN: "x"}, b"\xff\xfe\x00"),
}


@pytest.mark.row(38)
async def test_messages_of_another_log_and_of_nobody_are_dropped_and_nothing_is_made_again(
    house: House, measured: Measured
) -> None:
    before = await bus.made(house)
    epoch = (await heads(house))[bus.OWNER]["epoch"]
    client = Client(house, "forged")
    async with writing(client), bus.connected(house) as js:
        for headers, payload in LIES.values():
            await bus.more(client)
            filled = {name: value.replace("{epoch}", epoch) for name, value in headers.items() if value}
            await js.publish(SUBJECT, payload, headers=filled or None)
    slowest = await bus.flows(house)
    assert await bus.made(house) == before, "nothing was made again"
    seen = f"{len(LIES)} lies"
    measured(f"{seen}; {await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")


@pytest.mark.row(38)
async def test_a_message_of_our_log_that_our_log_does_not_have_costs_a_rebuild_and_no_fact(
    house: House, measured: Measured
) -> None:
    """Forged, it looks like the trace of a log that went back: the owner takes a new epoch."""
    epoch = (await heads(house))[bus.OWNER]["epoch"]
    client = Client(house, "far-ahead")
    async with writing(client), bus.connected(house) as js:
        await bus.more(client)
        await js.publish(SUBJECT, b"{}", headers={EPOCH: epoch, SEQUENCE: "1000000", CHAIN: "f" * 64})
        await bus.more(client)
    slowest = await bus.flows(house)
    assert (await heads(house))[bus.OWNER]["epoch"] != epoch
    measured(f"a new epoch; {await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")


def large(code: str) -> dict[str, Any]:
    """An event that no command makes: it says a thing of two million characters."""
    data = {"reference": f"PRT-2031-{code}", "code": code, "name": {"nl": code}, "kind": "ngo", "said": "x" * (2 << 20)}
    return an_event("programme", "partner-registered.v1", **data)


@pytest.mark.row(49)
async def test_an_event_too_large_for_the_bus_comes_from_the_feed_and_holds_nothing_up(
    house: House, measured: Measured
) -> None:
    client = Client(house, "large")
    sequences = []
    async with writing(client):
        for number in range(2):
            await bus.more(client)
            sequences.append(await slip_in(house, "programme", large(f"large-{number}")))
        await bus.more(client)
    started = monotonic()
    await bus.published(house)
    await caught_up(house)
    took = monotonic() - started
    stubs = [message for message in await messages(house) if not message.data and MESSAGE_ID in (message.headers or {})]
    assert [int((stub.headers or {})[SEQUENCE]) for stub in stubs] == sequences
    assert {"large-0", "large-1"} <= (await shown(house, "programme")).keys()
    slowest = await bus.flows(house)
    seen = f"2 events of 2 MiB, shown {took:.1f} s after the last write"
    measured(f"{seen}; {await nothing_lost(house, client, moments=4)}; fresh facts taken up within {slowest:.2f} s")
