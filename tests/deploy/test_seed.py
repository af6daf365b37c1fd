"""The fact base goes in through the public doors, twice with the same result, and its gaps stay gaps."""

from collections import Counter
from datetime import date
from typing import Any

import yaml

from deploy.seed import FACTS, Seed
from deploy.stack import SERVICES
from tests.house import House

TODAY = date(2026, 11, 24)


def seed(house: House) -> Seed:
    return Seed(
        {service: house.url(service) for service in SERVICES},
        lambda organisation, functions: house.issuer.token(organisation, functions),
    )


def facts(name: str) -> list[dict[str, Any]]:
    return yaml.safe_load((FACTS / f"{name}.yaml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


async def everything(house: House, path: str) -> list[dict[str, Any]]:
    answer = await house.get(f"{path}?limit=500")
    assert answer["next"] is None
    return list(answer["items"])


async def test_the_fact_base_goes_in_once_and_its_gaps_stay_gaps(own_house: House) -> None:
    house = own_house
    first = seed(house)
    await first.load(today=TODAY)
    heads = await house.heads()
    again = seed(house)
    await again.load(today=TODAY)
    assert first.made > 200
    assert again.made == 0
    assert await house.heads() == heads

    for noun, path in {
        "terms": "/recommendations/v1/terms",
        "issuing-bodies": "/recommendations/v1/issuing-bodies",
        "sources": "/recommendations/v1/sources",
        "recommendations": "/recommendations/v1/recommendations",
        "partners": "/programme/v1/partners",
        "programmes": "/programme/v1/programmes",
        "action-lines": "/programme/v1/action-lines",
        "actions": "/programme/v1/actions",
        "links": "/programme/v1/links",
    }.items():
        keys = {item["externalIds"]["facts"] for item in await everything(house, path)}
        assert keys == {item["key"] for item in facts(noun)}, noun

    stated = {item["key"] for item in facts("links") if item["basis"] == "read"}
    links = await everything(house, "/programme/v1/links")
    assert {link["externalIds"]["facts"] for link in links if link["state"] == "confirmed"} == stated
    assert {link["state"] for link in links} == {"confirmed", "proposed"}
    undecided = [item["key"] for item in facts("actions") if "leadUndecided" in item]
    actions = {item["externalIds"]["facts"]: item for item in await everything(house, "/programme/v1/actions")}
    assert undecided and all(actions[key]["leadId"] is None for key in undecided)

    await house.settled()
    answer = await house.get("/reporting/v1/progress/domains", by=None)
    kinds = Counter(item["kind"] for item in facts("recommendations"))
    assert answer["total"]["recommendations"] == kinds["recommendation"] == 50
    assert answer["total"]["implementation"]["no data"] == 50
    assert answer["total"]["noDataShare"] == 1.0
    assert answer["total"]["actions"]["total"] == len(facts("actions"))
    assert len(answer["lines"]) == 7
    assert answer["demonstration"] is False

    early = await house.get("/reporting/v1/progress/domains?asOf=2014-12-31", by=None)
    greta_2014 = [item for item in facts("recommendations") if item["source"] == "greta-2014-nl"]
    assert early["total"]["recommendations"] == len([one for one in greta_2014 if one["kind"] == "recommendation"])
    assert early["total"]["actions"]["total"] == 0


async def test_the_demonstration_is_marked_wherever_it_counts(own_house: House) -> None:
    house = own_house
    await seed(house).load(today=TODAY, demonstration=True)
    again = seed(house)
    await again.load(today=TODAY, demonstration=True)
    assert again.made == 0
    await house.settled()
    answer = await house.get("/reporting/v1/progress/domains", by=None)
    assert answer["demonstration"] is True
    assert answer["total"]["demonstration"] == 6
    assert answer["total"]["implementation"]["most respects"] == 1
    assert answer["total"]["verdicts"]["adequate"] == 1
    partners = await house.get("/reporting/v1/progress/partners", by=None)
    invented = [line for line in partners["lines"] if line["kind"] == "demonstration"]
    assert len(invented) == 3
    assert {line["code"]: line["onTime"] for line in invented}["demo-noord"] == 1.0
