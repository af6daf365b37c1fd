"""Reads the first sheet of a workbook, as a process of its own: what a hostile file breaks is this process only.

The library that reads makes room for the whole rectangle that the cells span, and ends its process where there is none.
So the parent gives the bytes on standard input, and takes the rows, or a sentence, from standard output.
"""

import io
import json
import re
import resource
import sys
import zipfile
import zlib
from datetime import date, datetime, time, timedelta
from typing import Any

MEMORY = 1 << 30
SECONDS = 8
MOST_PARTS = 500
MOST_COLUMNS = 500

_CELL = re.compile(rb"<(?:\w+:)?c\s[^>]*?\br\s*=\s*[\"']([A-Z]{1,3})(\d{1,8})[\"'][^>]*(?<!/)>")
"""A cell with something in it, and where it stands; formats reach to the last row of many a good sheet."""


class Refused(Exception):
    """A sentence for who sent the file."""


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most_rows, most_bytes = int(sys.argv[1]), int(sys.argv[2])
    try:
        told: dict[str, Any] = {"rows": rows_of(sys.stdin.buffer.read(), most_rows, most_bytes)}
    except Refused as refusal:
        told = {"refused": str(refusal)}
    sys.stdout.write(json.dumps(told))


def rows_of(data: bytes, most_rows: int, most_bytes: int) -> list[list[str]]:
    """The cells of the first visible sheet as text, row by row; formulas as their values. Raises Refused."""
    must_be_of_a_size(data, most_rows, most_bytes)
    # Imported here: the sizes above are looked at before the library sees the file.
    import python_calamine

    try:
        book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
        visible = [
            sheet.name
            for sheet in book.sheets_metadata
            if sheet.visible == python_calamine.SheetVisibleEnum.Visible
            and sheet.typ == python_calamine.SheetTypeEnum.WorkSheet
        ]
        if not visible:
            raise Refused("The workbook has no visible sheet.")
        rows = book.get_sheet_by_name(visible[0]).to_python(skip_empty_area=False)
    except python_calamine.PasswordError:
        raise Refused("The workbook has a password; save it without one.") from None
    except (python_calamine.CalamineError, OSError, ValueError):
        raise Refused("The workbook is damaged, or no workbook; open it and save it again as .xlsx.") from None
    return [[written(cell) for cell in row] for row in rows]


def must_be_of_a_size(data: bytes, most_rows: int, most_bytes: int) -> None:
    """Unpacks no further than is allowed, and looks where the furthest cell stands. Raises Refused."""
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise Refused("The workbook has a password or is of an old kind (.xls); save it as .xlsx without a password.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as parts:
            infos = parts.infolist()
            if len(infos) > MOST_PARTS or sum(info.file_size for info in infos) > most_bytes:
                raise Refused(f"Unpacked, the workbook is larger than {most_bytes >> 20} MiB; send less at a time.")
            room = most_bytes
            for info in infos:
                with parts.open(info) as part:
                    content = part.read(room + 1)
                room -= len(content)
                if room < 0:
                    raise Refused(f"Unpacked, the workbook is larger than {most_bytes >> 20} MiB; send less at a time.")
                _must_stay_within(content, most_rows)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError):
        raise Refused("This is no .xlsx workbook; open it and save it again as .xlsx.") from None


def _must_stay_within(content: bytes, most_rows: int) -> None:
    for column, row in _CELL.findall(content):
        if int(row) > most_rows:
            raise Refused(f"The sheet goes as far as row {int(row)}; row {most_rows} may be the last.")
        if len(column) > 2 or _number(column) > MOST_COLUMNS:
            raise Refused(f"The sheet goes as far as column {column.decode()}; {MOST_COLUMNS} columns are the most.")


def _number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def written(cell: Any) -> str:
    """A cell as one would type it."""
    match cell:
        case bool():
            return "true" if cell else "false"
        case float() if cell.is_integer():
            return str(int(cell))
        case datetime() if cell.time() == time(0):
            return cell.date().isoformat()
        case datetime() | date() | time():
            return cell.isoformat()
        case timedelta() | float() | int():
            return str(cell)
        case None:
            return ""
    return str(cell)


if __name__ == "__main__":
    main()
