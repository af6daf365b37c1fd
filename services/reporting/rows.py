"""What reporting keeps of the facts of the others: one row an entity, with when it held and when we knew."""

from datetime import date
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.reporting.base import View
from shared.database import Json
from shared.events.event import Event, Precision
from shared.events.monitor import (
    Confidence,
    Implementation,
    ObligationExtended,
    ObligationImposed,
    ObligationMet,
    ObligationWaived,
    ReportAccepted,
    ReportDrafted,
    ReportRevised,
    ReportSentBack,
    ReportState,
    ReportSubmitted,
    ReportTakenUp,
    ReportWithdrawn,
    RoundClosed,
    RoundOpened,
    RoundPlanned,
    RoundState,
    UptakeAssessed,
    Verdict,
)
from shared.events.programme import (
    ActionAssigned,
    ActionClassified,
    ActionCompleted,
    ActionDescribed,
    ActionDropped,
    ActionHeld,
    ActionLineDrawn,
    ActionPlanned,
    ActionRescheduled,
    ActionStarted,
    ActionState,
    Contribution,
    LinkConfirmed,
    LinkDeclaredSufficient,
    LinkDisputed,
    LinkEnded,
    LinkProposed,
    LinkState,
    ObligationLevel,
    PartnerDescribed,
    PartnerEnded,
    PartnerKind,
    PartnerRegistered,
    ProgrammeAdopted,
)
from shared.events.recommendations import (
    Classification,
    IssuingBodyRegistered,
    Kind,
    RecommendationClassified,
    RecommendationClosed,
    RecommendationDescribed,
    RecommendationRegistered,
    RecommendationReopened,
    RegisterState,
    SourceRegistered,
    Strength,
    TermEnded,
    TermIntroduced,
    Vocabulary,
)
from shared.projection import Projection
from shared.rows import Temporal, follow_entity
from shared.texts import Text

progress = Projection("progress", View)


# --- from recommendations --------------------------------------------------------------------------------------


class TermRow(Temporal, View):
    __tablename__ = "term"
    vocabulary: Mapped[Vocabulary]
    code: Mapped[str]
    name: Mapped[Text] = mapped_column(Json(Text))
    ended: Mapped[bool]


class IssuingBodyRow(Temporal, View):
    __tablename__ = "issuing_body"
    name: Mapped[Text] = mapped_column(Json(Text))
    partner_id: Mapped[UUID | None]


class SourceRow(Temporal, View):
    __tablename__ = "source"
    reference: Mapped[str]
    issuing_body_id: Mapped[UUID]
    title: Mapped[Text] = mapped_column(Json(Text))
    published_on: Mapped[date | None]


class RecommendationRow(Temporal, View):
    __tablename__ = "recommendation"
    reference: Mapped[str]
    source_id: Mapped[UUID]
    parent_id: Mapped[UUID | None]
    kind: Mapped[Kind]
    strength: Mapped[Strength | None]
    summary: Mapped[Text] = mapped_column(Json(Text))
    addressees: Mapped[list[UUID]]
    domains: Mapped[list[str]]
    forms: Mapped[list[str]]
    goals: Mapped[list[str]]
    levels: Mapped[list[str]]
    classification: Mapped[Classification]
    state: Mapped[RegisterState]


@progress.on(TermIntroduced)
async def term_introduced(session: AsyncSession, event: TermIntroduced) -> None:
    await follow_entity(session, TermRow, event, ended=False)


@progress.on(TermEnded)
async def term_ended(session: AsyncSession, event: TermEnded) -> None:
    await follow_entity(session, TermRow, event, ended=True)


@progress.on(IssuingBodyRegistered)
async def issuing_body_told(session: AsyncSession, event: IssuingBodyRegistered) -> None:
    await follow_entity(session, IssuingBodyRow, event)


@progress.on(SourceRegistered)
async def source_told(session: AsyncSession, event: SourceRegistered) -> None:
    await follow_entity(session, SourceRow, event)


@progress.on(
    RecommendationRegistered,
    RecommendationClassified,
    RecommendationDescribed,
    RecommendationClosed,
    RecommendationReopened,
)
async def recommendation_told(session: AsyncSession, event: Event) -> None:
    await follow_entity(session, RecommendationRow, event)


# --- from programme --------------------------------------------------------------------------------------------


class PartnerRow(Temporal, View):
    __tablename__ = "partner"
    reference: Mapped[str]
    code: Mapped[str]
    name: Mapped[Text] = mapped_column(Json(Text))
    kind: Mapped[PartnerKind]
    parent_id: Mapped[UUID | None]
    ended_on: Mapped[date | None]


class ProgrammeRow(Temporal, View):
    __tablename__ = "programme"
    reference: Mapped[str]
    name: Mapped[Text] = mapped_column(Json(Text))
    lead_id: Mapped[UUID | None]


class ActionLineRow(Temporal, View):
    __tablename__ = "action_line"
    reference: Mapped[str]
    programme_id: Mapped[UUID]
    name: Mapped[Text] = mapped_column(Json(Text))


