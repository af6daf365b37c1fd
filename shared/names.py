"""What things are called: an id, a reference, a code, or another system's name; from a name to its id, and back."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import cast, func, or_, select, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from shared.database import Entity, Json, seen

OWN = "kapstok"
"""The system whose names are references: `kapstok:ACT-2018-0007` is what Kapstok itself calls it, in this house or in
the one that a file came from."""

_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class NotNamed(Exception):
    """No one thing is called so; the message is a sentence for who wrote the name."""


class Named:
    """What a view keeps of another service's things, so that they can be called by name here too."""

    reference: Mapped[str]
    external_ids: Mapped[dict[str, str]] = mapped_column(Json(dict[str, str]))


@dataclass(frozen=True)
class Namespace:
    """Where one kind of thing is looked up: the rows of a noun, or those of a view that are `Named`."""

    word: str
    rows: Any
    followed: bool = False
    """Whether another service owns these things, so that one that is missing may come yet."""

    @property
    def id(self) -> Any:
        return self.rows.entity if self.followed else self.rows.id

    @property
    def code(self) -> Any:
        return getattr(self.rows, "code", None)


def owned(rows: type[Entity]) -> Namespace:
    return Namespace(rows.word(), rows)


def followed(rows: type[Named], word: str) -> Namespace:
    return Namespace(word, rows, followed=True)


class Names:
    """The names met so far in one file, what they stand for, and which line makes what."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, str], set[UUID]] = {}
        self._made: dict[tuple[Any, str], set[UUID]] = {}
        self._promised: dict[tuple[Any, str], int] = {}
        self.kept: list[Any] = []
        """The rows of what was learned last: they are met again by their ids, without a question to the database."""

    def promise(self, space: Namespace, names: Iterable[str], line: int) -> None:
        """Note that a line is about the thing of these names."""
        for name in names:
            self._promised.setdefault((space.rows, name), line)

    def made(self, space: Namespace, names: Iterable[str], id: UUID) -> None:
        for name in names:
            self._made.setdefault((space.rows, name), set()).add(id)

    def forget(self, space: Namespace, ids: Iterable[UUID]) -> None:
        """What was made was taken back."""
        gone = set(ids)
        for (rows, _), made in self._made.items():
            if rows is space.rows:
                made -= gone

    async def learn(self, session: AsyncSession, wanted: dict[Namespace, set[str]]) -> None:
        """Look these names up, all of one kind at once; what is found needs no further look in this transaction."""
        self.kept = []
        for space, names in wanted.items():
            fresh = [name for name in names if (space.rows, name) not in self._found]
            for name in fresh:
                self._found[space.rows, name] = set()
            for name, id in await _looked_up(session, space, fresh):
                self._found[space.rows, name].add(id)
            ids = {id for name in names for id in self._found[space.rows, name]}
            if ids:
                self.kept += await session.scalars(select(space.rows).where(space.id.in_(ids)))
                seen(session, space.rows).update(ids)

    def called(self, space: Namespace, name: str) -> UUID | None:
        """What has this name, if anything. Raises NotNamed when several have."""
        found = self._found.get((space.rows, name), set()) | self._made.get((space.rows, name), set())
        if len(found) > 1:
            raise NotNamed(f"More than one {space.word} is called this; use its id or reference.")
        return next(iter(found), None)

    def must_be_called(self, space: Namespace, name: str, line: int) -> UUID:
        """What has this name. Raises NotNamed."""
        found = self.called(space, name)
        if found is not None:
            return found
        maker = self._promised.get((space.rows, name))
        if maker is not None and maker != line:
            where = "further down; put that line first" if maker > line else "and is not taken itself"
            raise NotNamed(f"Line {maker} makes this {space.word}, {where}.")
        if space.followed:
            raise NotNamed(f"No {space.word} of this name is known here yet. Made just now? Try again; else check it.")
        raise NotNamed(f"There is no {space.word} of this name: give its id, reference or code, or system:id.")


async def _looked_up(session: AsyncSession, space: Namespace, names: list[str]) -> list[tuple[str, UUID]]:
    """Each name with each thing that has it."""
    ids = [name for name in names if _ID.fullmatch(name)]
    external = [name for name in names if ":" in name and name not in ids]
    words = [name for name in names if ":" not in name and name not in ids]
    found: list[tuple[str, UUID]] = []
    if ids:
        there = {str(one): one for one in await session.scalars(select(space.id).where(space.id.in_(map(UUID, ids))))}
        found += [(name, there[name.lower()]) for name in ids if name.lower() in there]
    if external:
        found += await _of_other_systems(session, space, external)
    if words:
        columns = [column for column in (space.rows.reference, space.code) if column is not None]
        named = select(space.id, *columns).where(or_(*(column.in_(words) for column in columns)))
        for id, *called in await session.execute(named):
            found += [(name, id) for name in called if name in set(words)]
    return found


async def _of_other_systems(session: AsyncSession, space: Namespace, names: list[str]) -> list[tuple[str, UUID]]:
    """By the names that other systems gave; an own reference counts for what came from no other house."""
    external_ids = cast(space.rows.external_ids, JSONB)
    pair = func.jsonb_each_text(external_ids).table_valued("key", "value").render_derived()
    name = pair.c.key + ":" + pair.c.value
    named = select(name, space.id).select_from(space.rows).join(pair, true()).where(name.in_(names))
    found = [(name, id) for name, id in await session.execute(named)]
    references = [name.partition(":")[2] for name in names if name.startswith(f"{OWN}:")]
    if references:
        native = select(space.rows.reference, space.id).where(
            space.rows.reference.in_(references), ~external_ids.has_key(OWN)
        )
        found += [(f"{OWN}:{reference}", id) for reference, id in await session.execute(native)]
    return found


async def spelled(session: AsyncSession, wanted: Mapping[Namespace, Collection[UUID]]) -> dict[UUID, str]:
    """What to call each of these in a file: a name that also holds in another house."""
    found: dict[UUID, str] = {}
    for space, ids in wanted.items():
        found |= await _codes(session, space, ids) if space.code is not None else await _others(session, space, ids)
    return found


async def _codes(session: AsyncSession, space: Namespace, ids: Collection[UUID]) -> dict[UUID, str]:
    rows = await session.execute(select(space.id, space.code).where(space.id.in_(ids)))
    return {row[0]: row[1] for row in rows}


async def _others(session: AsyncSession, space: Namespace, ids: Collection[UUID]) -> dict[UUID, str]:
    """Another system's name where that is of one thing only, else the reference."""
    rows = (
        await session.execute(select(space.id, space.rows.reference, space.rows.external_ids).where(space.id.in_(ids)))
    ).all()
    names = {f"{system}:{id}" for _, _, given in rows for system, id in given.items()}
    times = Counter(name for name, _ in await _of_other_systems(session, space, sorted(names)))
    found = {}
    for id, reference, given in rows:
        own = f"{OWN}:{given.get(OWN, reference)}"
        others = sorted(f"{system}:{name}" for system, name in given.items() if system != OWN)
        found[id] = next((name for name in others if times[name] == 1), own)
    return found


def gathered(pairs: Iterable[tuple[Namespace, str]]) -> dict[Namespace, set[str]]:
    found: dict[Namespace, set[str]] = defaultdict(set)
    for space, name in pairs:
        found[space].add(name)
    return found
