"""Exports: everything of one kind that a caller may see, in the columns in which it can be imported again."""

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic_core import to_jsonable_python
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from shared.columns import Column, Form
from shared.database import Entity
from shared.kinds import Kind
from shared.names import OWN, Namespace, spelled
from shared.screening import traces_in

AT_ONCE = 500

Row = dict[str, Any]
"""The values of one row by the headers of its columns, names already spelled."""


async def things(
    session: AsyncSession, kind: Kind, where: Sequence[ColumnElement[bool]]
) -> AsyncIterator[list[dict[str, Any]]]:
    """All of them in the order of entry, some at a time, as bodies that the import takes."""
    last: UUID | None = None
    while True:
        page = select(kind.entity).where(*where).order_by(kind.entity.id).limit(AT_ONCE)
        found = list(await session.scalars(page if last is None else page.where(kind.entity.id > last)))
        if not found:
            return
        names = await spelled(session, _named_in(kind, found))
        yield [_body(kind, entity, names) for entity in found]
        last = found[-1].id
        session.expunge_all()


def _named_in(kind: Kind, entities: Iterable[Entity]) -> dict[Namespace, set[UUID]]:
    wanted: dict[Namespace, set[UUID]] = {}
    for entity in entities:
        for column in kind.columns:
            if column.space is None:
                continue
            for value in _values(kind, entity, column):
                ids = value if isinstance(value, list) else [value]
                wanted.setdefault(column.space, set()).update(id for id in ids if id is not None)
    return wanted


def _values(kind: Kind, entity: Entity, column: Column) -> list[Any]:
    field = _field(kind, column)
    if not column.of_item:
        return [getattr(entity, field)]
    assert kind.items is not None
    return [getattr(item, field) for item in getattr(entity, kind.items.listed)]


def _field(kind: Kind, column: Column) -> str:
    """The attribute that a column's field is, by its name inside."""
    model = kind.items.kind if column.of_item and kind.items is not None else kind.command
    outside = column.path[1 if column.of_item else 0]
    return next(name for name, field in model.model_fields.items() if (field.alias or name) == outside)


NOT_ITS_OWN = ("effective_from", "confirmed")
"""Fields of a command that say how it is given, and are no field of the thing."""


def _body(kind: Kind, entity: Entity, names: Mapping[UUID, str]) -> dict[str, Any]:
    """One thing as the import takes it: its fields by their names outside, with names for ids."""
    given = {name: getattr(entity, name) for name in kind.command.model_fields if name not in NOT_ITS_OWN}
    given |= {"effective_from": entity.began_on, "external_ids": {OWN: entity.reference} | entity.external_ids}
    body: dict[str, Any] = {
        kind.command.model_fields[name].alias or name: to_jsonable_python(value, exclude_none=True)
        for name, value in given.items()
    }
    for column in kind.columns:
        if column.space is not None:
            _spell(body, column, names)
    if kind.moves:
        body |= _standing(kind, entity)
    if traces_in(json.dumps(body, ensure_ascii=False, default=str)):
        body["confirmed"] = True  # whoever wrote these contact details said so; an import asks again
    return {name: value for name, value in body.items() if value not in (None, [], {})}


def _spell(body: dict[str, Any], column: Column, names: Mapping[UUID, str]) -> None:
    """Put names in the place of ids, under the header that says so."""

    def name(id: str) -> str:
        return names.get(UUID(id), id)

    for inside in body[column.path[0]] if column.of_item else [body]:
        value = inside.pop(column.also, None)
        if value is not None:
            inside[column.header] = [name(one) for one in value] if column.form is Form.NAMES else name(value)


def _standing(kind: Kind, entity: Entity) -> dict[str, Any]:
    state = kind.state(entity)
    found: dict[str, Any] = {"state": state}
    if state != kind.first:
        found["stateSince"] = entity.effective_from.isoformat()
    for column in kind.standing[2:]:
        found[column.header] = to_jsonable_python(getattr(entity, _snake(column.header), None))
    return found


def _snake(alias: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in alias)


# --- as cells ----------------------------------------------------------------------------------------------------


def head(kind: Kind) -> list[str]:
    return [column.header for column in kind.columns]


def rows(kind: Kind, body: dict[str, Any]) -> Iterator[list[str]]:
    """The lines of one thing: one, or one for each of its items."""
    listed = body.get(_listed(kind), []) if kind.items is not None else []
    for item in listed or [{}]:
        yield [column.write(_value(body, item, column), {}) for column in kind.columns]


def _listed(kind: Kind) -> str:
    assert kind.items is not None
    return kind.command.model_fields[kind.items.listed].alias or kind.items.listed


def _value(body: dict[str, Any], item: dict[str, Any], column: Column) -> Any:
    """What stands in a column; a name stands under the header of its column."""
    path = (column.header,) if column.space is not None else column.path[1:] if column.of_item else column.path
    inside: Any = item if column.of_item else body
    for step in path:
        inside = inside.get(step) if isinstance(inside, dict) else None
    return inside
