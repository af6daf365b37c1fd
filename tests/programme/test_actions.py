"""Actions: their states, and every change to who, when and what."""

from collections.abc import Callable
from datetime import date, timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from services.programme.actions import (
    Action,
    AssignAction,
    ClassifyAction,
    DescribeAction,
    PlanAction,
    RescheduleAction,
)
from shared.errors import Conflict, Invalid
from shared.events.programme import ActionState
from shared.texts import DatedNote, Text
from tests import examples
from tests.examples import BEGAN, World, today
from tests.house import House

PATH = "/programme/v1/actions"
DUE = date(2020, 1, 1)

VERBS: dict[str, Callable[[Action], Any]] = {
    "start": lambda one: one.start(),
    "hold": lambda one: one.hold("no money"),
    "complete": lambda one: one.complete(),
    "drop": lambda one: one.drop("another way"),
    "reschedule": lambda one: one.reschedule(RescheduleAction(due_on=DUE, reason="later")),
    "assign": lambda one: one.assign(AssignAction(lead_id=uuid4(), reason="taken over")),
    "classify": lambda one: one.classify(ClassifyAction(domains=["zorg"])),
    "describe": lambda one: one.describe(DescribeAction(name=Text(nl="Anders"))),
    "note": lambda one: one.note(DatedNote(on=BEGAN, text=Text(nl="Gelezen."))),
}
PLANNED, ACTIVE, ON_HOLD = ActionState.PLANNED, ActionState.ACTIVE, ActionState.ON_HOLD
GOING_ON = (PLANNED, ACTIVE, ON_HOLD)
LEADS_TO = (
    {("start", state): ACTIVE for state in (PLANNED, ON_HOLD)}
    | {("hold", ACTIVE): ON_HOLD}
    | {("complete", state): ActionState.COMPLETED for state in GOING_ON}
    | {("drop", state): ActionState.DROPPED for state in GOING_ON}
    | {(verb, state): state for verb in ("reschedule", "assign") for state in GOING_ON}
    | {(verb, state): state for verb in ("classify", "describe", "note") for state in ActionState}
)
REFUSALS = {
    "start": "Only a planned or held action can start; this one is",
    "hold": "Only an active action can be put on hold; this one is",
    **dict.fromkeys(("complete", "drop", "reschedule", "assign"), "This action is"),
}


@pytest.mark.parametrize(("verb", "state"), LEADS_TO)
def test_an_action_moves_as_its_states_allow(verb: str, state: ActionState) -> None:
    action = examples.action_entity(state=state)
    told = VERBS[verb](action)
    assert (action.state, action.version, told.version) == (LEADS_TO[verb, state], 2, 2)
    assert getattr(told, "state", action.state) is action.state


@pytest.mark.parametrize(("verb", "state"), sorted(set(product(VERBS, ActionState)) - set(LEADS_TO)))
def test_an_action_refuses_what_its_state_does_not_allow(verb: str, state: ActionState) -> None:
    action = examples.action_entity(state=state)
    with pytest.raises(Conflict, match=f"{REFUSALS[verb]} {state}."):
        VERBS[verb](action)
    assert (action.state, action.version) == (state, 1)


def test_the_first_due_day_stays_visible_however_often_it_moves() -> None:
    action = examples.action_entity(due_on=date(2019, 1, 1), first_due_on=date(2019, 1, 1))
    for day in (date(2019, 6, 1), date(2018, 12, 1)):
        told = action.reschedule(RescheduleAction(due_on=day, reason="moved"))
        assert (told.due_on, told.first_due_on) == (day, date(2019, 1, 1))


def test_the_first_due_day_of_an_action_that_had_none_is_the_one_it_gets() -> None:
    action = examples.action_entity()
    assert action.reschedule(RescheduleAction(due_on=DUE, reason="set")).first_due_on == DUE


def test_an_action_is_not_due_before_it_starts() -> None:
    action = examples.action_entity(starts_on=date(2020, 1, 2))
    with pytest.raises(Invalid, match="starts on 2020-01-02; it cannot be due before that") as refusal:
        action.reschedule(RescheduleAction(due_on=DUE, reason="earlier"))
    assert (refusal.value.field, action.due_on) == ("/dueOn", None)
    action.reschedule(RescheduleAction(due_on=date(2020, 1, 2), reason="the same day"))
    with pytest.raises(ValidationError, match="cannot be due before it starts"):
        PlanAction(programme_id=uuid4(), name=Text(nl="Training"), starts_on=date(2020, 1, 2), due_on=DUE)


