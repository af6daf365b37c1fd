"""Partner organisations: who takes part."""

import asyncio
from datetime import date, timedelta
from uuid import uuid4

import pytest

from shared.errors import Conflict
from shared.texts import Text
from tests import examples
from tests.examples import World, today
from tests.house import House

PATH = "/programme/v1/partners"


def test_a_partner_ends_on_the_day_that_the_end_holds_from() -> None:
    partner = examples.partner_entity(effective_from=date(2019, 1, 1))
    told = partner.end("merged")
    assert (partner.ended_on, told.ended_on, told.reason, told.version) == (*[date(2019, 1, 1)] * 2, "merged", 2)


@pytest.mark.parametrize("verb", ["describe", "end"])
def test_a_partner_that_ended_is_not_changed_any_more(verb: str) -> None:
    partner = examples.partner_entity(ended_on=date(2019, 1, 1))
    with pytest.raises(Conflict, match="This partner ended on 2019-01-01"):
        partner.describe(Text(nl="Anders")) if verb == "describe" else partner.end("again")
    assert (partner.version, partner.name) == (1, Text(nl="Politie"))


def test_a_partner_is_described_anew() -> None:
    partner = examples.partner_entity()
    assert partner.describe(Text(nl="Anders")).name == partner.name == Text(nl="Anders")


async def test_registering_gives_address_and_version(house: House) -> None:
    answer = await house.send("POST", PATH, examples.partner())
    made = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == f"{PATH}/{made['id']}"
    assert await house.get(f"{PATH}/{made['id']}", by=None) == made


async def test_a_code_names_one_partner_for_ever(house: House) -> None:
    world = World(house)
    partner = await world.partner()
    await world.refused(409, "one of these already", PATH, examples.partner(code=partner["code"]))
    await world.verb("programme", "partners", partner, "_end", {"reason": "merged"})
    await world.refused(409, "one of these already", PATH, examples.partner(code=partner["code"]))
    body = examples.partner()
    answers = await asyncio.gather(*(house.send("POST", PATH, body) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_a_parent_is_a_partner_that_is_there(house: House) -> None:
    world = World(house)
    parent = await world.partner()
    assert (await world.partner(parentId=parent["id"]))["parentId"] == parent["id"]
    answer = await world.refused(400, "no partner", PATH, examples.partner(parentId=str(uuid4())))
    assert answer.json()["errors"][0]["pointer"] == "/parentId"


async def test_a_domain_that_is_not_known_yet_may_be_asked_for_again(house: House) -> None:
    world = World(house)
    answer = await world.refused(409, "not known here yet", PATH, examples.partner(domains=["bestaat-niet"]))
    assert (answer.headers["retry-after"], answer.json()["errors"][0]["pointer"]) == ("1", "/domains")
    domain = await world.term()
    assert (await world.partner(domains=[domain["code"]]))["domains"] == [domain["code"]]


@pytest.mark.parametrize("function", ["reporter", "alternate", "validator", "secretariat", "issuing-body", "auditor"])
async def test_only_the_coordinator_keeps_the_partners(house: House, function: str) -> None:
    world = World(house)
    partner = await world.partner()
    by = (partner["code"], function)
    await world.refused(403, "coordinator", PATH, examples.partner(), by=by)
    await world.refused(403, "coordinator", f"{PATH}/{partner['id']}/_end", {"reason": "x"}, by=by, version=1)
    body = {"name": examples.text()}
    await world.refused(403, "coordinator", f"{PATH}/{partner['id']}", body, by=by, version=1, method="PATCH")


async def test_a_change_names_the_version_and_a_day_since_it_began(house: House) -> None:
    world = World(house)
    partner = await world.partner(effectiveFrom="2018-01-01")
    one, end = f"{PATH}/{partner['id']}", f"{PATH}/{partner['id']}/_end"
    body = {"name": {"nl": "Anders"}}
    await world.refused(428, "If-Match", one, body, method="PATCH")
    answer = await house.send("PATCH", one, body, version=1, headers={"Content-Type": "application/merge-patch+json"})
    assert (answer.status_code, answer.headers["etag"], answer.json()["name"]["nl"]) == (200, '"2"', "Anders")
    await world.refused(412, "at version 2 now", one, body, method="PATCH", version=1)
    await world.refused(400, "began on 2018-01-01", end, {"reason": "x", "effectiveFrom": "2017-12-31"}, version=2)
    later = str(today() + timedelta(days=2))
    await world.refused(400, "that day comes", end, {"reason": "x", "effectiveFrom": later}, version=2)
    ended = await house.post(end, {"reason": "merged", "effectiveFrom": "2019-05-01"}, version=2)
    assert (ended["endedOn"], ended["beganOn"]) == ("2019-05-01", "2018-01-01")
    await world.refused(409, "ended on 2019-05-01", end, {"reason": "again"}, version=3)


async def test_they_are_listed_by_code_kind_and_what_another_system_calls_them(house: House) -> None:
    world = World(house)
    made = await world.partner(kind="care", externalIds={"kvk": "12345678"})
    also = await world.partner(kind="care")
    for query, found in {
        "kind=care": [made["id"], also["id"]],
        f"code={made['code']}": [made["id"]],
        f"code={made['code']}&kind=police": [],
        "externalId=kvk:12345678": [made["id"]],
        "externalId=kvk:1234567": [],
        "externalId=rsin:12345678": [],
    }.items():
        assert await world.walked(f"{PATH}?{query}") == found, query
        assert await world.walked(f"{PATH}?{query}&limit=1") == found, query
    whole = await world.walked(PATH)
    assert len(whole) == len(set(whole)) and await world.walked(f"{PATH}?limit=3") == whole
