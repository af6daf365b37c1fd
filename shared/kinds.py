"""What the lines of a file can be: a kind of thing, the command that makes one, and the verbs that bring it further."""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

from pydantic import BaseModel
from pydantic.alias_generators import to_camel
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession

from shared.columns import Column, Form, columns_of
from shared.database import Begin, Command, Entity
from shared.names import Namespace, owned
from shared.sheets import Rows

Take = Callable[[AsyncSession, Any], Awaitable[Any]]
Verb = Callable[[AsyncSession, Any, Any], Awaitable[Any]]


@dataclass(frozen=True)
class Change:
    """The verb that gives a thing that is there the fields that a line has otherwise: those of its command."""

    operation: str
    command: type[Command]
    run: Verb

    @property
    def fields(self) -> set[str]:
        return own_fields(self.command)


@dataclass(frozen=True)
class Move:
    """A verb that brings a thing from one of these states to another."""

    operation: str
    start: tuple[str, ...]
    end: str
    command: type[Command]
    run: Verb


@dataclass(frozen=True)
class Items:
    """A list in the command of which each line gives one item."""

    listed: str
    kind: type[BaseModel]
    names: Mapping[str, Namespace] = field(default_factory=dict)


Layout = Callable[[Rows], "Sheet"]


@dataclass(frozen=True)
class Sheet:
    """A table as it was found in a file: what the columns are called there, and its lines by those words."""

    headers: list[str]
    lines: list[tuple[int, list[str]]]
    """The number that the sender's program shows, and the cells."""
    always: Mapping[str, str] = field(default_factory=dict)
    """What stands once, outside the table, and counts for each line."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Which column is meant by a header that is written for people."""
    ignored: frozenset[str] = frozenset()
    """Headers of what stands there to be read only."""


def plain(rows: Rows) -> Sheet:
    """A file whose first line holds the headers; empty lines are passed over."""
    if not rows:
        return Sheet([], [])
    lines = [(number, row) for number, row in enumerate(rows[1:], start=2) if any(cell.strip() for cell in row)]
    return Sheet(rows[0], lines)


Limits = Callable[[AsyncSession, str | None], Awaitable[list[ColumnElement[bool]]]]
"""Which ones there are for an organisation; None for who need not say which it is."""


async def _all(session: AsyncSession, organisation: str | None) -> list[ColumnElement[bool]]:
    return []


@dataclass(frozen=True)
class Kind:
    """One kind of line: how it is made and found again, and who may see what there is."""

    name: str
    """As `kind=` asks for it."""
    entity: type[Entity]
    command: type[Begin]
    take: Take
    operation: str
    """The operation that a line stands for: who may call that, may bring in such lines."""
    listing: str
    """The operation that lists these: who may call that, may take them out."""
    names: Mapping[str, Namespace] = field(default_factory=dict)
    """The fields that name other things."""
    key: tuple[str, ...] = ()
    """The fields that there is only one of, by which a line is recognised as well as by its external ids."""
    among: ColumnElement[bool] | None = None
    """Among which the key is looked for; else all."""
    change: Change | None = None
    moves: Sequence[Move] = ()
    first: str = ""
    """The state that a new one is in."""
    state: Callable[[Any], str] = lambda one: str(one.state)
    items: Items | None = None
    own: Limits = _all
    """Among which a line recognises what is there already."""
    seen: Limits = _all
    """What an export holds."""
    layout: Layout = plain
    exported: bool = True

    @property
    def space(self) -> Namespace:
        return owned(self.entity)

    @property
    def operations(self) -> list[str]:
        """Everything that a line may lead to."""
        more = [self.change.operation] if self.change else []
        return list(dict.fromkeys([self.operation, *more, *(move.operation for move in self.moves)]))

    @cached_property
    def columns(self) -> list[Column]:
        """Every column that a file of this kind may have: the command's, then where the thing stands."""
        found = columns_of(self.command, self.names)
        if self.items is not None:
            listed = to_camel(self.items.listed)
            found = [column for column in found if column.path[0] != listed]
            found += columns_of(self.items.kind, self.items.names, item_of=listed)
        return found + self.standing

    @cached_property
    def key_columns(self) -> list[Column]:
        """The columns of the fields that there is only one of."""
        paths = [(to_camel(name),) for name in self.key]
        return [next(column for column in self.columns if column.path == path) for path in paths]

    @cached_property
    def standing(self) -> list[Column]:
        """The state, from when it holds, and what the verbs ask that lead there."""
        if not self.moves:
            return []
        asked = dict.fromkeys(name for move in self.moves for name in sorted(own_fields(move.command)))
        names = ["state", "state_since", *(name for name in asked if name not in self.command.model_fields)]
        return [
            Column(to_camel(name), (to_camel(name),), Form.TEXT) for name in names if not _says_itself(self.moves, name)
        ]

    def way(self, start: str, end: str) -> list[Move] | None:
        """The shortest way of verbs from one state to another; None when there is none."""
        ways: deque[tuple[str, list[Move]]] = deque([(start, [])])
        passed = {start}
        while ways:
            here, way = ways.popleft()
            if here == end:
                return way
            for move in self.moves:
                if here in move.start and move.end not in passed:
                    passed.add(move.end)
                    ways.append((move.end, [*way, move]))
        return None


def own_fields(command: type[Command]) -> set[str]:
    """What a command asks beyond what every one does."""
    return set(command.model_fields) - set(Command.model_fields)


def _says_itself(moves: Sequence[Move], name: str) -> bool:
    """Whether a field has a value that its verb gives by itself."""
    asked = [move.command.model_fields[name] for move in moves if name in own_fields(move.command)]
    return bool(asked) and not any(cast(Any, one).is_required() for one in asked)
