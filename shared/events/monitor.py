"""The facts that `monitor` tells."""

from datetime import date
from enum import StrEnum
from uuid import UUID

from shared.events.event import Event
from shared.texts import Text, Value


class RoundState(StrEnum):
    PLANNED = "planned"
    OPEN = "open"
    CLOSED = "closed"
    LOCKED = "locked"


class ReportState(StrEnum):
    DRAFT = "draft"
    VALIDATED = "validated"
    SUBMITTED = "submitted"
    IN_REVIEW = "in review"
    SENT_BACK = "sent back"
    ACCEPTED = "accepted"
    WITHDRAWN = "withdrawn"


class Implementation(StrEnum):
    """From least to most; `could not be verified` sorts as no data."""

    NOT_STARTED = "not started"
    IN_PREPARATION = "in preparation"
    IN_PROGRESS = "in progress"
    SOME_RESPECTS = "some respects"
    MOST_RESPECTS = "most respects"
    FULLY_IMPLEMENTED = "fully implemented"
    COULD_NOT_BE_VERIFIED = "could not be verified"


class Confidence(StrEnum):
    ON_TRACK = "on track"
    CONSTRAINED = "constrained"
    OFF_TRACK = "off track"
    ACHIEVED = "achieved"
    NO_STATUS = "no status"


class Verdict(StrEnum):
    NOT_ASSESSED = "not assessed"
    ADEQUATE = "adequate"
    PARTIAL = "partial"
    INADEQUATE = "inadequate"
    NOT_ADDRESSED = "not addressed"
    NOT_APPLICABLE = "not applicable"


class ObligationState(StrEnum):
    NOT_YET_DUE = "not yet due"
    DUE = "due"
    LATE = "late"
    MET = "met"
    MET_LATE = "met late"
    WAIVED = "waived"


def obligation_state(due_on: date, met_on: date | None, waived: bool, opens_on: date, day: date) -> ObligationState:
    """Moved by the clock and by reports only: where an obligation stands on a day."""
    if met_on is not None and met_on <= day:
        return ObligationState.MET if met_on <= due_on else ObligationState.MET_LATE
    if waived:
        return ObligationState.WAIVED
    if day > due_on:
        return ObligationState.LATE
    return ObligationState.DUE if day >= opens_on else ObligationState.NOT_YET_DUE


class Claim(Value):
    """What a partner says of one action: how far it is, and how sure delivery is."""

    action_id: UUID
    implementation: Implementation
    confidence: Confidence = Confidence.NO_STATUS
    status_on: date
    explanation: Text | None = None


class RoundPlanned(Event, type="round-planned.v1"):
    reference: str
    name: Text
    opens_on: date
    due_on: date
    closes_on: date
    state: RoundState


class RoundOpened(Event, type="round-opened.v1"):
    state: RoundState


class RoundClosed(Event, type="round-closed.v1"):
    state: RoundState


class ObligationImposed(Event, type="obligation-imposed.v1"):
    round_id: UUID
    partner_id: UUID
    due_on: date
    first_due_on: date


class ObligationExtended(Event, type="obligation-extended.v1"):
    due_on: date
    first_due_on: date
    reason: str


class ObligationWaived(Event, type="obligation-waived.v1"):
    waived: bool
    reason: str


class ObligationMet(Event, type="obligation-met.v1"):
    met_on: date


class ReportDrafted(Event, type="report-drafted.v1"):
    """Carries no claims: a draft is seen inside the organisation only."""

    reference: str
    round_id: UUID
    partner_id: UUID
    state: ReportState


class ReportRevised(Event, type="report-revised.v1"):
    state: ReportState


class ReportSubmitted(Event, type="report-submitted.v1"):
    round_id: UUID
    partner_id: UUID
    claims: list[Claim]
    state: ReportState
    submitted_on: date


class ReportTakenUp(Event, type="report-taken-up.v1"):
    state: ReportState


class ReportSentBack(Event, type="report-sent-back.v1"):
    state: ReportState
    reason: str


class ReportWithdrawn(Event, type="report-withdrawn.v1"):
    state: ReportState
    reason: str


class ReportAccepted(Event, type="report-accepted.v1"):
    round_id: UUID
    partner_id: UUID
    claims: list[Claim]
    state: ReportState
    accepted_on: date


class UptakeAssessed(Event, type="uptake-assessed.v1"):
    recommendation_id: UUID
    verdict: Verdict
    rationale: Text
    addressed: bool | None = None
    owned: bool | None = None
    funded: bool | None = None
    dated: bool | None = None
    measurable: bool | None = None
