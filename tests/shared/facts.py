"""One good example of every fact, made from what its class declares; and a log of facts in memory, with its chain."""

import enum
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import cycle
from typing import Any, Union, get_args, get_origin
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from shared.events import monitor, programme, recommendations
from shared.events.event import Event
from shared.feed import Item, Page
from shared.outbox import Head, link

MODULES = (recommendations, programme, monitor)
SOURCE = "urn:nld:oin:00000099000000001000:systeem:kapstok-{}"
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BEGAN = datetime(2018, 10, 19, 9, 30, 0, 123456, tzinfo=UTC)


def registered() -> list[type[Event]]:
    """Every type that the services tell, in the order of their names."""
    return sorted(
        (kind for kind in Event.registry.values() if kind.__module__ in {module.__name__ for module in MODULES}),
        key=lambda kind: kind.type,
    )


def example(kind: type[Event], *, only_needed: bool = False) -> Event:
    """The same fact every time: every field filled, or only those without a default."""
    own = {
        name: _value(found.annotation, f"{kind.type}/{name}", found)
        for name, found in kind.model_fields.items()
        if name in kind.own_fields() and (found.is_required() or not only_needed)
    }
    return kind(
        entity=uuid5(NAMESPACE_URL, kind.type),
        id=uuid5(NAMESPACE_URL, f"{kind.type}/id"),
        sequence=412,
        recorded_at=BEGAN,
        version=3,
        effective_from=date(2018, 10, 1),
        **own,
    )


def encoded(event: Event) -> str:
    return event.encode(source=SOURCE.format(event.publisher), traceparent=TRACEPARENT)


def _value(annotation: Any, place: str, found: FieldInfo | None = None) -> Any:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _value(next(one for one in inner if one is not type(None)), place, found)
    if origin is list:
        return [_value(inner[0], f"{place}/{number}") for number in (1, 2)]
    if origin is dict:
        return {"zaaksysteem": _value(inner[1], f"{place}/zaaksysteem")}
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation(
            **{
                name: _value(one.annotation, f"{place}/{name}", one)
                for name, one in annotation.model_fields.items()
                if not (one.metadata and not one.is_required())
            }
        )
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        fact = place.split("/")[0].split(".")[2]
        return next((one for one in annotation if one.value[:4] in fact.partition("-")[2]), next(iter(annotation)))
    limits = [*(found.metadata if found else ()), *getattr(annotation, "__metadata__", ())]
    if any(getattr(limit, "pattern", None) for limit in limits):
        return "2018"
    if hasattr(annotation, "__metadata__"):
        return _value(annotation.__origin__, place, found)
    made: dict[Any, Any] = {
        UUID: uuid5(NAMESPACE_URL, place),
        date: date(2018, 10, 19),
        bool: True,
        int: 2,
        str: f"{place.rpartition('/')[2]}-é",
    }
    return made[annotation]


@dataclass
class Log:
    """An owner's log in memory: what its outbox would hold, and its feed would answer in pages of these sizes."""

    epoch: UUID = field(default_factory=uuid4)
    events: list[Item] = field(default_factory=list)
    at: datetime = BEGAN
    sizes: Iterator[int] = field(default_factory=lambda: cycle([1000]))

    def tell(self, fact: Event, *, after: timedelta = timedelta(seconds=1)) -> Event:
        """Record a fact, that much later than the one before."""
        self.at += after
        sequence = len(self.events) + 1
        told = fact.model_copy(update={"id": uuid4(), "sequence": sequence, "recorded_at": self.at})
        text = encoded(told)
        chain = link(self.events[-1].chain if self.events else "", text)
        self.events.append(Item(sequence, chain, text, told.entity))
        return told

    async def head(self) -> Head:
        return Head(self.epoch, len(self.events), self.events[-1].chain if self.events else "", self.at)

    async def after(self, sequence: int, limit: int) -> Page:
        most = min(limit, next(self.sizes))
        return Page(str(self.epoch), len(self.events), self.events[sequence : sequence + most])
