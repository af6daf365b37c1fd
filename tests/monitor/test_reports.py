"""Progress reports: from draft to accepted, who sees them and who may judge them."""

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from services.monitor.reports import Report
from shared.errors import Conflict
from shared.events.monitor import ReportState
from tests import examples
from tests.examples import Body, World, claim, claim_made, today
from tests.house import House

PATH = "/monitor/v1/reports"
DAY = date(2018, 12, 1)

VERBS: dict[str, Callable[[Report], Any]] = {
    "revise": lambda one: one.revise([claim_made()]),
    "submit": lambda one: one.submit(DAY),
    "take_up": lambda one: one.take_up(),
    "send_back": lambda one: one.send_back("figures missing"),
    "withdraw": lambda one: one.withdraw("a mistake"),
    "accept": lambda one: one.accept(DAY),
}
DRAFT, SUBMITTED, IN_REVIEW = ReportState.DRAFT, ReportState.SUBMITTED, ReportState.IN_REVIEW
SENT_BACK, ACCEPTED, WITHDRAWN = ReportState.SENT_BACK, ReportState.ACCEPTED, ReportState.WITHDRAWN
LEADS_TO = {
    ("revise", DRAFT): DRAFT,
    ("revise", SENT_BACK): DRAFT,
    ("submit", DRAFT): SUBMITTED,
    ("take_up", SUBMITTED): IN_REVIEW,
    ("send_back", IN_REVIEW): SENT_BACK,
    ("withdraw", DRAFT): WITHDRAWN,
    ("withdraw", SUBMITTED): WITHDRAWN,
    ("withdraw", SENT_BACK): WITHDRAWN,
    ("accept", IN_REVIEW): ACCEPTED,
}
REFUSALS = {
    "revise": "Only a draft, or a report that was sent back, can be revised",
    "submit": "Only a draft can be submitted",
    "take_up": "Only a submitted report can be taken up for review",
    "send_back": "Only a report in review can be sent back",
    "withdraw": "A report can be withdrawn until review starts",
    "accept": "Only a report in review can be accepted",
}


@pytest.mark.parametrize(("verb", "state"), LEADS_TO)
def test_a_report_moves_as_its_states_allow(verb: str, state: ReportState) -> None:
    report = examples.report_entity(state=state)
    told = VERBS[verb](report)
    assert told.state is report.state is LEADS_TO[verb, state]
    assert (report.version, told.version) == (2, 2)


@pytest.mark.parametrize(("verb", "state"), sorted(set(product(VERBS, ReportState)) - set(LEADS_TO)))
def test_a_report_refuses_what_its_state_does_not_allow(verb: str, state: ReportState) -> None:
    report = examples.report_entity(state=state)
    with pytest.raises(Conflict, match=f"{REFUSALS[verb]}; this one is {state}."):
        VERBS[verb](report)
    assert (report.state, report.version) == (state, 1)


def test_a_report_without_claims_is_not_submitted() -> None:
    with pytest.raises(Conflict, match="without claims says nothing"):
        examples.report_entity(claims=[]).submit(DAY)


def test_submitting_again_forgets_why_it_was_sent_back() -> None:
    report = examples.report_entity(state=IN_REVIEW)
    report.send_back("figures missing")
    assert report.reason == "figures missing"
    report.revise([claim_made(), claim_made()])
    told = report.submit(DAY)
    assert (report.reason, told.submitted_on, len(told.claims)) == (None, DAY, 2)


def test_an_accepted_report_tells_its_claims_again() -> None:
    report = examples.report_entity(state=IN_REVIEW)
    told = report.accept(DAY)
    assert (told.accepted_on, told.claims) == (DAY, report.claims)


class Desk:
    """A partner with an action that it leads, in an open round."""

    def __init__(self, world: World, partner: Body, action: Body, round: Body) -> None:
        self.world, self.partner, self.action, self.round = world, partner, action, round
        self.reporter = (partner["code"], "reporter")

    @classmethod
    async def of(cls, house: House) -> "Desk":
        world = World(house)
        await ensure(world, "jenv")
        partner = await world.partner()
        return cls(world, partner, await world.action(leadId=partner["id"]), await world.open_round())

    def body(self, **fields: Any) -> Body:
        return {"roundId": self.round["id"], "claims": [claim(self.action["id"])]} | fields

    async def draft(self, **fields: Any) -> Body:
        return await self.world.house.post(PATH, self.body(**fields), by=self.reporter)

    async def verb(self, report: Body, verb: str, body: Body | None = None, **more: Any) -> Body:
        return await self.world.verb("monitor", "reports", report, verb, body, **more)

    async def submitted(self) -> Body:
        return await self.verb(await self.draft(), "_submit", by=self.reporter)

    async def in_review(self) -> Body:
        return await self.verb(await self.submitted(), "_take-up")


