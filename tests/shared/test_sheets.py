"""Files as rows of text: what is written is read again just so, and what cannot be read is refused with a sentence."""

import io
import zipfile
from datetime import date
from typing import Any

import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from shared import sheets
from shared.errors import Invalid
from shared.sheets import CSV, XLSX, Rows, of_csv, read, write_csv, write_workbook

MEBIBYTE = 1 << 20
CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
RISKY = st.sampled_from(
    ("=1+1", "+31", "-1", "@x", "'=1", "''@", "'s-Hertogenbosch", "'", "\t=1", "a;b", 'a"b', "a\nb")
)


def as_csv(rows: Rows) -> bytes:
    out = io.BytesIO()
    write_csv(out, rows)
    return out.getvalue()


def as_workbook(rows: Rows) -> bytes:
    out = io.BytesIO()
    write_workbook(out, "rows", rows)
    return out.getvalue()


async def of_workbook(data: bytes, *, lines: int = 1000, unpacked: int = 20 * MEBIBYTE) -> Rows:
    return await read(data, XLSX, lines, unpacked)


# --- CSV --------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(CELLS | RISKY, min_size=2, max_size=4), min_size=1, max_size=5))
def test_what_is_written_as_csv_is_read_again_just_so(rows: Rows) -> None:
    assert of_csv(as_csv([["head", "head"], *rows]))[1:] == rows


@given(st.lists(CELLS | RISKY, min_size=1, max_size=5))
def test_no_cell_of_a_csv_file_is_taken_for_a_formula(cells: list[str]) -> None:
    for cell in as_csv([cells]).decode("utf-8-sig").replace('"', "").split(";"):
        assert not cell.startswith(("=", "+", "-", "@", "\t"))


@pytest.mark.parametrize("separator", [";", ",", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_the_separator_is_found_with_and_without_a_byte_order_mark(separator: str, mark: bytes) -> None:
    text = separator.join(['"a;b,c"', "code", "naam"]) + "\r\n" + separator.join(["1", '"twee, of; meer"', "drie"])
    assert of_csv(mark + text.encode()) == [["a;b,c", "code", "naam"], ["1", "twee, of; meer", "drie"]]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("code;naam\nå;é".encode("latin-1"), "Line 2 is not in UTF-8"),
        ("code;naam".encode("utf-16"), "UTF-16"),
        (b"code;naam\nx;\0", "NUL"),
        (b'code;naam\n"x" y;z', "quotes near line 2"),
        (b'code;naam\n"x;z', "quotes near line"),
        (b"code;naam\n" + b"a" * 40_000, "longer than 32767"),
        (b"PK\x03\x04....", "workbook, not CSV"),
        (bytes(range(128, 256)), "UTF-8"),
    ],
)
def test_a_csv_file_that_cannot_be_read_is_refused_with_what_to_do(data: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        of_csv(data)


async def test_an_empty_file_is_refused() -> None:
    for media_type in (CSV, XLSX):
        with pytest.raises(Invalid, match="empty"):
            await read(b"", media_type, 10, MEBIBYTE)


# --- workbooks --------------------------------------------------------------------------------------------------


def made(fill: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True, **options})
    fill(book)
    book.close()
    return out.getvalue()


def packed(**parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return out.getvalue()


async def test_what_is_written_as_a_workbook_is_read_again_just_so() -> None:
    rows = [["head", "tweede"], ["=1+1", "'=x"], ["https://example.org", "007"], ["2018-12-31", "[]"]]
    assert await of_workbook(as_workbook(rows)) == rows


async def test_days_numbers_and_formulas_are_read_as_one_sees_them() -> None:
    def fill(book: Any) -> None:
        sheet = book.add_worksheet()
        day = book.add_format({"num_format": "dd-mm-yyyy"})
        sheet.write_datetime(0, 0, date(2018, 12, 31), day)
        sheet.write_number(0, 1, 3)
        sheet.write_number(0, 2, 2.5)
        sheet.write_boolean(0, 3, True)
        sheet.write_formula(0, 4, '="a"&"b"', None, "ab")
        sheet.write_string(2, 0, "na een lege rij")

    rows = await of_workbook(made(fill))
    assert rows[0] == ["2018-12-31", "3", "2.5", "true", "ab"]
    assert not any(rows[1]) and rows[2][0] == "na een lege rij"


async def test_the_first_sheet_that_can_be_seen_is_the_one() -> None:
    def fill(book: Any) -> None:
        hidden, shown = book.add_worksheet(), book.add_worksheet()
        hidden.write_string(0, 0, "verborgen")
        shown.write_string(0, 0, "zichtbaar")
        shown.activate()
        shown.set_first_sheet()
        hidden.hide()

    assert await of_workbook(made(fill)) == [["zichtbaar"]]


def far(row: int, column: int) -> bytes:
    def fill(book: Any) -> None:
        sheet = book.add_worksheet()
        sheet.write_string(0, 0, "a")
        sheet.write_string(row, column, "z")

    return made(fill)


def with_a_false_size(data: bytes) -> bytes:
    """The central directory says that every part is one byte."""
    at = 0
    changed = bytearray(data)
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        changed[at + 24 : at + 28] = (1).to_bytes(4, "little")
        at += 4
    return bytes(changed)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"junk", "no .xlsx workbook"),
        (bytes(range(256)) * 40, "no .xlsx workbook"),
        (b"PK\x03\x04" + b"\0" * 100, "no .xlsx workbook"),
        (as_workbook([["a"]])[:-300], "no .xlsx workbook"),
        (packed(**{"readme.txt": b"no sheets in here"}), "damaged, or no workbook"),
        (packed(**{"xl/workbook.xml": b"<workbook><sheets>"}), "damaged, or no workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "password"),
        (packed(**{"xl/worksheets/sheet1.xml": b" " * (40 * MEBIBYTE)}), "larger than 20 MiB"),
        (with_a_false_size(packed(**{"xl/worksheets/sheet1.xml": b" " * (40 * MEBIBYTE)})), "MiB|no .xlsx"),
        (packed(**{f"{number}.xml": b"" for number in range(600)}), "larger than"),
        (far(1_048_575, 0), "as far as row 1048576"),
        (far(0, 16_383), "as far as column XFD"),
        (far(1_048_575, 16_383), "as far as"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_workbook_that_is_none_or_too_much_is_refused_with_a_sentence(data: bytes, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        await of_workbook(data)


async def test_a_workbook_that_ends_its_reader_is_refused_and_harms_nobody() -> None:
    """Sizes that nothing looks at before: the reader has no room for a rectangle of 17 thousand million cells."""
    unguarded = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(far(1_048_575, 16_383))) as before, zipfile.ZipFile(unguarded, "w") as after:
        for info in before.infolist():
            # The letters are written so that our own look does not see them, and the library does.
            after.writestr(info.filename, before.read(info).replace(b'r="XFD1048576"', b'q=">" r="XFD1048576"'))
    with pytest.raises(Invalid, match="too much room"):
        await of_workbook(unguarded.getvalue())


async def test_a_workbook_takes_no_cell_that_is_too_long() -> None:
    with pytest.raises(Invalid, match="too long for a workbook"):
        as_workbook([["head"], ["a" * (sheets.LONGEST_CELL + 1)]])
