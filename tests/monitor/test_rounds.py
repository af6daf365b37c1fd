"""Reporting rounds and the obligations in them."""

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from services.monitor.rounds import Obligation, Round
from shared.errors import Conflict, Invalid
from shared.events.monitor import RoundState
from tests import examples
from tests.examples import World, claim, today
from tests.house import House

ROUNDS, OBLIGATIONS = "/monitor/v1/rounds", "/monitor/v1/obligations"
LATER = date(2019, 2, 1)

VERBS: dict[str, Callable[[Round], Any]] = {"open": Round.open, "close": Round.close}
LEADS_TO = {("open", RoundState.PLANNED): RoundState.OPEN, ("close", RoundState.OPEN): RoundState.CLOSED}
REFUSALS = {"open": "Only a planned round can open", "close": "Only an open round can close"}


@pytest.mark.parametrize(("verb", "state"), LEADS_TO)
def test_a_round_opens_and_closes_once(verb: str, state: RoundState) -> None:
    round = examples.round_entity(state=state)
    assert VERBS[verb](round).state is round.state is LEADS_TO[verb, state]
    assert round.version == 2


@pytest.mark.parametrize(("verb", "state"), sorted(set(product(VERBS, RoundState)) - set(LEADS_TO)))
def test_a_round_refuses_what_its_state_does_not_allow(verb: str, state: RoundState) -> None:
    round = examples.round_entity(state=state)
    with pytest.raises(Conflict, match=f"{REFUSALS[verb]}; this one is {state}."):
        VERBS[verb](round)
    assert (round.state, round.version) == (state, 1)


@pytest.mark.parametrize("state", RoundState)
def test_reports_go_into_an_open_round_only(state: RoundState) -> None:
    round = examples.round_entity(state=state)
    if state is RoundState.OPEN:
        round.must_be_open()
        return
    with pytest.raises(Conflict, match=f"Reports go into an open round; this one is {state}."):
        round.must_be_open()


OBLIGED: dict[str, Callable[[Obligation], Any]] = {
    "extend": lambda one: one.extend(LATER, "illness"),
    "waive": lambda one: one.waive("merged"),
}


@pytest.mark.parametrize("verb", OBLIGED)
def test_an_obligation_that_is_open_can_be_extended_and_waived(verb: str) -> None:
    obligation = examples.obligation_entity()
    told = OBLIGED[verb](obligation)
    assert (told.version, told.reason) == (2, "illness" if verb == "extend" else "merged")
    assert obligation.waived is (verb == "waive")


@pytest.mark.parametrize("verb", OBLIGED)
@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"met_on": date(2018, 12, 1)}, "This obligation was met on 2018-12-01"),
        ({"waived": True}, "This obligation is waived"),
    ],
)
def test_an_obligation_that_was_met_or_waived_is_over(verb: str, fields: dict[str, Any], words: str) -> None:
    obligation = examples.obligation_entity(**fields)
    with pytest.raises(Conflict, match=words):
        OBLIGED[verb](obligation)
    assert obligation.version == 1


def test_an_extension_keeps_the_first_day_visible() -> None:
    obligation = examples.obligation_entity()
    told = obligation.extend(LATER, "illness")
    assert (told.due_on, told.first_due_on, obligation.first_due_on) == (LATER, *[date(2018, 12, 31)] * 2)


@pytest.mark.parametrize("day", [date(2018, 12, 31), date(2018, 12, 30)])
def test_an_extension_is_later_than_the_day_that_stands(day: date) -> None:
    obligation = examples.obligation_entity()
    with pytest.raises(Invalid, match="later than the day that stands: 2018-12-31") as refusal:
        obligation.extend(day, "illness")
    assert (refusal.value.field, obligation.due_on) == ("/dueOn", date(2018, 12, 31))


def test_the_first_report_meets_an_obligation_and_later_ones_change_nothing() -> None:
    obligation = examples.obligation_entity()
    met = obligation.meet(date(2018, 12, 1))
    assert met is not None and met.met_on == obligation.met_on == date(2018, 12, 1)
    assert obligation.meet(date(2018, 12, 2)) is None
    assert (obligation.met_on, obligation.version) == (date(2018, 12, 1), 2)


def test_an_obligation_that_is_waived_is_not_met_any_more() -> None:
    obligation = examples.obligation_entity(waived=True)
    assert obligation.meet(date(2018, 12, 1)) is None
    assert (obligation.met_on, obligation.version) == (None, 1)


