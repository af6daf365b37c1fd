"""The facts that `programme` tells."""

from datetime import date
from enum import StrEnum
from uuid import UUID

from shared.events.event import Event, Precision
from shared.events.recommendations import Classification
from shared.texts import DatedNote, Text


class PartnerKind(StrEnum):
    MINISTRY = "ministry"
    MINISTER = "minister"
    MUNICIPALITY = "municipality"
    UMBRELLA = "umbrella"
    AGENCY = "agency"
    POLICE = "police"
    PROSECUTION = "prosecution"
    JUDICIARY = "judiciary"
    INSPECTORATE = "inspectorate"
    CRIMINAL_JUSTICE = "criminal-justice"
    CARE = "care"
    NGO = "ngo"
    KNOWLEDGE = "knowledge"
    EXPERTISE = "expertise"
    PARTNERSHIP = "partnership"
    PRIVATE = "private"
    INDEPENDENT_AUTHORITY = "independent-authority"
    INTERNATIONAL_OVERSIGHT = "international-oversight"
    PARLIAMENT = "parliament"
    CONSULTATION = "consultation"
    GROUP = "group"
    DEMONSTRATION = "demonstration"
    """Invented, to show how Kapstok works; every answer that counts one says so."""


class ObligationLevel(StrEnum):
    VOLUNTARY = "voluntary"
    AGREED = "agreed"
    ASSIGNED = "assigned"
    STATUTORY = "statutory"


class ActionState(StrEnum):
    PLANNED = "planned"
    ACTIVE = "active"
    ON_HOLD = "on hold"
    COMPLETED = "completed"
    DROPPED = "dropped"
    MERGED = "merged"


class Contribution(StrEnum):
    FULL = "full"
    PARTIAL = "partial"
    ENABLING = "enabling"


class LinkState(StrEnum):
    PROPOSED = "proposed"
    CONFIRMED = "confirmed"
    DISPUTED = "disputed"
    ENDED = "ended"


class PartnerRegistered(Event, type="partner-registered.v1"):
    reference: str
    code: str
    name: Text
    kind: PartnerKind
    parent_id: UUID | None = None
    domains: list[str] = []
    external_ids: dict[str, str] = {}


class PartnerDescribed(Event, type="partner-described.v1"):
    name: Text


class PartnerEnded(Event, type="partner-ended.v1"):
    ended_on: date
    reason: str


class ProgrammeAdopted(Event, type="programme-adopted.v1"):
    reference: str
    name: Text
    lead_id: UUID | None = None


class ActionLineDrawn(Event, type="action-line-drawn.v1"):
    reference: str
    programme_id: UUID
    name: Text


class ActionPlanned(Event, type="action-planned.v1"):
    reference: str
    programme_id: UUID
    action_line_id: UUID | None = None
    name: Text
    lead_id: UUID | None = None
    lead_undecided: list[UUID] = []
    contributors: list[UUID] = []
    obligation_level: ObligationLevel | None = None
    state: ActionState
    starts_on: date | None = None
    due_on: date | None = None
    due_on_precision: Precision = Precision.DAY
    first_due_on: date | None = None
    domains: list[str] = []
    forms: list[str] = []
    goals: list[str] = []
    classification: Classification
    external_ids: dict[str, str] = {}


class ActionStarted(Event, type="action-started.v1"):
    state: ActionState


class ActionHeld(Event, type="action-held.v1"):
    state: ActionState
    reason: str


class ActionCompleted(Event, type="action-completed.v1"):
    state: ActionState


class ActionDropped(Event, type="action-dropped.v1"):
    state: ActionState
    reason: str


class ActionRescheduled(Event, type="action-rescheduled.v1"):
    due_on: date
    due_on_precision: Precision = Precision.DAY
    first_due_on: date | None = None
    reason: str


class ActionAssigned(Event, type="action-assigned.v1"):
    lead_id: UUID | None = None
    lead_undecided: list[UUID] = []
    contributors: list[UUID] = []
    reason: str


class ActionClassified(Event, type="action-classified.v1"):
    domains: list[str]
    forms: list[str]
    goals: list[str]
    classification: Classification


class ActionDescribed(Event, type="action-described.v1"):
    name: Text


class ActionNoted(Event, type="action-noted.v1"):
    note: DatedNote


class LinkProposed(Event, type="link-proposed.v1"):
    action_id: UUID
    recommendation_id: UUID
    contribution: Contribution
    rationale: Text
    state: LinkState = LinkState.PROPOSED
    jointly_sufficient: bool = False


class LinkConfirmed(Event, type="link-confirmed.v1"):
    action_id: UUID
    recommendation_id: UUID
    contribution: Contribution
    jointly_sufficient: bool
    state: LinkState


class LinkDisputed(Event, type="link-disputed.v1"):
    state: LinkState
    reason: str


class LinkEnded(Event, type="link-ended.v1"):
    state: LinkState
    reason: str


class LinkDeclaredSufficient(Event, type="link-declared-sufficient.v1"):
    """Together with the recommendation's other partial links that carry the mark, this one covers it."""

    jointly_sufficient: bool
    reason: str


class ClientRegistered(Event, type="client-registered.v1"):
    """A system of an organisation may call, in these functions, within these scopes, until a day."""

    reference: str
    client_id: str
    organisation: str
    functions: list[str]
    scopes: list[str]
    expires_on: date | None = None


class ClientGranted(Event, type="client-granted.v1"):
    """From now on a client may this, no more and no less."""

    functions: list[str]
    scopes: list[str]
    expires_on: date | None = None
    reason: str


class ClientRevoked(Event, type="client-revoked.v1"):
    reason: str


class KeyIssued(Event, type="key-issued.v1"):
    """A key was given out for a client; neither the key nor its digest stands in the log."""

    reference: str
    client: UUID
    prefix: str
    scopes: list[str]
    expires_on: date


class KeyRevoked(Event, type="key-revoked.v1"):
    reason: str


class FunctionAppointed(Event, type="function-appointed.v1"):
    """An account acts in a function of an organisation; `holder` is a digest of issuer and account."""

    reference: str
    holder: str
    organisation: str
    function: str
    ends_on: date | None = None


class AppointmentEnded(Event, type="appointment-ended.v1"):
    ends_on: date
    """The last day on which it holds."""
    reason: str
