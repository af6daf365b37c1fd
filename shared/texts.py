"""The kinds of text and value that every service takes in: checked the same way everywhere."""

import re
import unicodedata
from datetime import date
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from shared.calendar import FIRST_DAY, LAST_DAY

_UNWANTED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _clean(text: str) -> str:
    if _UNWANTED.search(text):
        raise PydanticCustomError("control_character", "Take the control characters out of this text.")
    return unicodedata.normalize("NFC", text.strip())


def _only_text(value: Any) -> Any:
    """Days come as text; a number, or a text of digits, is not silently taken for a moment since 1970."""
    if not (isinstance(value, date) or (isinstance(value, str) and _DAY.fullmatch(value))):
        raise PydanticCustomError("day_as_text", "Write a day as text: 2018-12-31.")
    return value


def _within_bounds(day: date) -> date:
    if not FIRST_DAY <= day <= LAST_DAY:
        raise PydanticCustomError("day_out_of_bounds", f"Give a day between {FIRST_DAY} and {LAST_DAY}.")
    return day


Line = Annotated[
    str,
    StringConstraints(min_length=1, max_length=300),
    AfterValidator(_clean),
    StringConstraints(min_length=1),
    Field(examples=["Een regel tekst"]),
]
Prose = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4000),
    AfterValidator(_clean),
    StringConstraints(min_length=1),
    Field(examples=["Een toelichting in enkele zinnen."]),
]
Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)]
"""A short stable name in lower case: `zorg-en-hulpverlening`."""
Codes = Annotated[list[Code], Field(max_length=50)]
Day = Annotated[date, BeforeValidator(_only_text), AfterValidator(_within_bounds)]
Url = Annotated[
    str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_clean), StringConstraints(min_length=1)
]
SystemName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*$", max_length=60)]


class Value(BaseModel):
    """A part of a request, an event or an answer: camelCase outside, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, from_attributes=True
    )


class Text(Value):
    """A text that people read, per language; at least one of the two."""

    nl: Prose | None = None
    en: Annotated[Prose | None, Field(examples=["An explanation in a few sentences."])] = None

    @model_validator(mode="after")
    def _not_empty(self) -> "Text":
        if self.nl is None and self.en is None:
            raise PydanticCustomError("text_empty", "Give the text in Dutch (nl), in English (en), or in both.")
        return self

    def in_language(self, language: str) -> str:
        """The text in that language, else in the other one."""
        return (self.en or self.nl if language == "en" else self.nl or self.en) or ""


class Citation(Value):
    """Where a fact was read."""

    document: Line
    reference: Line | None = None
    date: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}(-[0-9]{2}){0,2}$")] | None = None
    """A year, a month or a day, as precise as the document is dated."""
    url: Url | None = None


class Evidence(StrEnum):
    """How we know: read in the body's own or an official text, read elsewhere, or our own conclusion."""

    READ = "read"
    SECONDARY = "secondary"
    INFERRED = "inferred"


class DatedNote(Value):
    """What was read or said about something on a day; never a claim."""

    on: Day
    on_precision: Annotated[str, StringConstraints(pattern="^(day|month|year)$")] = "day"
    text: Text
    basis: Evidence = Evidence.READ
    citation: Citation | None = None


Citations = Annotated[list[Citation], Field(max_length=30)]


class Sourced(Value):
    """What most facts carry: how we know, where it was read, and what to keep in mind."""

    basis: Evidence = Evidence.READ
    citations: Citations = Field(default_factory=list)
    notes: Prose | None = None
