"""Progress reports: what a partner claims of the actions it takes part in, and how that is reviewed."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

from pydantic import Field
from sqlalchemy import ForeignKey
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.monitor import rounds
from services.monitor.base import Base
from services.monitor.known import actions_known, partner_called, partner_of
from services.monitor.rounds import Round
from shared import outbox
from shared.database import Begin, Command, Entity, Json, Page, Slice, begin, called, find, must_exist, page_of, work
from shared.errors import Conflict, Forbidden, Invalid, NotFound
from shared.events.monitor import (
    Claim,
    Confidence,
    Implementation,
    ReportAccepted,
    ReportDrafted,
    ReportRevised,
    ReportSentBack,
    ReportState,
    ReportSubmitted,
    ReportTakenUp,
    ReportWithdrawn,
)
from shared.gate import Caller
from shared.texts import Day, Prose, Text, Value

INSIDE = (ReportState.DRAFT, ReportState.WITHDRAWN)
"""What is not, or not any more, said to other organisations."""


class Report(Entity, Base):
    __tablename__ = "report"
    prefix = "RPT"

    round_id: Mapped[UUID] = mapped_column(ForeignKey("round.id"))
    partner_id: Mapped[UUID]
    claims: Mapped[list[Claim]] = mapped_column(Json(list[Claim]))
    state: Mapped[ReportState]
    reason: Mapped[str | None]
    submitted_on: Mapped[date | None]
    accepted_on: Mapped[date | None]

    def revise(self, claims: Sequence[Claim]) -> ReportRevised:
        if self.state not in (ReportState.DRAFT, ReportState.SENT_BACK):
            raise Conflict(f"Only a draft, or a report that was sent back, can be revised; this one is {self.state}.")
        self.claims, self.state = list(claims), ReportState.DRAFT
        return self.tell(ReportRevised)

    def submit(self, on: date) -> ReportSubmitted:
        if self.state is not ReportState.DRAFT:
            raise Conflict(f"Only a draft can be submitted; this one is {self.state}.")
        if not self.claims:
            raise Conflict("A report without claims says nothing; add at least one.")
        self.state, self.submitted_on, self.reason = ReportState.SUBMITTED, on, None
        return self.tell(ReportSubmitted)

    def take_up(self) -> ReportTakenUp:
        if self.state is not ReportState.SUBMITTED:
            raise Conflict(f"Only a submitted report can be taken up for review; this one is {self.state}.")
        self.state = ReportState.IN_REVIEW
        return self.tell(ReportTakenUp)

    def send_back(self, reason: str) -> ReportSentBack:
        if self.state is not ReportState.IN_REVIEW:
            raise Conflict(f"Only a report in review can be sent back; this one is {self.state}.")
        self.state, self.reason = ReportState.SENT_BACK, reason
        return self.tell(ReportSentBack)

    def withdraw(self, reason: str) -> ReportWithdrawn:
        if self.state not in (ReportState.DRAFT, ReportState.SUBMITTED, ReportState.SENT_BACK):
            raise Conflict(f"A report can be withdrawn until review starts; this one is {self.state}.")
        self.state, self.reason = ReportState.WITHDRAWN, reason
        return self.tell(ReportWithdrawn)

    def accept(self, on: date) -> ReportAccepted:
        if self.state is not ReportState.IN_REVIEW:
            raise Conflict(f"Only a report in review can be accepted; this one is {self.state}.")
        self.state, self.accepted_on = ReportState.ACCEPTED, on
        return self.tell(ReportAccepted)


class ClaimFields(Value):
    """What is said of one action, as it stood on a day."""

    action_id: UUID
    implementation: Implementation
    confidence: Confidence = Confidence.NO_STATUS
    status_on: Day | None = None
    """The day that the claim describes; today when left out."""
    explanation: Text | None = None


class Claims(Value):
    claims: list[ClaimFields] = Field(min_length=1, max_length=200)


class DraftReport(Claims, Begin):
    round_id: UUID


class ReviseReport(Claims, Command):
    pass


class SubmitReport(Command):
    pass


class TakeUpReport(Command):
    pass


class SendBackReport(Command):
    reason: Prose


class WithdrawReport(Command):
    reason: Prose


class AcceptReport(Command):
    pass


async def draft(session: AsyncSession, command: DraftReport) -> Report:
    await must_exist(session, Round, command.round_id, "/roundId")
    (await session.get_one(Round, command.round_id)).must_be_open()
    partner_id = await partner_of(session, work(session).actor.organisation)
    claims = await _checked(session, command, partner_id)
    plain = command.model_copy(update={"claims": claims})
    report = await begin(session, Report, plain, partner_id=partner_id, state=ReportState.DRAFT)
    await outbox.add(session, report.tell(ReportDrafted))
    return report


async def revise(session: AsyncSession, id: UUID, command: ReviseReport) -> Report:
    report = await _own(session, id, command)
    await outbox.add(session, report.revise(await _checked(session, command, report.partner_id)))
    return report


async def submit(session: AsyncSession, id: UUID, command: SubmitReport) -> Report:
    report = await _own(session, id, command)
    (await session.get_one(Round, report.round_id)).must_be_open()
    today = work(session).today
    await outbox.add(session, report.submit(today))
    await rounds.meet(session, report.round_id, report.partner_id, today)
    return report


async def withdraw(session: AsyncSession, id: UUID, command: WithdrawReport) -> Report:
    report = await _own(session, id, command)
    await outbox.add(session, report.withdraw(command.reason))
    return report


async def take_up(session: AsyncSession, id: UUID, command: TakeUpReport) -> Report:
    report = await _not_own(session, id, command)
    await outbox.add(session, report.take_up())
    return report


async def send_back(session: AsyncSession, id: UUID, command: SendBackReport) -> Report:
    report = await _not_own(session, id, command)
    await outbox.add(session, report.send_back(command.reason))
    return report


async def accept(session: AsyncSession, id: UUID, command: AcceptReport) -> Report:
    report = await _not_own(session, id, command)
    await outbox.add(session, report.accept(work(session).today))
    return report


async def read(session: AsyncSession, id: UUID, caller: Caller) -> Report:
    """A report; a draft, or one that was withdrawn, is seen inside its organisation only."""
    report = await find(session, Report, id)
    if report.state in INSIDE and report.partner_id != await partner_called(session, caller.organisation):
        session.info.pop("subject", None)
        raise NotFound("There is no report with this id.")
    return report


async def listed(
    session: AsyncSession,
    page: Page,
    caller: Caller,
    external_id: str | None,
    round_id: UUID | None,
    partner_id: UUID | None,
    state: ReportState | None,
) -> Slice[Report]:
    """Reports, without what other organisations keep inside."""
    own = await partner_called(session, caller.organisation)
    where = [*called(Report, external_id), Report.state.not_in(INSIDE) | (Report.partner_id == own)]
    if round_id is not None:
        where.append(Report.round_id == round_id)
    if partner_id is not None:
        where.append(Report.partner_id == partner_id)
    if state is not None:
        where.append(Report.state == state)
    return await page_of(session, Report, page, *where)


async def _own(session: AsyncSession, id: UUID, command: Command) -> Report:
    """Partners write only for themselves; another's report is not there for them."""
    report = await find(session, Report, id)
    if report.partner_id != await partner_of(session, work(session).actor.organisation):
        raise NotFound("Your organisation has no report with this id.")
    return await find(session, Report, id, command)


