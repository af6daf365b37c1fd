"""The lines of a file as bodies of commands, and every place in them in the words of the file."""

import difflib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.columns import Column, Form
from shared.errors import Invalid
from shared.kinds import Kind, Sheet
from shared.names import OWN

REFERENCE = Column("reference", ("reference",), Form.TEXT)
"""A line may say which thing it is about by the reference that Kapstok gave it."""


@dataclass(frozen=True)
class Wrong:
    """What is wrong in one line; `column` is the header, or the pointer, that the sender used."""

    line: int
    column: str | None
    detail: str


@dataclass
class Unit:
    """What makes one thing: a line, or several in a row that agree on everything but their items."""

    numbers: list[int]
    body: dict[str, Any]
    """As the API takes it, but with names where it has ids."""
    shown: Mapping[str, str]
    """The header that the sender used for a column, or `lead` where he wrote that instead of `leadId`."""
    pointers: bool = False
    """Whether the file was JSON: places are pointers then."""
    wrong: list[Wrong] = field(default_factory=list)

    @property
    def line(self) -> int:
        return self.numbers[0]

    def at(self, kind: Kind, place: Sequence[str | int], detail: str) -> Wrong:
        """Something wrong at a place in the body."""
        steps = [str(step) for step in place]
        if self.pointers:
            return Wrong(self.line, "/" + "/".join(self.shown.get(step, step) for step in steps), detail)
        number = self.line
        if kind.items is not None and len(steps) > 1 and steps[1].isdigit():
            number = self.numbers[min(int(steps.pop(1)), len(self.numbers) - 1)]
        column = _column_at(kind, steps)
        return Wrong(number, None if column is None else self.shown.get(column.header, column.header), detail)


def _column_at(kind: Kind, steps: list[str]) -> Column | None:
    if not steps:
        return None
    for column in (*kind.columns, REFERENCE):
        shared = min(len(steps), len(column.path))
        if list(column.path[:shared]) == steps[:shared] and (shared == len(column.path) or shared == len(steps)):
            return column
    return None


# --- as they are kept until they are taken ---------------------------------------------------------------------


@dataclass(frozen=True)
class Lines:
    """A file that could be read: its lines by the columns that they fill, or as the objects that they are."""

    shown: dict[str, str]
    cells: list[tuple[int, dict[str, Any]]]
    objects: bool = False

    def packed(self) -> bytes:
        told = {"shown": self.shown, "cells": self.cells, "objects": self.objects}
        return zlib.compress(json.dumps(told).encode(), 1)

    @classmethod
    def unpacked(cls, packed: bytes) -> "Lines":
        told = json.loads(zlib.decompress(packed))
        return cls(told["shown"], [(number, cells) for number, cells in told["cells"]], told["objects"])


def of_sheet(kind: Kind, sheet: Sheet, most: int) -> Lines:
    """The lines of a table. Raises Invalid with every header that is wrong."""
    _must_be_some(len(sheet.lines), most)
    columns, shown = _headers(kind, sheet)
    cells = []
    for number, row in sheet.lines:
        filled = {column.header: cell for column, cell in zip(columns, row, strict=False) if column and cell.strip()}
        stray = [place for place in range(len(columns), len(row)) if row[place].strip()]
        if stray:
            raise Invalid(f"Line {number} has more cells than there are columns; {_place(stray[0])} has no header.")
        cells.append((number, {**sheet.always, **filled}))
    return Lines(shown, cells)


def of_objects(kind: Kind, found: Any, most: int) -> Lines:
    """The lines of a JSON file: a list of objects. Raises Invalid."""
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Invalid("Send a list of objects, each as the API takes one, with names or ids of what it refers to.")
    _must_be_some(len(found), most)
    return Lines({}, list(enumerate(found, start=1)), objects=True)


def _must_be_some(lines: int, most: int) -> None:
    if not lines:
        raise Invalid("The file has no lines under its headers; there is nothing to do.")
    if lines > most:
        raise Invalid(f"The file has {lines} lines; {most} are the most at once.")


def _headers(kind: Kind, sheet: Sheet) -> tuple[list[Column | None], dict[str, str]]:
    """Which column each header means, and how the sender writes it; None for what is there to be read only."""
    by_header: dict[str, Column] = {}
    for known in (REFERENCE, *kind.columns):
        by_header |= {known.also.lower(): known, known.header.lower(): known}
    wrong: list[tuple[str, str]] = []
    columns: list[Column | None] = []
    shown: dict[str, str] = {}
    for place, header in enumerate(sheet.headers):
        written = header.strip()
        if written in sheet.ignored:
            columns.append(None)
            continue
        column = by_header.get(sheet.columns.get(written, written).lower())
        if column is None:
            if written or any(place < len(row) and row[place].strip() for _, row in sheet.lines):
                wrong.append((_place(place), _unknown(kind, written)))
            columns.append(None)
            continue
        if column.header in shown:
            wrong.append((shown[column.header], "There are two columns for this; leave one out."))
        shown.setdefault(column.header, written)
        columns.append(column)
    needed: dict[tuple[str, ...], list[Column]] = {}
    for one in kind.columns:
        if one.needed:
            needed.setdefault(one.path[: 2 if one.of_item else 1], []).append(one)
    for choices in needed.values():
        if not any(one.header in shown or one.header in sheet.always for one in choices):
            wrong.append((choices[0].header, f"There is no column {' or '.join(one.header for one in choices)}."))
    if wrong:
        said = " ".join(f"{where}: {detail}" for where, detail in wrong[:3])
        raise Invalid(f"The headers do not fit {kind.name}. {said}", errors=wrong)
    return columns, shown


