"""The main job: what is told at one door is seen at the reporting door."""

from typing import Any

from tests.examples import World, claim, term
from tests.house import House


async def test_a_report_told_by_a_partner_is_seen_per_domain_and_per_partner(house: House) -> None:
    world = World(house)
    domain = await world.term()
    await world.partner(code="jenv")
    partner = await world.partner()
    recommendation = await world.recommendation(domains=[domain["code"]], addressees=[partner["id"]])
    action = await world.action(leadId=partner["id"], domains=[domain["code"]])
    await world.confirmed_link(actionId=action["id"], recommendationId=recommendation["id"])
    round = await world.open_round()

    before = await _line(house, domain["code"])
    assert before["implementation"]["no data"] == 1
    assert before["implementation"]["not started"] == 0

    await world.accepted_report(partner, round, [claim(action["id"], implementation="most respects")])
    await house.settled()

    after = await _line(house, domain["code"])
    assert after["implementation"]["most respects"] == 1
    assert after["implementation"]["no data"] == 0
    assert after["coverage"] == {"share": 1.0, "byClass": after["coverage"]["byClass"] | {"covered": 1}}
    detail = await house.get(
        f"/reporting/v1/progress/partners/{partner['id']}?figure=implementation:most%20respects", by=None
    )
    assert [item["reference"] for item in detail["recommendations"]] == [recommendation["reference"]]
    assert detail["line"]["led"] == 1


async def _line(house: House, code: str) -> dict[str, Any]:
    await house.settled()
    answer = await house.get("/reporting/v1/progress/domains", by=None)
    return next(line for line in answer["lines"] if line["code"] == code)


async def test_an_answer_for_at_least_a_position_holds_what_was_told_there(house: House) -> None:
    """How long that takes is measured by `make bench`; that it holds is tested here."""
    for _ in range(20):
        told = term()
        answer = await house.send("POST", "/recommendations/v1/terms", told)
        shown = await house.get(
            "/reporting/v1/progress/domains",
            by=None,
            headers={"Kapstok-At-Least": answer.headers["kapstok-position"]},
        )
        assert told["code"] in [line["code"] for line in shown["lines"]]
