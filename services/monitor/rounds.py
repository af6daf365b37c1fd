"""Reporting rounds, and the obligations that partners have in them."""

from datetime import date
from uuid import UUID

from pydantic import model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import ForeignKey, UniqueConstraint, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.monitor.base import Base
from services.monitor.known import must_know_partner
from shared import outbox
from shared.database import Begin, Command, Entity, Json, Page, Slice, begin, called, find, must_exist, page_of, work
from shared.errors import Conflict, Invalid
from shared.events.monitor import (
    ObligationExtended,
    ObligationImposed,
    ObligationMet,
    ObligationWaived,
    RoundClosed,
    RoundOpened,
    RoundPlanned,
    RoundState,
)
from shared.texts import Day, Prose, Text, Value


class Round(Entity, Base):
    __tablename__ = "round"
    prefix = "RND"

    name: Mapped[Text] = mapped_column(Json(Text))
    opens_on: Mapped[date]
    due_on: Mapped[date]
    closes_on: Mapped[date]
    state: Mapped[RoundState]

    def open(self) -> RoundOpened:
        if self.state is not RoundState.PLANNED:
            raise Conflict(f"Only a planned round can open; this one is {self.state}.")
        self.state = RoundState.OPEN
        return self.tell(RoundOpened)

    def close(self) -> RoundClosed:
        if self.state is not RoundState.OPEN:
            raise Conflict(f"Only an open round can close; this one is {self.state}.")
        self.state = RoundState.CLOSED
        return self.tell(RoundClosed)

    def must_be_open(self) -> None:
        if self.state is not RoundState.OPEN:
            raise Conflict(f"Reports go into an open round; this one is {self.state}.")


class Obligation(Entity, Base):
    __tablename__ = "obligation"
    __table_args__ = (UniqueConstraint("round_id", "partner_id"),)
    prefix = "OBL"

    round_id: Mapped[UUID] = mapped_column(ForeignKey("round.id"))
    partner_id: Mapped[UUID]
    due_on: Mapped[date]
    first_due_on: Mapped[date]
    met_on: Mapped[date | None]
    waived: Mapped[bool]

    def extend(self, due_on: date, reason: str) -> ObligationExtended:
        """A later day; the first one stays visible."""
        self._must_be_open()
        if due_on <= self.due_on:
            raise Invalid(f"An extension is later than the day that stands: {self.due_on}.", field="/dueOn")
        self.due_on = due_on
        return self.tell(ObligationExtended, reason=reason)

    def waive(self, reason: str) -> ObligationWaived:
        self._must_be_open()
        self.waived = True
        return self.tell(ObligationWaived, reason=reason)

    def meet(self, on: date) -> ObligationMet | None:
        """The first report meets it; later ones change nothing."""
        if self.met_on is not None or self.waived:
            return None
        self.met_on = on
        return self.tell(ObligationMet)

    def _must_be_open(self) -> None:
        if self.met_on is not None:
            raise Conflict(f"This obligation was met on {self.met_on}.")
        if self.waived:
            raise Conflict("This obligation is waived.")


class RoundFields(Value):
    name: Text
    opens_on: Day
    due_on: Day
    closes_on: Day


class PlanRound(RoundFields, Begin):
    """A period in which partners report."""

    @model_validator(mode="after")
    def _in_order(self) -> "PlanRound":
        if not self.opens_on <= self.due_on <= self.closes_on:
            raise PydanticCustomError("days_in_order", "A round opens, falls due and closes, in that order.")
        return self


class OpenRound(Command):
    pass


class CloseRound(Command):
    pass


class ImposeObligation(Begin):
    """A partner owes a report in a round, by the round's due day unless another is given."""

    round_id: UUID
    partner_id: UUID
    due_on: Day | None = None


class ExtendObligation(Command):
    due_on: Day
    reason: Prose


class WaiveObligation(Command):
    reason: Prose


async def plan(session: AsyncSession, command: PlanRound) -> Round:
    round = await begin(session, Round, command, state=RoundState.PLANNED)
    await outbox.add(session, round.tell(RoundPlanned))
    return round


async def open_round(session: AsyncSession, id: UUID, command: OpenRound) -> Round:
    round = await find(session, Round, id, command)
    await outbox.add(session, round.open())
    return round


async def close_round(session: AsyncSession, id: UUID, command: CloseRound) -> Round:
    round = await find(session, Round, id, command)
    await outbox.add(session, round.close())
    return round


async def impose(session: AsyncSession, command: ImposeObligation) -> Obligation:
    await must_exist(session, Round, command.round_id, "/roundId")
    await must_know_partner(session, command.partner_id, "/partnerId")
    round = await session.get_one(Round, command.round_id)
    due_on = command.due_on or round.due_on
    plain = command.model_copy(update={"due_on": due_on})
    obligation = await begin(session, Obligation, plain, first_due_on=due_on, waived=False)
    await outbox.add(session, obligation.tell(ObligationImposed))
    return obligation


async def extend(session: AsyncSession, id: UUID, command: ExtendObligation) -> Obligation:
    obligation = await find(session, Obligation, id, command)
    await outbox.add(session, obligation.extend(command.due_on, command.reason))
    return obligation


async def waive(session: AsyncSession, id: UUID, command: WaiveObligation) -> Obligation:
    obligation = await find(session, Obligation, id, command)
    await outbox.add(session, obligation.waive(command.reason))
    return obligation


async def meet(session: AsyncSession, round_id: UUID, partner_id: UUID, on: date) -> None:
    """A partner's report meets what it owed in the round."""
    owed = select(Obligation).where(Obligation.round_id == round_id, Obligation.partner_id == partner_id)
    obligation = (await session.scalars(owed.with_for_update())).one_or_none()
    if obligation is None:
        return
    obligation.take_effect(Command(), work(session).today)
    met = obligation.meet(on)
    if met is not None:
        await outbox.add(session, met)


async def obligations(
    session: AsyncSession, page: Page, round_id: UUID | None, partner_id: UUID | None
) -> Slice[Obligation]:
    where = []
    if round_id is not None:
        where.append(Obligation.round_id == round_id)
    if partner_id is not None:
        where.append(Obligation.partner_id == partner_id)
    return await page_of(session, Obligation, page, *where)


async def listed(session: AsyncSession, page: Page, external_id: str | None, state: RoundState | None) -> Slice[Round]:
    where = called(Round, external_id)
    if state is not None:
        where.append(Round.state == state)
    return await page_of(session, Round, page, *where)
