"""What reporting keeps of the facts of the others: one row an entity, with when it held and when we knew."""

from datetime import date
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.reporting.base import View
from shared.database import Json
from shared.events import monitor as told_by_monitor
from shared.events import programme as told_by_programme
from shared.events import recommendations as told_by_recommendations
from shared.events.event import Precision
from shared.events.monitor import Confidence, Implementation, ReportState, RoundState, Verdict
from shared.events.programme import ActionState, Contribution, LinkState, ObligationLevel, PartnerKind
from shared.events.recommendations import Classification, Kind, RegisterState, Strength, Vocabulary
from shared.projection import Projection, Temporal, follow_entity
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


@progress.on(told_by_recommendations.TermIntroduced)
async def term_introduced(session: AsyncSession, event: told_by_recommendations.TermIntroduced) -> None:
    await follow_entity(
        session, TermRow, event, vocabulary=event.vocabulary, code=event.code, name=event.name, ended=False
    )


@progress.on(told_by_recommendations.TermEnded)
async def term_ended(session: AsyncSession, event: told_by_recommendations.TermEnded) -> None:
    await follow_entity(session, TermRow, event, ended=True)


@progress.on(told_by_recommendations.IssuingBodyRegistered)
async def issuing_body_registered(session: AsyncSession, event: told_by_recommendations.IssuingBodyRegistered) -> None:
    await follow_entity(session, IssuingBodyRow, event, name=event.name, partner_id=event.partner_id)


@progress.on(told_by_recommendations.SourceRegistered)
async def source_registered(session: AsyncSession, event: told_by_recommendations.SourceRegistered) -> None:
    await follow_entity(
        session,
        SourceRow,
        event,
        reference=event.reference,
        issuing_body_id=event.issuing_body_id,
        title=event.title,
        published_on=event.published_on,
    )


@progress.on(told_by_recommendations.RecommendationRegistered)
async def recommendation_registered(
    session: AsyncSession, event: told_by_recommendations.RecommendationRegistered
) -> None:
    await follow_entity(
        session,
        RecommendationRow,
        event,
        reference=event.reference,
        source_id=event.source_id,
        parent_id=event.parent_id,
        kind=event.kind,
        strength=event.strength,
        summary=event.summary,
        addressees=event.addressees,
        domains=event.domains,
        forms=event.forms,
        goals=event.goals,
        levels=event.levels,
        classification=event.classification,
        state=event.state,
    )


@progress.on(told_by_recommendations.RecommendationClassified)
async def recommendation_classified(
    session: AsyncSession, event: told_by_recommendations.RecommendationClassified
) -> None:
    await follow_entity(
        session,
        RecommendationRow,
        event,
        domains=event.domains,
        forms=event.forms,
        goals=event.goals,
        levels=event.levels,
        classification=event.classification,
    )


@progress.on(told_by_recommendations.RecommendationDescribed)
async def recommendation_described(
    session: AsyncSession, event: told_by_recommendations.RecommendationDescribed
) -> None:
    await follow_entity(session, RecommendationRow, event, summary=event.summary)


@progress.on(told_by_recommendations.RecommendationClosed, told_by_recommendations.RecommendationReopened)
async def recommendation_moved(
    session: AsyncSession,
    event: told_by_recommendations.RecommendationClosed | told_by_recommendations.RecommendationReopened,
) -> None:
    await follow_entity(session, RecommendationRow, event, state=event.state)


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


@progress.on(told_by_programme.PartnerRegistered)
async def partner_registered(session: AsyncSession, event: told_by_programme.PartnerRegistered) -> None:
    await follow_entity(
        session,
        PartnerRow,
        event,
        reference=event.reference,
        code=event.code,
        name=event.name,
        kind=event.kind,
        parent_id=event.parent_id,
        ended_on=None,
    )


@progress.on(told_by_programme.PartnerDescribed)
async def partner_described(session: AsyncSession, event: told_by_programme.PartnerDescribed) -> None:
    await follow_entity(session, PartnerRow, event, name=event.name)