def test_a_lead_is_one_partner_or_several_undecided_and_never_both() -> None:
    one, other = uuid4(), uuid4()
    action = examples.action_entity()
    action.assign(AssignAction(lead_undecided=[one, other], reason="both named"))
    assert (action.lead_id, action.lead_undecided) == (None, [one, other])
    told = action.assign(AssignAction(lead_id=one, contributors=[other], reason="decided"))
    assert (told.lead_id, told.lead_undecided, told.contributors) == (one, [], [other])
    with pytest.raises(ValidationError, match="not both"):
        AssignAction(lead_id=one, lead_undecided=[one, other], reason="x")
    with pytest.raises(ValidationError, match="nothing undecided"):
        AssignAction(lead_undecided=[one], reason="x")


def test_describing_without_a_summary_keeps_the_one_that_stands() -> None:
    action = examples.action_entity(summary=Text(nl="Kort."))
    action.describe(DescribeAction(name=Text(nl="Anders")))
    assert (action.name, action.summary) == (Text(nl="Anders"), Text(nl="Kort."))


def test_notes_are_added_and_never_replaced() -> None:
    action = examples.action_entity()
    for number in range(3):
        action.note(DatedNote(on=BEGAN, text=Text(nl=f"Gelezen {number}.")))
    assert [note.text.nl for note in action.dated_notes] == ["Gelezen 0.", "Gelezen 1.", "Gelezen 2."]


async def test_planning_gives_address_version_and_first_due_day(house: House) -> None:
    world = World(house)
    programme = await world.programme()
    answer = await house.send("POST", PATH, examples.action(programmeId=programme["id"], dueOn="2019-12-31"))
    made = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == f"{PATH}/{made['id']}"
    assert (made["state"], made["firstDueOn"], made["leadId"]) == ("planned", "2019-12-31", None)
    assert await house.get(f"{PATH}/{made['id']}", by=None) == made


async def test_an_action_refers_only_to_what_is_there(house: House) -> None:
    world = World(house)
    programme = await world.programme()
    unknown = str(uuid4())
    for field, value, words, pointer in (
        ("programmeId", unknown, "no programme", "/programmeId"),
        ("actionLineId", unknown, "no action line", "/actionLineId"),
        ("leadId", unknown, "1 of these is no partner", "/leadId"),
        ("leadUndecided", [unknown, str(uuid4())], "2 of these is no partner", "/leadId"),
        ("contributors", [unknown], "1 of these is no partner", "/leadId"),
    ):
        body = examples.action(programmeId=programme["id"]) | {field: value}
        answer = await world.refused(400, words, PATH, body)
        assert answer.json()["errors"][0]["pointer"] == pointer
    action = await world.action()
    for field, value, words in (("leadId", unknown, "no partner"), ("contributors", [unknown], "no partner")):
        await world.refused(400, words, f"{PATH}/{action['id']}/_assign", {"reason": "x", field: value}, version=1)


@pytest.mark.parametrize(("field", "vocabulary"), [("domains", "domain"), ("forms", "form"), ("goals", "goal")])
async def test_a_word_that_is_not_known_yet_may_be_asked_for_again(house: House, field: str, vocabulary: str) -> None:
    world = World(house)
    action, term = await world.action(), await world.term(vocabulary=vocabulary)
    body = examples.action(programmeId=action["programmeId"]) | {field: ["bestaat-niet"]}
    answer = await world.refused(409, f"no {vocabulary} in the vocabulary, or not known here yet", PATH, body)
    assert (answer.headers["retry-after"], answer.json()["errors"][0]["pointer"]) == ("1", f"/{field}")
    classify = f"{PATH}/{action['id']}/_classify"
    await world.refused(409, "not known here yet", classify, {"domains": [], field: ["bestaat-niet"]}, version=1)
    placed = await house.post(classify, {"domains": [], field: [term["code"]]}, version=1)
    assert placed[field] == [term["code"]]


async def test_a_word_that_ended_places_no_action_any_more(house: House) -> None:
    world = World(house)
    term, programme = await world.term(), await world.programme()
    body = examples.action(programmeId=programme["id"], domains=[term["code"]])
    await house.post(PATH, body)
    await world.verb("recommendations", "terms", term, "_end", {"reason": "merged"})
    await house.settled()
    await world.refused(409, "no domain in the vocabulary", PATH, body)


