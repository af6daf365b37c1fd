"""Imports: every wrong line named in the words of the file, all or nothing or each, never more than a request may."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from shared import imports
from shared.errors import Conflict
from shared.events.event import Actor
from shared.imports import CHUNK, Mode
from shared.lines import Lines
from shared.sheets import CSV, JSON, XLSX, write_workbook
from tests.examples import Body, World
from tests.files import COORDINATOR, Result, csv_of, exported, finished, imported, send
from tests.house import Builder, House, eventually

LARGEST = 1 << 20


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    async with builder.house("recommendations", "programme", "monitor", import_max_body=LARGEST) as house:
        yield house


@pytest.fixture
def world(house: House) -> World:
    return World(house)


def partner(number: int | str, **cells: str) -> dict[str, str]:
    """A line; what a test does not name is good."""
    mark = f"{number}-{uuid4().hex[:8]}"
    return {"code": f"lijn-{mark}", "name.nl": f"Lijn {mark}", "kind": "ngo", "externalIds": f"crm:{mark}"} | cells


async def partners(house: House, *lines: dict[str, str], **more: Any) -> Result:
    return await imported(house, "programme", "partners", csv_of(*lines), **more)


async def kept(house: House, external_id: str, noun: str = "partners") -> list[Body]:
    return list((await house.get(f"/programme/v1/{noun}?externalId={external_id}"))["items"])


def wrong(result: Result) -> list[tuple[int, str | None]]:
    return [(error["line"], error["column"]) for error in result["errors"]]


def details(answer: httpx.Response) -> str:
    problem = answer.json()
    return problem["detail"] + str(problem.get("errors", ""))


# --- what a good file does --------------------------------------------------------------------------------------


async def test_a_good_file_is_taken_and_each_line_says_what_it_made(house: House) -> None:
    lines = [partner(number, domains="") for number in range(3)]
    before = await house.heads()
    answer = await send(house, "programme", "partners", csv_of(*lines))
    assert answer.status_code == 202
    told = answer.json()
    assert answer.headers["location"] == f"/programme/v1/imports/{told['id']}"
    assert told["lines"]["total"] == 3 and told["state"] in ("checking", "taking", "done")
    result = await finished(house, answer.headers["location"])
    assert (result["state"], result["saved"], result["errorCount"]) == ("done", True, 0)
    assert result["lines"] == {"total": 3, "done": 3, "made": 3, "changed": 0, "skipped": 0, "refused": 0}
    listed = await house.get(f"{answer.headers['location']}/lines")
    assert [item["line"] for item in listed["items"]] == [2, 3, 4]
    for item, line in zip(listed["items"], lines, strict=True):
        made = await house.get(f"/programme/v1/partners/{item['id']}")
        assert (made["code"], made["reference"]) == (line["code"], item["reference"])
    assert (await house.heads())["programme"] == before["programme"] + 3


async def test_the_events_of_a_file_say_who_acted(house: House) -> None:
    before = (await house.heads())["programme"]
    await partners(house, partner(1))
    page = await house.get(f"/programme/v1/events?after={before}")
    [told] = [item["event"] for item in page["items"]]
    assert told["data"]["actedBy"] == {"organisation": "jenv", "function": "coordinator"}


async def test_json_lines_are_taken_as_the_api_takes_them_and_pointed_into(house: House) -> None:
    mark = uuid4().hex[:8]
    good = {"code": f"json-{mark}", "name": {"nl": "Uit JSON"}, "kind": "ngo", "parent": f"crm:ouder-{mark}"}
    first = {"code": f"ouder-{mark}", "name": {"nl": "Ouder"}, "kind": "ngo", "externalIds": {"crm": f"ouder-{mark}"}}
    lines: list[Any] = [first, good]
    result = await imported(house, "programme", "partners", json.dumps(lines).encode(), JSON)
    assert result["lines"]["made"] == 2, result
    lines = [good | {"code": "Fout!", "aliases": ["a", ""], "parent": "nergens", "unknown": 1}]
    result = await imported(house, "programme", "partners", json.dumps(lines).encode(), JSON)
    assert result["state"] == "refused"
    assert sorted(wrong(result)) == [(1, "/aliases/1"), (1, "/code"), (1, "/parent"), (1, "/unknown")]


async def test_a_workbook_is_taken_and_its_rows_have_the_numbers_that_one_sees(house: House) -> None:
    import io

    out = io.BytesIO()
    good, bad = partner(1), partner(2, kind="geen")
    write_workbook(out, "x", [list(good), list(good.values()), ["", "", "", ""], list(bad.values())])
    result = await imported(house, "programme", "partners", out.getvalue(), XLSX, mode="each")
    assert wrong(result) == [(4, "kind")]
    assert len(await kept(house, good["externalIds"])) == 1


# --- errors, all of them ----------------------------------------------------------------------------------------


async def test_every_wrong_cell_is_named_at_once_in_the_words_of_the_file_and_nothing_is_saved(house: House) -> None:
    before = await house.heads()
    result = await partners(
        house,
        {"CODE": "goed", "Name.NL": "Goed", "kind": "ngo", "effectiveFrom": "2018-10-19", "parent": ""},
        {"CODE": "Hoofd Letters", "Name.NL": "", "kind": "vereniging", "effectiveFrom": "31-12-2018", "parent": ""},
        {"CODE": "goed-2", "Name.NL": "Goed", "kind": "ngo", "effectiveFrom": "2018-02-30", "parent": "nergens"},
        {"CODE": "goed-3", "Name.NL": "a" * 4001, "kind": "ngo", "effectiveFrom": "2199-01-01", "parent": ""},
        {"CODE": "goed-4", "Name.NL": "Goed\u202e", "kind": "ngo", "effectiveFrom": "2199-01-01", "parent": ""},
        {"CODE": "goed-5", "Name.NL": "Goed", "kind": "ngo", "effectiveFrom": "2199-01-01", "parent": ""},
    )
    assert (result["state"], result["saved"]) == ("refused", False)
    assert sorted(wrong(result), key=str) == [
        (3, "CODE"),
        (3, "Name.NL"),
        (3, "effectiveFrom"),
        (3, "kind"),
        (4, "effectiveFrom"),
        (4, "parent"),
        (5, "Name.NL"),
        (6, "Name.NL"),
        (7, "effectiveFrom"),
    ]
    assert result["errorCount"] == 9
    assert result["lines"]["refused"] == 5
    for error in result["errors"]:
        assert error["detail"].endswith(".") or error["detail"], error
        assert "Hoofd" not in error["detail"] and "nergens" not in error["detail"], "a value is said again"
    assert await house.heads() == before


async def test_the_errors_of_an_import_are_given_in_pages(house: House) -> None:
    lines = [partner(number, kind="geen") for number in range(25)]
    sent = await send(house, "programme", "partners", csv_of(*lines))
    await finished(house, sent.headers["location"])
    found, path, pages = [], f"{sent.headers['location']}?limit=10", 0
    while True:
        answer = await house.send("GET", path)
        found += [error["line"] for error in answer.json()["errors"]]
        pages += 1
        if "next" not in answer.links:
            break
        path = answer.links["next"]["url"]
    assert (found, pages) == (list(range(2, 27)), 3)


async def test_what_only_the_database_can_refuse_is_blamed_on_the_right_line(house: House) -> None:
    """Of a hundred lines in one savepoint, one has a code that another thing has already."""
    standing = partner("staat")
    await partners(house, standing)
    lines = [partner(number) for number in range(60)]
    lines[41]["externalIds"] = ""
    lines[41] |= {"code": standing["code"], "kind": "police"}
    result = await partners(house, *lines, mode="each")
    assert wrong(result) == [(43, "kind")], result["errors"]
    assert "there already" in result["errors"][0]["detail"]
    assert result["lines"]["made"] == 59


async def test_a_rule_is_the_same_as_for_a_single_request_and_the_lines_around_it_are_taken(
    house: House, world: World
) -> None:
    programme = await world.programme()
    lines = [
        {"programme": programme["reference"], "name.nl": "Een", "startsOn": "2018-02-01", "dueOn": "2018-03-01"},
        {"programme": programme["reference"], "name.nl": "Twee", "startsOn": "2018-02-01", "dueOn": "2018-01-01"},
        {"programme": programme["reference"], "name.nl": "Drie", "domains": "bestaat-niet"},
    ]
    result = await imported(house, "programme", "actions", csv_of(*lines), mode="each")
    assert wrong(result) == [(3, None), (4, "domains")]
    assert "before it starts" in result["errors"][0]["detail"]
    assert "not known here yet" in result["errors"][1]["detail"]
    assert result["lines"]["made"] == 1


async def test_lines_about_the_same_thing_are_refused_with_the_earlier_line_named(house: House) -> None:
    one, other = partner(1), partner(2)
    same_id = partner(3, externalIds=one["externalIds"])
    same_code = partner(4, code=other["code"])
    result = await partners(house, one, other, same_id, same_code, dict(one))
    assert wrong(result) == [(4, None), (5, None), (6, None)]
    assert [error["detail"].split()[1] for error in result["errors"]] == ["2", "3", "2"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"code;name.nl;kind\n", "no lines"),
        (b"\n\n\n", "no lines|header"),
        (b"code;name.nl\nx;y\n", "no column kind"),
        (b"code;kind\nx;ngo\n", "no column name.nl or name.en"),
        (b"code;name.nl;kind;Kanarie 5F1D\nx;y;ngo;z\n", "Column D"),
        (b"code;name.nl;kind;externlIds\nx;y;ngo;z\n", "Do you mean externalIds"),
        (b"code;name.nl;kind;code\nx;y;ngo;z\n", "two columns"),
        (b"code;name.nl;kind;parent;parentId\nx;y;ngo;z;z\n", "two columns"),
        (b"code;name.nl;kind;\nx;y;ngo;z\n", "no header"),
        (b"code;name.nl;kind\nx;y;ngo;stray\n", "more cells"),
        (b"\xff\xfe" + "code;name.nl;kind".encode("utf-16-le"), "UTF-16"),
        (b"code;name.nl;kind\nx;\xe9;ngo\n", "not in UTF-8"),
        (bytes(range(256)) * 10, "UTF-8|NUL"),
        (b'code;name.nl;kind\n"x;y;ngo\n', "quotes"),
        (b"code;name.nl;kind\n" + b"x;y;ngo\n" * 10_001, "10001 lines; 10000"),
    ],
    ids=str,
)
async def test_a_file_that_cannot_be_checked_is_refused_with_the_request(
    house: House, content: bytes, said: str
) -> None:
    import re

    answer = await send(house, "programme", "partners", content)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert re.search(said, details(answer)), details(answer)
    assert "Kanarie" not in answer.text, "a header may be anything, and is not said again"


@pytest.mark.parametrize(
    ("content", "media_type", "status"),
    [
        (b"code;name.nl;kind\nx;y;ngo\n", "text/plain", 415),
        (b"code;name.nl;kind\nx;y;ngo\n", "multipart/form-data", 415),
        (b"code;name.nl;kind\nx;y;ngo\n", "", 415),
        (b"code;name.nl;kind\nx;y;ngo\n", XLSX, 400),
        (b"code;name.nl;kind\nx;y;ngo\n", JSON, 400),
        (b'{"code": "x"}', JSON, 400),
        (b"[1, 2]", JSON, 400),
        (b"[]", JSON, 400),
        (b'[{"code": "x", "code": "y"}]', JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"code;name.nl;kind\n" + b"x;y;ngo\n" * 140_000, CSV, 413),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_file_of_another_kind_or_too_large_is_refused(
    house: House, content: bytes, media_type: str, status: int
) -> None:
    answer = await send(house, "programme", "partners", content, media_type)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "query", [{"kind": "geen"}, {"kind": ""}, {"mode": "some"}, {"dryRun": "perhaps"}, {"dryrun": "true"}], ids=str
)
async def test_a_query_that_is_not_understood_is_refused(house: House, query: dict[str, str]) -> None:
    asked = {"kind": "partners"} | query
    answer = await send(house, "programme", asked.pop("kind"), csv_of(partner(1)), **asked)
    assert answer.status_code == 400, answer.text


HOSTILE = (
    "\x00",
    "\x1b[2J",
    "\u202e",
    "a" * 32_000,
    "{",
    "[1]",
    "null",
    "-1",
    "1e400",
    "9" * 400,
    "'; drop table x",
    "%",
)


async def test_whatever_stands_in_a_cell_is_an_error_of_its_line_and_never_of_the_house(
    house: House, world: World
) -> None:
    programme = await world.programme()
    heads = [column.header for column in house.running["programme"].service.importer.kinds["actions"].columns]  # type: ignore[union-attr]
    lines = []
    for head in heads:
        for odd in HOSTILE[1:]:
            lines.append({"programme": programme["reference"], "name.nl": "Goed"} | {head: odd})
    lines = [{head: line.get(head, "") for head in heads} for line in lines]
    result = await imported(house, "programme", "actions", csv_of(*lines), mode="each")
    assert result["state"] == "done" and result["problem"] is None
    assert not [error for error in result["errors"] if "went wrong" in error["detail"]], result["errors"]
    assert result["lines"]["refused"] > len(lines) / 2


@pytest.mark.parametrize(
    "odd",
    [None, 1, True, [], {}, "\ud800", {"nl": "\ud800"}, [None], {"a": {"b": []}}, "\x00", 10**400],
    ids=lambda value: ascii(value)[:12],
)
async def test_whatever_stands_in_a_json_field_is_an_error_of_its_line(house: House, odd: Any) -> None:
    fields = (
        "code",
        "name",
        "kind",
        "parent",
        "parentId",
        "domains",
        "externalIds",
        "reference",
        "state",
        "stateSince",
    )
    lines = [{"code": f"c-{n}", "name": {"nl": "N"}, "kind": "ngo"} | {field: odd} for n, field in enumerate(fields)]
    content = json.dumps(lines).encode()
    answer = await send(house, "programme", "partners", content, JSON, dryRun="true", mode="each")
    if answer.status_code == 400:
        assert "not JSON" in answer.text, "a number of four hundred digits"
        return
    result = await finished(house, answer.headers["location"])
    assert (result["state"], result["problem"]) == ("done", None)
    assert not [error for error in result["errors"] if "went wrong" in error["detail"]], result["errors"]


# --- dry run ----------------------------------------------------------------------------------------------------


async def everything(house: House, service: str) -> dict[str, Any]:
    """A digest of every table, and where every sequence stands; without imports themselves and their receipts."""
    own = ("import_job", "import_line", "import_error", "receipt", "outbox_origin", "checkpoint", "relayed")
    async with house.running[service].service.sessions() as session:
        tables = await session.execute(
            text(
                "select schemaname, tablename from pg_tables"
                " where schemaname not in ('pg_catalog', 'information_schema')"
            )
        )
        found: dict[str, Any] = {}
        for schema, table in tables.all():
            if table not in own:
                digest = f'select md5(string_agg(md5(t::text), \'\' order by md5(t::text))) from "{schema}"."{table}" t'
                found[table] = await session.scalar(text(digest))
        sequences = await session.execute(text("select sequencename, last_value from pg_sequences"))
        return found | {row.sequencename: row.last_value for row in sequences}


async def test_a_dry_run_leaves_no_trace_in_any_table(house: House, world: World) -> None:
    programme = await world.programme()
    lines = [{"programme": programme["reference"], "name.nl": f"Actie {number}"} for number in range(5)]
    before = await everything(house, "programme")
    result = await imported(house, "programme", "actions", csv_of(*lines), dryRun="true")
    assert (result["state"], result["saved"], result["lines"]["made"]) == ("done", False, 5)
    assert await everything(house, "programme") == before
    listed = await house.get(f"/programme/v1/imports/{result['id']}/lines")
    assert {item["reference"] for item in listed["items"]} == {None}, "it names what is not there"
    assert (await imported(house, "programme", "actions", csv_of(*lines)))["saved"] is True
    assert await everything(house, "programme") != before, "this test would see a trace"


async def test_a_dry_run_finds_what_the_real_one_would(house: House) -> None:
    lines = [partner(1), partner(2, kind="geen"), partner(3, parent="nergens")]
    tried = await partners(house, *lines, dryRun="true")
    real = await partners(house, *lines)
    assert tried["state"] == real["state"] == "refused"
    assert tried["errors"] == real["errors"] != []
    assert tried["lines"] == real["lines"]


# --- what is there already --------------------------------------------------------------------------------------


async def test_the_same_file_again_changes_nothing_and_says_so(house: House) -> None:
    lines = [partner(number) for number in range(3)]
    await partners(house, *lines)
    before = await house.heads()
    result = await partners(house, *lines)
    assert (result["state"], result["lines"]["skipped"], result["lines"]["made"]) == ("done", 3, 0)
    assert await house.heads() == before


async def test_a_line_is_recognised_by_external_id_reference_or_code(house: House) -> None:
    line = partner(1)
    await partners(house, line)
    [made] = await kept(house, line["externalIds"])
    plain = {"code": line["code"], "name.nl": line["name.nl"], "kind": "ngo"}
    for names in ({"externalIds": line["externalIds"]}, {"externalIds": f"kapstok:{made['reference']}"}, {}):
        assert (await partners(house, plain | names))["lines"]["skipped"] == 1, names
    assert (await partners(house, plain | {"reference": made["reference"]}))["lines"]["skipped"] == 1


async def test_another_name_is_described_and_anything_else_is_refused_with_its_column(house: House) -> None:
    line = partner(1)
    await partners(house, line)
    described = await partners(house, line | {"name.nl": "Een betere naam"})
    assert (described["state"], described["lines"]["changed"]) == ("done", 1)
    [made] = await kept(house, line["externalIds"])
    assert (made["name"]["nl"], made["version"]) == ("Een betere naam", 2)
    refused = await partners(house, line | {"name.nl": "Nog beter", "kind": "police"})
    assert wrong(refused) == [(2, "kind")]
    [still] = await kept(house, line["externalIds"])
    assert still["name"]["nl"] == "Een betere naam"


async def test_an_empty_cell_says_nothing_about_what_is_there(house: House) -> None:
    line = partner(1, **{"name.en": "In English", "notes": "Een aantekening"})
    await partners(house, line)
    result = await partners(house, line | {"name.en": "", "notes": ""})
    assert result["lines"]["skipped"] == 1


# --- names ------------------------------------------------------------------------------------------------------


async def test_what_a_line_refers_to_may_be_named_in_any_way(house: House, world: World) -> None:
    lead = partner("trekker")
    await partners(house, lead)
    [made] = await kept(house, lead["externalIds"])
    programme = await world.programme()
    ways = [made["id"], made["id"].upper(), made["reference"], made["code"], lead["externalIds"]]
    ways.append(f"kapstok:{made['reference']}")
    lines = [
        {"programme": programme["id"], "name.nl": f"Actie {n}", "lead": way, "externalIds": f"plan:{made['code']}-{n}"}
        for n, way in enumerate(ways)
    ]
    result = await imported(house, "programme", "actions", csv_of(*lines))
    assert result["errors"] == []
    for number in range(len(ways)):
        [action] = await kept(house, f"plan:{made['code']}-{number}", "actions")
        assert action["leadId"] == made["id"]
    by_field = {"programmeId": programme["id"], "name.nl": "Op veldnaam", "leadId": made["code"]}
    assert (await imported(house, "programme", "actions", csv_of(by_field)))["lines"]["made"] == 1


async def test_a_name_that_several_things_have_is_refused(house: House, world: World) -> None:
    shared = f"dubbel:{uuid4().hex}"
    system, _, id = shared.partition(":")
    for _ in range(2):
        await world.partner(externalIds={system: id})
    result = await partners(house, partner(1, parent=shared))
    assert wrong(result) == [(2, "parent")]
    assert "More than one" in result["errors"][0]["detail"]


async def test_things_that_share_a_name_go_out_and_come_in_by_their_references(house: House, world: World) -> None:
    mark = uuid4().hex
    for _ in range(2):
        await world.programme(externalIds={"dubbel": mark})
    programmes = await kept(house, f"dubbel:{mark}", "programmes")
    for programme in programmes:
        await world.action(programmeId=programme["id"])
    for kind in ("programmes", "actions"):
        again = await imported(house, "programme", kind, await exported(house, "programme", kind))
        assert again["errors"] == []
        assert again["lines"]["skipped"] == again["lines"]["total"] >= 2


async def test_one_code_in_two_vocabularies_is_two_words(house: House) -> None:
    code = f"woord-{uuid4().hex[:8]}"
    lines = [{"vocabulary": one, "code": code, "name.nl": "Woord"} for one in ("domain", "form")]
    assert (await imported(house, "recommendations", "terms", csv_of(*lines)))["lines"]["made"] == 2
    twice = await imported(house, "recommendations", "terms", csv_of(*lines, lines[0]))
    assert wrong(twice) == [(4, None)]


async def test_a_line_may_refer_to_an_earlier_line_and_is_told_of_a_later_one(house: House) -> None:
    one, two, three = partner(1), partner(2), partner(3)
    two["parent"], one["parent"] = one["code"], ""
    result = await partners(house, one, two)
    assert result["errors"] == []
    four, five = partner(4), partner(5)
    four["parent"] = five["externalIds"]
    result = await partners(house, four, five)
    assert wrong(result) == [(2, "parent")]
    assert "Line 3" in result["errors"][0]["detail"] and "further down" in result["errors"][0]["detail"]
    six = partner(6, kind="geen")
    three["parent"] = six["code"]
    result = await partners(house, six, three)
    assert wrong(result) == [(2, "kind"), (3, "parent")]
    assert "not taken itself" in result["errors"][1]["detail"]


# --- states, and who may ----------------------------------------------------------------------------------------


async def linkable(house: House, world: World, lead: Body) -> dict[str, str]:
    """A line that says which action answers which recommendation."""
    action = await world.action(leadId=lead["id"])
    recommendation = await world.recommendation()

    async def known() -> bool:
        answer = await send(
            house,
            "programme",
            "links",
            csv_of(
                {
                    "action": action["reference"],
                    "recommendation": recommendation["reference"],
                    "contribution": "full",
                    "rationale.nl": "x",
                }
            ),
            dryRun="true",
        )
        return bool((await finished(house, answer.headers["location"]))["state"] == "done")

    assert await eventually(known)
    return {
        "action": action["reference"],
        "recommendation": recommendation["reference"],
        "contribution": "partial",
        "rationale.nl": "Dekt een deel.",
    }


async def test_links_are_brought_to_the_state_that_the_file_says(house: House, world: World) -> None:
    lead = await world.partner()
    confirmed = await linkable(house, world, lead) | {"state": "jointly sufficient", "reason": "Samen genoeg."}
    ended = await linkable(house, world, lead) | {"state": "ended", "reason": "Toch niet."}
    proposed = await linkable(house, world, lead)
    result = await imported(house, "programme", "links", csv_of(confirmed, ended, proposed))
    assert result["errors"] == []
    lines = (await house.get(f"/programme/v1/imports/{result['id']}/lines"))["items"]
    links = [await house.get(f"/programme/v1/links/{line['id']}") for line in lines]
    assert [link["state"] for link in links] == ["confirmed", "ended", "proposed"]
    assert [link["jointlySufficient"] for link in links] == [True, False, False]
    again = await imported(house, "programme", "links", csv_of(proposed | {"state": "confirmed"}))
    assert again["lines"]["changed"] == 1, "a state further on is gone to"
    back = await imported(house, "programme", "links", csv_of(proposed | {"state": "proposed"}))
    assert wrong(back) == [(2, "state")]


async def test_a_line_leads_to_no_more_than_its_sender_may_do(house: House, world: World) -> None:
    lead, other = await world.partner(), await world.partner()
    line = await linkable(house, world, lead)
    by = (lead["code"], "reporter")
    result = await imported(house, "programme", "links", csv_of(line | {"state": "confirmed"}), by=by)
    assert wrong(result) == [(2, "state")]
    assert "confirm-link" in result["errors"][0]["detail"]
    outsider = (other["code"], "reporter")
    result = await imported(house, "programme", "links", csv_of(line), by=outsider)
    assert wrong(result) == [(2, None)]
    assert "neither leads nor contributes" in result["errors"][0]["detail"]
    assert (await imported(house, "programme", "links", csv_of(line), by=by))["lines"]["made"] == 1


@pytest.mark.parametrize(
    ("kind", "by", "status"),
    [
        ("partners", ("politie", "reporter"), 403),
        ("partners", ("politie", "auditor"), 403),
        ("partners", ("politie",), 403),
        ("links", ("politie", "reporter"), 202),
        ("partners", COORDINATOR, 202),
    ],
)
async def test_a_kind_of_line_takes_the_function_of_its_operation(
    house: House, kind: str, by: tuple[str, ...], status: int
) -> None:
    heads = {
        "partners": "code;name.nl;kind\nx;y;geen",
        "links": "action;recommendation;contribution;rationale.nl\n;;;x",
    }
    answer = await send(house, "programme", kind, heads[kind].encode(), by=by)
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("scope", "status"),
    [("programme:start-import", 403), ("programme:start-import programme:register-partner", 202)],
)
async def test_a_kind_of_line_takes_the_scope_of_its_operation_too(house: House, scope: str, status: int) -> None:
    token = house.token("jenv", "coordinator", scope=scope)
    headers = {"Authorization": f"Bearer {token}"}
    answer = await send(house, "programme", "partners", csv_of(partner(1)), headers=headers)
    assert answer.status_code == status, answer.text


async def test_without_a_token_nothing_is_taken(house: House) -> None:
    answer = await send(house, "programme", "partners", csv_of(partner(1)), headers={"Authorization": ""})
    assert answer.status_code == 401


async def test_an_import_is_seen_by_its_own_organisation_only(house: House) -> None:
    result = await partners(house, partner(1))
    for path in (f"/programme/v1/imports/{result['id']}", f"/programme/v1/imports/{result['id']}/lines"):
        for by, status in {COORDINATOR: 200, ("jenv", "auditor"): 200, ("politie", "coordinator"): 404}.items():
            assert (await house.send("GET", path, by=by)).status_code == status, (path, by)
        assert (await house.send("GET", path, by=None)).status_code == 401


async def test_the_same_key_gives_the_same_import_and_another_file_is_refused(house: House) -> None:
    key, content = str(uuid4()), csv_of(partner(1))
    first = await send(house, "programme", "partners", content, key=key)
    again = await send(house, "programme", "partners", content, key=key)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert (await send(house, "programme", "partners", csv_of(partner(2)), key=key)).status_code == 422
    result = await finished(house, first.headers["location"])
    assert result["lines"]["made"] == 1


# --- more than one, and stopping --------------------------------------------------------------------------------


async def test_two_imports_at_once_are_taken_one_after_the_other(house: House) -> None:
    lines = [partner(number) for number in range(CHUNK + 20)]
    sent = await asyncio.gather(*(send(house, "programme", "partners", csv_of(*lines)) for _ in range(2)))
    results = [await finished(house, one.headers["location"]) for one in sent]
    assert {result["state"] for result in results} == {"done"}
    assert sorted(result["lines"]["made"] for result in results) == [0, len(lines)]
    assert sorted(result["lines"]["skipped"] for result in results) == [0, len(lines)]


async def test_single_writes_go_on_while_a_file_is_taken(house: House, world: World) -> None:
    lines = [partner(number) for number in range(3 * CHUNK)]
    sent = await send(house, "programme", "partners", csv_of(*lines))
    written = 0
    while (await house.get(sent.headers["location"]))["finishedAt"] is None:
        await world.partner()
        written += 1
    assert written > 0
    assert (await finished(house, sent.headers["location"]))["lines"]["made"] == len(lines)


@pytest.mark.parametrize("mode", list(Mode))
async def test_an_import_that_a_stop_cuts_in_half_is_finished_afterwards_and_taken_once(
    builder: Builder, mode: Mode
) -> None:
    lines = [partner(number) for number in range(5 * CHUNK)]
    async with builder.house("programme") as house:
        sent = await send(house, "programme", "partners", csv_of(*lines), mode=mode.value)
        location = sent.headers["location"]

        async def half_way() -> bool:
            done = (await house.get(location))["lines"]["done"]
            assert done < len(lines), "it was too quick to be stopped half-way"
            return bool(done)

        await eventually(half_way)
        await house.stop("programme")
        async with asyncio.timeout(30):
            await house.start("programme")
        cut = await house.get(location)
        if mode is Mode.EACH:
            assert cut["lines"]["done"] > 0
        result = await finished(house, location, seconds=40)
        assert (result["state"], result["lines"]["made"]) == ("done", len(lines))
        page = await house.get(f"{location}/lines?limit=1000")
        assert page["items"][0]["line"] == 2
        async with house.running["programme"].service.sessions() as session:
            assert await session.scalar(text("select count(*) from partner")) == len(lines)
            assert await session.scalar(text("select count(*) from outbox")) == len(lines)
            assert await session.scalar(text("select count(*) from import_line")) == len(lines)
            kept_of_it = (await session.execute(text("select lines, account from import_job"))).one()
        assert tuple(kept_of_it) == (None, None), "what was sent, and by whom, is not kept"


async def test_a_result_is_kept_as_long_as_is_said_and_then_taken_away(house: House) -> None:
    result = await partners(house, partner(1, kind="geen"))
    location = f"/programme/v1/imports/{result['id']}"
    service = house.running["programme"].service
    assert service.importer is not None
    now = service.now
    try:
        for days, status in ((29, 200), (31, 404)):
            service.now = lambda days=days: now() + timedelta(days=days)  # type: ignore[misc]
            service.importer._swept_at = None
            service.importer.wake()

            async def swept() -> bool:
                return service.importer is not None and service.importer._swept_at is not None

            assert await eventually(swept)
            assert (await house.send("GET", location)).status_code == status
    finally:
        service.now = now


async def test_an_organisation_may_not_have_too_many_waiting(house: House) -> None:
    service = house.running["programme"].service
    assert service.importer is not None
    kind = service.importer.kinds["partners"]
    async with service.sessions() as session:
        for number in range(imports.MOST_WAITING + 1):
            asked = imports.Request(
                id=uuid4(),
                kind=kind,
                mode=Mode.EACH,
                dry_run=False,
                actor=Actor(organisation="gulzig", function="coordinator"),
                account="gulzig",
                operations=[],
                digest="",
                lines=Lines({}, [(1, {})]),
                traceparent=None,
                received_at=service.now(),
            )
            if number < imports.MOST_WAITING:
                await imports.keep(session, asked)
            else:
                with pytest.raises(Conflict, match="not finished"):
                    await imports.keep(session, asked)


# --- exports ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("*/*", CSV),
        ("text/*", CSV),
        (XLSX, XLSX),
        ("application/json;q=0.9, text/csv;q=0.1", JSON),
        (f"text/html, {XLSX};q=0.5", XLSX),
        ("text/html", None),
        ("text/csv;q=0", None),
    ],
)
async def test_an_export_is_given_as_it_is_liked_best(house: House, accept: str, given: str | None) -> None:
    answer = await house.send("GET", "/programme/v1/exports/partners", by=None, headers={"Accept": accept})
    assert answer.status_code == (406 if given is None else 200)
    if given is not None:
        assert answer.headers["content-type"].startswith(given)
        assert answer.headers["content-disposition"].startswith('attachment; filename="programme-partners.')


async def test_an_export_that_there_is_none_of_is_not_found(house: House) -> None:
    for kind, status in {"nothing": 404, "report-form": 404, "Partners": 400}.items():
        assert (await house.send("GET", f"/monitor/v1/exports/{kind}", by=None)).status_code == status


async def test_an_export_takes_what_its_list_takes(house: House) -> None:
    assert (await house.send("GET", "/monitor/v1/exports/rounds", by=None)).status_code == 200
    assert (await house.send("GET", "/monitor/v1/exports/reports", by=None)).status_code == 401
    assert (await house.send("GET", "/monitor/v1/exports/reports", by=("politie",))).status_code == 403
    assert (await house.send("GET", "/monitor/v1/exports/reports", by=("politie", "auditor"))).status_code == 200


async def test_an_export_holds_all_pages_and_its_cells_are_no_formulas(house: House) -> None:
    lines = [partner(number) for number in range(620)]
    lines[7]["name.nl"] = "=HYPERLINK(1)"
    result = await partners(house, *lines)
    assert result["errors"] == []
    text_of_it = (await exported(house, "programme", "partners")).decode("utf-8-sig")
    assert all(line["code"] in text_of_it for line in lines)
    assert ";'=HYPERLINK(1);" in text_of_it
    again = await imported(house, "programme", "partners", text_of_it.encode())
    assert again["errors"] == []
    assert again["lines"]["skipped"] == again["lines"]["total"] >= len(lines)
