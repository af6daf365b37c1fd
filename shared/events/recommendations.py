"""The facts that `recommendations` tells."""

from datetime import date
from enum import StrEnum
from uuid import UUID

from shared.events.event import Event
from shared.texts import Text


class Vocabulary(StrEnum):
    DOMAIN = "domain"
    FORM = "form"
    GOAL = "goal"
    LEVEL = "level"


class Kind(StrEnum):
    """Only a recommendation is counted as one; the others are kept because they drive later action."""

    RECOMMENDATION = "recommendation"
    CALL = "call"
    FINDING = "finding"
    POSITION = "position"


class Strength(StrEnum):
    URGE = "urge"
    RECOMMEND = "recommend"
    CONSIDER = "consider"
    INVITE = "invite"


class Classification(StrEnum):
    """Who placed it in domains, forms, goals and levels: the source itself, or we did."""

    STATED = "stated"
    SUGGESTED = "suggested"


class ClosingReason(StrEnum):
    IMPLEMENTED = "implemented"
    NOT_IMPLEMENTED = "not implemented"
    NO_LONGER_RELEVANT = "no longer relevant"
    SUPERSEDED = "superseded"
    DUPLICATE = "duplicate"
    WITHDRAWN_BY_ISSUER = "withdrawn by issuer"


class RegisterState(StrEnum):
    REGISTERED = "registered"
    UNDER_CONSIDERATION = "under consideration"
    RESPONDED = "responded"
    OPEN = "open"
    CLOSED = "closed"
    REOPENED = "reopened"


class TermIntroduced(Event, type="term-introduced.v1"):
    vocabulary: Vocabulary
    code: str
    name: Text
    parent: str | None = None


class TermEnded(Event, type="term-ended.v1"):
    vocabulary: Vocabulary
    code: str
    reason: str


class IssuingBodyRegistered(Event, type="issuing-body-registered.v1"):
    name: Text
    partner_id: UUID | None = None


class SourceRegistered(Event, type="source-registered.v1"):
    reference: str
    issuing_body_id: UUID
    title: Text
    series: str | None = None
    round: int | None = None
    published_on: date | None = None
    external_ids: dict[str, str] = {}


class RecommendationRegistered(Event, type="recommendation-registered.v1"):
    reference: str
    source_id: UUID
    parent_id: UUID | None = None
    kind: Kind
    strength: Strength | None = None
    paragraph: str | None = None
    summary: Text
    addressees: list[UUID] = []
    domains: list[str] = []
    forms: list[str] = []
    goals: list[str] = []
    levels: list[str] = []
    classification: Classification
    state: RegisterState = RegisterState.REGISTERED
    external_ids: dict[str, str] = {}


class RecommendationClassified(Event, type="recommendation-classified.v1"):
    domains: list[str]
    forms: list[str]
    goals: list[str]
    levels: list[str]
    classification: Classification


class RecommendationDescribed(Event, type="recommendation-described.v1"):
    summary: Text


class RecommendationClosed(Event, type="recommendation-closed.v1"):
    closing_reason: ClosingReason
    reason: str
    state: RegisterState = RegisterState.CLOSED


class RecommendationReopened(Event, type="recommendation-reopened.v1"):
    reason: str
    state: RegisterState = RegisterState.REOPENED
