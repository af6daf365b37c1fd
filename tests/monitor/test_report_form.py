"""The form: a partner gets its actions in a workbook, fills it in, and sends it back as its report."""

import io
import zipfile
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from services.monitor.forms import HEADERS, NO, ROUND, SUBMIT, YES
from shared.sheets import CSV, JSON, XLSX, write_workbook
from shared.workbook import rows_of
from tests.examples import Body, World
from tests.files import Result, csv_of, exported, finished, imported, send
from tests.house import Builder, House, eventually

Grid = list[list[str]]
FORM = "/monitor/v1/reports/form.xlsx"
IMPLEMENTATION, CONFIDENCE, STATUS_ON, DUTCH, ENGLISH = range(3, 8)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    async with builder.house("recommendations", "programme", "monitor") as house:
        yield house


class Asked:
    """A partner that owes a report on two actions; another one that takes part in none of them."""

    def __init__(self, house: House, partner: Body, other: Body, round: Body, actions: list[Body]) -> None:
        self.house, self.partner, self.other, self.round, self.actions = house, partner, other, round, actions
        self.by = (partner["code"], "reporter")

    async def form(self, by: tuple[str, ...] | None = None) -> Grid:
        answer = await self.house.send("GET", f"{FORM}?roundId={self.round['id']}", by=by or self.by)
        assert answer.status_code == 200, answer.text
        return rows_of(answer.content, 1000, 1 << 24)

    async def return_(self, grid: Grid, **more: Any) -> Result:
        return await imported(self.house, "monitor", "report-form", as_workbook(grid), XLSX, **({"by": self.by} | more))

    async def reports(self, by: tuple[str, ...] | None = None) -> list[Body]:
        path = f"/monitor/v1/reports?roundId={self.round['id']}&partnerId={self.partner['id']}"
        return list((await self.house.get(path, by=by or self.by))["items"])

    async def owed(self) -> Body:
        path = f"/monitor/v1/obligations?roundId={self.round['id']}&partnerId={self.partner['id']}"
        [found] = (await self.house.get(path))["items"]
        return dict(found)


def as_workbook(grid: Grid) -> bytes:
    out = io.BytesIO()
    write_workbook(out, "Verslag", grid)
    return out.getvalue()


def first_of(grid: Grid) -> int:
    """The row of the first action."""
    return next(number for number, row in enumerate(grid) if row[0] == HEADERS[0]) + 1


def put(grid: Grid, label: str, value: str) -> None:
    next(row for row in grid if row[0] == label)[1] = value


@pytest_asyncio.fixture(loop_scope="session")
async def asked(house: House) -> Asked:
    world = World(house)
    partner, other = await world.partner(), await world.partner()
    programme = await world.programme()
    led = await world.action(programmeId=programme["id"], leadId=partner["id"])
    part = await world.action(programmeId=programme["id"], leadId=other["id"], contributors=[partner["id"]])
    ended = await world.action(programmeId=programme["id"], leadId=partner["id"])
    await world.verb("programme", "actions", ended, "_complete")
    round = await world.open_round()
    await house.post("/monitor/v1/obligations", {"roundId": round["id"], "partnerId": partner["id"]})
    found = Asked(house, partner, other, round, [led, part])

    async def followed() -> bool:
        grid = await found.form()
        return [row[0] for row in grid[first_of(grid) :]] == [led["reference"], part["reference"]]

    assert await eventually(followed)
    return found


# --- the form that is given -------------------------------------------------------------------------------------


async def test_the_form_names_the_round_the_partner_and_its_open_actions(asked: Asked) -> None:
    grid = await asked.form()
    said = "\n".join(" ".join(row) for row in grid)
    assert asked.round["reference"] in said and asked.round["dueOn"] in said
    assert asked.partner["name"]["nl"] in said
    rows = grid[first_of(grid) :]
    assert [row[2] for row in rows] == ["trekker / lead", "partner / part"]
    assert all(row[1] for row in rows), "an action without its name"
    other = await asked.form(by=(asked.other["code"], "reporter"))
    assert [row[0] for row in other[first_of(other) :]] == [asked.actions[1]["reference"]]