async def ensure(world: World, code: str) -> None:
    """A partner with this code; there once in a house."""
    if not (await world.house.get(f"/programme/v1/partners?code={code}"))["items"]:
        await world.partner(code=code)


async def test_drafting_gives_address_version_and_the_day_of_each_claim(house: House) -> None:
    desk = await Desk.of(house)
    made = await desk.draft()
    assert (made["state"], made["version"], made["partnerId"]) == ("draft", 1, desk.partner["id"])
    assert made["claims"][0]["statusOn"] == str(today())
    answer = await house.send("POST", PATH, desk.body(), by=desk.reporter)
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert answer.headers["location"] == f"{PATH}/{answer.json()['id']}"
    assert await house.get(answer.headers["location"], by=desk.reporter) == answer.json()


async def test_a_report_goes_its_way_and_is_final_when_accepted(house: House) -> None:
    desk = await Desk.of(house)
    report = await desk.in_review()
    report = await desk.verb(report, "_send-back", {"reason": "figures missing"})
    assert (report["state"], report["reason"]) == ("sent back", "figures missing")
    claims = {"claims": [claim(desk.action["id"], implementation="some respects", statusOn="2026-06-30")]}
    report = await desk.verb(report, "_revise", claims, by=desk.reporter)
    assert (report["state"], report["claims"][0]["statusOn"]) == ("draft", "2026-06-30")
    report = await desk.verb(report, "_submit", by=desk.reporter)
    assert (report["state"], report["reason"], report["submittedOn"]) == ("submitted", None, str(today()))
    report = await desk.verb(await desk.verb(report, "_take-up"), "_accept")
    assert (report["state"], report["acceptedOn"], report["version"]) == ("accepted", str(today()), 8)
    path = f"{PATH}/{report['id']}"
    for verb, body in {"_revise": claims, "_submit": {}, "_withdraw": {"reason": "x"}}.items():
        await desk.world.refused(409, "this one is accepted", f"{path}/{verb}", body, by=desk.reporter, version=8)
    for verb, body in {"_take-up": {}, "_send-back": {"reason": "x"}, "_accept": {}}.items():
        await desk.world.refused(409, "this one is accepted", f"{path}/{verb}", body, version=8)


async def test_a_draft_is_seen_inside_its_organisation_only(house: House) -> None:
    desk, other = await Desk.of(house), await Desk.of(house)
    report = await desk.draft()
    path = f"{PATH}/{report['id']}"
    colleague = (desk.partner["code"], "auditor")
    assert (await house.get(path, by=colleague))["id"] == report["id"]
    assert report["id"] in await desk.world.walked(PATH, by=colleague)
    assert await desk.world.walked(f"{PATH}?state=draft", by=colleague) == [report["id"]]
    for stranger in (other.reporter, ("jenv", "coordinator", "secretariat", "auditor"), ("jenv", "validator")):
        answer = await desk.world.refused(404, "no report with this id", path, by=stranger, method="GET")
        assert "etag" not in answer.headers
        for query in ("", "?state=draft", f"?partnerId={desk.partner['id']}", f"?roundId={desk.round['id']}"):
            assert report["id"] not in await desk.world.walked(f"{PATH}{query}", by=stranger)
    for verb in ("_take-up", "_accept"):
        await desk.world.refused(404, "no submitted report", f"{path}/{verb}", version=1)
    submitted = await desk.verb(report, "_submit", by=desk.reporter)
    assert await house.get(path, by=other.reporter) == submitted
    assert report["id"] in await desk.world.walked(PATH, by=other.reporter)


async def test_a_draft_that_is_withdrawn_is_not_shown_to_others_after_all(house: House) -> None:
    desk, other = await Desk.of(house), await Desk.of(house)
    withdrawn = await desk.verb(await desk.draft(), "_withdraw", {"reason": "a mistake"}, by=desk.reporter)
    path = f"{PATH}/{withdrawn['id']}"
    assert await house.get(path, by=desk.reporter) == withdrawn
    await desk.world.refused(404, "no report with this id", path, by=other.reporter, method="GET")
    assert withdrawn["id"] not in await desk.world.walked(PATH, by=other.reporter)
    assert withdrawn["id"] in await desk.world.walked(PATH, by=desk.reporter)


