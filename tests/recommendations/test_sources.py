"""Issuing bodies, and the reports and letters that recommendations come from."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tests import examples
from tests.examples import World, today
from tests.house import House

BODIES, SOURCES = "/recommendations/v1/issuing-bodies", "/recommendations/v1/sources"


async def test_an_issuing_body_keeps_its_own_scale_beside_the_common_one(house: House) -> None:
    scale = [{"code": "urges", "name": examples.text("dringt aan", "urges"), "strength": "urge"}]
    answer = await house.send("POST", BODIES, examples.issuing_body(gradingScheme=scale))
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == f"{BODIES}/{answer.json()['id']}"
    read = await house.get(answer.headers["location"], by=None)
    assert read == answer.json()
    assert read["gradingScheme"] == scale


async def test_an_issuing_body_may_be_a_partner_that_is_known(house: House) -> None:
    world = World(house)
    partner = await world.partner()
    body = await house.post(BODIES, examples.issuing_body(partnerId=partner["id"]))
    assert body["partnerId"] == partner["id"]


async def test_an_issuing_body_of_a_partner_that_is_not_known_yet_may_be_asked_for_again(house: House) -> None:
    answer = await World(house).refused(
        409, "not known here yet", BODIES, examples.issuing_body(partnerId=str(uuid4()))
    )
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["errors"][0]["pointer"] == "/partnerId"


async def test_a_source_belongs_to_an_issuing_body_that_is_there(house: House) -> None:
    world = World(house)
    answer = await world.refused(400, "no issuing body", SOURCES, examples.source(issuingBodyId=str(uuid4())))
    assert answer.json()["errors"][0]["pointer"] == "/issuingBodyId"
    body = await house.post(BODIES, examples.issuing_body())
    answer = await house.send("POST", SOURCES, examples.source(issuingBodyId=body["id"], publishedOn="2018-10-19"))
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == f"{SOURCES}/{answer.json()['id']}"
    assert await house.get(answer.headers["location"], by=None) == answer.json()


async def test_what_is_known_of_a_source_keeps_its_precision(house: House) -> None:
    world = World(house)
    source = await world.source(publishedOn="2018-01-01", publishedOnPrecision="year", periodFrom="najaar 2016")
    assert (source["publishedOnPrecision"], source["periodFrom"]) == ("year", "najaar 2016")
    cited = [{"document": "Rapport", "date": "2018", "url": "https://example.org/rapport"}]
    assert (await world.source(citations=cited, basis="secondary"))["citations"][0]["date"] == "2018"


@pytest.mark.parametrize("function", ["issuing-body", "reporter", "secretariat", "task-force-member", "auditor"])
async def test_only_the_coordinator_registers_issuing_bodies_and_sources(house: House, function: str) -> None:
    world = World(house)
    by = ("jenv", function)
    await world.refused(403, "coordinator", BODIES, examples.issuing_body(), by=by)
    await world.refused(403, "coordinator", SOURCES, examples.source(issuingBodyId=str(uuid4())), by=by)


async def test_both_hold_from_today_or_earlier(house: House) -> None:
    world = World(house)
    later = str(today() + timedelta(days=2))
    await world.refused(400, "that day comes", BODIES, examples.issuing_body(effectiveFrom=later))
    source = await world.source(effectiveFrom="2018-10-19")
    assert (source["beganOn"], source["reference"][:9]) == ("2018-10-19", "SRC-2018-")
    body = examples.source(issuingBodyId=source["issuingBodyId"], effectiveFrom=later)
    await world.refused(400, "that day comes", SOURCES, body)


@pytest.mark.parametrize("path", [BODIES, SOURCES])
async def test_both_are_listed_page_by_page_and_found_by_what_another_system_calls_them(
    house: House, path: str
) -> None:
    world = World(house)
    made = [(await world.source(externalIds={"archief": f"A-{number}"})) for number in range(3)]
    whole = await world.walked(path)
    assert len(set(whole)) == len(whole) >= 3
    assert await world.walked(f"{path}?limit=2") == whole
    found = await world.walked(f"{SOURCES}?externalId=archief:A-1")
    assert made[1]["id"] in found and made[0]["id"] not in found
