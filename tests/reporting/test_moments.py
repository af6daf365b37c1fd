"""Two axes of time: how things were on a day, and what was known of it when."""

from datetime import UTC, datetime

import pytest

from shared.calendar import written
from tests.examples import Body, World, claim
from tests.house import House
from tests.reporting.asking import NO_DATA, address, ask, domain_line

LONG_AGO = {"effectiveFrom": "2017-01-01"}


def _now() -> str:
    return written(datetime.now(UTC))


async def _implementation(house: House, domain: Body, **query: str) -> str:
    """How far the only recommendation of a domain is shown to be."""
    counts = (await domain_line(house, domain, **query))["implementation"]
    [shown] = [name for name, count in counts.items() if count]
    return str(shown)


async def test_a_fact_told_late_lands_where_it_belongs(house: House, world: World) -> None:
    domain = await world.term(**LONG_AGO)
    await world.recommendation(domains=[domain["code"]], effectiveFrom="2018-10-19")
    for day, count in {"2017-06-01": 0, "2018-10-18": 0, "2018-10-19": 1, "2020-01-01": 1}.items():
        line = await domain_line(house, domain, asOf=day)
        assert line["recommendations"] == count, day
    assert (await domain_line(house, domain))["recommendations"] == 1


async def test_what_we_knew_earlier_stays_readable(house: House, world: World) -> None:
    domain = await world.term(**LONG_AGO)
    await house.settled()
    before = _now()
    await world.recommendation(domains=[domain["code"]], effectiveFrom="2018-10-19")
    assert (await domain_line(house, domain, asOf="2019-01-01", knownAt=before))["recommendations"] == 0
    assert (await domain_line(house, domain, asOf="2019-01-01"))["recommendations"] == 1
    assert (await domain_line(house, domain, asOf="2019-01-01", knownAt=_now()))["recommendations"] == 1
    assert (await domain_line(house, domain, knownAt=before))["recommendations"] == 0


async def test_before_a_domain_began_there_is_none(house: House, world: World) -> None:
    domain = await world.term(effectiveFrom="2018-01-01")
    await house.settled()
    answer = await house.send("GET", address(f"domains/{domain['code']}", asOf="2017-12-31"), by=None)
    assert answer.status_code == 404
    assert (await ask(house, f"domains/{domain['code']}", asOf="2018-01-01"))["line"]["code"] == domain["code"]


async def test_a_change_told_late_leaves_what_came_after_it_alone(house: House, world: World) -> None:
    """Told: planned in 2018, held by B since 2020; then, late: held by A since 2019."""
    domain = await world.term(**LONG_AGO)
    first, later = await world.partner(**LONG_AGO), await world.partner(**LONG_AGO)
    action = await world.action(domains=[domain["code"]], effectiveFrom="2018-06-01")
    action = await world.verb(
        "programme",
        "actions",
        action,
        "_assign",
        {"leadId": later["id"], "reason": "Overgedragen.", "effectiveFrom": "2020-01-01"},
    )
    await house.settled()
    before = _now()
    await world.verb(
        "programme",
        "actions",
        action,
        "_assign",
        {"leadId": first["id"], "reason": "Was eerder zo.", "effectiveFrom": "2019-01-01"},
    )

    await house.settled()

    async def lead(**query: str) -> str | None:
        [item] = (await ask(house, f"domains/{domain['code']}", **query))["actions"]
        return item["leadId"]

    assert await lead(asOf="2018-12-31") is None
    assert await lead(asOf="2019-01-01") == first["id"]
    assert await lead(asOf="2019-12-31") == first["id"]
    assert await lead(asOf="2020-01-01") == later["id"]
    assert await lead() == later["id"]
    assert await lead(asOf="2019-12-31", knownAt=before) is None


@pytest.mark.parametrize(
    ("day", "its_end", "the_next"),
    [
        ("2018-06-30", "2018-06-30T21:59:59.999999Z", "2018-06-30T22:00:00Z"),
        ("2018-12-31", "2018-12-31T22:59:59.999999Z", "2018-12-31T23:00:00Z"),
        ("2018-10-28", "2018-10-28T22:59:59.999999Z", "2018-10-28T23:00:00Z"),
    ],
)
async def test_a_date_means_the_end_of_that_day_in_amsterdam(
    house: House, world: World, day: str, its_end: str, the_next: str
) -> None:
    domain = await world.term(**LONG_AGO)
    following = {"2018-06-30": "2018-07-01", "2018-12-31": "2019-01-01", "2018-10-28": "2018-10-29"}[day]
    await world.recommendation(domains=[domain["code"]], effectiveFrom=following)
    await world.recommendation(domains=[domain["code"]], effectiveFrom=day)
    assert (await domain_line(house, domain, asOf=day))["recommendations"] == 1
    assert (await domain_line(house, domain, asOf=its_end))["recommendations"] == 1
    assert (await domain_line(house, domain, asOf=the_next))["recommendations"] == 2
    answer = await ask(house, "domains", asOf=day)
    assert (answer["asOf"], answer["day"]) == (its_end, day)
    assert (await ask(house, "domains", asOf=the_next))["day"] == following