class ActionRow(Temporal, View):
    __tablename__ = "action"
    reference: Mapped[str]
    programme_id: Mapped[UUID]
    action_line_id: Mapped[UUID | None]
    name: Mapped[Text] = mapped_column(Json(Text))
    lead_id: Mapped[UUID | None]
    lead_undecided: Mapped[list[UUID]]
    contributors: Mapped[list[UUID]]
    obligation_level: Mapped[ObligationLevel | None]
    state: Mapped[ActionState]
    planned_on: Mapped[date]
    starts_on: Mapped[date | None]
    due_on: Mapped[date | None]
    due_on_precision: Mapped[Precision]
    first_due_on: Mapped[date | None]
    domains: Mapped[list[str]]
    forms: Mapped[list[str]]
    goals: Mapped[list[str]]
    classification: Mapped[Classification]


class LinkRow(Temporal, View):
    __tablename__ = "link"
    action_id: Mapped[UUID]
    recommendation_id: Mapped[UUID]
    contribution: Mapped[Contribution]
    state: Mapped[LinkState]
    jointly_sufficient: Mapped[bool]


@progress.on(PartnerRegistered, PartnerDescribed, PartnerEnded)
async def partner_told(session: AsyncSession, event: Event) -> None:
    await follow_entity(session, PartnerRow, event)


@progress.on(ProgrammeAdopted)
async def programme_told(session: AsyncSession, event: ProgrammeAdopted) -> None:
    await follow_entity(session, ProgrammeRow, event)


@progress.on(ActionLineDrawn)
async def action_line_told(session: AsyncSession, event: ActionLineDrawn) -> None:
    await follow_entity(session, ActionLineRow, event)


@progress.on(ActionPlanned)
async def action_planned(session: AsyncSession, event: ActionPlanned) -> None:
    await follow_entity(session, ActionRow, event, planned_on=event.effective_from)


@progress.on(
    ActionStarted,
    ActionHeld,
    ActionCompleted,
    ActionDropped,
    ActionRescheduled,
    ActionAssigned,
    ActionClassified,
    ActionDescribed,
)
async def action_told(session: AsyncSession, event: Event) -> None:
    await follow_entity(session, ActionRow, event)


@progress.on(LinkProposed, LinkConfirmed, LinkDisputed, LinkEnded, LinkDeclaredSufficient)
async def link_told(session: AsyncSession, event: Event) -> None:
    await follow_entity(session, LinkRow, event)


# --- from monitor ----------------------------------------------------------------------------------------------


class RoundRow(Temporal, View):
    __tablename__ = "round"
    reference: Mapped[str]
    name: Mapped[Text] = mapped_column(Json(Text))
    opens_on: Mapped[date]
    due_on: Mapped[date]
    closes_on: Mapped[date]
    state: Mapped[RoundState]


class ObligationRow(Temporal, View):
    __tablename__ = "obligation"
    round_id: Mapped[UUID]
    partner_id: Mapped[UUID]
    due_on: Mapped[date]
    first_due_on: Mapped[date]
    met_on: Mapped[date | None]
    waived: Mapped[bool]


class ReportRow(Temporal, View):
    __tablename__ = "report"
    reference: Mapped[str]
    round_id: Mapped[UUID]
    partner_id: Mapped[UUID]
    state: Mapped[ReportState]


class ClaimRow(Temporal, View):
    """The newest accepted claim on an action, from the day that it describes; keyed by the action."""

    __tablename__ = "claim"
    reaches_back = True
    implementation: Mapped[Implementation]
    confidence: Mapped[Confidence]
    status_on: Mapped[date]
    accepted_on: Mapped[date]
    report_id: Mapped[UUID]
    partner_id: Mapped[UUID]


class UptakeRow(Temporal, View):
    """The newest verdict on a recommendation's uptake; keyed by the recommendation."""

    __tablename__ = "uptake"
    reaches_back = True
    verdict: Mapped[Verdict]
    assessment_id: Mapped[UUID]
    assessed_by: Mapped[str]
    function: Mapped[str]


@progress.on(RoundPlanned, RoundOpened, RoundClosed)
async def round_told(session: AsyncSession, event: Event) -> None:
    await follow_entity(session, RoundRow, event)


@progress.on(ObligationImposed)
async def obligation_imposed(session: AsyncSession, event: ObligationImposed) -> None:
    await follow_entity(session, ObligationRow, event, waived=False)


@progress.on(ObligationExtended, ObligationWaived, ObligationMet)
async def obligation_told(session: AsyncSession, event: Event) -> None:
    await follow_entity(session, ObligationRow, event)


@progress.on(ReportDrafted, ReportRevised, ReportSubmitted, ReportTakenUp, ReportSentBack, ReportWithdrawn)
async def report_told(session: AsyncSession, event: Event) -> None:
    await follow_entity(session, ReportRow, event)


@progress.on(ReportAccepted)
async def report_accepted(session: AsyncSession, event: ReportAccepted) -> None:
    await follow_entity(session, ReportRow, event)
    for claim in event.claims:
        await follow_entity(
            session,
            ClaimRow,
            event,
            entity=claim.action_id,
            holds_on=claim.status_on,
            implementation=claim.implementation,
            confidence=claim.confidence,
            status_on=claim.status_on,
            report_id=event.entity,
        )


@progress.on(UptakeAssessed)
async def uptake_assessed(session: AsyncSession, event: UptakeAssessed) -> None:
    await follow_entity(
        session,
        UptakeRow,
        event,
        entity=event.recommendation_id,
        assessment_id=event.entity,
        assessed_by=event.acted_by.organisation,
        function=event.acted_by.function,
    )
