"""Appointments: which account acts in which function of an organisation, from a day to a day."""

from datetime import date
from typing import Annotated
from uuid import UUID

from pydantic import Field
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.programme.base import Base
from services.programme.partners import Partner
from shared import outbox
from shared.database import Begin, Command, Entity, Page, Slice, begin, called, find, page_of
from shared.errors import Conflict, Invalid
from shared.events.programme import AppointmentEnded, FunctionAppointed
from shared.gate import Function
from shared.roster import holder_of
from shared.texts import Day, Prose

AccountId = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")]


class Appointment(Entity, Base):
    __tablename__ = "appointment"
    prefix = "APT"

    holder: Mapped[str]
    """A digest of issuer and account: it tells accounts apart, and names nobody."""
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partner.id"))
    function: Mapped[str]
    ends_on: Mapped[date | None]

    def end(self, on: date, reason: str) -> AppointmentEnded:
        if self.ends_on is not None and on >= self.ends_on:
            raise Conflict(f"This appointment ends on {self.ends_on} already.")
        if on < self.began_on:
            raise Invalid(f"This appointment began on {self.began_on}; it cannot end before.", field="/endsOn")
        self.ends_on = on
        return self.tell(AppointmentEnded, reason=reason)


class AppointFunction(Begin):
    """An account of the identity provider, named by its id there and by nothing else, acts in a function."""

    account: AccountId
    """The `sub` of its tokens; only a digest of it is kept."""
    partner_id: UUID
    function: Function
    ends_on: Day | None = None


class EndAppointment(Command):
    ends_on: Day
    """The last day on which it holds."""
    reason: Prose


async def appoint(session: AsyncSession, command: AppointFunction, issuer: str) -> Appointment:
    partner = await session.get(Partner, command.partner_id)
    if partner is None:
        raise Invalid("There is no partner with this id.", field="/partnerId")
    if command.effective_from and command.ends_on and command.ends_on < command.effective_from:
        raise Invalid("An appointment ends after it begins.", field="/endsOn")
    appointment = await begin(
        session,
        Appointment,
        Begin(**{name: getattr(command, name) for name in Begin.model_fields}),
        holder=holder_of(issuer, command.account),
        partner_id=partner.id,
        function=command.function.value,
        ends_on=command.ends_on,
    )
    await outbox.add(session, appointment.tell(FunctionAppointed, organisation=partner.code))
    return appointment


async def end(session: AsyncSession, id: UUID, command: EndAppointment) -> Appointment:
    appointment = await find(session, Appointment, id, command)
    await outbox.add(session, appointment.end(command.ends_on, command.reason))
    return appointment


async def listed(
    session: AsyncSession, page: Page, external_id: str | None, partner_id: UUID | None
) -> Slice[Appointment]:
    where = called(Appointment, external_id)
    if partner_id is not None:
        where.append(Appointment.partner_id == partner_id)
    return await page_of(session, Appointment, page, *where)