async def test_a_report_is_read_with_a_token_only(house: House) -> None:
    desk = await Desk.of(house)
    report = await desk.submitted()
    for path in (PATH, f"{PATH}/{report['id']}"):
        await desk.world.refused(401, "Send a token", path, by=None, method="GET")


async def test_a_partner_writes_for_itself_only(house: House) -> None:
    desk, other = await Desk.of(house), await Desk.of(house)
    report = await desk.draft()
    path = f"{PATH}/{report['id']}"
    claims = {"claims": [claim(other.action["id"])]}
    for verb, body in {"_revise": claims, "_submit": {}, "_withdraw": {"reason": "x"}}.items():
        words = "Your organisation has no report with this id"
        await desk.world.refused(404, words, f"{path}/{verb}", body, by=other.reporter, version=1)
    words = "neither leads nor contributes"
    answer = await desk.world.refused(403, words, PATH, desk.body(**claims), by=desk.reporter)
    assert answer.json()["errors"][0]["pointer"] == "/claims/0/actionId"
    await desk.world.refused(403, words, f"{path}/_revise", claims, by=desk.reporter, version=1)
    unchanged = await house.get(path, by=desk.reporter)
    assert unchanged == report


async def test_who_contributes_or_is_one_of_several_undecided_leads_reports_too(house: House) -> None:
    desk = await Desk.of(house)
    one, other = await desk.world.partner(), await desk.world.partner()
    helped = await desk.world.action(contributors=[one["id"]])
    undecided = await desk.world.action(leadUndecided=[one["id"], other["id"]])
    claims = [claim(helped["id"]), claim(undecided["id"])]
    report = await house.post(PATH, desk.body(claims=claims), by=(one["code"], "alternate"))
    assert len(report["claims"]) == 2


@pytest.mark.parametrize("function", ["validator", "coordinator", "secretariat", "issuing-body", "auditor"])
async def test_others_than_reporters_do_not_draft_or_submit(house: House, function: str) -> None:
    desk = await Desk.of(house)
    report = await desk.draft()
    by = (desk.partner["code"], function)
    await desk.world.refused(403, "reporter or alternate", PATH, desk.body(), by=by)
    await desk.world.refused(403, "reporter or alternate", f"{PATH}/{report['id']}/_submit", by=by, version=1)


async def test_the_validator_withdraws_for_its_own_organisation(house: House) -> None:
    desk = await Desk.of(house)
    report, by = await desk.submitted(), (desk.partner["code"], "validator")
    assert (await desk.verb(report, "_withdraw", {"reason": "a mistake"}, by=by))["state"] == "withdrawn"


@pytest.mark.parametrize("function", ["reporter", "validator", "issuing-body", "task-force-member", "auditor"])
async def test_only_the_coordinator_and_the_secretariat_review(house: House, function: str) -> None:
    desk = await Desk.of(house)
    report = await desk.submitted()
    for verb, body in {"_take-up": {}, "_send-back": {"reason": "x"}, "_accept": {}}.items():
        words = "coordinator or secretariat"
        await desk.world.refused(403, words, f"{PATH}/{report['id']}/{verb}", body, by=("jenv", function), version=2)


@pytest.mark.parametrize("function", ["coordinator", "secretariat"])
async def test_nobody_reviews_the_report_of_its_own_organisation(house: House, function: str) -> None:
    desk = await Desk.of(house)
    report = await desk.in_review()
    own = (desk.partner["code"], function)
    for verb, body in {"_take-up": {}, "_send-back": {"reason": "x"}, "_accept": {}}.items():
        words = "not reviewed by the organisation that made it"
        await desk.world.refused(403, words, f"{PATH}/{report['id']}/{verb}", body, by=own, version=3)
    assert (await desk.verb(report, "_accept"))["state"] == "accepted"


async def test_claims_are_about_known_actions_each_once_and_not_about_tomorrow(house: House) -> None:
    desk = await Desk.of(house)
    await desk.draft()
    one, unknown = claim(desk.action["id"]), claim(str(uuid4()))
    answer = await desk.world.refused(
        409, "not known here yet", PATH, desk.body(claims=[one, unknown]), by=desk.reporter
    )
    assert (answer.headers["retry-after"], answer.json()["errors"][0]["pointer"]) == ("1", "/claims")
    await desk.world.refused(400, "Two claims are about", PATH, desk.body(claims=[one, one]), by=desk.reporter)
    tomorrow = desk.body(claims=[one | {"statusOn": str(today() + timedelta(days=2))}])
    answer = await desk.world.refused(400, "today or an earlier day", PATH, tomorrow, by=desk.reporter)
    assert answer.json()["errors"][0]["pointer"] == "/claims/0/statusOn"
    await desk.world.refused(400, "Mend /claims", PATH, desk.body(claims=[]), by=desk.reporter)


