"""The programme and its action lines."""

from datetime import timedelta
from uuid import uuid4

import pytest

from tests import examples
from tests.examples import World, today
from tests.house import House

PROGRAMMES, LINES = "/programme/v1/programmes", "/programme/v1/action-lines"


async def test_a_programme_keeps_what_its_document_says(house: House) -> None:
    world = World(house)
    partner, earlier = await world.partner(), await world.programme()
    body = examples.programme(
        leadId=partner["id"],
        commissioning=[partner["id"]],
        succeedsId=earlier["id"],
        adoptedOn="2018-10-01",
        principles=[examples.text()],
        money=[{"what": examples.text(), "eur": 500_000, "period": "2018-2021"}],
    )
    answer = await house.send("POST", PROGRAMMES, body)
    made = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == f"{PROGRAMMES}/{made['id']}"
    assert {name: made[name] for name in body if name != "money"} == {k: v for k, v in body.items() if k != "money"}
    assert made["money"][0]["eur"] == 500_000
    assert await house.get(f"{PROGRAMMES}/{made['id']}", by=None) == made


async def test_a_programme_refers_only_to_what_is_there(house: House) -> None:
    world = World(house)
    for field, value, words in (
        ("leadId", str(uuid4()), "no partner"),
        ("commissioning", [str(uuid4()), str(uuid4())], "2 of these is no partner"),
        ("succeedsId", str(uuid4()), "no programme"),
    ):
        answer = await world.refused(400, words, PROGRAMMES, examples.programme(**{field: value}))
        assert answer.json()["errors"][0]["pointer"] == f"/{field}"


async def test_an_action_line_hangs_on_a_programme_that_is_there(house: House) -> None:
    world = World(house)
    answer = await world.refused(400, "no programme", LINES, {"programmeId": str(uuid4()), "name": examples.text()})
    assert answer.json()["errors"][0]["pointer"] == "/programmeId"
    programme, domain = await world.programme(), await world.term()
    body = {"programmeId": programme["id"], "name": examples.text(), "domains": [domain["code"]]}
    line = await house.post(LINES, body)
    assert (line["programmeId"], line["domains"], line["version"]) == (programme["id"], [domain["code"]], 1)
    answer = await world.refused(409, "not known here yet", LINES, body | {"domains": ["bestaat-niet"]})
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("function", ["reporter", "secretariat", "task-force-member", "issuing-body", "auditor"])
async def test_only_the_coordinator_adopts_programmes_and_draws_lines(house: House, function: str) -> None:
    world = World(house)
    by = ("jenv", function)
    await world.refused(403, "coordinator", PROGRAMMES, examples.programme(), by=by)
    await world.refused(403, "coordinator", LINES, {"programmeId": str(uuid4()), "name": examples.text()}, by=by)


async def test_both_hold_from_today_or_earlier(house: House) -> None:
    world = World(house)
    later = str(today() + timedelta(days=2))
    await world.refused(400, "that day comes", PROGRAMMES, examples.programme(effectiveFrom=later))
    programme = await world.programme(effectiveFrom="2018-10-01")
    assert (programme["effectiveFrom"], programme["reference"][:9]) == ("2018-10-01", "PRG-2018-")
    body = {"programmeId": programme["id"], "name": examples.text(), "effectiveFrom": later}
    await world.refused(400, "that day comes", LINES, body)


@pytest.mark.parametrize("path", [PROGRAMMES, LINES])
async def test_both_are_listed_page_by_page_and_found_by_what_another_system_calls_them(
    house: House, path: str
) -> None:
    world = World(house)
    programme = await world.programme(externalIds={"archief": f"P{path[-4:]}"})
    body = {"programmeId": programme["id"], "name": examples.text(), "externalIds": {"archief": f"P{path[-4:]}"}}
    made = {PROGRAMMES: programme["id"], LINES: (await house.post(LINES, body))["id"]}
    for _ in range(3):
        await house.post(LINES, {"programmeId": (await world.programme())["id"], "name": examples.text()})
    whole = await world.walked(path)
    assert len(whole) == len(set(whole)) >= 4
    assert await world.walked(f"{path}?limit=1") == await world.walked(f"{path}?limit=3") == whole
    assert await world.walked(f"{path}?externalId=archief:P{path[-4:]}") == [made[path]]