async def test_planning_a_round_gives_address_and_version(house: House) -> None:
    answer = await house.send("POST", ROUNDS, examples.round())
    made = answer.json()
    assert (answer.status_code, answer.headers["etag"], made["state"]) == (201, '"1"', "planned")
    assert answer.headers["location"] == f"{ROUNDS}/{made['id']}"
    assert await house.get(f"{ROUNDS}/{made['id']}", by=None) == made


@pytest.mark.parametrize(
    "days",
    [
        {"opensOn": "2027-01-01"},
        {"dueOn": "2027-01-01"},
        {"closesOn": "2026-12-30"},
        {"opensOn": "2026-12-31", "dueOn": "2026-12-30", "closesOn": "2026-12-29"},
    ],
)
async def test_a_round_opens_falls_due_and_closes_in_that_order(house: House, days: dict[str, str]) -> None:
    await World(house).refused(400, "opens, falls due and closes, in that order", ROUNDS, examples.round(**days))


@pytest.mark.parametrize("function", ["reporter", "validator", "secretariat", "task-force-member", "issuing-body"])
async def test_only_the_coordinator_runs_rounds_and_imposes_obligations(house: House, function: str) -> None:
    world = World(house)
    by = ("jenv", function)
    round, partner = await world.open_round(), await world.partner()
    owed = {"roundId": round["id"], "partnerId": partner["id"]}
    obligation = await house.post(OBLIGATIONS, owed)
    for path, body in {
        ROUNDS: examples.round(),
        f"{ROUNDS}/{round['id']}/_open": {},
        f"{ROUNDS}/{round['id']}/_close": {},
        OBLIGATIONS: owed,
        f"{OBLIGATIONS}/{obligation['id']}/_extend": {"dueOn": "2027-03-01", "reason": "x"},
        f"{OBLIGATIONS}/{obligation['id']}/_waive": {"reason": "x"},
    }.items():
        await world.refused(403, "coordinator", path, body, by=by, version=2)


async def test_a_round_names_the_version_and_a_day_since_it_began(house: House) -> None:
    world = World(house)
    round = await house.post(ROUNDS, examples.round(effectiveFrom="2018-10-19"))
    path = f"{ROUNDS}/{round['id']}/_open"
    await world.refused(428, "If-Match", path)
    await world.refused(412, "at version 1 now", path, version=2)
    await world.refused(400, "began on 2018-10-19", path, {"effectiveFrom": "2018-10-18"}, version=1)
    later = str(today() + timedelta(days=2))
    await world.refused(400, "day comes", path, {"effectiveFrom": later}, version=1)
    await world.refused(400, "day comes", ROUNDS, examples.round(effectiveFrom=later))
    opened = await house.send("POST", path, {"effectiveFrom": "2018-10-20"}, version=1)
    assert (opened.headers["etag"], opened.json()["effectiveFrom"]) == ('"2"', "2018-10-20")
    closed = await world.verb("monitor", "rounds", opened.json(), "_close")
    await world.refused(409, "this one is closed", path, version=closed["version"])


async def test_an_obligation_is_due_when_the_round_is_unless_another_day_is_given(house: House) -> None:
    world = World(house)
    round, one, other = await world.open_round(), await world.partner(), await world.partner()
    owed = await house.post(OBLIGATIONS, {"roundId": round["id"], "partnerId": one["id"]})
    assert (owed["dueOn"], owed["firstDueOn"], owed["metOn"], owed["waived"]) == (*["2026-12-31"] * 2, None, False)
    sooner = {"roundId": round["id"], "partnerId": other["id"], "dueOn": "2026-10-01"}
    assert (await house.post(OBLIGATIONS, sooner))["dueOn"] == "2026-10-01"


async def test_a_partner_owes_one_report_a_round(house: House) -> None:
    world = World(house)
    round, one, other = await world.open_round(), await world.partner(), await world.partner()
    owed = {"roundId": round["id"], "partnerId": one["id"]}
    await house.post(OBLIGATIONS, owed)
    await world.refused(409, "one of these already", OBLIGATIONS, owed)
    await house.settled()
    same = owed | {"partnerId": other["id"]}
    answers = await asyncio.gather(*(house.send("POST", OBLIGATIONS, same) for _ in range(5)))
    found = sorted((answer.status_code, "retry-after" in answer.headers) for answer in answers)
    assert found == [(201, False)] + [(409, False)] * 4


