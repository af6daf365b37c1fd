"""The line of progress: what counts in a domain, for a partner and in the whole, told at the three doors."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

from tests.examples import Body, World, claim
from tests.house import House
from tests.reporting.asking import NO_DATA, ask, domain_line, in_total, partner_line, references

# --- recommendations in domains --------------------------------------------------------------------------------


async def test_a_recommendation_in_two_domains_counts_once_in_each_and_once_in_the_total(
    house: House, world: World
) -> None:
    one, other = await world.term(), await world.term()
    before = await in_total(house)
    await world.recommendation(domains=[one["code"], other["code"]])

    assert (await domain_line(house, one))["recommendations"] == 1
    assert (await domain_line(house, other))["recommendations"] == 1
    after = await in_total(house)
    assert after["total"]["recommendations"] == before["total"]["recommendations"] + 1
    assert after["overlap"] == {
        "counted": before["overlap"]["counted"] + 2,
        "distinct": before["overlap"]["distinct"] + 1,
        "unplaced": before["overlap"]["unplaced"],
    }


async def test_a_recommendation_in_no_domain_stands_in_the_total_only_and_the_overlap_says_so(
    house: House, world: World
) -> None:
    before = await in_total(house)
    await world.recommendation(domains=[])
    after = await in_total(house)
    assert after["total"]["recommendations"] == before["total"]["recommendations"] + 1
    assert after["overlap"]["counted"] == before["overlap"]["counted"]
    assert after["overlap"]["unplaced"] == before["overlap"]["unplaced"] + 1


async def test_an_addressee_shares_a_recommendation_with_others_and_the_overlap_says_so(
    house: House, world: World
) -> None:
    one, other = await world.partner(), await world.partner()
    before = await in_total(house, "partners")
    await world.recommendation(addressees=[one["id"], other["id"]])
    assert (await partner_line(house, one))["addressed"] == 1
    assert (await partner_line(house, other))["addressed"] == 1
    after = await in_total(house, "partners")
    assert after["overlap"]["counted"] == before["overlap"]["counted"] + 2
    assert after["overlap"]["distinct"] == before["overlap"]["distinct"] + 1


async def test_findings_calls_and_positions_are_kept_and_not_counted(house: House, world: World) -> None:
    domain = await world.term()
    for kind in ("finding", "call", "position"):
        await world.recommendation(domains=[domain["code"]], kind=kind)
    counted = await world.recommendation(domains=[domain["code"]])

    assert (await domain_line(house, domain))["recommendations"] == 1
    detail = await ask(house, f"domains/{domain['code']}")
    assert references(detail["recommendations"]) == [counted["reference"]]


async def test_only_domains_are_domains_and_one_that_has_ended_has_no_line(house: House, world: World) -> None:
    form, ended = await world.term(vocabulary="form"), await world.term()
    await world.verb("recommendations", "terms", ended, "_end", {"reason": "Opgegaan in een ander domein."})
    await house.settled()
    codes = {line["code"] for line in (await ask(house, "domains"))["lines"]}
    assert codes.isdisjoint({form["code"], ended["code"]})


async def test_a_recommendation_placed_anew_moves_to_its_new_domain(house: House, world: World) -> None:
    old, new = await world.term(), await world.term()
    placed = await world.recommendation(domains=[old["code"]])
    await world.verb("recommendations", "recommendations", placed, "_classify", {"domains": [new["code"]]})
    assert (await domain_line(house, old))["recommendations"] == 0
    assert (await domain_line(house, new))["recommendations"] == 1


# --- parts, links and coverage ---------------------------------------------------------------------------------


async def test_a_compound_recommendation_counts_once_and_is_covered_by_its_parts(house: House, world: World) -> None:
    domain = await world.term()
    whole = await world.recommendation(domains=[domain["code"]])
    parts = [
        await world.recommendation(domains=[domain["code"]], parentId=whole["id"], sourceId=whole["sourceId"])
        for _ in range(2)
    ]
    action = await world.action()
    await world.confirmed_link(actionId=action["id"], recommendationId=parts[0]["id"])

    line = await domain_line(house, domain)
    assert (line["recommendations"], line["parts"], line["coverage"]["share"]) == (1, 2, 0.5)
    assert line["coverage"]["byClass"]["partly covered"] == 1

    other = await world.action()
    await world.confirmed_link(actionId=other["id"], recommendationId=parts[1]["id"])
    line = await domain_line(house, domain)
    assert line["coverage"]["share"] == 1
    assert line["coverage"]["byClass"]["covered"] == 1


async def test_a_link_to_the_whole_serves_each_of_its_parts(house: House, world: World) -> None:
    domain = await world.term()
    whole = await world.recommendation(domains=[domain["code"]])
    for _ in range(2):
        await world.recommendation(parentId=whole["id"], sourceId=whole["sourceId"])
    action = await world.action()
    await world.confirmed_link(actionId=action["id"], recommendationId=whole["id"])
    assert (await domain_line(house, domain))["coverage"]["share"] == 1


async def test_a_proposed_link_stands_apart_until_it_is_confirmed_and_again_when_disputed(
    house: House, world: World
) -> None:
    domain = await world.term()
    recommendation = await world.recommendation(domains=[domain["code"]])
    action = await world.action()

    async def coverage() -> tuple[float, list[str]]:
        found = (await domain_line(house, domain))["coverage"]
        return found["share"], [name for name, count in found["byClass"].items() if count]

    assert await coverage() == (0, ["no action"])
    link = await world.link(actionId=action["id"], recommendationId=recommendation["id"])
    assert await coverage() == (0, ["proposed only"])
    link = await world.verb("programme", "links", link, "_confirm")
    assert await coverage() == (1, ["covered"])
    link = await world.verb("programme", "links", link, "_dispute", {"reason": "Dekt het niet."})
    assert (await coverage())[0] == 0
    link = await world.verb("programme", "links", link, "_confirm")
    await world.verb("programme", "links", link, "_end", {"reason": "Vergissing."})
    assert await coverage() == (0, ["no action"])


async def test_a_dropped_action_covers_nothing_any_more(house: House, world: World) -> None:
    domain = await world.term()
    recommendation = await world.recommendation(domains=[domain["code"]])
    action = await world.action(domains=[domain["code"]])
    await world.confirmed_link(actionId=action["id"], recommendationId=recommendation["id"])
    assert (await domain_line(house, domain))["coverage"]["byClass"]["covered"] == 1

    await world.verb("programme", "actions", action, "_drop", {"reason": "Geen geld."})
    line = await domain_line(house, domain)
    assert line["coverage"]["byClass"]["no action"] == 1
    assert line["actions"]["byState"]["dropped"] == 1
    assert (line["overdue"], line["stale"]) == (0, 0)


async def test_partial_links_cover_together_once_the_coordinator_says_so(house: House, world: World) -> None:
    domain, partner = await world.term(), await world.partner()
    recommendation = await world.recommendation(domains=[domain["code"]])
    actions = [await world.action(leadId=partner["id"]) for _ in range(2)]
    links = [
        await world.confirmed_link(actionId=action["id"], recommendationId=recommendation["id"], contribution="partial")
        for action in actions
    ]
    round = await world.open_round()
    told = ["fully implemented", "in progress"]
    claims = [claim(action["id"], implementation=how) for action, how in zip(actions, told, strict=True)]
    await world.accepted_report(partner, round, claims)

    line = await domain_line(house, domain)
    assert line["coverage"]["byClass"]["linked"] == 1
    assert line["implementation"][NO_DATA] == 1

    for link in links:
        await world.verb("programme", "links", link, "_declare-sufficient", {"reason": "Samen dekken ze het."})
    line = await domain_line(house, domain)
    assert line["coverage"]["byClass"]["covered"] == 1
    assert (line["implementation"]["in progress"], line["implementation"][NO_DATA]) == (1, 0)


async def test_the_lowest_required_action_shows_and_an_enabling_one_does_not_raise_it(
    house: House, world: World
) -> None:
    domain, partner = await world.term(), await world.partner()
    recommendation = await world.recommendation(domains=[domain["code"]])
    told = {"full": "some respects", "enabling": "fully implemented"}
    claims = []
    for contribution, implementation in told.items():
        action = await world.action(leadId=partner["id"])
        given = {"actionId": action["id"], "recommendationId": recommendation["id"], "contribution": contribution}
        await world.confirmed_link(**given)
        claims.append(claim(action["id"], implementation=implementation))
    await world.accepted_report(partner, await world.open_round(), claims)
    line = await domain_line(house, domain)
    assert line["implementation"]["some respects"] == 1
    assert line["noDataShare"] == 0


async def test_a_claim_that_could_not_be_verified_is_no_data(house: House, world: World) -> None:
    domain, partner = await world.term(), await world.partner()
    recommendation = await world.recommendation(domains=[domain["code"]])
    action = await world.action(leadId=partner["id"])
    await world.confirmed_link(actionId=action["id"], recommendationId=recommendation["id"])
    claims = [claim(action["id"], implementation="could not be verified")]
    await world.accepted_report(partner, await world.open_round(), claims)
    line = await domain_line(house, domain)
    assert line["implementation"] == dict.fromkeys(line["implementation"], 0) | {NO_DATA: 1}


async def test_a_report_counts_when_it_is_accepted_and_not_before(house: House, world: World) -> None:
    domain, partner = await world.term(), await world.partner()
    recommendation = await world.recommendation(domains=[domain["code"]])
    action = await world.action(leadId=partner["id"])
    await world.confirmed_link(actionId=action["id"], recommendationId=recommendation["id"])
    round, by = await world.open_round(), (partner["code"], "reporter")
    body = {"roundId": round["id"], "claims": [claim(action["id"])]}
    report = await house.post("/monitor/v1/reports", body, by=by)
    report = await world.verb("monitor", "reports", report, "_submit", by=by)
    report = await world.verb("monitor", "reports", report, "_take-up")
    assert (await domain_line(house, domain))["implementation"][NO_DATA] == 1
    await world.verb("monitor", "reports", report, "_accept")
    assert (await domain_line(house, domain))["implementation"]["in progress"] == 1


async def test_the_newest_verdict_on_the_uptake_shows(house: House, world: World) -> None:
    domain = await world.term()
    recommendation = await world.recommendation(domains=[domain["code"]])
    assert (await domain_line(house, domain))["verdicts"]["not assessed"] == 1
    for verdict in ("inadequate", "partial"):
        body = {"recommendationId": recommendation["id"], "verdict": verdict, "rationale": {"nl": "Zie rapport."}}
        await house.post("/monitor/v1/assessments", body)
    verdicts = (await domain_line(house, domain))["verdicts"]
    assert verdicts == dict.fromkeys(verdicts, 0) | {"partial": 1}


# --- actions ---------------------------------------------------------------------------------------------------


async def test_actions_count_by_state_confidence_and_obligation_level(house: House, world: World) -> None:
    domain, partner = await world.term(), await world.partner()
    common = {"domains": [domain["code"]], "leadId": partner["id"]}
    planned = await world.action(obligationLevel="voluntary", **common)
    active = await world.action(obligationLevel="statutory", **common)
    await world.verb("programme", "actions", active, "_start")
    await world.action(**common)
    await world.accepted_report(partner, await world.open_round(), [claim(planned["id"], confidence="off track")])

    actions = (await domain_line(house, domain))["actions"]
    assert actions["total"] == 3
    assert {name: count for name, count in actions["byState"].items() if count} == {"planned": 2, "active": 1}
    assert {name: count for name, count in actions["byConfidence"].items() if count} == {
        "off track": 1,
        "no status": 2,
    }
    assert actions["voluntaryShare"] == 0.5


async def test_overdue_follows_the_day_that_stands_now(house: House, world: World) -> None:
    domain = await world.term()
    this_year = house.running["reporting"].service.today().year
    late = await world.action(domains=[domain["code"]], dueOn="2019-06-30")
    await world.action(domains=[domain["code"]], dueOn=f"{this_year}-01-01", dueOnPrecision="year")
    assert (await domain_line(house, domain))["overdue"] == 1
    await world.verb(
        "programme", "actions", late, "_reschedule", {"dueOn": f"{this_year + 1}-06-30", "reason": "Meer tijd."}
    )
    assert (await domain_line(house, domain))["overdue"] == 0


async def test_an_action_of_which_nothing_was_heard_is_stale_until_a_report_is_accepted(
    house: House, world: World
) -> None:
    domain, partner = await world.term(), await world.partner()
    await world.action(domains=[domain["code"]])
    silent = await world.action(domains=[domain["code"]], leadId=partner["id"], effectiveFrom="2018-11-01")
    assert (await domain_line(house, domain))["stale"] == 1
    await world.accepted_report(partner, await world.open_round(), [claim(silent["id"])])
    assert (await domain_line(house, domain))["stale"] == 0


# --- partners --------------------------------------------------------------------------------------------------


async def test_a_partners_line_tells_what_it_leads_contributes_to_and_is_named_for(house: House, world: World) -> None:
    partner, other = await world.partner(), await world.partner()
    await world.action(leadId=partner["id"])
    await world.action(leadId=other["id"], contributors=[partner["id"]])
    await world.action(leadUndecided=[partner["id"], other["id"]])
    await world.recommendation(addressees=[partner["id"]])
    line = await partner_line(house, partner)
    assert {name: line[name] for name in ("led", "contributing", "undecided", "addressed")} == {
        "led": 1,
        "contributing": 1,
        "undecided": 1,
        "addressed": 1,
    }
    assert line["actions"]["total"] == 1


async def test_a_partner_that_has_ended_has_no_line_but_its_history_can_be_read(house: House, world: World) -> None:
    partner = await world.partner()
    await world.verb("programme", "partners", partner, "_end", {"reason": "Opgeheven."})
    await house.settled()
    assert partner["id"] not in {line["id"] for line in (await ask(house, "partners"))["lines"]}
    assert (await ask(house, f"partners/{partner['id']}"))["line"]["code"] == partner["code"]


@asynccontextmanager
async def _reporting_in(house: House, day: date) -> AsyncIterator[None]:
    """Let monitor live on another day."""
    monitor = house.running["monitor"].service
    now, monitor.now = monitor.now, lambda: datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=12)
    try:
        yield
    finally:
        monitor.now = now


async def test_obligations_count_by_state_and_waived_ones_are_left_out_of_on_time(house: House, world: World) -> None:
    today = house.running["reporting"].service.today()
    partner = await world.partner()
    action = await world.action(leadId=partner["id"])
    days = {
        "met": (-60, -30, -20),
        "met late": (-60, -30, -20),
        "late": (-60, -30, -20),
        "waived": (-60, -30, -20),
        "due": (-10, 10, 20),
        "not yet due": (10, 20, 30),
    }
    for state, offsets in days.items():
        opens_on, due_on, closes_on = (str(today + timedelta(days=offset)) for offset in offsets)
        planned = {"opensOn": opens_on, "dueOn": due_on, "closesOn": closes_on, "effectiveFrom": "2018-01-01"}
        round = await world.open_round(**planned)
        imposed = {"roundId": round["id"], "partnerId": partner["id"], "effectiveFrom": "2018-01-01"}
        owed = await house.post("/monitor/v1/obligations", imposed)
        reported = {"roundId": round["id"], "claims": [claim(action["id"])]}
        by = (partner["code"], "reporter")
        if state == "met":
            async with _reporting_in(house, today - timedelta(days=40)):
                report = await house.post("/monitor/v1/reports", reported, by=by)
                await world.verb("monitor", "reports", report, "_submit", by=by)
        if state == "met late":
            report = await house.post("/monitor/v1/reports", reported, by=by)
            await world.verb("monitor", "reports", report, "_submit", by=by)
        if state == "waived":
            await world.verb("monitor", "obligations", owed, "_waive", {"reason": "Fusie."})

    line = await partner_line(house, partner)
    assert line["obligations"] == dict.fromkeys(days, 1)
    assert line["onTime"] == 1 / 3


async def test_an_extended_obligation_is_late_from_its_new_day_and_keeps_its_first(house: House, world: World) -> None:
    today = house.running["reporting"].service.today()
    partner = await world.partner()
    opens_on, due_on, later = (str(today + timedelta(days=offset)) for offset in (-60, -30, 5))
    round = await world.open_round(opensOn=opens_on, dueOn=due_on, closesOn=later)
    owed = await house.post("/monitor/v1/obligations", {"roundId": round["id"], "partnerId": partner["id"]})
    assert (await partner_line(house, partner))["obligations"]["late"] == 1
    await world.verb("monitor", "obligations", owed, "_extend", {"dueOn": later, "reason": "Ziekte."})
    line = await partner_line(house, partner)
    assert (line["obligations"]["late"], line["obligations"]["due"], line["onTime"]) == (0, 1, None)
    [item] = (await ask(house, f"partners/{partner['id']}"))["obligations"]
    assert (item["dueOn"], item["firstDueOn"]) == (later, due_on)


async def test_the_figures_of_who_has_nothing_are_no_data_and_not_zero(house: House, world: World) -> None:
    domain, partner = await world.term(), await world.partner()
    for line in (await domain_line(house, domain), await partner_line(house, partner)):
        assert (line["recommendations"], line["parts"], line["actions"]["total"]) == (0, 0, 0)
        assert line["coverage"]["share"] is None
        assert line["noDataShare"] is None
        assert line["actions"]["voluntaryShare"] is None
    assert (await partner_line(house, partner))["onTime"] is None


# --- where domain and partner meet -----------------------------------------------------------------------------


async def test_a_cell_holds_what_a_domain_and_a_partner_have_in_common(house: House, world: World) -> None:
    domain, elsewhere, partner = await world.term(), await world.term(), await world.partner()
    shared = await world.recommendation(domains=[domain["code"]], addressees=[partner["id"]])
    await world.recommendation(domains=[elsewhere["code"]], addressees=[partner["id"]])
    await world.recommendation(domains=[domain["code"]])
    led = await world.action(domains=[domain["code"]], leadId=partner["id"])
    await world.action(domains=[domain["code"]])
    await house.settled()

    matrix = await ask(house, "matrix")
    assert domain["code"] in matrix["domains"] and partner["code"] in matrix["partners"]
    cells = {cell["domain"]: cell for cell in matrix["cells"] if cell["partner"] == partner["code"]}
    assert set(cells) == {domain["code"], elsewhere["code"]}
    cell = cells[domain["code"]]
    assert (cell["recommendations"], cell["actions"]["total"]) == (1, 1)
    behind = await ask(house, f"partners/{partner['id']}", domain=domain["code"])
    assert references(behind["recommendations"]) == [shared["reference"]]
    assert references(behind["actions"]) == [led["reference"]]


# --- invented things -------------------------------------------------------------------------------------------


async def test_what_is_invented_is_marked_wherever_it_is_counted(own_house: House) -> None:
    world = World(own_house)
    domain, real = await world.term(), await world.partner()
    await world.recommendation(domains=[domain["code"]], addressees=[real["id"]])
    before = await domain_line(own_house, domain)
    assert before["demonstration"] == 0
    assert (await ask(own_house, "domains"))["demonstration"] is False

    invented: Body = await world.partner(kind="demonstration")
    await world.recommendation(domains=[domain["code"]], addressees=[invented["id"]])
    await world.action(domains=[domain["code"]], leadId=invented["id"])
    assert (await domain_line(own_house, domain))["demonstration"] == 2
    line = await partner_line(own_house, invented)
    assert (line["kind"], line["demonstration"]) == ("demonstration", 2)
    assert (await partner_line(own_house, real))["demonstration"] == 0
    for what in ("domains", "partners", "matrix", f"domains/{domain['code']}"):
        assert (await ask(own_house, what))["demonstration"] is True
    detail = await ask(own_house, f"domains/{domain['code']}")
    assert [item["demonstration"] for item in detail["recommendations"]] == [False, True]
    assert [item["demonstration"] for item in detail["actions"]] == [True]
