"""What a run found, written into its section of docs/reliability.md; nothing there is typed by hand."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.table import ROWS


@dataclass(frozen=True)
class Outcome:
    """One test of one run."""

    rows: list[int]
    test: str
    outcome: str
    measured: str
    seconds: float


def section(document: str, name: str, content: str) -> str:
    """The document with what stands between `<!-- name -->` and `<!-- end of name -->` replaced."""
    begins, ends = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, found, rest = document.partition(begins)
    _, found_end, after = rest.partition(ends)
    if not found or not found_end:
        raise ValueError(f"The document has no section {name}.")
    return f"{before}{begins}{content.rstrip()}\n{ends}{after}"


def write(path: Path, name: str, content: str) -> None:
    path.write_text(section(path.read_text(), name, content))


def where_and_when() -> str:
    day = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
    return f"{day} UTC, {os.cpu_count()} cores, Python {platform.python_version()}"


def write_table(path: Path, outcomes: Sequence[Outcome]) -> None:
    """One line per fault: what happened in this run, by which test, with what was measured."""
    lines = [
        f"Run of {where_and_when()}; {sum(one.seconds for one in outcomes):.0f} s of tests.",
        "",
        "| # | fault | must hold | result | seen | test |",
        "|---|---|---|---|---|---|",
    ]
    for number, row in ROWS.items():
        proofs = [one for one in outcomes if number in one.rows]
        if not proofs:
            lines.append(f"| {number} | {row.fault} | {row.holds} | **not run** | | |")
        for one in proofs:
            result = one.outcome if one.outcome == "passed" else f"**{one.outcome}**"
            name = one.test.removeprefix("tests/faults/").partition("::")
            said = one.measured.replace("|", "/").replace("\n", " ")[:200]
            seen = f"{said}{' · ' * bool(said)}{one.seconds:.1f} s"
            test = f"`{name[0]}` {name[2]}".replace("|", "/")
            lines.append(f"| {number} | {row.fault} | {row.holds} | {result} | {seen} | {test} |")
    write(path, "the run", "\n".join(lines))