async def test_overdue_is_judged_on_the_day_asked_about(house: House, world: World) -> None:
    domain = await world.term(**LONG_AGO)
    await world.action(domains=[domain["code"]], dueOn="2019-06-30", **LONG_AGO)
    assert (await domain_line(house, domain, asOf="2019-06-30"))["overdue"] == 0
    assert (await domain_line(house, domain, asOf="2019-07-01"))["overdue"] == 1


async def test_a_retroactive_claim_stands_on_its_day_and_does_not_override_a_later_one(
    house: House, world: World
) -> None:
    domain, partner = await world.term(**LONG_AGO), await world.partner(**LONG_AGO)
    recommendation = await world.recommendation(domains=[domain["code"]], **LONG_AGO)
    action = await world.action(leadId=partner["id"], **LONG_AGO)
    link = await world.link(actionId=action["id"], recommendationId=recommendation["id"], **LONG_AGO)
    await world.verb("programme", "links", link, "_confirm", LONG_AGO)
    round = await world.open_round()

    newer = claim(action["id"], implementation="most respects", statusOn="2019-06-30")
    await world.accepted_report(partner, round, [newer])
    await house.settled()
    before = _now()
    older = claim(action["id"], implementation="not started", statusOn="2018-12-31")
    await world.accepted_report(partner, round, [older])

    assert await _implementation(house, domain) == "most respects"
    assert await _implementation(house, domain, asOf="2018-12-30") == NO_DATA
    assert await _implementation(house, domain, asOf="2018-12-31") == "not started"
    assert await _implementation(house, domain, asOf="2019-06-29") == "not started"
    assert await _implementation(house, domain, asOf="2019-06-30") == "most respects"
    assert await _implementation(house, domain, asOf="2019-01-31", knownAt=before) == NO_DATA


async def test_told_again_for_the_same_day_the_later_telling_stands(house: House, world: World) -> None:
    domain, partner = await world.term(**LONG_AGO), await world.partner(**LONG_AGO)
    recommendation = await world.recommendation(domains=[domain["code"]], **LONG_AGO)
    action = await world.action(leadId=partner["id"], **LONG_AGO)
    link = await world.link(actionId=action["id"], recommendationId=recommendation["id"], **LONG_AGO)
    await world.verb("programme", "links", link, "_confirm", LONG_AGO)
    round = await world.open_round()
    for implementation in ("most respects", "some respects"):
        told = claim(action["id"], implementation=implementation, statusOn="2019-06-30")
        await world.accepted_report(partner, round, [told])
    assert await _implementation(house, domain) == "some respects"


async def test_as_of_now_is_the_same_as_live(house: House, world: World) -> None:
    domain, partner = await world.term(), await world.partner()
    await world.recommendation(domains=[domain["code"]], addressees=[partner["id"]])
    await world.action(domains=[domain["code"]], leadId=partner["id"])
    await house.settled()
    for what in ("domains", "partners", "matrix", f"domains/{domain['code']}", f"partners/{partner['id']}"):
        live, now = await ask(house, what), await ask(house, what, asOf=_now())
        today = await ask(house, what, asOf=live["day"])
        assert {**now, "asOf": live["asOf"]} == live
        assert {**today, "asOf": live["asOf"]} == live


async def test_each_answer_says_its_position_moment_day_and_rules(house: House, world: World) -> None:
    domain, partner = await world.term(**LONG_AGO), await world.partner(**LONG_AGO)
    position = await house.settled()
    day = str(house.running["reporting"].service.today())
    for what in ("domains", "partners", "matrix", f"domains/{domain['code']}", f"partners/{partner['id']}"):
        live = await ask(house, what)
        assert live["position"] == position
        assert live["day"] == day
        assert live["rule"]["coverage"] >= 1
        assert live["asOf"] <= _now()
        assert live["knownAt"] is None
        known = _now()
        past = await ask(house, what, asOf="2019-01-01", knownAt=known)
        assert (past["position"], past["day"], past["rule"]) == (position, "2019-01-01", live["rule"])
        assert (past["asOf"], past["knownAt"]) == ("2019-01-01T22:59:59.999999Z", known)


async def test_the_moment_of_a_live_answer_is_when_its_newest_fact_was_recorded(house: House, world: World) -> None:
    before = _now()
    await world.term()
    await house.settled()
    first = await ask(house, "domains")
    assert before < first["asOf"] < _now()
    assert (await ask(house, "partners"))["asOf"] == first["asOf"]


@pytest.mark.parametrize(
    "moment", ["yesterday", "2018", "2018-13-01", "2018-12-31T12:00:00", "1899-12-31", "2018-12-31T12:00:00-00:00", ""]
)
async def test_a_moment_that_means_nothing_is_refused_with_a_sentence(house: House, moment: str) -> None:
    for name in ("asOf", "knownAt"):
        answer = await house.send("GET", address("domains", **{name: moment}), by=None)
        assert answer.status_code == 400, answer.text
        [error] = answer.json()["errors"]
        assert error["pointer"] == f"query:{name}"
