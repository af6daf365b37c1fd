"""Recommendations: what a source asks, of whom, how strongly, and where it stands in the vocabularies."""

from uuid import UUID

from pydantic import Field
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.recommendations.base import Base
from services.recommendations.known import code_of, must_know_partners
from services.recommendations.sources import IssuingBody, Source
from services.recommendations.vocabulary import Placed, must_hold_all
from shared import outbox
from shared.database import (
    Begin,
    Command,
    Entity,
    Json,
    Page,
    Slice,
    begin,
    called,
    find,
    must_exist,
    page_of,
    work,
)
from shared.errors import Conflict, Forbidden
from shared.events.recommendations import (
    Classification,
    ClosingReason,
    Kind,
    RecommendationClassified,
    RecommendationClosed,
    RecommendationDescribed,
    RecommendationRegistered,
    RecommendationReopened,
    RegisterState,
    Strength,
)
from shared.gate import Function
from shared.texts import Citations, Codes, Evidence, Line, Prose, Sourced, Text


class Recommendation(Entity, Base):
    __tablename__ = "recommendation"
    prefix = "REC"

    source_id: Mapped[UUID] = mapped_column(ForeignKey("source.id"))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("recommendation.id"))
    kind: Mapped[Kind]
    strength: Mapped[Strength | None]
    paragraph: Mapped[str | None]
    summary: Mapped[Text] = mapped_column(Json(Text))
    addressees: Mapped[list[UUID]]
    addressees_basis: Mapped[Evidence]
    domains: Mapped[list[str]]
    forms: Mapped[list[str]]
    goals: Mapped[list[str]]
    levels: Mapped[list[str]]
    classification: Mapped[Classification]
    state: Mapped[RegisterState]
    closing_reason: Mapped[ClosingReason | None]
    basis: Mapped[Evidence]
    citations: Mapped[Citations] = mapped_column(Json(Citations))
    notes: Mapped[str | None]

    def classify(self, placed: "ClassifyRecommendation") -> RecommendationClassified:
        self._must_not_be_closed()
        self.domains, self.forms = list(placed.domains), list(placed.forms)
        self.goals, self.levels = list(placed.goals), list(placed.levels)
        self.classification = placed.classification
        return self.tell(RecommendationClassified)

    def describe(self, summary: Text) -> RecommendationDescribed:
        self._must_not_be_closed()
        self.summary = summary
        return self.tell(RecommendationDescribed)

    def close(self, closing_reason: ClosingReason, reason: str) -> RecommendationClosed:
        self._must_not_be_closed()
        if closing_reason is ClosingReason.IMPLEMENTED:
            raise Conflict(
                "Closing as implemented takes an accepted claim, evidence, and an assessment from outside the lead "
                "organisation; none has been told for this recommendation."
            )
        self.state, self.closing_reason = RegisterState.CLOSED, closing_reason
        return self.tell(RecommendationClosed, reason=reason)

    def reopen(self, reason: str) -> RecommendationReopened:
        if self.state is not RegisterState.CLOSED:
            raise Conflict(f"Only a closed recommendation can be reopened; this one is {self.state}.")
        self.state, self.closing_reason = RegisterState.REOPENED, None
        return self.tell(RecommendationReopened, reason=reason)

    def _must_not_be_closed(self) -> None:
        if self.state is RegisterState.CLOSED:
            raise Conflict("This recommendation is closed; reopen it first.")


class RecommendationFields(Sourced, Placed):
    source_id: UUID
    parent_id: UUID | None = None
    """The compound recommendation that this one is a part of."""
    kind: Kind = Kind.RECOMMENDATION
    strength: Strength | None = None
    paragraph: Line | None = None
    summary: Text
    addressees: list[UUID] = Field(default_factory=list, max_length=100)
    addressees_basis: Evidence = Evidence.READ
    classification: Classification = Classification.STATED


class RegisterRecommendation(RecommendationFields, Begin):
    """What a source asks. Findings, calls and positions are kept too, and not counted as recommendations."""


class ClassifyRecommendation(Command, Placed):
    domains: Codes
    classification: Classification = Classification.STATED


class DescribeRecommendation(Command):
    summary: Text


class CloseRecommendation(Command):
    closing_reason: ClosingReason
    reason: Prose


class ReopenRecommendation(Command):
    reason: Prose


async def register(session: AsyncSession, command: RegisterRecommendation) -> Recommendation:
    await must_exist(session, Source, command.source_id, "/sourceId")
    await must_exist(session, Recommendation, command.parent_id, "/parentId")
    await must_know_partners(session, command.addressees, "/addressees")
    await must_hold_all(session, command)
    await _must_be_its_issuer(session, command.source_id)
    recommendation = await begin(session, Recommendation, command, state=RegisterState.REGISTERED)
    await outbox.add(session, recommendation.tell(RecommendationRegistered))
    return recommendation


async def classify(session: AsyncSession, id: UUID, command: ClassifyRecommendation) -> Recommendation:
    recommendation = await find(session, Recommendation, id, command)
    await must_hold_all(session, command)
    await outbox.add(session, recommendation.classify(command))
    return recommendation


async def describe(session: AsyncSession, id: UUID, command: DescribeRecommendation) -> Recommendation:
    recommendation = await find(session, Recommendation, id, command)
    await _must_be_its_issuer(session, recommendation.source_id)
    await outbox.add(session, recommendation.describe(command.summary))
    return recommendation


async def close(session: AsyncSession, id: UUID, command: CloseRecommendation) -> Recommendation:
    recommendation = await find(session, Recommendation, id, command)
    await _must_be_its_issuer(session, recommendation.source_id)
    await outbox.add(session, recommendation.close(command.closing_reason, command.reason))
    return recommendation


async def reopen(session: AsyncSession, id: UUID, command: ReopenRecommendation) -> Recommendation:
    recommendation = await find(session, Recommendation, id, command)
    await _must_be_its_issuer(session, recommendation.source_id)
    await outbox.add(session, recommendation.reopen(command.reason))
    return recommendation


async def _must_be_its_issuer(session: AsyncSession, source_id: UUID) -> None:
    """Who acts as an issuing body acts for its own recommendations only; the coordinator keeps the register."""
    if work(session).actor.function != Function.ISSUING_BODY:
        return
    source = await session.get_one(Source, source_id)
    body = await session.get_one(IssuingBody, source.issuing_body_id)
    code = await code_of(session, body.partner_id) if body.partner_id else None
    if code != work(session).actor.organisation:
        raise Forbidden("An issuing body may only touch recommendations from its own sources.")


async def listed(
    session: AsyncSession,
    page: Page,
    external_id: str | None,
    source_id: UUID | None,
    kind: Kind | None,
    domain: str | None,
) -> Slice[Recommendation]:
    where = called(Recommendation, external_id)
    if source_id is not None:
        where.append(Recommendation.source_id == source_id)
    if kind is not None:
        where.append(Recommendation.kind == kind)
    if domain is not None:
        where.append(Recommendation.domains.contains([domain]))
    return await page_of(session, Recommendation, page, *where)
