"""The programme and its action lines: the coat rack that actions hang on."""

from uuid import UUID

from pydantic import Field
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.programme.base import Base
from services.programme.known import must_hold
from services.programme.partners import Partner, must_all_exist
from shared import outbox
from shared.database import Begin, Entity, Json, begin, must_exist
from shared.events.event import Precision
from shared.events.programme import ActionLineDrawn, ProgrammeAdopted
from shared.events.recommendations import Vocabulary
from shared.texts import Citations, Codes, Day, Evidence, Line, Sourced, Text, Value


class Money(Value):
    """An amount that a document names, in euro."""

    what: Text
    eur: int = Field(ge=0, le=10**12, strict=True)
    period: Line | None = None


class Programme(Entity, Base):
    __tablename__ = "programme"
    prefix = "PRG"

    name: Mapped[Text] = mapped_column(Json(Text))
    subtitle: Mapped[Text | None] = mapped_column(Json(Text))
    lead_id: Mapped[UUID | None] = mapped_column(ForeignKey("partner.id"))
    commissioning: Mapped[list[UUID]]
    based_on: Mapped[list[UUID]]
    succeeds_id: Mapped[UUID | None] = mapped_column(ForeignKey("programme.id"))
    adopted_on: Mapped[Day | None]
    sent_to_parliament_on: Mapped[Day | None]
    launched_on: Mapped[Day | None]
    launched_on_precision: Mapped[Precision]
    principles: Mapped[list[Text]] = mapped_column(Json(list[Text]))
    money: Mapped[list[Money]] = mapped_column(Json(list[Money]))
    monitoring: Mapped[Text | None] = mapped_column(Json(Text))
    basis: Mapped[Evidence]
    citations: Mapped[Citations] = mapped_column(Json(Citations))
    notes: Mapped[str | None]


class ProgrammeFields(Sourced):
    name: Text
    subtitle: Text | None = None
    lead_id: UUID | None = None
    commissioning: list[UUID] = Field(default_factory=list, max_length=50)
    based_on: list[UUID] = Field(default_factory=list, max_length=100)
    """Sources in the register of recommendations."""
    succeeds_id: UUID | None = None
    adopted_on: Day | None = None
    sent_to_parliament_on: Day | None = None
    launched_on: Day | None = None
    launched_on_precision: Precision = Precision.DAY
    principles: list[Text] = Field(default_factory=list, max_length=50)
    money: list[Money] = Field(default_factory=list, max_length=50)
    monitoring: Text | None = None


class AdoptProgramme(ProgrammeFields, Begin):
    """A programme that answers recommendations."""


class ActionLine(Entity, Base):
    __tablename__ = "action_line"
    prefix = "ALN"

    programme_id: Mapped[UUID] = mapped_column(ForeignKey("programme.id"))
    name: Mapped[Text] = mapped_column(Json(Text))
    summary: Mapped[Text | None] = mapped_column(Json(Text))
    domains: Mapped[list[str]]
    basis: Mapped[Evidence]
    citations: Mapped[Citations] = mapped_column(Json(Citations))
    notes: Mapped[str | None]


class ActionLineFields(Sourced):
    programme_id: UUID
    name: Text
    summary: Text | None = None
    domains: Codes = Field(default_factory=list)


class DrawActionLine(ActionLineFields, Begin):
    """A line of a programme under which actions stand."""


async def adopt(session: AsyncSession, command: AdoptProgramme) -> Programme:
    await must_exist(session, Partner, command.lead_id, "/leadId")
    await must_all_exist(session, command.commissioning, "/commissioning")
    await must_exist(session, Programme, command.succeeds_id, "/succeedsId")
    programme = await begin(session, Programme, command)
    await outbox.add(session, programme.tell(ProgrammeAdopted))
    return programme


async def draw_line(session: AsyncSession, command: DrawActionLine) -> ActionLine:
    await must_exist(session, Programme, command.programme_id, "/programmeId")
    await must_hold(session, Vocabulary.DOMAIN, command.domains, "/domains")
    line = await begin(session, ActionLine, command)
    await outbox.add(session, line.tell(ActionLineDrawn))
    return line
