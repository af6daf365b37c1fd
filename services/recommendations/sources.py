"""Where recommendations come from: the bodies that issue them, and their reports and letters."""

from uuid import UUID

from pydantic import Field
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.recommendations.base import Base
from services.recommendations.known import must_know_partners
from shared import outbox
from shared.database import Begin, Entity, Json, begin, must_exist
from shared.events.event import Precision
from shared.events.recommendations import IssuingBodyRegistered, SourceRegistered, Strength
from shared.texts import Citations, Code, Day, Evidence, Line, Prose, Sourced, Text, Value


class Grade(Value):
    """A step on an issuing body's own scale, and what it is on the common one."""

    code: Code
    name: Text
    strength: Strength


class IssuingBody(Entity, Base):
    __tablename__ = "issuing_body"
    prefix = "ISB"

    name: Mapped[Text] = mapped_column(Json(Text))
    partner_id: Mapped[UUID | None]
    grading_scheme: Mapped[list[Grade]] = mapped_column(Json(list[Grade]))
    basis: Mapped[Evidence]
    citations: Mapped[Citations] = mapped_column(Json(Citations))
    notes: Mapped[str | None]


class IssuingBodyFields(Sourced):
    name: Text
    partner_id: UUID | None = None
    """The same body among the partners, where it is one: its own seat in the follow-up."""
    grading_scheme: list[Grade] = Field(default_factory=list, max_length=20)


class RegisterIssuingBody(IssuingBodyFields, Begin):
    """A body whose recommendations are followed up."""


class Source(Entity, Base):
    __tablename__ = "source"
    prefix = "SRC"

    issuing_body_id: Mapped[UUID] = mapped_column(ForeignKey("issuing_body.id"))
    title: Mapped[Text] = mapped_column(Json(Text))
    series: Mapped[str | None]
    round: Mapped[int | None]
    published_on: Mapped[Day | None]
    published_on_precision: Mapped[Precision]
    adopted_on: Mapped[Day | None]
    period_from: Mapped[str | None]
    period_to: Mapped[str | None]
    follow_up: Mapped[str | None]
    named_in_column: Mapped[bool]
    basis: Mapped[Evidence]
    citations: Mapped[Citations] = mapped_column(Json(Citations))
    notes: Mapped[str | None]


class SourceFields(Sourced):
    issuing_body_id: UUID
    title: Text
    series: Code | None = None
    round: int | None = Field(None, ge=1, le=1000)
    published_on: Day | None = None
    published_on_precision: Precision = Precision.DAY
    adopted_on: Day | None = None
    period_from: Line | None = None
    period_to: Line | None = None
    follow_up: Prose | None = None
    named_in_column: bool = False
    """Whether the column of December 2018 that this programme of follow-up began with names it."""


class RegisterSource(SourceFields, Begin):
    """A report, letter or column with recommendations in it."""


async def register_body(session: AsyncSession, command: RegisterIssuingBody) -> IssuingBody:
    if command.partner_id is not None:
        await must_know_partners(session, [command.partner_id], "/partnerId")
    body = await begin(session, IssuingBody, command)
    await outbox.add(session, body.tell(IssuingBodyRegistered))
    return body


async def register(session: AsyncSession, command: RegisterSource) -> Source:
    await must_exist(session, IssuingBody, command.issuing_body_id, "/issuingBodyId")
    source = await begin(session, Source, command)
    await outbox.add(session, source.tell(SourceRegistered))
    return source
