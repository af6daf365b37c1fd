"""Operations that end: announced on every answer until the day, gone from then on; with a clock that is set by hand."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from uuid import uuid4

import pytest
import pytest_asyncio

from deploy.stack import SERVICES
from services.endings import ENDINGS
from shared.endings import Ending, mark_deprecated
from tests import house as houses
from tests.examples import term
from tests.house import Builder, House

TERMS = "/recommendations/v1/terms"
DEPRECATED, SUNSET = datetime(2027, 1, 1, tzinfo=UTC), datetime(2027, 7, 1, 12, tzinfo=UTC)
EXPLAINED, SUCCESSOR = "https://example.org/kapstok/changes#terms", "/recommendations/v2/terms"
ENDING = Ending(DEPRECATED, SUNSET, EXPLAINED, SUCCESSOR)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    """A register in which terms are about to be introduced in another way."""
    given = houses.FACTORIES["recommendations"]
    houses.FACTORIES["recommendations"] = partial(given, endings={"introduce_term": ENDING, "list_terms": ENDING})
    try:
        async with builder.house("recommendations") as house:
            yield house
    finally:
        houses.FACTORIES["recommendations"] = given


def set_clock(house: House, moment: datetime) -> None:
    house.running["recommendations"].service.now = lambda: moment


async def test_until_the_day_an_operation_works_and_tells_of_its_end(house: House) -> None:
    set_clock(house, SUNSET - timedelta(seconds=1))
    for answer in (await house.send("GET", f"{TERMS}?limit=1"), await house.send("POST", TERMS, term())):
        assert answer.status_code in (200, 201)
        assert answer.headers["deprecation"] == f"@{int(DEPRECATED.timestamp())}"
        assert parsedate_to_datetime(answer.headers["sunset"]) == SUNSET
        assert answer.links["deprecation"]["url"] == EXPLAINED
        assert answer.links["successor-version"]["url"] == SUCCESSOR


async def test_a_refusal_tells_of_it_too(house: House) -> None:
    set_clock(house, DEPRECATED)
    refused = await house.send("POST", TERMS, {})
    assert (refused.status_code, refused.headers["deprecation"]) == (400, f"@{int(DEPRECATED.timestamp())}")


async def test_the_links_of_pages_stay_beside_those_of_the_end(house: House) -> None:
    set_clock(house, DEPRECATED)
    for _ in range(2):
        await house.send("POST", TERMS, term())
    answer = await house.send("GET", f"{TERMS}?limit=1")
    assert {"next", "deprecation", "sunset"} <= answer.links.keys()


async def test_from_the_day_on_an_operation_is_gone_and_saves_nothing(house: House) -> None:
    for moment in (SUNSET, SUNSET + timedelta(days=400)):
        set_clock(house, moment)
        before = (await house.send("GET", "/recommendations/v1/events/head")).json()["sequence"]
        for answer in (await house.send("GET", TERMS), await house.send("POST", TERMS, term())):
            assert answer.status_code == 410
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "/recommendations/v1/problems/gone"
            assert EXPLAINED in answer.json()["detail"]
            assert parsedate_to_datetime(answer.headers["sunset"]) == SUNSET
        assert (await house.send("GET", "/recommendations/v1/events/head")).json()["sequence"] == before


async def test_other_operations_at_and_below_the_address_go_on(house: House) -> None:
    set_clock(house, SUNSET)
    answer = await house.send("GET", f"{TERMS}/{uuid4()}")
    assert answer.status_code == 404
    assert "deprecation" not in answer.headers and "sunset" not in answer.headers


async def test_openapi_says_so_of_these_operations_and_of_no_other(house: House) -> None:
    paths = (await house.get("/recommendations/v1/openapi.json", by=None))["paths"]
    marked = {one["operationId"] for path in paths.values() for one in path.values() if one.get("deprecated")}
    assert marked == {"introduce_term", "list_terms"}


def test_an_operation_that_is_not_there_cannot_end() -> None:
    with pytest.raises(TypeError, match="forge_report"):
        mark_deprecated(
            {"/reports": {"get": {"operationId": "list_reports", "responses": {}}}}, {"forge_report": ENDING}
        )


def test_nothing_stops_before_it_is_advised_against() -> None:
    with pytest.raises(ValueError, match="before it stops"):
        Ending(SUNSET, DEPRECATED, EXPLAINED)


def test_every_service_has_a_schedule_that_leaves_half_a_year() -> None:
    assert ENDINGS.keys() == set(SERVICES)
    for endings in ENDINGS.values():
        for ending in endings.values():
            assert ending.sunset_at - ending.deprecated_at >= timedelta(days=182)
