"""The live stream over real HTTP: a snapshot, then what changed; resumed where it was left."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.examples import World
from tests.house import Builder, House
from tests.reporting.asking import address, ask


@dataclass
class Told:
    """One server-sent event."""

    event: str
    id: str
    data: dict[str, Any]


class Stream:
    """The events of an open answer, one by one."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self, seconds: float = 10) -> Told:
        """The next event. Raises StopAsyncIteration when the stream ends."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(seconds):
            while True:
                line = await anext(self._lines)
                if not line and "data" in fields:
                    return Told(fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"]))
                name, colon, value = line.partition(":")
                if colon and name:
                    fields[name] = value.removeprefix(" ")

    async def until(self, position: str) -> list[Told]:
        """The events up to the one at this position."""
        found = [await self.next()]
        while found[-1].data["position"] != position:
            found.append(await self.next())
        return found


@asynccontextmanager
async def listening(house: House, last_event_id: str | None = None) -> AsyncIterator[Stream]:
    headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
    url = house.url("reporting") + address("stream")
    async with house.client.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
        yield Stream(answer)


def _codes(told: list[Told]) -> set[str]:
    return {line["code"] for one in told for line in one.data["domains"]}


async def test_it_begins_with_a_snapshot_that_says_what_the_answers_say(house: House, world: World) -> None:
    await world.term()
    position = await house.settled()
    async with listening(house) as stream:
        assert stream.answer.headers["content-type"].startswith("text/event-stream")
        [*_, told] = await stream.until(position)
    domains, partners = await ask(house, "domains"), await ask(house, "partners")
    assert told.event == "snapshot"
    assert told.id.startswith(position)
    assert told.data["domains"] == domains["lines"]
    assert told.data["partners"] == partners["lines"]
    assert told.data["total"] == domains["total"]
    assert {name: told.data[name] for name in ("position", "asOf", "rule", "day")} == {
        name: domains[name] for name in ("position", "asOf", "rule", "day")
    }


async def test_then_each_change_holds_only_the_lines_that_changed(house: House, world: World) -> None:
    touched, untouched = await world.term(), await world.term()
    partner, _ = await world.partner(), await world.partner()
    position = await house.settled()
    async with listening(house) as stream:
        await stream.until(position)
        await world.recommendation(domains=[touched["code"]], addressees=[partner["id"]])
        changes = await stream.until(await house.settled())
    assert {change.event for change in changes} == {"change"}
    assert _codes(changes) == {touched["code"]}
    assert untouched["code"] not in _codes(changes)
    assert {line["id"] for change in changes for line in change.data["partners"]} == {partner["id"]}
    assert changes[-1].data["domains"] == [
        line for line in (await ask(house, "domains"))["lines"] if line["code"] == touched["code"]
    ]
    assert changes[-1].data["total"]["recommendations"] >= 1


async def test_a_fact_that_changes_no_line_moves_the_position_only(house: House, world: World) -> None:
    position = await house.settled()
    async with listening(house) as stream:
        await stream.until(position)
        await world.programme()
        [change] = await stream.until(await house.settled())
    assert (change.event, change.data["domains"], change.data["partners"]) == ("change", [], [])
    assert "total" not in change.data


async def test_resumed_it_gives_exactly_what_was_missed_and_no_snapshot(house: House, world: World) -> None:
    before = await world.term()
    position = await house.settled()
    async with listening(house) as stream:
        await stream.until(position)
        seen = await world.term()
        [*_, last] = await stream.until(await house.settled())
        assert seen["code"] in _codes([last])

        missed = [await world.term() for _ in range(3)]
        there = await stream.until(await house.settled())

    async with listening(house, last.id) as resumed:
        told = await resumed.until(there[-1].data["position"])
        assert [(one.event, one.id, one.data) for one in told] == [(one.event, one.id, one.data) for one in there]
        assert _codes(told) == {term["code"] for term in missed}
        assert before["code"] not in _codes(told)


async def test_resumed_with_nothing_missed_it_is_silent_until_something_changes(house: House, world: World) -> None:
    position = await house.settled()
    async with listening(house) as stream:
        [*_, last] = await stream.until(position)
    async with listening(house, last.id) as resumed:
        later = await world.term()
        told = await resumed.next()
    assert told.event == "change"
    assert _codes([told]) == {later["code"]}


async def test_resumed_after_the_first_snapshot_of_all_it_gives_what_was_missed(own_house: House) -> None:
    world = World(own_house)
    await world.term()
    await own_house.settled()
    async with listening(own_house) as stream:
        first = await stream.next()
        missed = await world.term()
        [*_, last] = await stream.until(await own_house.settled())
    assert first.event == "snapshot"
    async with listening(own_house, first.id) as resumed:
        told = await resumed.until(last.data["position"])
    assert {one.event for one in told} == {"change"}
    assert _codes(told) == {missed["code"]}


async def test_resumed_after_something_unknown_it_begins_with_a_snapshot(house: House, world: World) -> None:
    await house.settled()
    for unknown in ("r1.p0.m0@1999-01-01", "nonsense"):
        async with listening(house, unknown) as stream:
            assert (await stream.next()).event == "snapshot"


async def test_another_log_that_is_as_long_is_told_anew(builder: Builder) -> None:
    """An owner that lost its facts and told as many others stands at the same position with other figures."""
    async with builder.house(head_check_seconds=2) as house:
        world = World(house)
        lost = await world.term()
        position = await house.settled()
        async with listening(house) as stream:
            [*_, seen] = await stream.until(position)
            await house.stop("recommendations")
            house.databases["recommendations"] = await builder.database("recommendations")
            await house.start("recommendations")
            instead = await world.term()
            assert instead["code"] not in _codes([seen])
            told = await stream.next()
            while instead["code"] not in _codes([told]):
                told = await stream.next()
        assert told.data["position"] == position
        async with listening(house, seen.id) as resumed:
            [*_, there] = await resumed.until(position)
        assert instead["code"] in _codes([there]) and lost["code"] not in _codes([there])


async def test_two_who_listen_are_told_the_same(house: House, world: World) -> None:
    position = await house.settled()
    async with listening(house) as one, listening(house) as other:
        await one.until(position)
        await other.until(position)
        for _ in range(3):
            await world.term()
        position = await house.settled()
        assert await one.until(position) == await other.until(position)


async def test_the_stream_ends_when_the_service_stops(own_house: House) -> None:
    await World(own_house).term()
    position = await own_house.settled()
    async with listening(own_house) as stream:
        await stream.until(position)
        async with asyncio.timeout(4):
            await own_house.stop("reporting")
            try:
                while True:
                    await stream.next()
            except StopAsyncIteration:
                pass
