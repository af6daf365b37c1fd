"""The main job: what is told at one door is seen at the reporting door."""

from statistics import median, quantiles
from time import perf_counter
from typing import Any

from tests.examples import World, claim
from tests.house import House, eventually


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


async def test_a_write_is_visible_soon(house: House) -> None:
    """The issue's promise: median under 100 ms over 200 writes, from 2xx at one door to the figure at the other."""
    waits = []
    for _ in range(200):
        answer = await house.send("POST", "/recommendations/v1/terms", _term())
        started = perf_counter()
        position = int(answer.headers["kapstok-position"][1:])

        async def seen(position: int = position) -> bool:
            answer = await house.get("/reporting/v1/progress/domains", by=None)
            return int(answer["position"].split(".")[0][1:]) >= position

        await eventually(seen)
        waits.append((perf_counter() - started) * 1000)
    print(f"\nfrom 2xx to visible: median {median(waits):.1f} ms, p99 {quantiles(waits, n=100)[98]:.1f} ms")
    assert median(waits) < 100


def _term() -> dict[str, Any]:
    from tests.examples import term

    return term()
