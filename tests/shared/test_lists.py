"""Lists, page by page: in any order, forwards and backwards, every row once, also while others come and go."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from shared.cursors import Cursor, Order
from tests.examples import issuing_body, source, term
from tests.house import Builder, House

SOURCES = "/recommendations/v1/sources"
DAYS = ["2018-10-19", "2017-01-01", None, "2018-10-19", "2018-10-19", "2019-05-05", None, "2016-03-03", "2018-10-19"]
"""When the sources of these tests were published: several on one day, and of two it is not known."""

Row = dict[str, Any]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    """A register with sources, which no test adds to."""
    async with builder.house("recommendations") as house:
        body = await house.post("/recommendations/v1/issuing-bodies", issuing_body())
        for number, day in enumerate(DAYS):
            began = {"effectiveFrom": f"2020-01-{(number * 4) % 9 + 1:02d}"}
            await house.post(SOURCES, source(issuingBodyId=body["id"], publishedOn=day) | began)
        yield house


async def walk(house: House, path: str, relation: str = "next") -> list[list[Row]]:
    """The pages of a list, as `Link` leads from the first to the last."""
    pages = []
    while True:
        answer = await house.send("GET", path)
        assert answer.status_code == 200, answer.text
        pages.append(answer.json()["items"])
        if relation not in answer.links:
            return pages
        path = answer.links[relation]["url"]


def flat(pages: list[list[Row]]) -> list[str]:
    return [row["id"] for page in pages for row in page]


@pytest.mark.parametrize("limit", [1, 2, 3, 8, 9, 10])
@pytest.mark.parametrize(
    "sort", ["", "reference", "-reference", "beganOn", "-effectiveFrom", "publishedOn", "-publishedOn"]
)
async def test_a_walk_gives_every_row_once_in_the_order_that_was_asked(house: House, sort: str, limit: int) -> None:
    pages = await walk(house, f"{SOURCES}?limit={limit}{f'&sort={sort}' if sort else ''}")
    assert all(len(page) == limit for page in pages[:-1]) and pages[-1]
    rows = [row for page in pages for row in page]
    assert len({row["id"] for row in rows}) == len(rows) == len(DAYS)
    field = sort.removeprefix("-") or "id"
    values = [(row[field], row["id"]) for row in rows if row[field] is not None]
    assert values == sorted(values, reverse=sort.startswith("-"))
    assert all(row[field] is None for row in rows[len(values) :]), "what has no day comes last"


@pytest.mark.parametrize("sort", ["", "&sort=-publishedOn"])
async def test_a_walk_back_gives_the_same_pages_from_the_last_to_the_first(house: House, sort: str) -> None:
    forwards = await walk(house, f"{SOURCES}?limit=3{sort}")
    answer = await house.send("GET", f"{SOURCES}?limit=3{sort}")
    assert "prev" not in answer.links and "first" not in answer.links
    while "next" in answer.links:
        answer = await house.send("GET", answer.links["next"]["url"])
    backwards = await walk(house, answer.request.url.raw_path.decode(), "prev")
    assert [flat([page]) for page in backwards] == [flat([page]) for page in reversed(forwards)]
    first = await house.send("GET", answer.links["first"]["url"])
    assert flat([first.json()["items"]]) == flat(forwards[:1])


async def test_two_walks_are_alike(house: House) -> None:
    path = f"{SOURCES}?limit=2&sort=publishedOn"
    assert flat(await walk(house, path)) == flat(await walk(house, path))


async def test_the_next_of_the_body_is_that_of_the_link_and_the_query_stays(house: House) -> None:
    answer = await house.send("GET", f"{SOURCES}?sort=-beganOn&limit=2")
    following = answer.links["next"]["url"]
    assert f"cursor={answer.json()['next']}" in following
    assert "sort=-beganOn" in following and "limit=2" in following


async def test_what_is_added_during_a_walk_hides_and_doubles_nothing(builder: Builder) -> None:
    """In the order of entry and in an order in which the new rows land before, between and after."""
    async with builder.house("recommendations") as house:
        terms = "/recommendations/v1/terms"
        for letter in "cegik":
            await house.post(terms, term(code=f"{letter}-term"))
        for sort in ("", "&sort=code", "&sort=-code"):
            before = set(flat(await walk(house, f"{terms}?limit=500{sort}")))
            path, seen = f"{terms}?limit=2{sort}", []
            for number in range(100):
                answer = await house.send("GET", path)
                seen += flat([answer.json()["items"]])
                if "next" not in answer.links:
                    break
                if number < 4:
                    for letter in "afz":
                        await house.post(terms, term(code=f"{letter}-{uuid4().hex[:8]}"))
                path = answer.links["next"]["url"]
            assert len(seen) == len(set(seen)), "a row came twice"
            assert before <= set(seen), "a row that was there was not seen"


async def test_a_row_that_is_ended_during_a_walk_takes_no_other_with_it(builder: Builder) -> None:
    async with builder.house("recommendations") as house:
        terms = "/recommendations/v1/terms"
        made = [await house.post(terms, term()) for _ in range(4)]
        answer = await house.send("GET", f"{terms}?limit=2&sort=-effectiveFrom")
        last = answer.json()["items"][-1]
        await house.post(f"{terms}/{last['id']}/_end", {"reason": "Samengevoegd."}, version=last["version"])
        seen = flat([answer.json()["items"]]) + flat(await walk(house, answer.links["next"]["url"]))
        assert set(seen) == {row["id"] for row in made}


async def _refused(house: House, query: str) -> Row:
    answer = await house.send("GET", f"{SOURCES}?{query}")
    assert answer.status_code == 400, answer.text
    return answer.json()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "sort", ["title", "-id", "id", "", "+reference", "reference,beganOn", "published_on", "version"]
)
async def test_an_order_that_is_not_on_the_list_is_refused_with_those_that_are(house: House, sort: str) -> None:
    told = await _refused(house, f"sort={sort.replace('+', '%2B')}")
    assert told["errors"][0]["pointer"] == "query:sort"
    assert "-publishedOn" in told["detail"]


async def test_a_cursor_of_another_order_is_refused(house: House) -> None:
    cursor = (await house.get(f"{SOURCES}?limit=2&sort=publishedOn"))["next"]
    for sort in ("", "&sort=-publishedOn", "&sort=reference"):
        assert "another order" in (await _refused(house, f"cursor={cursor}{sort}"))["detail"]


def forged(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(list(parts), separators=(",", ":")).encode()).decode().rstrip("=")


ID = "5d3f2f0e-8f4b-4c52-9d3a-1f0a9d3e7b44"


@pytest.mark.parametrize(
    ("cursor", "sort"),
    [
        ("abc", ""),
        (ID, ""),
        ("WyJ" + "A" * 40, ""),
        ("WyJ" + "A" * 41, ""),
        (forged("id", ">", None, "no-id-at-all-here"), ""),
        (forged("id", ">", None), ""),
        (forged("id", "!", None, ID), ""),
        (forged("id", ">", {"a": 1}, ID), ""),
        (forged("id", ">", 7, ID), ""),
        (forged("id", ">", None, 7, "x" * 30), ""),
        (forged("publishedOn", ">", "2018-10-19", ID), "publishedOn"),
        (forged("published_on", ">", "yesterday", ID), "publishedOn"),
        (forged("published_on", ">", "2018-02-30", ID), "publishedOn"),
        (forged("reference", ">", "SRC\x00", ID), "reference"),
        (forged("reference", ">", "SRC\ud800", ID), "reference"),
        (forged("reference", ">", ["SRC"], ID), "reference"),
        ("WyJ" + "A" * 2000, ""),
    ],
)
async def test_a_cursor_that_we_did_not_give_is_refused(house: House, cursor: str, sort: str) -> None:
    told = await _refused(house, f"cursor={cursor}{f'&sort={sort}' if sort else ''}")
    assert told["errors"][0]["pointer"] == "query:cursor"


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("value", [None, "RAP-2018-0001", "ünïcode", date(2018, 10, 19)])
def test_a_cursor_reads_as_it_was_written(value: Any, backwards: bool) -> None:
    class Row:
        id = uuid4()
        reference = value

    order = Order("reference", descending=True)
    made = Cursor.at(order, Row, backwards=backwards)
    assert Cursor.read(str(made), order) == made
