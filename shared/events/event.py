"""What an event is, how it is written as a CloudEvent, and the registry of every type."""

import json
from datetime import date, datetime
from enum import StrEnum
from typing import Any, ClassVar, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared.calendar import written

MAX_BYTES = 64 * 1024
"""No event is larger on the wire (CloudEvents 1.0, size limits); a command that would make one is refused."""

_ENVELOPE = {"entity", "id", "sequence", "recorded_at"}
_NEEDED = ("subject", "id", "sequence", "time")


class Basis(StrEnum):
    """How well a day is known: the source states it, or we assumed it."""

    STATED = "stated"
    ASSUMED = "assumed"


class Precision(StrEnum):
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class Actor(BaseModel):
    """The organisation and the function that acted; never a person."""

    model_config = ConfigDict(frozen=True)

    organisation: str
    function: str


class Event(BaseModel):
    """A fact, told once by its publisher and never changed.

    A subclass names its type and adds its own fields:
    `class ActionRescheduled(Event, type="action-rescheduled.v1")`. The module it stands in is its publisher.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    type: ClassVar[str]
    publisher: ClassVar[str]
    registry: ClassVar[dict[str, Any]] = {}

    # The envelope; `id`, `sequence` and `recorded_at` are given when the outbox records the fact.
    entity: UUID
    id: UUID | None = None
    sequence: int = 0
    recorded_at: datetime | None = None

    # In the data of every event.
    version: int
    effective_from: date
    effective_from_basis: Basis = Basis.STATED
    effective_from_precision: Precision = Precision.DAY
    acted_by: Actor = Field(default=Actor(organisation="kapstok", function="system"))

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__()

    @classmethod
    def __pydantic_init_subclass__(cls, type: str | None = None, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if type is None:
            return
        cls.publisher = cls.__module__.rpartition(".")[2]
        cls.type = f"nl.kapstok-{cls.publisher}.{type}"
        if cls.type in Event.registry:
            raise TypeError(f"The event type {cls.type} is declared twice.")
        Event.registry[cls.type] = cls

    @classmethod
    def own_fields(cls) -> list[str]:
        """The fields that this fact adds to what every event carries."""
        return [name for name in cls.model_fields if name not in Event.model_fields]

    def encode(self, *, source: str, traceparent: str | None = None) -> str:
        """The CloudEvent (1.0, structured mode, JSON), as it stands in outbox, stream, feed and webhook."""
        assert self.id is not None and self.recorded_at is not None
        envelope = {
            "specversion": "1.0",
            "id": str(self.id),
            "source": source,
            "type": self.type,
            "subject": str(self.entity),
            "time": written(self.recorded_at),
            "datacontenttype": "application/json",
            "sequence": f"{self.sequence:010d}",
            "sequencetype": "Integer",
        }
        if traceparent:
            envelope["traceparent"] = traceparent
        head = json.dumps(envelope, separators=(",", ":"))
        return f'{head[:-1]},"data":{self.model_dump_json(by_alias=True, exclude=_ENVELOPE, exclude_none=True)}}}'

    @classmethod
    def decode(cls, text: str | bytes) -> Self | None:
        """The event in a CloudEvent; None for a type that this code does not know.

        Raises ValueError for bytes that are no CloudEvent, or data that does not fit its type.
        """
        envelope = json.loads(text)
        if not isinstance(envelope, dict) or not isinstance(envelope.get("data"), dict):
            raise ValueError("Not a CloudEvent in structured JSON with data.")
        kind = Event.registry.get(str(envelope.get("type")))
        if kind is None:
            return None
        if missing := [name for name in _NEEDED if not isinstance(envelope.get(name), str)]:
            raise ValueError(f"A CloudEvent without {', '.join(missing)}.")
        event: Self = kind.model_validate(  # unknown fields pass, also inside values
            envelope["data"]
            | {
                "entity": envelope["subject"],
                "id": envelope["id"],
                "sequence": int(envelope["sequence"]),
                "recordedAt": envelope["time"],
            },
            extra="ignore",
        )
        return event


def subject(type: str, entity: UUID | str) -> str:
    """The bus subject of an event: a pure function of its type and entity."""
    return f"evt.{type}.{entity}"


def stream(service: str) -> str:
    return f"EVT_{service.upper()}"


def subjects(service: str) -> str:
    """All subjects of a service's stream."""
    return f"evt.nl.kapstok-{service}.>"
