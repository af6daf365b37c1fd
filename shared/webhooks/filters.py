"""Filters: which facts a subscription is about, in the shape of the CNCF subscription draft."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from shared.texts import Value

EventType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+$", max_length=200)]
"""A type as events carry it: `nl.kapstok-<service>.<fact>.v1`."""
PartOfType = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+$", max_length=200)]
PartOfSubject = Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]+$", max_length=36)]

Attributes = Mapping[str, str]
"""What filters look at of an event: its `type` and its `subject`, the id of the entity."""


class Said(Value):
    """Something with at least one field in it; empty, it would mean everything, and hardly be meant."""

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if all(value is None for _, value in self):
            raise PydanticCustomError("filter_empty", "Say what an event must be like; this is empty.")
        return self


class Whole(Said):
    """Attributes that must be exactly this."""

    type: EventType | None = None
    subject: UUID | None = None


class Part(Said):
    """Attributes that must begin or end with this."""

    type: PartOfType | None = None
    subject: PartOfSubject | None = None


class Condition(Said):
    """What an event must be like; everything that is said must be so."""

    exact: Whole | None = None
    prefix: Part | None = None
    suffix: Part | None = None

    def matches(self, event: Attributes) -> bool:
        return (
            all(event[name] == wanted for name, wanted in _named(self.exact))
            and all(event[name].startswith(wanted) for name, wanted in _named(self.prefix))
            and all(event[name].endswith(wanted) for name, wanted in _named(self.suffix))
        )


class Filter(Condition):
    """A condition that may also leave a choice, or leave something out."""

    any: Annotated[list[Condition], Field(min_length=1, max_length=100)] | None = None
    not_: Condition | None = Field(default=None, alias="not")

    def matches(self, event: Attributes) -> bool:
        return (
            super().matches(event)
            and (self.any is None or any(one.matches(event) for one in self.any))
            and (self.not_ is None or not self.not_.matches(event))
        )


def _named(part: Whole | Part | None) -> Iterable[tuple[str, str]]:
    return () if part is None else ((name, str(value)) for name, value in part if value is not None)
