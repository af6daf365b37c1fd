"""Answers kept as bytes: the same until the view moves, and not sent to whoever has them."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import httpx
import pytest_asyncio

from shared import answers as module
from shared.answers import Answers, answered
from shared.projection import Position, Standing
from tests.examples import term
from tests.house import Builder, House, eventually

PATH = "/reporting/v1/progress/domains"
ADDRESS = (PATH, b"", "")
START = Standing(
    position=Position((("recommendations", 412), ("programme", 980))),
    epochs="a.b",
    newest=datetime(2018, 10, 19, tzinfo=UTC),
    checked_at=datetime(2018, 10, 19, 9, 30, tzinfo=UTC),
    generation="progress_1",
)


@dataclass
class Stands:
    """A view, as far as answers look at it."""

    standing: Standing | None = START


class Desk:
    """Answers of a view, with a count of how often one was made."""

    def __init__(self, rules: dict[str, int] | None = None) -> None:
        self.view = Stands()
        self.day = date(2018, 10, 19)
        self.made = 0
        self.answers = Answers(self.view, lambda: self.day, rules or {"coverage": 1})  # type: ignore[arg-type]

    async def ask(self, address: tuple[str, bytes, str] = ADDRESS, media_type: str = "application/json") -> Any:
        return await self.answers.give(address, media_type, self.make)

    async def make(self) -> tuple[Standing, bytes]:
        self.made += 1
        standing = self.view.standing
        assert standing is not None
        await asyncio.sleep(0)
        return standing, f"answer {self.made}".encode()


# --- kept ------------------------------------------------------------------------------------------------------


async def test_an_answer_is_made_once_while_the_view_stands_still() -> None:
    desk = Desk()
    assert await desk.ask() is await desk.ask()
    assert desk.made == 1


async def test_asked_for_many_times_at_once_it_is_made_once() -> None:
    desk = Desk()
    answers = await asyncio.gather(*(desk.ask() for _ in range(20)))
    assert desk.made == 1
    assert {answer.body for answer in answers} == {b"answer 1"}


async def test_when_making_fails_the_next_one_tries_again() -> None:
    desk = Desk()
    working, desk.view.standing = desk.view.standing, None
    failed = await asyncio.gather(desk.ask(), desk.ask(), return_exceptions=True)
    assert all(isinstance(one, AssertionError) for one in failed)
    desk.view.standing = working
    assert (await desk.ask()).body.startswith(b"answer")


async def test_each_move_of_the_view_and_each_new_day_asks_for_a_new_answer() -> None:
    desk = Desk()
    tags = [(await desk.ask()).etag]
    desk.view.standing = replace(START, position=Position((("recommendations", 413), ("programme", 980))))
    tags.append((await desk.ask()).etag)
    desk.view.standing = replace(START, epochs="a.c")
    tags.append((await desk.ask()).etag)
    desk.day = date(2018, 10, 20)
    tags.append((await desk.ask()).etag)
    assert desk.made == len(set(tags)) == 4


async def test_rows_made_again_are_looked_at_anew_and_the_tag_stays() -> None:
    """Every replica gives the same tag for the same facts, from whichever set of tables."""
    desk = Desk()
    before = await desk.ask()
    desk.view.standing = replace(START, generation="progress_2")
    after = await desk.ask()
    assert (desk.made, after.etag) == (2, before.etag)


async def test_asking_the_owners_again_changes_neither_answer_nor_tag() -> None:
    desk = Desk()
    before = await desk.ask()
    desk.view.standing = replace(START, checked_at=datetime(2018, 10, 19, 9, 31, tzinfo=UTC))
    assert await desk.ask() is before
    assert (b"kapstok-checked-at", b"2018-10-19T09:31:00.000000Z") in desk.answers.headers(before)


async def test_the_tag_differs_by_address_language_media_type_and_rules_and_by_nothing_else() -> None:
    desk = Desk()
    tags = {
        (await desk.ask()).etag,
        (await desk.ask((PATH, b"asOf=2018-12-31", ""))).etag,
        (await desk.ask(("/", b"", "nl"), "text/html")).etag,
        (await desk.ask(("/", b"", "en"), "text/html")).etag,
        (await Desk({"coverage": 2}).ask()).etag,
        (await Desk().ask(media_type="text/csv")).etag,
    }
    assert len(tags) == 6
    assert (await Desk().ask()).etag == (await Desk().ask()).etag


async def test_an_answer_made_from_newer_rows_than_this_process_has_seen_is_not_kept_as_of_before() -> None:
    desk = Desk()
    newer = replace(START, position=Position((("recommendations", 413), ("programme", 980))))

    async def make() -> tuple[Standing, bytes]:
        return newer, b"newer"

    await desk.answers.give(ADDRESS, "application/json", make)
    assert desk.answers.fresh(ADDRESS) is None
    desk.view.standing = newer
    kept = desk.answers.fresh(ADDRESS)
    assert kept is not None and kept.body == b"newer"


async def test_the_answer_not_asked_for_longest_goes_first() -> None:
    desk = Desk()
    await desk.ask(("/first", b"", ""))
    for number in range(module.MOST - 1):
        await desk.ask(("/other", str(number).encode(), ""))
    await desk.ask(("/first", b"", ""))
    await desk.ask(("/one-more", b"", ""))
    assert desk.answers.fresh(("/first", b"", "")) is not None
    assert desk.answers.fresh(("/other", b"0", "")) is None


async def test_a_view_that_has_not_looked_yet_has_nothing_fresh() -> None:
    desk = Desk()
    await desk.ask()
    desk.view.standing = None
    assert desk.answers.fresh(ADDRESS) is None


async def test_whoever_names_the_tag_gets_no_body() -> None:
    desk = Desk()
    answer = await desk.ask()
    start, body = answered(desk.answers, answer, b'"other", ' + answer.etag)
    assert (start["status"], body["body"]) == (304, b"")
    assert (b"etag", answer.etag) in start["headers"]
    start, body = answered(desk.answers, answer, b'"other"')
    assert (start["status"], body["body"]) == (200, b"answer 1")
    assert (b"content-length", b"8") in start["headers"]


# --- in a real house -------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    async with builder.house() as house:
        yield house


async def ask(house: House, method: str = "GET", path: str = PATH, **headers: str) -> httpx.Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await house.send(method, path, by=None, headers=given)


async def test_the_same_bytes_and_tag_come_back_until_the_position_moves(house: House) -> None:
    await house.post("/recommendations/v1/terms", term())
    await house.settled()
    first, second = await ask(house), await ask(house)
    assert (second.content, second.headers["etag"]) == (first.content, first.headers["etag"])
    await house.post("/recommendations/v1/terms", term())
    await house.settled()
    moved = await ask(house)
    assert moved.headers["etag"] != first.headers["etag"]
    assert moved.json()["position"] != first.json()["position"]


async def test_a_caller_who_has_the_answer_gets_304_and_no_body_until_it_moves(house: House) -> None:
    await house.settled()
    first = await ask(house)
    same = await ask(house, If_None_Match=first.headers["etag"])
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["etag"] == first.headers["etag"]
    assert "content-length" not in same.headers and "content-type" not in same.headers
    await house.post("/recommendations/v1/terms", term())
    await house.settled()
    moved = await ask(house, If_None_Match=first.headers["etag"])
    assert moved.status_code == 200


async def test_head_tells_what_get_would_without_the_body(house: House) -> None:
    await house.settled()
    got, head = await ask(house), await ask(house, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-type", "content-length", "vary", "cache-control", "api-version"):
        assert head.headers[name] == got.headers[name]
    same = await ask(house, "HEAD", If_None_Match=got.headers["etag"])
    assert same.status_code == 304


async def test_a_kept_answer_is_dressed_like_every_other(house: House) -> None:
    await house.settled()
    await ask(house)
    kept = await ask(house)
    assert kept.headers["content-type"] == "application/json"
    assert kept.headers["cache-control"] == "private, no-cache"
    assert kept.headers["vary"] == "accept-language"
    assert kept.headers["x-content-type-options"] == "nosniff"
    assert int(kept.headers["content-length"]) == len(kept.content)


async def test_the_first_answer_and_the_kept_one_are_alike(house: House) -> None:
    await house.post("/recommendations/v1/terms", term())
    await house.settled()
    path = f"{PATH}?knownAt=2030-01-01"
    made, kept = await ask(house, path=path), await ask(house, path=path)
    differ = {"date", "kapstok-checked-at", "ratelimit", "ratelimit-policy", "traceresponse"}
    assert made.content == kept.content
    assert {k: v for k, v in made.headers.items() if k not in differ} == {
        k: v for k, v in kept.headers.items() if k not in differ
    }


async def test_whoever_just_wrote_waits_for_that_position_and_gets_no_kept_answer_from_before(house: House) -> None:
    await house.settled()
    before = await ask(house)
    written = await house.send("POST", "/recommendations/v1/terms", term())
    position = written.headers["kapstok-position"]
    after = await ask(house, Kapstok_At_Least=position)
    assert after.status_code == 200
    assert after.json()["position"] != before.json()["position"]
    assert int(after.json()["position"].split(".")[0][1:]) >= int(position[1:])


async def test_how_lately_the_owners_were_asked_stands_outside_body_and_tag(house: House) -> None:
    await house.settled()
    first = await ask(house)

    async def checked_again() -> httpx.Response | None:
        now = await ask(house)
        return now if now.headers["kapstok-checked-at"] > first.headers["kapstok-checked-at"] else None

    now = await eventually(checked_again)
    assert (now.content, now.headers["etag"]) == (first.content, first.headers["etag"])


async def test_two_replicas_give_the_same_bytes_and_tag(house: House) -> None:
    await house.settled()
    first = await ask(house)
    await house.stop("reporting")
    await house.start("reporting")
    await house.settled()
    again = await ask(house)
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
