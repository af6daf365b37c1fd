"""Uptake assessments: verdicts, appended and never overwritten."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests import examples
from tests.examples import Body, World, today
from tests.house import House

PATH = "/monitor/v1/assessments"


def verdict(recommendation: Body, **fields: Any) -> Body:
    return {"recommendationId": recommendation["id"], "verdict": "partial", "rationale": examples.text()} | fields


async def issued(world: World) -> tuple[Body, Body]:
    """A partner that issues recommendations, and one of its own."""
    partner = await world.partner(kind="international-oversight")
    body = await world.house.post("/recommendations/v1/issuing-bodies", examples.issuing_body(partnerId=partner["id"]))
    return partner, await world.recommendation(sourceId=(await world.source(issuingBodyId=body["id"]))["id"])


async def test_a_verdict_gives_address_version_criteria_and_who_gave_it(house: House) -> None:
    world = World(house)
    recommendation = await world.recommendation()
    made = await house.post(PATH, verdict(recommendation, addressed=True, funded=False))
    assert (made["version"], made["assessedBy"], made["verdict"]) == (1, "jenv", "partial")
    assert (made["addressed"], made["funded"], made["dated"]) == (True, False, None)
    answer = await house.send("POST", PATH, verdict(recommendation))
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == f"{PATH}/{answer.json()['id']}"
    assert await house.get(answer.headers["location"], by=None) == answer.json()


async def test_every_voice_stays_visible_beside_the_others(house: House) -> None:
    world = World(house)
    partner, recommendation = await issued(world)
    made = []
    for by, said in (
        (("jenv", "coordinator"), "adequate"),
        (("taskforce", "task-force-member"), "partial"),
        (("taskforce", "secretariat"), "partial"),
        ((partner["code"], "issuing-body"), "inadequate"),
        (("jenv", "coordinator"), "partial"),
    ):
        made.append(await house.post(PATH, verdict(recommendation, verdict=said), by=by))
    listed = (await house.get(f"{PATH}?recommendationId={recommendation['id']}"))["items"]
    assert listed == made
    assert [one["assessedBy"] for one in listed] == ["jenv", "taskforce", "taskforce", partner["code"], "jenv"]


async def test_an_issuing_body_gives_its_verdict_on_its_own_recommendations_only(house: House) -> None:
    world = World(house)
    partner, own = await issued(world)
    _, other = await issued(world)
    nobodys = await world.recommendation()
    by = (partner["code"], "issuing-body")
    assert (await house.post(PATH, verdict(own), by=by))["assessedBy"] == partner["code"]
    await house.settled()
    for recommendation in (other, nobodys):
        await house.post(PATH, verdict(recommendation))
        await world.refused(403, "own recommendations only", PATH, verdict(recommendation), by=by)


@pytest.mark.parametrize("function", ["reporter", "alternate", "validator", "auditor"])
async def test_who_carries_it_out_gives_no_verdict(house: House, function: str) -> None:
    body = verdict({"id": str(uuid4())})
    await World(house).refused(403, "This takes the function", PATH, body, by=("jenv", function))


@pytest.mark.parametrize("kind", ["call", "finding", "position"])
async def test_uptake_is_assessed_for_recommendations_only(house: House, kind: str) -> None:
    world = World(house)
    source = await world.source()
    other, told_later = [
        await world.recommendation(sourceId=source["id"], kind=one) for one in (kind, "recommendation")
    ]
    await house.post(PATH, verdict(told_later))
    await world.refused(409, f"This is a {kind}; uptake is assessed for recommendations", PATH, verdict(other))


async def test_a_recommendation_that_is_not_known_yet_may_be_asked_for_again(house: House) -> None:
    answer = await World(house).refused(409, "not known here yet", PATH, verdict({"id": str(uuid4())}))
    assert (answer.headers["retry-after"], answer.json()["errors"][0]["pointer"]) == ("1", "/recommendationId")


async def test_a_verdict_holds_from_today_or_earlier(house: House) -> None:
    world = World(house)
    recommendation = await world.recommendation()
    made = await house.post(PATH, verdict(recommendation, effectiveFrom="2018-12-01", effectiveFromBasis="assumed"))
    assert (made["effectiveFrom"], made["effectiveFromBasis"]) == ("2018-12-01", "assumed")
    later = verdict(recommendation, effectiveFrom=str(today() + timedelta(days=2)))
    await world.refused(400, "that day comes", PATH, later)


async def test_they_are_listed_by_recommendation_and_what_another_system_calls_them(house: House) -> None:
    world = World(house)
    one, other = await world.recommendation(), await world.recommendation()
    made = [
        await house.post(PATH, verdict(which, externalIds={"dms": which["id"][-6:]})) for which in (one, other, one)
    ]
    for query, found in {
        f"recommendationId={one['id']}": [made[0]["id"], made[2]["id"]],
        f"recommendationId={other['id']}&externalId=dms:{other['id'][-6:]}": [made[1]["id"]],
        f"recommendationId={other['id']}&externalId=dms:{one['id'][-6:]}": [],
        f"recommendationId={uuid4()}": [],
    }.items():
        assert await world.walked(f"{PATH}?{query}") == found, query
        assert await world.walked(f"{PATH}?{query}&limit=1") == found, query
    whole = await world.walked(PATH)
    assert len(whole) == len(set(whole)) and await world.walked(f"{PATH}?limit=2") == whole
