"""Actions: what is done, by whom, by when; and every change to that."""

from uuid import UUID

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import ForeignKey, or_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.programme.base import Base
from services.programme.known import must_hold
from services.programme.partners import must_all_exist
from services.programme.plans import ActionLine, Programme
from shared import outbox
from shared.database import Begin, Command, Entity, Json, Page, Slice, begin, called, find, must_exist, page_of
from shared.errors import Conflict, Invalid
from shared.events.event import Precision
from shared.events.programme import (
    ActionAssigned,
    ActionClassified,
    ActionCompleted,
    ActionDescribed,
    ActionDropped,
    ActionHeld,
    ActionNoted,
    ActionPlanned,
    ActionRescheduled,
    ActionStarted,
    ActionState,
    ObligationLevel,
)
from shared.events.recommendations import Classification, Vocabulary
from shared.texts import Citations, Codes, DatedNote, Day, Evidence, Prose, Sourced, Text, Value

ENDED = (ActionState.COMPLETED, ActionState.DROPPED, ActionState.MERGED)


class Action(Entity, Base):
    __tablename__ = "action"
    prefix = "ACT"

    programme_id: Mapped[UUID] = mapped_column(ForeignKey("programme.id"))
    action_line_id: Mapped[UUID | None] = mapped_column(ForeignKey("action_line.id"))
    name: Mapped[Text] = mapped_column(Json(Text))
    summary: Mapped[Text | None] = mapped_column(Json(Text))
    lead_id: Mapped[UUID | None] = mapped_column(ForeignKey("partner.id"))
    lead_undecided: Mapped[list[UUID]]
    lead_basis: Mapped[Evidence]
    contributors: Mapped[list[UUID]]
    obligation_level: Mapped[ObligationLevel | None]
    state: Mapped[ActionState]
    starts_on: Mapped[Day | None]
    starts_on_precision: Mapped[Precision]
    due_on: Mapped[Day | None]
    due_on_precision: Mapped[Precision]
    first_due_on: Mapped[Day | None]
    domains: Mapped[list[str]]
    forms: Mapped[list[str]]
    goals: Mapped[list[str]]
    classification: Mapped[Classification]
    dated_notes: Mapped[list[DatedNote]] = mapped_column(Json(list[DatedNote]))
    basis: Mapped[Evidence]
    citations: Mapped[Citations] = mapped_column(Json(Citations))
    notes: Mapped[str | None]

    def start(self) -> ActionStarted:
        if self.state not in (ActionState.PLANNED, ActionState.ON_HOLD):
            raise Conflict(f"Only a planned or held action can start; this one is {self.state}.")
        self.state = ActionState.ACTIVE
        return self.tell(ActionStarted)

    def hold(self, reason: str) -> ActionHeld:
        if self.state is not ActionState.ACTIVE:
            raise Conflict(f"Only an active action can be put on hold; this one is {self.state}.")
        self.state = ActionState.ON_HOLD
        return self.tell(ActionHeld, reason=reason)

    def complete(self) -> ActionCompleted:
        self._must_go_on()
        self.state = ActionState.COMPLETED
        return self.tell(ActionCompleted)

    def drop(self, reason: str) -> ActionDropped:
        self._must_go_on()
        self.state = ActionState.DROPPED
        return self.tell(ActionDropped, reason=reason)

    def reschedule(self, command: "RescheduleAction") -> ActionRescheduled:
        """Move the due day; the first one stays visible."""
        self._must_go_on()
        if self.starts_on is not None and command.due_on < self.starts_on:
            raise Invalid(f"The action starts on {self.starts_on}; it cannot be due before that.", field="/dueOn")
        self.due_on, self.due_on_precision = command.due_on, command.due_on_precision
        self.first_due_on = self.first_due_on or command.due_on
        return self.tell(ActionRescheduled, reason=command.reason)

    def assign(self, command: "AssignAction") -> ActionAssigned:
        self._must_go_on()
        self.lead_id, self.lead_undecided = command.lead_id, list(command.lead_undecided)
        self.contributors, self.lead_basis = list(command.contributors), command.lead_basis
        return self.tell(ActionAssigned, reason=command.reason)

    def classify(self, command: "ClassifyAction") -> ActionClassified:
        self.domains, self.forms, self.goals = list(command.domains), list(command.forms), list(command.goals)
        self.classification = command.classification
        return self.tell(ActionClassified)

    def describe(self, command: "DescribeAction") -> ActionDescribed:
        self.name = command.name
        if command.summary is not None:
            self.summary = command.summary
        return self.tell(ActionDescribed)

    def note(self, note: DatedNote) -> ActionNoted:
        self.dated_notes = [*self.dated_notes, note]
        return self.tell(ActionNoted, note=note)

    def _must_go_on(self) -> None:
        if self.state in ENDED:
            raise Conflict(f"This action is {self.state}.")