async def test_the_form_takes_a_choice_from_a_list_and_keeps_what_is_not_to_be_changed(asked: Asked) -> None:
    answer = await asked.house.send("GET", f"{FORM}?roundId={asked.round['id']}", by=asked.by)
    assert answer.headers["content-type"] == XLSX
    with zipfile.ZipFile(io.BytesIO(answer.content)) as parts:
        sheet = parts.read("xl/worksheets/sheet1.xml").decode()
    assert "<sheetProtection" in sheet
    assert sheet.count('<dataValidation type="list"') == 3
    assert "Lijsten" in sheet


async def test_without_a_round_the_form_is_of_one_that_is_open(asked: Asked) -> None:
    answer = await asked.house.send("GET", FORM, by=asked.by)
    assert answer.status_code == 200
    assert any(row[0] == ROUND and row[1] for row in rows_of(answer.content, 1000, 1 << 24))


async def test_the_form_is_for_who_reports_in_a_round_that_is_open(asked: Asked) -> None:
    world, path = World(asked.house), f"{FORM}?roundId={asked.round['id']}"
    assert (await asked.house.send("GET", path, by=None)).status_code == 401
    assert (await asked.house.send("GET", path, by=(asked.partner["code"], "coordinator"))).status_code == 403
    assert (await asked.house.send("GET", f"{FORM}?roundId={uuid4()}", by=asked.by)).status_code == 404
    planned = await asked.house.post("/monitor/v1/rounds", (await _round_body()))
    assert (await asked.house.send("GET", f"{FORM}?roundId={planned['id']}", by=asked.by)).status_code == 409
    await world.verb("monitor", "rounds", asked.round, "_close")
    assert (await asked.house.send("GET", path, by=asked.by)).status_code == 409


async def _round_body() -> Body:
    from tests.examples import round

    return round()


# --- the form that comes back -----------------------------------------------------------------------------------


async def test_a_form_that_comes_back_is_a_draft_with_the_claims_that_were_filled_in(asked: Asked) -> None:
    grid = await asked.form()
    row = grid[first_of(grid)]
    row[IMPLEMENTATION], row[CONFIDENCE] = "in uitvoering / in progress", "op koers / on track"
    row[STATUS_ON], row[DUTCH] = "2026-07-02", "Het gaat goed."
    result = await asked.return_(grid)
    assert (result["state"], result["errors"]) == ("done", [])
    [report] = await asked.reports()
    assert report["state"] == "draft"
    [claim] = report["claims"]
    assert claim == {
        "actionId": asked.actions[0]["id"],
        "implementation": "in progress",
        "confidence": "on track",
        "statusOn": "2026-07-02",
        "explanation": {"nl": "Het gaat goed.", "en": None},
    }
    assert (await asked.owed())["metOn"] is None


async def test_a_form_that_says_so_is_submitted_and_meets_what_is_owed(asked: Asked) -> None:
    grid = await asked.form()
    for row in grid[first_of(grid) :]:
        row[IMPLEMENTATION] = "niet begonnen / not started"
    put(grid, SUBMIT, YES)
    result = await asked.return_(grid)
    assert result["errors"] == []
    [report] = await asked.reports()
    assert (report["state"], len(report["claims"])) == ("submitted", 2)
    assert (await asked.owed())["metOn"] is not None
    again = await asked.return_(grid)
    assert again["errors"] == [] and again["lines"]["skipped"] == 2
    assert len(await asked.reports()) == 1, "the same form again is the same report"


async def test_the_same_form_filled_in_further_revises_its_draft_and_then_submits_it(asked: Asked) -> None:
    grid = await asked.form()
    grid[first_of(grid)][IMPLEMENTATION] = "in progress"
    await asked.return_(grid)
    grid[first_of(grid) + 1][IMPLEMENTATION] = "fully implemented"
    put(grid, SUBMIT, YES)
    result = await asked.return_(grid)
    assert result["errors"] == [] and result["lines"]["changed"] == 2
    [report] = await asked.reports()
    assert (report["state"], len(report["claims"])) == ("submitted", 2)
    grid[first_of(grid)][IMPLEMENTATION] = "some respects"
    late = await asked.return_(grid)
    assert late["state"] == "refused"
    assert "can be revised" in late["errors"][0]["detail"]