async def test_an_obligation_is_in_a_round_that_is_there_of_a_partner_that_is_known(house: House) -> None:
    world = World(house)
    partner, round = str(uuid4()), await world.open_round()
    answer = await world.refused(400, "no round", OBLIGATIONS, {"roundId": str(uuid4()), "partnerId": partner})
    assert answer.json()["errors"][0]["pointer"] == "/roundId"
    answer = await world.refused(409, "not known here yet", OBLIGATIONS, {"roundId": round["id"], "partnerId": partner})
    assert (answer.headers["retry-after"], answer.json()["errors"][0]["pointer"]) == ("1", "/partnerId")


async def test_an_obligation_is_extended_and_waived_with_its_version(house: House) -> None:
    world = World(house)
    round, partner = await world.open_round(), await world.partner()
    owed = await house.post(OBLIGATIONS, {"roundId": round["id"], "partnerId": partner["id"]})
    path, body = f"{OBLIGATIONS}/{owed['id']}", {"dueOn": "2027-03-01", "reason": "illness"}
    await world.refused(428, "If-Match", f"{path}/_extend", body)
    await world.refused(412, "at version 1 now", f"{path}/_extend", body, version=2)
    earlier = body | {"dueOn": "2026-12-31"}
    await world.refused(400, "later than the day that stands", f"{path}/_extend", earlier, version=1)
    extended = await house.post(f"{path}/_extend", body, version=1)
    assert (extended["dueOn"], extended["firstDueOn"]) == ("2027-03-01", "2026-12-31")
    waived = await house.post(f"{path}/_waive", {"reason": "merged"}, version=2)
    assert waived["waived"] is True
    await world.refused(409, "waived", f"{path}/_extend", body | {"dueOn": "2027-04-01"}, version=3)
    assert await house.get(path, by=None) == waived


async def test_a_submitted_report_meets_what_its_partner_owes_in_that_round_and_nothing_else(house: House) -> None:
    world = World(house)
    one, other = await world.partner(), await world.partner()
    action, round, another = await world.action(leadId=one["id"]), await world.open_round(), await world.open_round()
    owed = {}
    for partner, where in ((one, round), (other, round), (one, another)):
        body = {"roundId": where["id"], "partnerId": partner["id"]}
        owed[partner["id"], where["id"]] = await house.post(OBLIGATIONS, body)
    by = (one["code"], "reporter")
    body = {"roundId": round["id"], "claims": [claim(action["id"])]}
    report = await house.post("/monitor/v1/reports", body, by=by)
    assert (await house.get(f"{OBLIGATIONS}/{owed[one['id'], round['id']]['id']}"))["metOn"] is None
    await world.verb("monitor", "reports", report, "_submit", by=by)
    met = {key: (await house.get(f"{OBLIGATIONS}/{thing['id']}"))["metOn"] for key, thing in owed.items()}
    assert met.pop((one["id"], round["id"])) == str(today())
    assert set(met.values()) == {None}


async def test_both_are_listed_by_what_they_are_about(house: House) -> None:
    world = World(house)
    one, other = await world.partner(), await world.partner()
    planned = await house.post(ROUNDS, examples.round(externalIds={"agenda": "2026-2"}))
    opened = await world.open_round()
    await world.verb("monitor", "rounds", await world.open_round(), "_close")
    made = [
        (await house.post(OBLIGATIONS, {"roundId": round["id"], "partnerId": partner["id"]}))["id"]
        for round, partner in ((planned, one), (opened, one), (opened, other))
    ]
    for path, found in {
        f"{ROUNDS}?externalId=agenda:2026-2": [planned["id"]],
        f"{ROUNDS}?externalId=agenda:2026-2&state=open": [],
        f"{ROUNDS}?state=locked": [],
        f"{OBLIGATIONS}?partnerId={one['id']}": made[:2],
        f"{OBLIGATIONS}?roundId={opened['id']}": made[1:],
        f"{OBLIGATIONS}?roundId={opened['id']}&partnerId={one['id']}": [made[1]],
        f"{OBLIGATIONS}?roundId={uuid4()}": [],
    }.items():
        assert await world.walked(path) == found, path
        assert await world.walked(f"{path}&limit=1") == found, path
    for path in (ROUNDS, OBLIGATIONS):
        whole = await world.walked(path)
        assert len(whole) == len(set(whole)) and await world.walked(f"{path}?limit=2") == whole
    assert opened["id"] in await world.walked(f"{ROUNDS}?state=open")
