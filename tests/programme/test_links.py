"""Links: which action answers which recommendation, and who may say so."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from services.programme.links import Link
from shared.errors import Conflict, Forbidden
from shared.events.event import Actor
from shared.events.programme import Contribution, LinkState
from tests import examples
from tests.examples import Body, World, today
from tests.house import House

PATH = "/programme/v1/links"
COORDINATOR = Actor(organisation="jenv", function="coordinator")

VERBS: dict[str, Callable[[Link], Any]] = {
    "confirm": lambda one: one.confirm(COORDINATOR, "politie"),
    "dispute": lambda one: one.dispute("covers less"),
    "end": lambda one: one.end("dropped"),
    "declare_sufficient": lambda one: one.declare_sufficient(True, "together", COORDINATOR, "politie"),
}
PROPOSED, CONFIRMED, DISPUTED, ENDED = LinkState
LEADS_TO = {
    ("confirm", PROPOSED): CONFIRMED,
    ("confirm", DISPUTED): CONFIRMED,
    ("dispute", PROPOSED): DISPUTED,
    ("dispute", CONFIRMED): DISPUTED,
    ("end", PROPOSED): ENDED,
    ("end", CONFIRMED): ENDED,
    ("end", DISPUTED): ENDED,
    ("declare_sufficient", CONFIRMED): CONFIRMED,
}
REFUSALS = {
    "confirm": "Only a proposed or disputed link can be confirmed; this one is {}.",
    "dispute": "Only a proposed or confirmed link can be disputed; this one is {}.",
    "end": "This link has ended already.",
    "declare_sufficient": "Only a confirmed partial link can be declared sufficient together with others.",
}


@pytest.mark.parametrize(("verb", "state"), LEADS_TO)
def test_a_link_moves_as_its_states_allow(verb: str, state: LinkState) -> None:
    link = examples.link_entity(state=state)
    told = VERBS[verb](link)
    assert (link.state, link.version, told.version) == (LEADS_TO[verb, state], 2, 2)


@pytest.mark.parametrize(("verb", "state"), sorted(set(product(VERBS, LinkState)) - set(LEADS_TO)))
def test_a_link_refuses_what_its_state_does_not_allow(verb: str, state: LinkState) -> None:
    link = examples.link_entity(state=state)
    with pytest.raises(Conflict, match=REFUSALS[verb].format(state)):
        VERBS[verb](link)
    assert (link.state, link.version) == (state, 1)


@pytest.mark.parametrize("contribution", [Contribution.FULL, Contribution.ENABLING])
def test_only_a_partial_link_is_sufficient_together_with_others(contribution: Contribution) -> None:
    link = examples.link_entity(state=CONFIRMED, contribution=contribution)
    with pytest.raises(Conflict, match="confirmed partial link"):
        link.declare_sufficient(True, "together", COORDINATOR, "politie")


@pytest.mark.parametrize(("verb", "state"), [("confirm", PROPOSED), ("confirm", DISPUTED), ("declare", CONFIRMED)])
def test_the_lead_of_an_action_does_not_judge_its_own_link(verb: str, state: LinkState) -> None:
    link = examples.link_entity(state=state)
    with pytest.raises(Forbidden, match="The lead of an action does not judge its own link"):
        if verb == "confirm":
            link.confirm(COORDINATOR, "jenv")
        else:
            link.declare_sufficient(True, "together", COORDINATOR, "jenv")
    assert (link.state, link.version, link.jointly_sufficient) == (state, 1, False)


def test_a_confirmed_link_says_who_confirmed_it_and_an_action_without_lead_may_have_one() -> None:
    link = examples.link_entity()
    link.confirm(COORDINATOR, None)
    assert (link.state, link.confirmed_by) == (CONFIRMED, "jenv")


def test_what_was_declared_sufficient_can_be_taken_back() -> None:
    link = examples.link_entity(state=CONFIRMED, jointly_sufficient=True)
    assert link.declare_sufficient(False, "one was dropped", COORDINATOR, None).jointly_sufficient is False


async def parts(world: World, **action: Any) -> Body:
    """An action and a recommendation, for a link between them."""
    made = await world.action(**action)
    recommendation = await world.recommendation()
    return {"actionId": made["id"], "recommendationId": recommendation["id"]}


async def test_proposing_gives_address_version_and_who_proposed(house: House) -> None:
    world = World(house)
    made = await world.link(**await parts(world))
    assert (made["state"], made["version"], made["proposedBy"]) == ("proposed", 1, "jenv")
    assert (made["confirmedBy"], made["jointlySufficient"]) == (None, False)
    answer = await house.send("POST", PATH, examples.link(**await parts(world)), headers={"Kapstok-At-Least": "r1"})
    if answer.status_code == 201:
        assert answer.headers["location"] == f"{PATH}/{answer.json()['id']}"
        assert answer.headers["etag"] == '"1"'
    assert await house.get(f"{PATH}/{made['id']}", by=None) == made


async def test_a_recommendation_that_is_not_known_yet_may_be_asked_for_again(house: House) -> None:
    world = World(house)
    action = await world.action()
    body = examples.link(actionId=action["id"], recommendationId=str(uuid4()))
    answer = await world.refused(409, "not known here yet", PATH, body)
    assert (answer.headers["retry-after"], answer.json()["errors"][0]["pointer"]) == ("1", "/recommendationId")
    answer = await world.refused(400, "no action", PATH, body | {"actionId": str(uuid4())})
    assert answer.json()["errors"][0]["pointer"] == "/actionId"


async def test_between_two_there_is_one_link_until_it_ends(house: House) -> None:
    world = World(house)
    two = await parts(world)
    link = await world.link(**two)
    await world.refused(409, f"already: {link['reference']}", PATH, examples.link(**two, contribution="enabling"))
    await world.verb("programme", "links", link, "_end", {"reason": "wrong"})
    assert (await world.link(**two))["reference"] != link["reference"]


async def test_of_ten_who_propose_the_same_link_at_once_one_succeeds(house: House) -> None:
    world = World(house)
    two = await parts(world)
    await world.verb("programme", "links", await world.link(**two), "_end", {"reason": "once more, at once"})
    answers = await asyncio.gather(*(house.send("POST", PATH, examples.link(**two)) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_a_dropped_action_answers_nothing_any_more(house: House) -> None:
    world = World(house)
    action, recommendation = await world.action(), await world.recommendation()
    two = {"actionId": action["id"], "recommendationId": recommendation["id"]}
    await world.verb("programme", "links", await world.link(**two), "_end", {"reason": "wrong"})
    await world.verb("programme", "actions", action, "_drop", {"reason": "another way"})
    await world.refused(409, "This action is dropped", PATH, examples.link(**two))


@pytest.mark.parametrize("function", ["reporter", "alternate"])
async def test_a_partner_proposes_and_disputes_links_of_actions_that_it_takes_part_in(
    house: House, function: str
) -> None:
    world = World(house)
    lead, helper, third = await world.partner(), await world.partner(), await world.partner()
    led = await parts(world, leadId=lead["id"], contributors=[helper["id"]])
    link = await house.post(PATH, examples.link(**led), by=(lead["code"], function))
    assert link["proposedBy"] == lead["code"]
    disputed = await world.verb("programme", "links", link, "_dispute", {"reason": "x"}, by=(helper["code"], function))
    assert disputed["state"] == "disputed"
    confirmed = await world.verb("programme", "links", disputed, "_confirm")
    by = (third["code"], function)
    words = "neither leads nor contributes"
    await world.refused(403, words, f"{PATH}/{link['id']}/_dispute", {"reason": "x"}, by=by, version=3)
    other = await parts(world, leadId=lead["id"])
    await house.post(PATH, examples.link(**await parts(world, leadId=lead["id"])))
    await world.refused(403, words, PATH, examples.link(**other), by=by)
    assert confirmed["confirmedBy"] == "jenv"


async def test_one_of_several_undecided_leads_takes_part(house: House) -> None:
    world = World(house)
    one, other = await world.partner(), await world.partner()
    body = examples.link(**await parts(world, leadUndecided=[one["id"], other["id"]]))
    assert (await house.post(PATH, body, by=(other["code"], "reporter")))["proposedBy"] == other["code"]


@pytest.mark.parametrize("function", ["validator", "issuing-body", "task-force-member", "auditor"])
async def test_others_do_not_propose_links(house: House, function: str) -> None:
    body = examples.link(actionId=str(uuid4()), recommendationId=str(uuid4()))
    await World(house).refused(403, "This takes the function", PATH, body, by=("jenv", function))


@pytest.mark.parametrize("function", ["reporter", "alternate", "validator", "issuing-body", "task-force-member"])
async def test_only_the_coordinator_and_the_secretariat_judge_links(house: House, function: str) -> None:
    world = World(house)
    partner = await world.partner()
    link = await world.link(**await parts(world, leadId=partner["id"]))
    for verb, body in {"_confirm": {}, "_end": {"reason": "x"}, "_declare-sufficient": {"reason": "x"}}.items():
        by = (partner["code"], function)
        words = "coordinator or secretariat"
        await world.refused(403, words, f"{PATH}/{link['id']}/{verb}", body, by=by, version=1)


async def test_where_the_coordinators_organisation_leads_the_secretariat_confirms(house: House) -> None:
    world = World(house)
    lead = await world.partner()
    link = await world.link(**await parts(world, leadId=lead["id"]), contribution="partial")
    own, secretariat = (lead["code"], "coordinator"), ("taskforce", "secretariat")
    words = "the Task Force secretariat does"
    await world.refused(403, words, f"{PATH}/{link['id']}/_confirm", by=own, version=1)
    await world.refused(403, words, f"{PATH}/{link['id']}/_confirm", by=(lead["code"], "secretariat"), version=1)
    confirmed = await world.verb("programme", "links", link, "_confirm", by=secretariat)
    assert confirmed["confirmedBy"] == "taskforce"
    declare = f"{PATH}/{link['id']}/_declare-sufficient"
    await world.refused(403, words, declare, {"reason": "together"}, by=own, version=2)
    declared = await house.post(declare, {"reason": "together"}, by=secretariat, version=2)
    assert declared["jointlySufficient"] is True


async def test_a_change_names_the_version_and_a_day_since_it_began(house: House) -> None:
    world = World(house)
    action = await world.action(effectiveFrom="2018-10-19")
    recommendation = await world.recommendation(effectiveFrom="2018-10-01")
    both = {"actionId": action["id"], "recommendationId": recommendation["id"]}
    link = await world.link(**both, effectiveFrom="2018-10-19")
    other = both | {"actionId": (await world.action(effectiveFrom="2018-10-19"))["id"]}
    await world.refused(400, "since 2018-10-19", PATH, examples.link(**other, effectiveFrom="2018-10-18"))
    path = f"{PATH}/{link['id']}/_confirm"
    await world.refused(428, "If-Match", path)
    await world.refused(412, "at version 1 now", path, version=2)
    await world.refused(400, "began on 2018-10-19", path, {"effectiveFrom": "2018-10-18"}, version=1)
    await world.refused(400, "day comes", path, {"effectiveFrom": str(today() + timedelta(days=2))}, version=1)
    answer = await house.send("POST", path, {"effectiveFrom": "2018-10-20"}, version=1)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    assert (answer.json()["id"], answer.json()["effectiveFrom"]) == (link["id"], "2018-10-20")


async def test_they_are_listed_by_action_recommendation_state_and_what_another_system_calls_them(house: House) -> None:
    world = World(house)
    two = await parts(world)
    one = await world.link(**two, externalIds={"veilig": "9"})
    other = await world.link(actionId=two["actionId"], recommendationId=(await world.recommendation())["id"])
    await world.verb("programme", "links", other, "_confirm")
    for query, found in {
        f"actionId={two['actionId']}": [one["id"], other["id"]],
        f"recommendationId={two['recommendationId']}": [one["id"]],
        f"actionId={two['actionId']}&state=confirmed": [other["id"]],
        f"actionId={uuid4()}": [],
        "externalId=veilig:9": [one["id"]],
    }.items():
        assert await world.walked(f"{PATH}?{query}") == found, query
        assert await world.walked(f"{PATH}?{query}&limit=1") == found, query
    whole = await world.walked(PATH)
    assert len(whole) == len(set(whole)) and await world.walked(f"{PATH}?limit=2") == whole