def _place(place: int) -> str:
    """A column by its letter: what stands in the header may be anything, and is not said again."""
    letters, number = "", place + 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return f"Column {letters}"


def _unknown(kind: Kind, written: str) -> str:
    if not written:
        return "This column has no header."
    near = difflib.get_close_matches(written, [column.header for column in kind.columns], n=1, cutoff=0.7)
    return f"Not a column of {kind.name}.{f' Do you mean {near[0]}?' if near else ''}"


# --- and as bodies ---------------------------------------------------------------------------------------------


def units_of(kind: Kind, lines: Lines) -> list[Unit]:
    """What the lines make, in their order."""
    if lines.objects:
        return [_of_object(kind, number, body) for number, body in lines.cells]
    return [_of_lines(kind, group, lines.shown) for group in _grouped(kind, lines.cells)]


def _grouped(kind: Kind, lines: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[list[tuple[int, dict[str, Any]]]]:
    if kind.items is None:
        yield from ([line] for line in lines)
        return
    own = {column.header for column in kind.columns if column.of_item}
    group: list[tuple[int, dict[str, Any]]] = []
    head: dict[str, Any] = {}
    for number, cells in lines:
        said = {header: cell for header, cell in cells.items() if header not in own}
        if group and said and said != head:
            yield group
            group = []
        head = said or head
        group.append((number, cells))
    if group:
        yield group


def _of_lines(kind: Kind, group: list[tuple[int, dict[str, Any]]], shown: Mapping[str, str]) -> Unit:
    unit = Unit([number for number, _ in group], {}, shown)
    by_header = {column.header: column for column in (REFERENCE, *kind.columns)}
    for place, (number, cells) in enumerate(group):
        for header, cell in cells.items():
            column = by_header[header]
            if place and not column.of_item:
                continue
            try:
                value = column.read(cell.strip())
            except ValueError as error:
                unit.wrong.append(Wrong(number, shown.get(header, header), str(error)))
                continue
            if value != "":
                _put(unit.body, column, place, value)
    return unit


def _put(body: dict[str, Any], column: Column, item: int, value: Any) -> None:
    inside: Any = body
    path = list(column.path)
    if column.of_item:
        listed = body.setdefault(path.pop(0), [])
        while len(listed) <= item:
            listed.append({})
        inside = listed[item]
    for step in path[:-1]:
        inside = inside.setdefault(step, {})
    inside[path[-1]] = value


def _of_object(kind: Kind, number: int, body: dict[str, Any]) -> Unit:
    """Fields of names stand under their own name afterwards, whichever of the two the sender used."""
    unit = Unit([number], dict(body), {}, pointers=True)
    shown: dict[str, str] = {}
    for column in kind.columns:
        if column.space is None or column.header == column.also:
            continue
        for one in _objects(unit.body, column):
            if column.header not in one:
                continue
            if column.also in one:
                unit.wrong.append(
                    Wrong(number, f"/{column.header}", f"Give {column.header} or {column.also}, not both.")
                )
            one[column.also] = one.pop(column.header)
            shown[column.also] = column.header
    unit.shown = shown
    return unit


def _objects(body: dict[str, Any], column: Column) -> list[dict[str, Any]]:
    """Where a column's field stands: the body itself, or each item of its list, which is copied to be changed."""
    if not column.of_item:
        return [body]
    listed = body.get(column.path[0])
    if not isinstance(listed, list):
        return []
    body[column.path[0]] = copied = [dict(one) if isinstance(one, dict) else one for one in listed]
    return [one for one in copied if isinstance(one, dict)]


# --- names in a body -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mention:
    """A name somewhere in a body, of something that the line refers to."""

    column: Column
    place: tuple[str | int, ...]
    name: Any


def mentions(kind: Kind, body: dict[str, Any]) -> Iterator[Mention]:
    for column in kind.columns:
        if column.space is None:
            continue
        if not column.of_item:
            yield from _mentioned(column, column.path, body)
            continue
        listed = body.get(column.path[0])
        for number, item in enumerate(listed if isinstance(listed, list) else []):
            if isinstance(item, dict):
                yield from _mentioned(column, (column.path[0], number, *column.path[1:]), item)


def _mentioned(column: Column, place: tuple[str | int, ...], inside: dict[str, Any]) -> Iterator[Mention]:
    value = inside.get(column.also)
    if column.form is Form.NAMES and isinstance(value, list):
        yield from (Mention(column, (*place, number), one) for number, one in enumerate(value))
    elif isinstance(value, str):
        yield Mention(column, place, value)


def with_ids(body: dict[str, Any], ids: Mapping[tuple[str | int, ...], str]) -> dict[str, Any]:
    """The body with ids in the places of names; what it is made of is left as it was."""
    found = dict(body)
    for place, id in ids.items():
        inside: Any = found
        for step in place[:-1]:
            inside[step] = list(inside[step]) if isinstance(inside[step], list) else dict(inside[step])
            inside = inside[step]
        inside[place[-1]] = id
    return found


def own_names(body: Mapping[str, Any]) -> list[str]:
    """What the thing of a line is called, by what the line says; first by what Kapstok itself calls it."""
    given, reference = body.get("externalIds"), body.get("reference")
    ids = dict(given) if isinstance(given, dict) else {}
    if isinstance(reference, str):
        ids.setdefault(OWN, reference)
    names = [f"{system}:{id}" for system, id in sorted(ids.items(), key=lambda one: one[0] != OWN)]
    return [name for name in names if speakable(name)]


def speakable(name: Any) -> bool:
    """Whether this may be somebody's name at all, and be looked up."""
    return isinstance(name, str) and name.isprintable() and 0 < len(name) <= 200
