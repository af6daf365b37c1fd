"""What can go wrong in the domain, said as sentences; `problems.py` turns them into problem documents."""

from collections.abc import Sequence
from typing import Any, ClassVar

from shared import problem_types
from shared.problem_types import ProblemType

SENTENCES = {
    "missing": "This field is needed.",
    "extra_forbidden": "There is no such field here.",
    "uuid_parsing": "Give an id: a UUID.",
    "uuid_type": "Give an id: a UUID.",
    "date_from_datetime_parsing": "Write a day as text: 2018-12-31.",
    "date_parsing": "Write a day as text: 2018-12-31.",
    "string_pattern_mismatch": "This is not written in the form that is asked.",
    "model_attributes_type": "Give an object with fields.",
    "union_tag_invalid": "This kind does not exist.",
}
"""What we say instead of pydantic, by its type of error."""


class DomainError(Exception):
    """A refusal with a sentence that the caller can act on."""

    type: ClassVar[ProblemType] = problem_types.INVALID
    retry_after: int | None = None

    def __init__(
        self, sentence: str, *, field: str | None = None, errors: Sequence[tuple[str, str]] | None = None
    ) -> None:
        super().__init__(sentence)
        self.field = field
        """JSON pointer of the field that is at fault, such as `/leadId`."""
        self.errors = list(errors) if errors is not None else [(field, sentence)] if field else []
        """Every place that is at fault, with what is wrong there."""

    @property
    def members(self) -> dict[str, Any]:
        """What the problem document says besides, where its type defines more."""
        return {}


class Invalid(DomainError):
    """The request is understood, but a value in it cannot be right."""


class Unauthenticated(DomainError):
    type = problem_types.TOKEN_NEEDED


class Forbidden(DomainError):
    type = problem_types.NOT_ALLOWED


class NotFound(DomainError):
    type = problem_types.NOT_FOUND


class NotAcceptable(DomainError):
    """The caller wants the answer in a form that it cannot have."""

    type = problem_types.NOT_ACCEPTABLE


class Conflict(DomainError):
    """A rule refuses this in the state that things are in now."""

    type = problem_types.CONFLICT


class NotKnownYet(Conflict):
    """A reference to another service's entity that this service has not followed yet."""

    type = problem_types.NOT_KNOWN_YET
    retry_after = 1


class Gone(DomainError):
    """It was there, and ended as announced."""

    type = problem_types.GONE


class Stale(DomainError):
    """`If-Match` names another version than the one that stands now."""

    type = problem_types.STALE


class TooLarge(DomainError):
    type = problem_types.TOO_LARGE


class MediaTypeNotTaken(DomainError):
    type = problem_types.MEDIA_TYPE_NOT_TAKEN


class KeyReused(DomainError):
    """The same `Idempotency-Key` came with another request."""

    type = problem_types.KEY_REUSED


class VersionNeeded(DomainError):
    type = problem_types.VERSION_NEEDED


class TooMany(DomainError):
    """More requests of one client than a policy allows."""

    type = problem_types.QUOTA_EXCEEDED

    def __init__(self, sentence: str, *, policies: Sequence[str], retry_after: int) -> None:
        super().__init__(sentence)
        self.policies = list(policies)
        self.retry_after = retry_after

    @property
    def members(self) -> dict[str, Any]:
        return {"violated-policies": self.policies}


class Unavailable(DomainError):
    """Something we depend on does not answer; the outcome of a write may be unknown."""

    type = problem_types.UNAVAILABLE
    retry_after = 2
