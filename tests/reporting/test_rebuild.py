"""Making the view again: the same bytes, differences named, and no reader notices."""

import asyncio
from itertools import pairwise

from sqlalchemy import text

from shared.projection import Attached
from tests.examples import Body, World, claim
from tests.house import House
from tests.reporting.asking import address, ask


def _view(house: House) -> Attached:
    view = house.running["reporting"].service.view
    assert view is not None
    return view


async def _told(house: House, world: World) -> Body:
    """A short history with a correction in it."""
    domain, partner = await world.term(effectiveFrom="2018-01-01"), await world.partner(effectiveFrom="2018-01-01")
    recommendation = await world.recommendation(
        domains=[domain["code"]], addressees=[partner["id"]], effectiveFrom="2018-10-19"
    )
    action = await world.action(
        leadId=partner["id"], domains=[domain["code"]], effectiveFrom="2018-11-13", dueOn="2021-01-01"
    )
    await world.confirmed_link(actionId=action["id"], recommendationId=recommendation["id"])
    round = await world.open_round()
    await house.post("/monitor/v1/obligations", {"roundId": round["id"], "partnerId": partner["id"]})
    for day, implementation in (("2020-06-30", "most respects"), ("2019-06-30", "in preparation")):
        told = claim(action["id"], implementation=implementation, statusOn=day)
        await world.accepted_report(partner, round, [told])
    moved = {"dueOn": "2022-01-01", "reason": "Uitstel.", "effectiveFrom": "2020-12-01"}
    await world.verb("programme", "actions", action, "_reschedule", moved)
    return {"domain": domain, "partner": partner, "recommendation": recommendation}


async def _answers(house: House, told: Body) -> dict[str, tuple[str, bytes]]:
    """ETag and bytes of every kind of answer, made afresh: the kept ones went with the process."""
    await house.stop("reporting")
    await house.start("reporting")
    code, id = told["domain"]["code"], told["partner"]["id"]
    found = {}
    for what in ("domains", "partners", "matrix", f"domains/{code}", f"partners/{id}", f"partners/{id}?figure=led"):
        for moment in ("", "asOf=2019-12-31", "asOf=2020-12-31&knownAt=2026-01-01"):
            path = address(what) + ("&" if "?" in what else "?") * bool(moment) + moment
            answer = await house.send("GET", path, by=None)
            found[path] = (answer.headers.get("etag", ""), answer.content)
    return found


async def _live_schema(view: Attached) -> str:
    async with view.reading() as session:
        found = await session.scalar(text("select split_part(current_setting('search_path'), '\"', 2)"))
    return str(found)


async def _generations(view: Attached) -> int:
    async with view.reading() as session:
        return int(await session.scalar(text("select count(*) from public.generation")) or 0)


async def test_made_again_it_gives_the_same_bytes(house: House, world: World) -> None:
    told = await _told(house, world)
    await house.settled()
    before = await _answers(house, told)
    schema = await _live_schema(_view(house))

    rebuilt = await _view(house).rebuild()
    assert rebuilt.differing == []
    assert rebuilt.events == sum((await house.heads()).values())
    assert await _live_schema(_view(house)) != schema
    assert await _answers(house, told) == before


async def test_rows_that_differ_are_named_and_the_live_ones_stay(house: House, world: World) -> None:
    told = await _told(house, world)
    await house.settled()
    view = _view(house)
    schema, generations = await _live_schema(view), await _generations(view)
    id = told["recommendation"]["id"]

    async def tamper(reference: str) -> None:
        async with view._engine.begin() as connection:
            change = text(f'update "{schema}".recommendation set reference = :reference where entity = :id')
            changed = await connection.execute(change, {"reference": reference, "id": id})
            assert changed.rowcount > 0

    await tamper("REC-1900-0001")
    rebuilt = await view.rebuild()
    assert rebuilt.differing == ["recommendation"]
    assert await _live_schema(view) == schema
    assert await _generations(view) == generations
    [item] = (await ask(house, f"domains/{told['domain']['code']}", asOf=str(view_day(house))))["recommendations"]
    assert item["reference"] == "REC-1900-0001"

    await tamper(told["recommendation"]["reference"])
    assert (await view.rebuild()).differing == []
    [item] = (await ask(house, f"domains/{told['domain']['code']}", asOf=str(view_day(house))))["recommendations"]
    assert item["reference"] == told["recommendation"]["reference"]


def view_day(house: House) -> object:
    return house.running["reporting"].service.today()


async def test_a_row_that_was_lost_and_one_too_many_are_both_named(house: House, world: World) -> None:
    told = await _told(house, world)
    await house.settled()
    view = _view(house)
    schema = await _live_schema(view)
    async with view._engine.begin() as connection:
        claims = (await connection.execute(text(f'delete from "{schema}".claim returning *'))).mappings().all()
        too_many = text(
            f'insert into "{schema}".term (entity, held, known, version, since, vocabulary, code, name, ended)'
            " select gen_random_uuid(), held, known, version, since, vocabulary, 'te-veel', name, ended"
            f' from "{schema}".term limit 1'
        )
        await connection.execute(too_many)
    assert claims
    assert (await view.rebuild()).differing == ["claim", "term"]
    await _follow_anew(house)
    assert (await _view(house).rebuild()).differing == []
    codes = {line["code"] for line in (await ask(house, "domains"))["lines"]}
    assert told["domain"]["code"] in codes and "te-veel" not in codes


async def _follow_anew(house: House) -> None:
    """What a person does then: take the rows made from the logs, without comparing."""
    await _view(house).rebuild(compare=False)
    await house.stop("reporting")
    await house.start("reporting")
    await house.settled()


async def test_facts_told_during_a_rebuild_are_in_and_answers_never_go_back_or_empty(
    house: House, world: World
) -> None:
    await world.term()
    await house.settled()
    view = _view(house)
    done = asyncio.Event()
    told: list[str] = []

    async def tell() -> None:
        while not done.is_set():
            told.append((await world.term())["code"])

    async def watch() -> list[tuple[list[int], int]]:
        seen = []
        while not done.is_set():
            answer = await ask(house, "domains")
            sequences = [int(part[1:]) for part in answer["position"].split(".")]
            seen.append((sequences, len(answer["lines"])))
            await asyncio.sleep(0)
        return seen

    async def rebuild() -> list[list[str]]:
        try:
            return [(await view.rebuild()).differing for _ in range(3)]
        finally:
            done.set()

    differing, seen, _ = await asyncio.gather(rebuild(), watch(), tell())
    assert differing == [[], [], []]
    assert len(seen) > 5 and len(told) > 5
    for (sequences, lines), (later, lines_later) in pairwise(seen):
        assert all(one <= other for one, other in zip(sequences, later, strict=True))
        assert 0 < lines <= lines_later
    await house.settled()
    assert set(told) <= {line["code"] for line in (await ask(house, "domains"))["lines"]}


async def test_what_is_told_after_a_rebuild_is_followed_in_the_new_rows(house: House, world: World) -> None:
    await house.settled()
    await _view(house).rebuild()
    term = await world.term()
    await house.settled()
    assert term["code"] in {line["code"] for line in (await ask(house, "domains"))["lines"]}