class Leads(Value):
    """Who leads: one partner, nobody yet (a gap), or several named and none picked."""

    lead_id: UUID | None = None
    lead_undecided: list[UUID] = Field(default_factory=list, max_length=20)
    lead_basis: Evidence = Evidence.READ
    contributors: list[UUID] = Field(default_factory=list, max_length=100)

    @model_validator(mode="after")
    def _one_or_undecided(self) -> "Leads":
        if self.lead_id is not None and self.lead_undecided:
            raise PydanticCustomError("lead_and_undecided", "Give a leadId, or leadUndecided, not both.")
        if len(self.lead_undecided) == 1:
            raise PydanticCustomError("one_undecided", "With one partner named there is nothing undecided: leadId.")
        return self

    def named(self) -> list[UUID]:
        return [*([self.lead_id] if self.lead_id else []), *self.lead_undecided, *self.contributors]


class ActionFields(Sourced, Leads):
    programme_id: UUID
    action_line_id: UUID | None = None
    name: Text
    summary: Text | None = None
    obligation_level: ObligationLevel | None = None
    starts_on: Day | None = None
    starts_on_precision: Precision = Precision.DAY
    due_on: Day | None = None
    due_on_precision: Precision = Precision.DAY
    domains: Codes = Field(default_factory=list)
    forms: Codes = Field(default_factory=list)
    goals: Codes = Field(default_factory=list)
    classification: Classification = Classification.STATED
    dated_notes: list[DatedNote] = Field(default_factory=list, max_length=50)


class PlanAction(ActionFields, Begin):
    """An action of the programme; it is planned until it starts."""

    @model_validator(mode="after")
    def _due_after_start(self) -> "PlanAction":
        if self.starts_on and self.due_on and self.due_on < self.starts_on:
            raise PydanticCustomError("due_before_start", "An action cannot be due before it starts.")
        return self


class StartAction(Command):
    pass


class CompleteAction(Command):
    pass


class HoldAction(Command):
    reason: Prose


class DropAction(Command):
    reason: Prose


class RescheduleAction(Command):
    due_on: Day
    due_on_precision: Precision = Precision.DAY
    reason: Prose


class AssignAction(Command, Leads):
    reason: Prose


class ClassifyAction(Command):
    domains: Codes
    forms: Codes = Field(default_factory=list)
    goals: Codes = Field(default_factory=list)
    classification: Classification = Classification.STATED


class DescribeAction(Command):
    name: Text
    summary: Text | None = None


class NoteAction(Command):
    note: DatedNote


async def plan(session: AsyncSession, command: PlanAction) -> Action:
    await must_exist(session, Programme, command.programme_id, "/programmeId")
    await must_exist(session, ActionLine, command.action_line_id, "/actionLineId")
    await must_all_exist(session, command.named(), "/leadId")
    await _must_hold_all(session, command)
    action = await begin(session, Action, command, state=ActionState.PLANNED, first_due_on=command.due_on)
    await outbox.add(session, action.tell(ActionPlanned))
    return action


async def start(session: AsyncSession, id: UUID, command: StartAction) -> Action:
    action = await find(session, Action, id, command)
    await outbox.add(session, action.start())
    return action


async def hold(session: AsyncSession, id: UUID, command: HoldAction) -> Action:
    action = await find(session, Action, id, command)
    await outbox.add(session, action.hold(command.reason))
    return action


async def complete(session: AsyncSession, id: UUID, command: CompleteAction) -> Action:
    action = await find(session, Action, id, command)
    await outbox.add(session, action.complete())
    return action


async def drop(session: AsyncSession, id: UUID, command: DropAction) -> Action:
    action = await find(session, Action, id, command)
    await outbox.add(session, action.drop(command.reason))
    return action


async def reschedule(session: AsyncSession, id: UUID, command: RescheduleAction) -> Action:
    action = await find(session, Action, id, command)
    await outbox.add(session, action.reschedule(command))
    return action


async def assign(session: AsyncSession, id: UUID, command: AssignAction) -> Action:
    action = await find(session, Action, id, command)
    await must_all_exist(session, command.named(), "/leadId")
    await outbox.add(session, action.assign(command))
    return action


async def classify(session: AsyncSession, id: UUID, command: ClassifyAction) -> Action:
    action = await find(session, Action, id, command)
    await _must_hold_all(session, command)
    await outbox.add(session, action.classify(command))
    return action


async def describe(session: AsyncSession, id: UUID, command: DescribeAction) -> Action:
    action = await find(session, Action, id, command)
    await outbox.add(session, action.describe(command))
    return action


async def note(session: AsyncSession, id: UUID, command: NoteAction) -> Action:
    action = await find(session, Action, id, command)
    await outbox.add(session, action.note(command.note))
    return action


async def _must_hold_all(session: AsyncSession, placed: PlanAction | ClassifyAction) -> None:
    await must_hold(session, Vocabulary.DOMAIN, placed.domains, "/domains")
    await must_hold(session, Vocabulary.FORM, placed.forms, "/forms")
    await must_hold(session, Vocabulary.GOAL, placed.goals, "/goals")


async def listed(
    session: AsyncSession, page: Page, external_id: str | None, partner_id: UUID | None, state: ActionState | None
) -> Slice[Action]:
    where = called(Action, external_id)
    if partner_id is not None:
        where.append(or_(Action.lead_id == partner_id, Action.contributors.contains([partner_id])))
    if state is not None:
        where.append(Action.state == state)
    return await page_of(session, Action, page, *where)