async def test_a_dry_run_of_a_form_saves_nothing(asked: Asked) -> None:
    grid = await asked.form()
    grid[first_of(grid)][IMPLEMENTATION] = "in progress"
    before = await asked.house.heads()
    result = await asked.return_(grid, dryRun="true")
    assert (result["state"], result["saved"], result["lines"]["made"]) == ("done", False, 1)
    assert await asked.reports() == []
    assert await asked.house.heads() == before


async def test_what_is_wrong_in_a_form_is_named_by_its_own_row_and_header(asked: Asked) -> None:
    grid = await asked.form()
    first = first_of(grid)
    grid[first][IMPLEMENTATION], grid[first][STATUS_ON] = "bijna klaar", "volgende week"
    grid[first + 1][DUTCH] = "Zonder uitvoering."
    result = await asked.return_(grid)
    assert result["state"] == "refused"
    assert {(error["line"], error["column"]) for error in result["errors"]} == {
        (first + 1, HEADERS[IMPLEMENTATION]),
        (first + 1, HEADERS[STATUS_ON]),
        (first + 2, HEADERS[IMPLEMENTATION]),
    }
    for place, value in ((0, "ACT-1900-0001"), (STATUS_ON, "2199-01-01")):
        grid = await asked.form()
        grid[first][IMPLEMENTATION] = grid[first + 1][IMPLEMENTATION] = "in progress"
        grid[first + 1][place] = value
        result = await asked.return_(grid)
        assert [(error["line"], error["column"]) for error in result["errors"]] == [(first + 2, HEADERS[place])]


Spoil = Callable[[Grid], Any]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda grid: grid.__setitem__(slice(None), [["x"]]),
        lambda grid: grid.__delitem__(slice(0, 8)),
        lambda grid: put(grid, ROUND, "RND-1900-0001"),
        lambda grid: put(grid, ROUND, ""),
        lambda grid: grid[first_of(grid) - 1].__setitem__(0, "Actie"),
        lambda grid: grid[first_of(grid) - 1].__setitem__(IMPLEMENTATION, "Kanarie 5F1D"),
        lambda grid: grid[-1].__setitem__(IMPLEMENTATION, ""),
    ],
    ids=["another sheet", "no round", "round unknown", "round empty", "no head", "a header changed", "nothing filled"],
)
async def test_a_form_that_was_spoiled_is_refused_and_saves_nothing(asked: Asked, spoil: Spoil) -> None:
    grid = await asked.form()
    grid[-1][IMPLEMENTATION] = "in progress"
    spoil(grid)
    answer = await send(asked.house, "monitor", "report-form", as_workbook(grid), XLSX, by=asked.by)
    if answer.status_code == 202:
        result = await finished(asked.house, answer.headers["location"], by=asked.by)
        assert result["state"] == "refused" and result["errors"]
    else:
        assert answer.status_code == 400, answer.text
        assert "Kanarie" not in answer.text
    assert await asked.reports() == []


@pytest.mark.parametrize("media_type", [CSV, JSON])
async def test_a_form_comes_back_as_a_workbook_only(asked: Asked, media_type: str) -> None:
    answer = await send(asked.house, "monitor", "report-form", b"[{}]", media_type, by=asked.by)
    assert answer.status_code == 415


async def test_a_form_in_another_hand_is_another_report_and_tells_nothing_of_the_first(asked: Asked) -> None:
    grid = await asked.form()
    grid[first_of(grid) + 1][IMPLEMENTATION] = "in progress"
    await asked.return_(grid)
    [draft] = await asked.reports()
    other = (asked.other["code"], "reporter")
    result = await asked.return_(grid, by=other)
    assert (result["lines"]["made"], result["lines"]["skipped"]) == (1, 0)
    lines = await asked.house.get(f"/monitor/v1/imports/{result['id']}/lines", by=other)
    assert lines["items"][0]["id"] != draft["id"]
    [still] = await asked.reports()
    assert still["version"] == draft["version"]