@progress.on(told_by_programme.PartnerEnded)
async def partner_ended(session: AsyncSession, event: told_by_programme.PartnerEnded) -> None:
    await follow_entity(session, PartnerRow, event, ended_on=event.ended_on)


@progress.on(told_by_programme.ProgrammeAdopted)
async def programme_adopted(session: AsyncSession, event: told_by_programme.ProgrammeAdopted) -> None:
    await follow_entity(session, ProgrammeRow, event, reference=event.reference, name=event.name, lead_id=event.lead_id)


@progress.on(told_by_programme.ActionLineDrawn)
async def action_line_drawn(session: AsyncSession, event: told_by_programme.ActionLineDrawn) -> None:
    await follow_entity(
        session, ActionLineRow, event, reference=event.reference, programme_id=event.programme_id, name=event.name
    )


@progress.on(told_by_programme.ActionPlanned)
async def action_planned(session: AsyncSession, event: told_by_programme.ActionPlanned) -> None:
    await follow_entity(
        session,
        ActionRow,
        event,
        reference=event.reference,
        programme_id=event.programme_id,
        action_line_id=event.action_line_id,
        name=event.name,
        lead_id=event.lead_id,
        lead_undecided=event.lead_undecided,
        contributors=event.contributors,
        obligation_level=event.obligation_level,
        state=event.state,
        planned_on=event.effective_from,
        starts_on=event.starts_on,
        due_on=event.due_on,
        due_on_precision=event.due_on_precision,
        first_due_on=event.first_due_on,
        domains=event.domains,
        forms=event.forms,
        goals=event.goals,
        classification=event.classification,
    )


@progress.on(
    told_by_programme.ActionStarted,
    told_by_programme.ActionHeld,
    told_by_programme.ActionCompleted,
    told_by_programme.ActionDropped,
)
async def action_moved(
    session: AsyncSession,
    event: told_by_programme.ActionStarted
    | told_by_programme.ActionHeld
    | told_by_programme.ActionCompleted
    | told_by_programme.ActionDropped,
) -> None:
    await follow_entity(session, ActionRow, event, state=event.state)


@progress.on(told_by_programme.ActionRescheduled)
async def action_rescheduled(session: AsyncSession, event: told_by_programme.ActionRescheduled) -> None:
    await follow_entity(
        session,
        ActionRow,
        event,
        due_on=event.due_on,
        due_on_precision=event.due_on_precision,
        first_due_on=event.first_due_on,
    )


@progress.on(told_by_programme.ActionAssigned)
async def action_assigned(session: AsyncSession, event: told_by_programme.ActionAssigned) -> None:
    await follow_entity(
        session,
        ActionRow,
        event,
        lead_id=event.lead_id,
        lead_undecided=event.lead_undecided,
        contributors=event.contributors,
    )


@progress.on(told_by_programme.ActionClassified)
async def action_classified(session: AsyncSession, event: told_by_programme.ActionClassified) -> None:
    await follow_entity(
        session,
        ActionRow,
        event,
        domains=event.domains,
        forms=event.forms,
        goals=event.goals,
        classification=event.classification,
    )


@progress.on(told_by_programme.ActionDescribed)
async def action_described(session: AsyncSession, event: told_by_programme.ActionDescribed) -> None:
    await follow_entity(session, ActionRow, event, name=event.name)


@progress.on(told_by_programme.LinkProposed)
async def link_proposed(session: AsyncSession, event: told_by_programme.LinkProposed) -> None:
    await follow_entity(
        session,
        LinkRow,
        event,
        action_id=event.action_id,
        recommendation_id=event.recommendation_id,
        contribution=event.contribution,
        state=event.state,
        jointly_sufficient=event.jointly_sufficient,
    )


@progress.on(told_by_programme.LinkConfirmed, told_by_programme.LinkDisputed, told_by_programme.LinkEnded)
async def link_moved(
    session: AsyncSession,
    event: told_by_programme.LinkConfirmed | told_by_programme.LinkDisputed | told_by_programme.LinkEnded,
) -> None:
    await follow_entity(session, LinkRow, event, state=event.state)