@pytest.mark.parametrize("function", ["reporter", "alternate", "validator", "secretariat", "issuing-body", "auditor"])
async def test_only_the_coordinator_changes_the_plan_also_for_an_action_that_the_caller_leads(
    house: House, function: str
) -> None:
    world = World(house)
    partner = await world.partner()
    action = await world.action(leadId=partner["id"])
    by = (partner["code"], function)
    note = {"note": {"on": "2018-10-19", "text": examples.text()}}
    await world.refused(403, "coordinator", PATH, examples.action(programmeId=action["programmeId"]), by=by)
    for verb, body in {
        "_start": {},
        "_hold": {"reason": "x"},
        "_complete": {},
        "_drop": {"reason": "x"},
        "_reschedule": {"reason": "x", "dueOn": "2020-01-01"},
        "_assign": {"reason": "x"},
        "_classify": {"domains": []},
        "_note": note,
    }.items():
        await world.refused(403, "coordinator", f"{PATH}/{action['id']}/{verb}", body, by=by, version=1)
    body = {"name": examples.text()}
    await world.refused(403, "coordinator", f"{PATH}/{action['id']}", body, by=by, version=1, method="PATCH")


async def test_an_action_goes_its_way_from_planned_to_completed(house: House) -> None:
    world = World(house)
    action = await world.action(effectiveFrom="2018-10-19")
    for verb, body, state in (
        ("_start", {"effectiveFrom": "2018-11-01"}, "active"),
        ("_hold", {"reason": "no money"}, "on hold"),
        ("_start", {}, "active"),
        ("_reschedule", {"reason": "later", "dueOn": "2027-01-01"}, "active"),
        ("_complete", {}, "completed"),
    ):
        action = await world.verb("programme", "actions", action, verb, body)
        assert action["state"] == state
    assert (action["version"], action["beganOn"], action["firstDueOn"]) == (6, "2018-10-19", "2027-01-01")
    await world.refused(409, "This action is completed", f"{PATH}/{action['id']}/_drop", {"reason": "x"}, version=6)


async def test_a_change_names_the_version_and_a_day_since_it_began(house: House) -> None:
    world = World(house)
    action = await world.action(effectiveFrom="2018-10-19")
    path = f"{PATH}/{action['id']}/_start"
    await world.refused(428, "If-Match", path)
    await world.refused(412, "at version 1 now", path, version=2)
    await world.refused(400, "began on 2018-10-19", path, {"effectiveFrom": "2018-10-18"}, version=1)
    await world.refused(400, "day comes", path, {"effectiveFrom": str(today() + timedelta(days=2))}, version=1)
    body = examples.action(programmeId=action["programmeId"], effectiveFrom=str(today() + timedelta(days=2)))
    await world.refused(400, "day comes", PATH, body)
    answer = await house.send("POST", path, {}, headers={"If-Match": "*"})
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')


async def test_an_action_with_more_notes_than_one_may_plan_with_is_still_read_and_noted(house: House) -> None:
    world = World(house)
    note = {"on": "2018-10-19", "text": examples.text()}
    action = await world.action(datedNotes=[note] * 50)
    noted = await world.verb("programme", "actions", action, "_note", {"note": note})
    assert len(noted["datedNotes"]) == 51
    assert await house.get(f"{PATH}/{action['id']}") == noted


async def test_they_are_listed_by_partner_state_and_what_another_system_calls_them(house: House) -> None:
    world = World(house)
    one, other = await world.partner(), await world.partner()
    programme = (await world.programme())["id"]
    led = await world.action(programmeId=programme, leadId=one["id"], externalIds={"veilig": "7"})
    helped = await world.action(programmeId=programme, leadId=other["id"], contributors=[one["id"]])
    await world.verb("programme", "actions", helped, "_drop", {"reason": "another way"})
    for query, found in {
        f"partnerId={one['id']}": [led["id"], helped["id"]],
        f"partnerId={other['id']}": [helped["id"]],
        f"partnerId={one['id']}&state=planned": [led["id"]],
        "state=dropped": [helped["id"]],
        "state=merged": [],
        "externalId=veilig:7": [led["id"]],
        f"partnerId={uuid4()}": [],
    }.items():
        assert await world.walked(f"{PATH}?{query}") == found, query
        assert await world.walked(f"{PATH}?{query}&limit=1") == found, query
    whole = await world.walked(PATH)
    assert len(whole) == len(set(whole)) and await world.walked(f"{PATH}?limit=2") == whole
