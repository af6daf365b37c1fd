"""Tables in files: what a sender's CSV or workbook holds, as rows of text; and the same the other way."""

import asyncio
import csv
import io
import json
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from shared import workbook
from shared.errors import Invalid

CSV = "text/csv"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
JSON = "application/json"

Rows = list[list[str]]
"""Row by row from the first, empty ones too: the place in the list, counted from one, is the number a sender sees."""

LONGEST_CELL = 32_767
"""Characters; a spreadsheet program holds no more in one cell."""


# --- in -----------------------------------------------------------------------------------------------------------


async def read(data: bytes, media_type: str, most_lines: int, most_unpacked: int) -> Rows:
    """The rows of a CSV file or of a workbook's first sheet. Raises Invalid, and says how to save it better."""
    if not data:
        raise Invalid("The file is empty; send a line with the names of the columns, and lines under it.")
    if media_type == XLSX:
        return await _of_workbook(data, most_lines + 100, most_unpacked)  # a form has lines above its table
    return await asyncio.to_thread(of_csv, data)


def of_csv(data: bytes) -> Rows:
    """The rows of a CSV file: UTF-8, separated by `;`, `,` or tabs, with quotes around what holds one of these."""
    text = _decoded(data)
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    try:
        return [[_without_guard(cell) for cell in row] for row in reader]
    except csv.Error as error:
        said = str(error)
        if "field larger" in said:
            raise Invalid(f"A cell near line {reader.line_num} is longer than {LONGEST_CELL} characters.") from None
        raise Invalid(
            f"The quotes near line {reader.line_num} do not fit: write a quote inside a quoted cell twice."
        ) from None


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Invalid("The file is written in UTF-16; save it as CSV in UTF-8.")
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise Invalid(f"This is a workbook, not CSV; send it with Content-Type: {XLSX}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid(f"Line {line} is not in UTF-8; save the file as CSV in UTF-8.") from None
    if "\0" in text:
        raise Invalid("The file holds NUL characters; it is no CSV file.")
    return text


def _separator(text: str) -> str:
    """What stands most between the names of the columns, outside quotes."""
    head = re.sub(r'"[^"]*"', "", text.lstrip("\r\n").partition("\n")[0])
    return max(";,\t", key=head.count)


async def _of_workbook(data: bytes, most_rows: int, most_unpacked: int) -> Rows:
    given = ("-I", str(Path(workbook.__file__)), str(most_rows), str(most_unpacked))
    reading = await asyncio.create_subprocess_exec(sys.executable, *given, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
    try:
        async with asyncio.timeout(workbook.SECONDS):
            out, _ = await reading.communicate(data)
    except TimeoutError:
        out = b""
    finally:
        if reading.returncode is None:
            reading.kill()
            await reading.wait()
    if reading.returncode != 0 or not out:
        raise Invalid("The workbook takes too much room or time to read; send less at a time, or send it as CSV.")
    told = json.loads(out)
    if "refused" in told:
        raise Invalid(told["refused"])
    rows: Rows = told["rows"]
    return rows


# --- out ----------------------------------------------------------------------------------------------------------

_RISKY = re.compile(r"'*[=+\-@\t\r\n]")
"""What a spreadsheet program would take for a formula, also behind the apostrophes that guard against that."""


def _guarded(cell: str) -> str:
    """With an apostrophe before what a spreadsheet program would take for a formula."""
    return f"'{cell}" if _RISKY.match(cell) else cell


def _without_guard(cell: str) -> str:
    """What `_guarded` was given; an apostrophe that guards nothing, as in 's-Hertogenbosch, stays."""
    return cell[1:] if cell.startswith("'") and _RISKY.match(cell) else cell


def write_csv(out: IO[bytes], rows: Iterable[list[str]]) -> None:
    """As spreadsheet programs here open it: UTF-8 with its mark, `;` between the cells."""
    text = io.TextIOWrapper(out, encoding="utf-8-sig", newline="", write_through=True)
    csv.writer(text, delimiter=";").writerows([_guarded(cell) for cell in row] for row in rows)
    text.detach()


def write_workbook(out: IO[bytes], name: str, rows: Iterable[list[str]]) -> None:
    """One sheet with a head that stays in sight; every cell is text, nothing is a formula or a link."""
    import xlsxwriter  # imported here: it takes a while, and few requests ask for a workbook

    plain = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    book = xlsxwriter.Workbook(out, {"constant_memory": True, **plain})
    head, text = book.add_format({"bold": True, "bottom": 1}), book.add_format({"num_format": "@"})
    sheet = book.add_worksheet(name[:31])
    sheet.freeze_panes(1, 0)
    for number, row in enumerate(rows):
        for place, cell in enumerate(row):
            if len(cell) > LONGEST_CELL:
                raise Invalid(f"Row {number + 1} has a cell too long for a workbook; take CSV or JSON.")
            if cell or number == 0:
                sheet.write_string(number, place, cell, head if number == 0 else text)
    book.close()