@progress.on(told_by_programme.LinkDeclaredSufficient)
async def link_declared_sufficient(session: AsyncSession, event: told_by_programme.LinkDeclaredSufficient) -> None:
    await follow_entity(session, LinkRow, event, jointly_sufficient=event.jointly_sufficient)


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


@progress.on(told_by_monitor.RoundPlanned)
async def round_planned(session: AsyncSession, event: told_by_monitor.RoundPlanned) -> None:
    await follow_entity(
        session,
        RoundRow,
        event,
        reference=event.reference,
        name=event.name,
        opens_on=event.opens_on,
        due_on=event.due_on,
        closes_on=event.closes_on,
        state=event.state,
    )


@progress.on(told_by_monitor.RoundOpened, told_by_monitor.RoundClosed)
async def round_moved(session: AsyncSession, event: told_by_monitor.RoundOpened | told_by_monitor.RoundClosed) -> None:
    await follow_entity(session, RoundRow, event, state=event.state)


@progress.on(told_by_monitor.ObligationImposed)
async def obligation_imposed(session: AsyncSession, event: told_by_monitor.ObligationImposed) -> None:
    await follow_entity(
        session,
        ObligationRow,
        event,
        round_id=event.round_id,
        partner_id=event.partner_id,
        due_on=event.due_on,
        first_due_on=event.first_due_on,
        met_on=None,
        waived=False,
    )


@progress.on(told_by_monitor.ObligationExtended)
async def obligation_extended(session: AsyncSession, event: told_by_monitor.ObligationExtended) -> None:
    await follow_entity(session, ObligationRow, event, due_on=event.due_on)


@progress.on(told_by_monitor.ObligationWaived)
async def obligation_waived(session: AsyncSession, event: told_by_monitor.ObligationWaived) -> None:
    await follow_entity(session, ObligationRow, event, waived=event.waived)


@progress.on(told_by_monitor.ObligationMet)
async def obligation_met(session: AsyncSession, event: told_by_monitor.ObligationMet) -> None:
    await follow_entity(session, ObligationRow, event, met_on=event.met_on)


@progress.on(told_by_monitor.ReportDrafted)
async def report_drafted(session: AsyncSession, event: told_by_monitor.ReportDrafted) -> None:
    await follow_entity(
        session,
        ReportRow,
        event,
        reference=event.reference,
        round_id=event.round_id,
        partner_id=event.partner_id,
        state=event.state,
    )


@progress.on(
    told_by_monitor.ReportRevised,
    told_by_monitor.ReportSubmitted,
    told_by_monitor.ReportTakenUp,
    told_by_monitor.ReportSentBack,
    told_by_monitor.ReportWithdrawn,
)
async def report_moved(
    session: AsyncSession,
    event: told_by_monitor.ReportRevised
    | told_by_monitor.ReportSubmitted
    | told_by_monitor.ReportTakenUp
    | told_by_monitor.ReportSentBack
    | told_by_monitor.ReportWithdrawn,
) -> None:
    await follow_entity(session, ReportRow, event, state=event.state)


@progress.on(told_by_monitor.ReportAccepted)
async def report_accepted(session: AsyncSession, event: told_by_monitor.ReportAccepted) -> None:
    await follow_entity(session, ReportRow, event, state=event.state)
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
            accepted_on=event.accepted_on,
            report_id=event.entity,
            partner_id=event.partner_id,
        )


@progress.on(told_by_monitor.UptakeAssessed)
async def uptake_assessed(session: AsyncSession, event: told_by_monitor.UptakeAssessed) -> None:
    await follow_entity(
        session,
        UptakeRow,
        event,
        entity=event.recommendation_id,
        verdict=event.verdict,
        assessment_id=event.entity,
        assessed_by=event.acted_by.organisation,
        function=event.acted_by.function,
    )
