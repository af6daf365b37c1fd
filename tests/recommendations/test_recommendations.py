"""Recommendations: their rules, and who may touch which."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.recommendations.recommendations import ClassifyRecommendation, Recommendation
from shared.errors import Conflict
from shared.events.recommendations import ClosingReason, RegisterState
from shared.texts import Text
from tests import examples
from tests.examples import Body, World, today
from tests.house import House, eventually

PATH = "/recommendations/v1/recommendations"
BODIES = "/recommendations/v1/issuing-bodies"
CLOSE = {"closingReason": "superseded", "reason": "A later report repeats it."}

VERBS: dict[str, Callable[[Recommendation], Any]] = {
    "classify": lambda one: one.classify(ClassifyRecommendation(domains=["zorg"])),
    "describe": lambda one: one.describe(Text(en="Train.")),
    "close": lambda one: one.close(ClosingReason.DUPLICATE, "twice"),
    "reopen": lambda one: one.reopen("new facts"),
}
STANDING = [state for state in RegisterState if state is not RegisterState.CLOSED]


@pytest.mark.parametrize("state", STANDING)
@pytest.mark.parametrize("verb", ["classify", "describe", "close"])
def test_a_recommendation_that_stands_can_be_placed_described_and_closed(verb: str, state: RegisterState) -> None:
    recommendation = examples.recommendation_entity(state=state)
    told = VERBS[verb](recommendation)
    assert (told.version, told.entity) == (2, recommendation.id)
    assert recommendation.state is (RegisterState.CLOSED if verb == "close" else state)


@pytest.mark.parametrize("verb", ["classify", "describe", "close"])
def test_a_closed_recommendation_is_reopened_before_anything_else(verb: str) -> None:
    recommendation = examples.recommendation_entity(state=RegisterState.CLOSED)
    with pytest.raises(Conflict, match="This recommendation is closed; reopen it first"):
        VERBS[verb](recommendation)
    assert recommendation.version == 1


@pytest.mark.parametrize("state", STANDING)
def test_only_a_closed_recommendation_can_be_reopened(state: RegisterState) -> None:
    with pytest.raises(Conflict, match=f"Only a closed recommendation can be reopened; this one is {state}"):
        examples.recommendation_entity(state=state).reopen("new facts")


def test_reopening_forgets_why_it_was_closed_and_says_why_it_is_open() -> None:
    closed = examples.recommendation_entity(state=RegisterState.CLOSED, closing_reason=ClosingReason.DUPLICATE)
    told = closed.reopen("new facts")
    assert (closed.state, closed.closing_reason, told.reason) == (RegisterState.REOPENED, None, "new facts")


@pytest.mark.parametrize("reason", [reason for reason in ClosingReason if reason is not ClosingReason.IMPLEMENTED])
def test_it_closes_for_any_reason_but_that_it_was_implemented(reason: ClosingReason) -> None:
    recommendation = examples.recommendation_entity()
    told = recommendation.close(reason, "as said")
    assert (told.closing_reason, recommendation.closing_reason) == (reason, reason)


def test_closing_as_implemented_takes_a_claim_evidence_and_an_assessment() -> None:
    recommendation = examples.recommendation_entity()
    with pytest.raises(Conflict, match="takes an accepted claim, evidence, and an assessment from outside"):
        recommendation.close(ClosingReason.IMPLEMENTED, "done")
    assert (recommendation.state, recommendation.version) == (RegisterState.REGISTERED, 1)


async def issuer(world: World) -> tuple[Body, Body]:
    """A partner that issues recommendations, and a source of its own."""
    partner = await world.partner(kind="international-oversight")
    body = await world.house.post(BODIES, examples.issuing_body(partnerId=partner["id"]))
    return partner, await world.source(issuingBodyId=body["id"])


async def test_registering_gives_address_version_and_a_reference_of_its_year(house: House) -> None:
    source = await World(house).source()
    body = examples.recommendation(sourceId=source["id"], effectiveFrom="2018-10-19")
    answer = await house.send("POST", PATH, body)
    made = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == f"{PATH}/{made['id']}"
    assert (made["reference"][:9], made["state"], made["closingReason"]) == ("REC-2018-", "registered", None)
    assert await house.get(f"{PATH}/{made['id']}", by=None) == made


async def test_it_refers_only_to_sources_parents_and_terms_that_are_there(house: House) -> None:
    world = World(house)
    source = await world.source()
    for field, value, words in (
        ("sourceId", str(uuid4()), "no source"),
        ("parentId", str(uuid4()), "no recommendation"),
        ("domains", ["bestaat-niet"], "no domain"),
        ("forms", ["bestaat-niet"], "no form"),
        ("goals", ["bestaat-niet"], "no goal"),
        ("levels", ["bestaat-niet"], "no level"),
    ):
        body = examples.recommendation(sourceId=source["id"]) | {field: value}
        answer = await world.refused(400, words, PATH, body)
        assert answer.json()["errors"][0]["pointer"] == f"/{field}"


async def test_an_addressee_that_is_not_known_yet_may_be_asked_for_again(house: House) -> None:
    world = World(house)
    partner, source = await world.partner(), await world.source()
    body = examples.recommendation(sourceId=source["id"], addressees=[partner["id"], str(uuid4())])
    answer = await eventually(lambda: world.refused(409, "1 of these partners are not known here yet", PATH, body))
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["errors"][0]["pointer"] == "/addressees"


async def test_a_part_names_the_recommendation_that_it_is_a_part_of(house: House) -> None:
    world = World(house)
    whole = await world.recommendation()
    part = await world.recommendation(sourceId=whole["sourceId"], parentId=whole["id"])
    assert part["parentId"] == whole["id"]


@pytest.mark.parametrize("function", ["reporter", "alternate", "validator", "secretariat", "task-force-member"])
async def test_partners_and_the_task_force_do_not_write_in_the_register(house: House, function: str) -> None:
    world = World(house)
    one = await world.recommendation()
    by = ("jenv", function)
    await world.refused(
        403, "coordinator or issuing-body", PATH, examples.recommendation(sourceId=one["sourceId"]), by=by
    )
    for verb, body in {
        "_close": CLOSE,
        "_reopen": {"reason": "new facts"},
        "_classify": {"domains": []},
    }.items():
        await world.refused(403, "This takes the function", f"{PATH}/{one['id']}/{verb}", body, by=by, version=1)
    described = {"summary": examples.text()}
    await world.refused(403, "function", f"{PATH}/{one['id']}", described, by=by, version=1, method="PATCH")


async def test_an_issuing_body_touches_its_own_recommendations(house: House) -> None:
    world = World(house)
    partner, source = await issuer(world)
    by = (partner["code"], "issuing-body")
    made = await house.post(PATH, examples.recommendation(sourceId=source["id"]), by=by)
    answer = await house.send("PATCH", f"{PATH}/{made['id']}", {"summary": {"en": "Train all."}}, by=by, version=1)
    assert (answer.status_code, answer.json()["summary"]["en"]) == (200, "Train all.")
    closed = await world.verb("recommendations", "recommendations", answer.json(), "_close", CLOSE, by=by)
    assert (closed["state"], closed["closingReason"]) == ("closed", "superseded")
    reopened = await world.verb("recommendations", "recommendations", closed, "_reopen", {"reason": "again"}, by=by)
    assert (reopened["state"], reopened["closingReason"], reopened["version"]) == ("reopened", None, 4)


async def test_an_issuing_body_touches_nobody_elses_recommendations(house: House) -> None:
    world = World(house)
    partner, _ = await issuer(world)
    another, source = await issuer(world)
    by, own = (partner["code"], "issuing-body"), "own sources"
    theirs = await house.post(
        PATH, examples.recommendation(sourceId=source["id"]), by=(another["code"], "issuing-body")
    )
    await world.refused(403, own, PATH, examples.recommendation(sourceId=source["id"]), by=by)
    await world.refused(403, own, f"{PATH}/{theirs['id']}/_close", CLOSE, by=by, version=1)
    await world.refused(403, own, f"{PATH}/{theirs['id']}/_reopen", {"reason": "x"}, by=by, version=1)
    body = {"summary": examples.text()}
    await world.refused(403, own, f"{PATH}/{theirs['id']}", body, by=by, version=1, method="PATCH")
    await world.refused(403, "coordinator", f"{PATH}/{theirs['id']}/_classify", {"domains": []}, by=by, version=1)
    nobodys = await world.recommendation()
    await world.refused(403, own, f"{PATH}/{nobodys['id']}/_close", CLOSE, by=by, version=1)


async def test_the_coordinator_keeps_the_whole_register(house: House) -> None:
    world = World(house)
    _, source = await issuer(world)
    domain, form = await world.term(), await world.term(vocabulary="form")
    made = await house.post(PATH, examples.recommendation(sourceId=source["id"]))
    body = {"domains": [domain["code"]], "forms": [form["code"]], "classification": "suggested"}
    placed = await world.verb("recommendations", "recommendations", made, "_classify", body)
    assert (placed["domains"], placed["classification"]) == ([domain["code"]], "suggested")
    await world.refused(400, "no goal", f"{PATH}/{made['id']}/_classify", body | {"goals": ["bestaat-niet"]}, version=2)
    closed = await world.verb("recommendations", "recommendations", placed, "_close", CLOSE)
    for verb, asked in {"_close": CLOSE, "_classify": body}.items():
        await world.refused(409, "reopen it first", f"{PATH}/{made['id']}/{verb}", asked, version=closed["version"])


async def test_a_change_names_the_version_and_a_day_since_it_began(house: House) -> None:
    world = World(house)
    made = await world.recommendation(effectiveFrom="2018-10-19")
    path = f"{PATH}/{made['id']}/_close"
    await world.refused(428, "If-Match", path, CLOSE)
    await world.refused(412, "at version 1 now", path, CLOSE, version=7)
    await world.refused(400, "began on 2018-10-19", path, CLOSE | {"effectiveFrom": "2018-10-18"}, version=1)
    later = str(today() + timedelta(days=2))
    await world.refused(400, "that day comes", path, CLOSE | {"effectiveFrom": later}, version=1)
    answer = await house.send("POST", path, CLOSE | {"effectiveFrom": "2019-01-01"}, version=1)
    assert (answer.headers["etag"], answer.json()["effectiveFrom"]) == ('"2"', "2019-01-01")
    assert answer.json()["beganOn"] == "2018-10-19"
    earlier = {"reason": "new facts", "effectiveFrom": "2018-11-01"}
    reopened = await world.verb("recommendations", "recommendations", answer.json(), "_reopen", earlier)
    assert reopened["effectiveFrom"] == "2018-11-01", "a later fact may hold from an earlier day"


async def test_they_are_listed_by_source_kind_domain_and_what_another_system_calls_them(house: House) -> None:
    world = World(house)
    source, domain, other = await world.source(), await world.term(), await world.term()
    made = [
        await world.recommendation(sourceId=source["id"], domains=[domain["code"], other["code"]]),
        await world.recommendation(sourceId=source["id"], kind="finding", domains=[other["code"]]),
        await world.recommendation(sourceId=source["id"], externalIds={"grevio": "218"}),
    ]
    ids = [one["id"] for one in made]
    for query, found in {
        f"sourceId={source['id']}": ids,
        f"sourceId={source['id']}&kind=finding": [ids[1]],
        f"sourceId={source['id']}&kind=call": [],
        f"domain={domain['code']}": [ids[0]],
        f"domain={other['code']}": ids[:2],
        f"sourceId={source['id']}&externalId=grevio:218": [ids[2]],
        f"sourceId={uuid4()}": [],
        "externalId=grevio:21": [],
    }.items():
        assert await world.walked(f"{PATH}?{query}") == found, query
        assert await world.walked(f"{PATH}?{query}&limit=1") == found, query