async def test_an_organisation_that_is_not_known_yet_may_ask_again(house: House) -> None:
    desk = await Desk.of(house)
    answer = await desk.world.refused(
        409, "not known here as a partner yet", PATH, desk.body(), by=("vreemd", "reporter")
    )
    assert answer.headers["retry-after"] == "1"


async def test_an_auditor_from_outside_reads_what_was_submitted(house: House) -> None:
    desk = await Desk.of(house)
    draft, submitted = await desk.draft(), await desk.submitted()
    outside = ("rekenkamer", "auditor")
    assert submitted["id"] in await desk.world.walked(PATH, by=outside)
    assert draft["id"] not in await desk.world.walked(PATH, by=outside)
    assert await house.get(f"{PATH}/{submitted['id']}", by=outside) == submitted
    await desk.world.refused(404, "no report with this id", f"{PATH}/{draft['id']}", by=outside, method="GET")


async def test_reports_go_into_a_round_that_is_there_and_open(house: House) -> None:
    desk = await Desk.of(house)
    planned = await house.post("/monitor/v1/rounds", examples.round())
    report = await desk.draft()
    await desk.world.refused(400, "no round", PATH, desk.body(roundId=str(uuid4())), by=desk.reporter)
    await desk.world.refused(409, "this one is planned", PATH, desk.body(roundId=planned["id"]), by=desk.reporter)
    await desk.world.verb("monitor", "rounds", desk.round, "_close")
    await desk.world.refused(409, "this one is closed", PATH, desk.body(), by=desk.reporter)
    await desk.world.refused(409, "one is closed", f"{PATH}/{report['id']}/_submit", by=desk.reporter, version=1)


async def test_a_change_names_the_version_and_a_day_since_it_began(house: House) -> None:
    desk = await Desk.of(house)
    report = await desk.draft(effectiveFrom="2026-07-01")
    path, by = f"{PATH}/{report['id']}/_submit", desk.reporter
    await desk.world.refused(428, "If-Match", path, by=by)
    await desk.world.refused(412, "at version 1 now", path, by=by, version=2)
    await desk.world.refused(400, "began on 2026-07-01", path, {"effectiveFrom": "2026-06-30"}, by=by, version=1)
    later = {"effectiveFrom": str(today() + timedelta(days=2))}
    await desk.world.refused(400, "day comes", path, later, by=by, version=1)
    await desk.world.refused(400, "day comes", PATH, desk.body(**later), by=by)
    submitted = await house.send("POST", path, {"effectiveFrom": "2026-08-01"}, by=by, version=1)
    assert (submitted.headers["etag"], submitted.json()["effectiveFrom"]) == ('"2"', "2026-08-01")


async def test_of_two_reviewers_at_once_one_decides(house: House) -> None:
    desk = await Desk.of(house)
    report = await desk.in_review()
    path = f"{PATH}/{report['id']}"
    answers = await asyncio.gather(
        house.send("POST", f"{path}/_accept", {}, version=3),
        house.send("POST", f"{path}/_send-back", {"reason": "figures missing"}, version=3),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412]


async def test_they_are_listed_by_round_partner_state_and_what_another_system_calls_them(house: House) -> None:
    desk = await Desk.of(house)
    one, other = await desk.draft(externalIds={"dms": "17"}), await desk.submitted()
    partner, round = f"partnerId={desk.partner['id']}", f"roundId={desk.round['id']}"
    for query, found in {
        partner: [one["id"], other["id"]],
        f"{round}&state=draft": [one["id"]],
        f"{round}&state=submitted": [other["id"]],
        "externalId=dms:17": [one["id"]],
        f"roundId={uuid4()}": [],
    }.items():
        assert await desk.world.walked(f"{PATH}?{query}", by=desk.reporter) == found, query
        assert await desk.world.walked(f"{PATH}?{query}&limit=1", by=desk.reporter) == found, query
    whole = await desk.world.walked(PATH, by=desk.reporter)
    assert len(whole) == len(set(whole))
    assert await desk.world.walked(f"{PATH}?limit=2", by=desk.reporter) == whole
