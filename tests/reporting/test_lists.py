"""Behind every figure stands its list: as many items as the figure says, for every figure of every line."""

import asyncio
from collections.abc import Iterator

import pytest_asyncio

from tests.examples import Body, World, claim
from tests.house import House
from tests.reporting.asking import address, ask

ITEMS = ("recommendations", "actions", "obligations")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def told(house: House, world: World) -> Body:
    """A little of everything: two domains, partners of several kinds, every figure above zero somewhere."""
    one, other = await world.term(), await world.term()
    police, care = await world.partner(kind="police"), await world.partner(kind="care")
    invented = await world.partner(kind="demonstration")
    both = {"domains": [one["code"], other["code"]]}
    first = await world.recommendation(addressees=[police["id"], care["id"]], **both)
    second = await world.recommendation(addressees=[care["id"]], domains=[one["code"]])
    third = await world.recommendation(addressees=[invented["id"]], domains=[one["code"]])
    await world.recommendation(addressees=[police["id"]], domains=[])
    for _ in range(2):
        await world.recommendation(parentId=third["id"], sourceId=third["sourceId"])

    led = await world.action(leadId=police["id"], contributors=[care["id"]], obligationLevel="agreed", **both)
    late = await world.action(
        leadId=care["id"], dueOn="2019-01-01", obligationLevel="voluntary", effectiveFrom="2018-11-01", **both
    )
    await world.action(leadId=invented["id"], domains=[other["code"]])
    await world.action(leadUndecided=[police["id"], care["id"]], domains=[one["code"]])
    dropped = await world.action(leadId=police["id"], domains=[one["code"]])
    await world.verb("programme", "actions", dropped, "_drop", {"reason": "Vervallen."})
    await world.confirmed_link(actionId=led["id"], recommendationId=first["id"])
    await world.link(actionId=late["id"], recommendationId=second["id"])
    await world.confirmed_link(actionId=late["id"], recommendationId=third["id"], contribution="partial")

    past = await world.open_round(opensOn="2026-01-01", dueOn="2026-06-30", closesOn="2026-06-30")
    for partner in (police, care):
        await house.post("/monitor/v1/obligations", {"roundId": past["id"], "partnerId": partner["id"]})
    await world.accepted_report(police, past, [claim(led["id"], implementation="most respects")])
    verdict = {"recommendationId": first["id"], "verdict": "adequate", "rationale": {"nl": "Goed."}}
    await house.post("/monitor/v1/assessments", verdict)
    await house.settled()
    return {"domains": [one, other], "partners": [police, care, invented], "elsewhere": await world.partner()}


def figures(line: Body) -> Iterator[tuple[str, int]]:
    """Every figure of a line that counts things, by the name that its list is asked with."""
    yield "recommendations", line["recommendations"]
    yield "actions", line["actions"]["total"]
    yield from ((name, line[name]) for name in ("overdue", "stale", "demonstration"))
    prefixes = {
        "coverage": line["coverage"]["byClass"],
        "implementation": line["implementation"],
        "verdict": line["verdicts"],
        "state": line["actions"]["byState"],
        "confidence": line["actions"]["byConfidence"],
        "obligation-level": line["actions"]["byObligationLevel"],
    }
    if "obligations" in line:
        yield from ((name, line[name]) for name in ("led", "contributing", "undecided", "addressed"))
        yield "obligations", sum(line["obligations"].values())
        prefixes["obligation"] = line["obligations"]
    for prefix, counts in prefixes.items():
        yield from ((f"{prefix}:{name}", count) for name, count in counts.items())


async def _walk(house: House, line: Body) -> int:
    """Ask the list of each figure in a line; how many figures there were."""
    named = list(figures(line))
    for name, count in named:
        path = line["list"].replace("{figure}", name.replace(" ", "%20"))
        detail = await house.get(path, by=None)
        items = [item["id"] for kind in ITEMS for item in detail.get(kind, [])]
        assert len(items) == len(set(items)) == count, f"{path} lists {len(items)}, the figure says {count}"
    return len(named)


async def test_every_figure_of_every_domain_has_a_list_of_that_length(house: House, told: Body) -> None:
    lines = (await ask(house, "domains"))["lines"]
    assert [line["code"] for line in lines] == [term["code"] for term in told["domains"]]
    walked = await asyncio.gather(*(_walk(house, line) for line in lines))
    assert min(walked) >= 34


async def test_every_figure_of_every_partner_has_a_list_of_that_length(house: House, told: Body) -> None:
    lines = (await ask(house, "partners"))["lines"]
    assert {line["id"] for line in lines} >= {partner["id"] for partner in told["partners"]}
    walked = await asyncio.gather(*(_walk(house, line) for line in lines))
    assert min(walked) >= 45


async def test_every_figure_of_every_cell_has_a_list_of_that_length(house: House, told: Body) -> None:
    cells = (await ask(house, "matrix"))["cells"]
    assert len(cells) == 6
    await asyncio.gather(*(_walk(house, cell) for cell in cells))


async def test_the_kinds_of_figures_are_told_apart_by_more_than_zero(house: House, told: Body) -> None:
    """Lists of nothing prove little: nearly every kind of figure counts something in this house."""
    lines = [*(await ask(house, "domains"))["lines"], *(await ask(house, "partners"))["lines"]]
    counted = {name for line in lines for name, count in figures(line) if count}
    assert counted >= {
        "recommendations",
        "actions",
        "overdue",
        "stale",
        "demonstration",
        "led",
        "contributing",
        "undecided",
        "addressed",
        "obligations",
        "obligation:late",
        "obligation:met late",
        "coverage:covered",
        "coverage:linked",
        "coverage:proposed only",
        "coverage:no action",
        "implementation:most respects",
        "implementation:no data",
        "verdict:adequate",
        "verdict:not assessed",
        "state:planned",
        "state:dropped",
        "confidence:on track",
        "confidence:no status",
        "obligation-level:agreed",
        "obligation-level:voluntary",
    }


async def test_without_a_figure_a_line_lists_everything_it_counts(house: House, told: Body) -> None:
    for line in (await ask(house, "domains"))["lines"]:
        detail = await ask(house, f"domains/{line['code']}")
        assert len(detail["recommendations"]) == line["recommendations"]
        assert len(detail["actions"]) == line["actions"]["total"]


async def test_a_domain_or_partner_that_is_not_there_is_not_found(house: House, told: Body) -> None:
    for what in ("domains/bestaat-niet", "partners/01890000-0000-7000-8000-000000000000"):
        answer = await house.send("GET", address(what), by=None)
        assert answer.status_code == 404
        assert "at this moment" in answer.json()["detail"]
