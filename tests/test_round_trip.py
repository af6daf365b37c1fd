"""What is exported can be imported again unchanged: the fact base, out of one house and into an empty one."""

from datetime import date
from pathlib import Path

from services.monitor.kinds import KINDS as MONITOR
from services.programme.kinds import KINDS as PROGRAMME
from services.recommendations.kinds import KINDS as RECOMMENDATIONS
from shared.sheets import CSV, JSON, XLSX
from shared.workbook import rows_of
from tests.deploy.test_seed import seed
from tests.files import exported, imported
from tests.house import Builder, House, eventually

ROOT = Path(__file__).parent.parent
KINDS = {"recommendations": RECOMMENDATIONS, "programme": PROGRAMME, "monitor": MONITOR}
TODAY = date(2026, 11, 24)
FORMS = (CSV, XLSX, JSON)
IN_ORDER = (
    ("recommendations", "terms"),
    ("programme", "partners"),
    ("recommendations", "issuing-bodies"),
    ("recommendations", "sources"),
    ("recommendations", "recommendations"),
    ("programme", "programmes"),
    ("programme", "action-lines"),
    ("programme", "actions"),
    ("programme", "links"),
    ("monitor", "rounds"),
    ("monitor", "obligations"),
    ("monitor", "assessments"),
)
"""Every kind after the kinds that it refers to; reports, which only their own organisation can bring in, apart."""


async def followed(house: House) -> None:
    """Every service has taken up what the others told."""

    async def caught_up() -> bool:
        heads = await house.heads()
        for service in ("recommendations", "programme", "monitor"):
            detail = (await house.client.get(f"{house.url(service)}/health/detail")).json()
            for owner, following in detail["views"]["known"].items():
                if owner in heads and following["checkpoint"] < heads[owner]:
                    return False
        return True

    assert await eventually(caught_up, 20)


async def test_the_fact_base_comes_out_of_another_house_as_it_went_in(own_house: House, builder: Builder) -> None:
    await seed(own_house).load(today=TODAY, demonstration=True)
    await followed(own_house)
    files = {
        (kind, form): await exported(own_house, service, kind, form) for service, kind in IN_ORDER for form in FORMS
    }
    async with builder.house("recommendations", "programme", "monitor") as other:
        for service, kind in IN_ORDER:
            result = await imported(other, service, kind, files[kind, CSV])
            assert (result["state"], result["errors"]) == ("done", []), kind
            assert result["lines"]["made"] == result["lines"]["total"] > 0, kind
            await followed(other)
        heads = await other.heads()
        for service, kind in IN_ORDER:
            for form in FORMS:
                again = await exported(other, service, kind, form)
                assert said(again, form) == said(files[kind, form], form), (kind, form)
                result = await imported(other, service, kind, files[kind, form], form)
                assert (result["state"], result["errors"]) == ("done", []), (kind, form)
                assert result["lines"]["skipped"] == result["lines"]["total"], (kind, form)
        assert await other.heads() == heads, "what was there already was told again"


def said(file: bytes, form: str) -> object:
    """What a file holds; two workbooks with the same cells differ in their moments."""
    return rows_of(file, 10_000, 1 << 28) if form == XLSX else file


SHOWN = {"NAME": "a name", "NAMES": "names", "WORDS": "words", "VALUE": "JSON", "IDENTIFIERS": "external ids"}
SHOWN |= {"NUMBER": "a number", "TRUTH": "true or false"}


def told_of() -> list[str]:
    """The table of columns as the page has it."""
    rows = []
    for service, kinds in KINDS.items():
        for kind in (kind for kind in kinds if kind.exported):
            cells = [
                (f"**{column.header}**" if column.needed else column.header)
                + (f" ({SHOWN[column.form.name]})" if column.form.name in SHOWN else "")
                for column in kind.columns
            ]
            rows.append(f"| {service} | `{kind.name}` | {', '.join(cells)} |")
    return rows


def test_the_page_tells_of_every_kind_with_every_column() -> None:
    page = (ROOT / "docs" / "imports.md").read_text(encoding="utf-8").splitlines()
    assert [row for row in told_of() if row not in page] == []


def test_every_kind_goes_round() -> None:
    gone = set(IN_ORDER) | {("monitor", "reports")}
    assert gone == {(service, kind.name) for service, kinds in KINDS.items() for kind in kinds if kind.exported}
