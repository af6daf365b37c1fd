"""Where a page of a list begins: orders that never tie, and cursors that hold while rows are added and changed.

A cursor names the values of the row it stands at, not a count of rows: what happens to other rows moves nothing.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import ColumnElement, Select, func, tuple_

from shared.errors import Invalid

PATTERN = r"^Wy[IJ][A-Za-z0-9_-]{20,900}$"
"""How every cursor is written: base64url of a JSON array that begins with a text."""

EXAMPLE = "WyJpZCIsIj4iLG51bGwsIjAxOTJmMGM0LTdiZmYtN2UwMi04YzU1LTFmMGE5ZDNlN2I0NCJd"


@dataclass(frozen=True)
class Order:
    """By which attribute; equals, and all without one, in the order of entry."""

    attribute: str = "id"
    descending: bool = False

    def __str__(self) -> str:
        return f"{'-' if self.descending else ''}{self.attribute}"

    def keys(self, kind: Any) -> list[ColumnElement[Any]]:
        """The columns that say where a row stands; what has no day comes last, whichever way."""
        if self.attribute == "id":
            return [kind.id]
        column = getattr(kind, self.attribute)
        return [func.coalesce(column, self._last) if _is_day(kind, self.attribute) else column, kind.id]

    @property
    def _last(self) -> date:
        return date.min if self.descending else date.max

    def values(self, kind: Any, cursor: "Cursor") -> list[Any]:
        """What the keys are at a cursor. Raises Invalid for one that this list cannot have given."""
        if self.attribute == "id":
            return [cursor.id]
        if cursor.value is None:
            return [self._last, cursor.id]
        python_type = kind.__table__.c[self.attribute].type.python_type
        try:
            return [TypeAdapter(python_type).validate_python(cursor.value), cursor.id]
        except ValidationError:
            raise _not_ours() from None


def _is_day(kind: Any, attribute: str) -> bool:
    return kind.__table__.c[attribute].type.python_type is date


@dataclass(frozen=True)
class Cursor:
    """A row of a list in an order, and the way the walk goes from it."""

    order: Order
    id: UUID
    value: Any = None
    backwards: bool = False

    def __str__(self) -> str:
        parts = [str(self.order), "<" if self.backwards else ">", self.value, str(self.id)]
        return base64.urlsafe_b64encode(json.dumps(parts, separators=(",", ":")).encode()).decode().rstrip("=")

    @classmethod
    def at(cls, order: Order, row: Any, *, backwards: bool = False) -> "Cursor":
        value = None if order.attribute == "id" else getattr(row, order.attribute)
        return cls(order, row.id, value.isoformat() if isinstance(value, date) else value, backwards)

    @classmethod
    def read(cls, written: str, order: Order) -> "Cursor":
        """The cursor as we gave it. Raises Invalid for what we did not give, or gave in another order."""
        try:
            parts = json.loads(base64.urlsafe_b64decode(written + "=" * (-len(written) % 4)))
            made_in, way, value, id = parts
            found = cls(order, UUID(id), value, way == "<")
        except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError):
            raise _not_ours() from None
        if made_in != str(order):
            raise Invalid("This cursor belongs to another order; keep `sort` while you walk.", field="query:cursor")
        if str(found) != written or not (value is None or (isinstance(value, str) and value.isprintable())):
            raise _not_ours()
        return found


def _not_ours() -> Invalid:
    return Invalid("Take the cursor as `next` or `Link` gave it, or leave it out.", field="query:cursor")


def walk(query: Select[Any], kind: Any, order: Order, cursor: Cursor | None) -> Select[Any]:
    """The rows from a cursor on, nearest first: backwards that is in the opposite order."""
    keys = order.keys(kind)
    backwards = cursor is not None and cursor.backwards
    downwards = order.descending != backwards
    if cursor is not None:
        here, there = tuple_(*keys), tuple_(*order.values(kind, cursor))
        query = query.where(here < there if downwards else here > there)
    return query.order_by(*(key.desc() if downwards else key.asc() for key in keys))