async def _not_own(session: AsyncSession, id: UUID, command: Command) -> Report:
    """Nobody reviews the report of its own organisation; the secretariat does that for the coordinator's."""
    report = await find(session, Report, id)
    if report.state is ReportState.DRAFT:
        raise NotFound("There is no submitted report with this id.")
    if report.partner_id == await partner_of(session, work(session).actor.organisation):
        raise Forbidden("A report is not reviewed by the organisation that made it; the Task Force secretariat does.")
    return await find(session, Report, id, command)


async def _checked(session: AsyncSession, command: Claims, partner_id: UUID) -> list[Claim]:
    """The claims, each on an action that the partner leads or contributes to, no two on the same one."""
    today = work(session).today
    ids = [claim.action_id for claim in command.claims]
    if len(set(ids)) != len(ids):
        raise Invalid("Two claims are about the same action; make one of them.", field="/claims")
    actions = await actions_known(session, ids, "/claims")
    checked = []
    for number, claim in enumerate(command.claims):
        if partner_id not in actions[claim.action_id].named():
            raise Forbidden(
                f"Your organisation neither leads nor contributes to {actions[claim.action_id].reference}.",
                field=f"/claims/{number}/actionId",
            )
        if claim.status_on is not None and claim.status_on > today:
            raise Invalid("A claim describes today or an earlier day.", field=f"/claims/{number}/statusOn")
        checked.append(Claim(**(claim.model_dump() | {"status_on": claim.status_on or today})))
    return checked
