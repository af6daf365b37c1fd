"""Answers kept as bytes: the same until something changes, and never older than the caller asks for."""

import asyncio
from datetime import timedelta
from time import perf_counter

import httpx
import pytest

from tests.examples import World, term
from tests.house import House, eventually
from tests.reporting.asking import address, ask

PLACES = ["domains", "partners", "matrix"]


async def _get(house: House, what: str = "domains", *, headers: dict[str, str] | None = None) -> httpx.Response:
    answer = await house.send("GET", address(what), by=None, headers=headers)
    assert answer.status_code in (200, 304), answer.text
    return answer


async def test_asked_twice_the_bytes_and_the_etag_are_the_same(house: House, world: World) -> None:
    domain = await world.term()
    await house.settled()
    for what in [*PLACES, f"domains/{domain['code']}"]:
        first, second = await _get(house, what), await _get(house, what)
        assert first.content == second.content
        assert first.headers["etag"] == second.headers["etag"]
        assert first.headers["content-type"] == second.headers["content-type"] == "application/json"


async def test_asked_by_many_at_once_all_get_the_same_bytes(house: House, world: World) -> None:
    await world.term()
    await house.settled()
    answers = await asyncio.gather(*(_get(house, "partners") for _ in range(20)))
    assert len({answer.content for answer in answers}) == 1


async def test_who_has_the_answer_already_gets_304_without_a_body(house: House, world: World) -> None:
    await house.settled()
    for what in [*PLACES, "partners?asOf=2019-01-01"]:
        etag = (await _get(house, what)).headers["etag"]
        again = await _get(house, what, headers={"If-None-Match": etag})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert "content-type" not in again.headers
        assert (await _get(house, what, headers={"If-None-Match": '"something-else"'})).status_code == 200


async def test_304_is_also_given_by_the_route_itself(house: House, world: World) -> None:
    await house.settled()
    etag = (await _get(house)).headers["etag"]
    past_the_front = {"If-None-Match": etag, "Kapstok-At-Least": "r0"}
    assert (await _get(house, headers=past_the_front)).status_code == 304


async def test_the_etag_changes_when_the_position_moves(house: House, world: World) -> None:
    await house.settled()
    before = await _get(house)
    await world.partner()
    await house.settled()
    after = await _get(house, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.headers["etag"] != before.headers["etag"]
    assert after.json()["position"] != before.json()["position"]


async def test_each_address_has_an_etag_of_its_own(house: House, world: World) -> None:
    domain = await world.term()
    await house.settled()
    code = domain["code"]
    places = [*PLACES, f"domains/{code}", f"domains/{code}?figure=overdue", "domains?asOf=2019-01-01"]
    etags = [(await _get(house, what)).headers["etag"] for what in places]
    assert len(set(etags)) == len(places)


async def test_a_restarted_service_gives_the_same_bytes_and_etag(own_house: House) -> None:
    await World(own_house).term()
    await own_house.settled()
    before = await _get(own_house)
    await own_house.stop("reporting")
    await own_house.start("reporting")
    after = await _get(own_house)
    assert after.content == before.content
    assert after.headers["etag"] == before.headers["etag"]


async def test_what_i_told_is_in_the_answer_that_i_ask_at_least(house: House, world: World) -> None:
    for _ in range(20):
        body = term()
        told = await house.send("POST", "/recommendations/v1/terms", body)
        answer = await _get(house, headers={"Kapstok-At-Least": told.headers["kapstok-position"]})
        assert body["code"] in {line["code"] for line in answer.json()["lines"]}


async def test_asked_for_a_position_of_the_future_it_says_within_seconds_that_it_is_not_there(house: House) -> None:
    started = perf_counter()
    answer = await house.send("GET", address("domains"), by=None, headers={"Kapstok-At-Least": "r999999999"})
    assert 1.9 < perf_counter() - started < 10
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert "ask again" in answer.json()["detail"]


@pytest.mark.parametrize("written", ["newest", "", "x1", "r1.", "r-1"])
async def test_a_position_that_is_none_is_refused(house: House, written: str) -> None:
    answer = await house.send("GET", address("domains"), by=None, headers={"Kapstok-At-Least": written})
    assert answer.status_code == 400
    assert "r412" in answer.json()["detail"]


async def test_how_fresh_it_is_stands_in_a_header_outside_body_and_etag(house: House, world: World) -> None:
    await house.settled()
    first = await _get(house)
    checked_at = first.headers["kapstok-checked-at"]

    async def checked_again() -> httpx.Response | None:
        answer = await _get(house)
        return answer if answer.headers["kapstok-checked-at"] > checked_at else None

    later = await eventually(checked_again)
    assert later.content == first.content
    assert later.headers["etag"] == first.headers["etag"]
    assert checked_at not in first.text


async def test_figures_are_open_to_all_and_carry_the_headers_of_a_careful_site(house: House) -> None:
    answer = await _get(house)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["api-version"]


async def test_a_misspelt_question_is_refused_also_after_the_right_one_was_kept(house: House) -> None:
    await ask(house, "domains", asOf="2019-01-01")
    answer = await house.send("GET", address("domains", asof="2019-01-01"), by=None)
    assert answer.status_code == 400


@pytest.mark.parametrize("axis", ["asOf", "knownAt"])
async def test_days_to_come_are_not_asked_about(house: House, axis: str) -> None:
    today = house.running["reporting"].service.today()
    for day, status in ((today, 200), (today + timedelta(days=1), 400)):
        answer = await house.send("GET", address("domains") + f"?{axis}={day}", by=None)
        assert answer.status_code == status, answer.text


async def test_a_figure_that_does_not_exist_is_refused_with_those_that_do(house: House, world: World) -> None:
    code = (await world.term())["code"]
    await house.settled()
    answer = await house.send("GET", address(f"domains/{code}") + "?figure=nodata", by=None)
    assert answer.status_code == 400
    assert "implementation:no data" in answer.json()["detail"]
    assert "nodata" not in answer.text


async def test_the_feed_takes_a_function_that_is_known_here(house: House) -> None:
    for functions, status in ((("reporter",), 200), (("bogus",), 403)):
        answer = await house.send("GET", "/monitor/v1/events", by=("politie", *functions))
        assert answer.status_code == status