# --- reports as lines -------------------------------------------------------------------------------------------


async def test_lines_in_a_row_about_one_report_make_one_report(asked: Asked) -> None:
    mark = uuid4().hex[:8]
    lines = [
        {"round": asked.round["reference"], "externalIds": f"eigen:{mark}", "action": action["reference"]}
        | {"implementation": "in progress", "explanation.nl": f"Regel {number}", "state": "submitted"}
        for number, action in enumerate(asked.actions)
    ]
    result = await imported(asked.house, "monitor", "reports", csv_of(*lines), by=asked.by)
    assert result["errors"] == [] and result["lines"]["made"] == 2
    [report] = await asked.reports()
    assert [claim["actionId"] for claim in report["claims"]] == [action["id"] for action in asked.actions]
    lines[1]["implementation"] = "bijna"
    lines[0]["externalIds"] = lines[1]["externalIds"] = f"eigen:{mark}-2"
    result = await imported(asked.house, "monitor", "reports", csv_of(*lines), by=asked.by)
    assert [(error["line"], error["column"]) for error in result["errors"]] == [(3, "implementation")]


async def test_a_report_on_another_partners_action_is_refused_at_its_line(asked: Asked) -> None:
    foreign = await World(asked.house).action(leadId=asked.other["id"])
    line = {"round": asked.round["reference"], "action": foreign["reference"], "implementation": "in progress"}

    async def known() -> bool:
        result = await imported(asked.house, "monitor", "reports", csv_of(line), by=asked.by, dryRun="true")
        return "neither leads nor contributes" in result["errors"][0]["detail"]

    assert await eventually(known)
    good = line | {"action": asked.actions[0]["reference"]}
    result = await imported(asked.house, "monitor", "reports", csv_of(good, line), by=asked.by)
    assert [(error["line"], error["column"]) for error in result["errors"]] == [(3, "action")]


async def test_what_a_partner_keeps_inside_goes_out_to_itself_only(asked: Asked) -> None:
    grid = await asked.form()
    grid[first_of(grid)][IMPLEMENTATION], grid[first_of(grid)][DUTCH] = "in progress", "Nog niet af."
    await asked.return_(grid)
    own = await exported(asked.house, "monitor", "reports", by=asked.by)
    assert b"Nog niet af." in own
    for by in ((asked.other["code"], "reporter"), ("jenv", "coordinator")):
        assert b"Nog niet af." not in await exported(asked.house, "monitor", "reports", by=by)
    head, *rows = own.splitlines(keepends=True)
    mine = b"".join(row for row in rows if asked.round["reference"].encode() in row)
    again = await imported(asked.house, "monitor", "reports", head + mine, by=asked.by)
    assert again["errors"] == [] and again["lines"]["skipped"] == again["lines"]["total"] >= 1


async def test_a_report_that_makes_too_large_an_event_is_refused_at_its_line(asked: Asked) -> None:
    world = World(asked.house)
    programme = await world.programme()
    many = [await world.action(programmeId=programme["id"], leadId=asked.partner["id"]) for _ in range(10)]
    lines = [
        {"round": asked.round["reference"], "action": action["reference"], "implementation": "in progress"}
        | {"explanation.nl": "n" * 4000, "explanation.en": "e" * 4000, "state": "submitted"}
        for action in many
    ]

    async def known() -> Result | None:
        result = await imported(asked.house, "monitor", "reports", csv_of(*lines), by=asked.by)
        return None if "known here yet" in result["errors"][0]["detail"] else result

    result = await eventually(known)
    assert [error["line"] for error in result["errors"]] == [2]
    assert "64 KiB" in result["errors"][0]["detail"]


async def test_a_form_says_no_until_somebody_says_yes(asked: Asked) -> None:
    assert any(row[:2] == [SUBMIT, NO] for row in await asked.form())
