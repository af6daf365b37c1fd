"""Uptake assessments: is a recommendation sufficiently taken up in the programme. Appended, never overwritten."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.monitor.base import Base
from services.monitor.known import issuer_of, partner_of, recommendation_known
from shared import outbox
from shared.database import Begin, Entity, Json, Page, Slice, begin, called, page_of, work
from shared.errors import Conflict, Forbidden
from shared.events.monitor import UptakeAssessed, Verdict
from shared.events.recommendations import Kind
from shared.gate import Function
from shared.texts import Text, Value


class Assessment(Entity, Base):
    __tablename__ = "assessment"
    prefix = "ASM"

    recommendation_id: Mapped[UUID]
    verdict: Mapped[Verdict]
    rationale: Mapped[Text] = mapped_column(Json(Text))
    addressed: Mapped[bool | None]
    owned: Mapped[bool | None]
    funded: Mapped[bool | None]
    dated: Mapped[bool | None]
    measurable: Mapped[bool | None]
    assessed_by: Mapped[str]


class AssessmentFields(Value):
    recommendation_id: UUID
    verdict: Verdict
    rationale: Text
    addressed: bool | None = None
    owned: bool | None = None
    funded: bool | None = None
    dated: bool | None = None
    measurable: bool | None = None


class AssessUptake(AssessmentFields, Begin):
    """A verdict on the uptake of one recommendation, with the criteria it rests on."""


async def assess(session: AsyncSession, command: AssessUptake) -> Assessment:
    recommendation = await recommendation_known(session, command.recommendation_id, "/recommendationId")
    if recommendation.kind is not Kind.RECOMMENDATION:
        raise Conflict(f"This is a {recommendation.kind}; uptake is assessed for recommendations.")
    actor = work(session).actor
    if actor.function == Function.ISSUING_BODY:
        issuer = await issuer_of(session, recommendation)
        if issuer is None or issuer != await partner_of(session, actor.organisation):
            raise Forbidden("An issuing body gives its verdict on its own recommendations only.")
    assessment = await begin(session, Assessment, command, assessed_by=actor.organisation)
    await outbox.add(session, assessment.tell(UptakeAssessed))
    return assessment


async def listed(
    session: AsyncSession, page: Page, external_id: str | None, recommendation_id: UUID | None
) -> Slice[Assessment]:
    where = called(Assessment, external_id)
    if recommendation_id is not None:
        where.append(Assessment.recommendation_id == recommendation_id)
    return await page_of(session, Assessment, page, *where)
