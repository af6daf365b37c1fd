"""Every route of `programme`; each is one line that calls a noun."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from services.programme import actions, links, partners, plans
from services.programme.actions import (
    Action,
    ActionFields,
    AssignAction,
    ClassifyAction,
    CompleteAction,
    DescribeAction,
    DropAction,
    HoldAction,
    NoteAction,
    PlanAction,
    RescheduleAction,
    StartAction,
)
from services.programme.links import (
    ConfirmLink,
    DeclareSufficient,
    DisputeLink,
    EndLink,
    Link,
    LinkFields,
    ProposeLink,
)
from services.programme.partners import DescribePartner, EndPartner, Partner, PartnerFields, RegisterPartner
from services.programme.plans import (
    ActionLine,
    ActionLineFields,
    AdoptProgramme,
    DrawActionLine,
    Programme,
    ProgrammeFields,
)
from shared.access import Function, needs
from shared.database import called, find, page_of
from shared.events.programme import ActionState, LinkState, PartnerKind
from shared.http import Door, EntityOut, ExternalId, Listing, Paging, Session
from shared.texts import Code, DatedNote, Day

router = APIRouter(route_class=Door)

KEEPS_PLAN = needs(Function.COORDINATOR)
PROPOSES = needs(Function.COORDINATOR, Function.SECRETARIAT, Function.REPORTER, Function.ALTERNATE)
JUDGES_LINKS = needs(Function.COORDINATOR, Function.SECRETARIAT)


class PartnerOut(PartnerFields, EntityOut):
    ended_on: Day | None


class ProgrammeOut(ProgrammeFields, EntityOut):
    pass


class ActionLineOut(ActionLineFields, EntityOut):
    pass


class ActionOut(ActionFields, EntityOut):
    state: ActionState
    first_due_on: Day | None
    dated_notes: list[DatedNote]
    """Without the limit that planning has: notes are added one by one, for ever."""


class LinkOut(LinkFields, EntityOut):
    state: LinkState
    jointly_sufficient: bool
    proposed_by: str
    confirmed_by: str | None


@router.post("/partners", status_code=201, dependencies=[KEEPS_PLAN], response_model=PartnerOut)
async def register_partner(command: RegisterPartner, session: Session) -> Partner:
    return await partners.register(session, command)


@router.get("/partners", response_model=Listing[PartnerOut])
async def list_partners(
    session: Session,
    page: Paging,
    external_id: ExternalId = None,
    code: Code | None = None,
    kind: PartnerKind | None = None,
) -> object:
    return await partners.listed(session, page, external_id, code, kind)


@router.get("/partners/{id}", response_model=PartnerOut)
async def read_partner(id: UUID, session: Session) -> Partner:
    return await find(session, Partner, id)


@router.patch("/partners/{id}", dependencies=[KEEPS_PLAN], response_model=PartnerOut)
async def describe_partner(id: UUID, command: DescribePartner, session: Session) -> Partner:
    return await partners.describe(session, id, command)


@router.post("/partners/{id}/_end", dependencies=[KEEPS_PLAN], response_model=PartnerOut)
async def end_partner(id: UUID, command: EndPartner, session: Session) -> Partner:
    return await partners.end(session, id, command)


@router.post("/programmes", status_code=201, dependencies=[KEEPS_PLAN], response_model=ProgrammeOut)
async def adopt_programme(command: AdoptProgramme, session: Session) -> Programme:
    return await plans.adopt(session, command)


@router.get("/programmes", response_model=Listing[ProgrammeOut])
async def list_programmes(session: Session, page: Paging, external_id: ExternalId = None) -> object:
    return await page_of(session, Programme, page, *called(Programme, external_id))


@router.get("/programmes/{id}", response_model=ProgrammeOut)
async def read_programme(id: UUID, session: Session) -> Programme:
    return await find(session, Programme, id)


@router.post("/action-lines", status_code=201, dependencies=[KEEPS_PLAN], response_model=ActionLineOut)
async def draw_action_line(command: DrawActionLine, session: Session) -> ActionLine:
    return await plans.draw_line(session, command)


@router.get("/action-lines", response_model=Listing[ActionLineOut])
async def list_action_lines(session: Session, page: Paging, external_id: ExternalId = None) -> object:
    return await page_of(session, ActionLine, page, *called(ActionLine, external_id))


@router.get("/action-lines/{id}", response_model=ActionLineOut)
async def read_action_line(id: UUID, session: Session) -> ActionLine:
    return await find(session, ActionLine, id)


@router.post("/actions", status_code=201, dependencies=[KEEPS_PLAN], response_model=ActionOut)
async def plan_action(command: PlanAction, session: Session) -> Action:
    return await actions.plan(session, command)


@router.get("/actions", response_model=Listing[ActionOut])
async def list_actions(
    session: Session,
    page: Paging,
    external_id: ExternalId = None,
    partner_id: Annotated[UUID | None, Query(alias="partnerId", description="Leads or contributes.")] = None,
    state: ActionState | None = None,
) -> object:
    return await actions.listed(session, page, external_id, partner_id, state)


@router.get("/actions/{id}", response_model=ActionOut)
async def read_action(id: UUID, session: Session) -> Action:
    return await find(session, Action, id)


@router.patch("/actions/{id}", dependencies=[KEEPS_PLAN], response_model=ActionOut)
async def describe_action(id: UUID, command: DescribeAction, session: Session) -> Action:
    return await actions.describe(session, id, command)


@router.post("/actions/{id}/_start", dependencies=[KEEPS_PLAN], response_model=ActionOut)
async def start_action(id: UUID, command: StartAction, session: Session) -> Action:
    return await actions.start(session, id, command)


@router.post("/actions/{id}/_hold", dependencies=[KEEPS_PLAN], response_model=ActionOut)
async def hold_action(id: UUID, command: HoldAction, session: Session) -> Action:
    return await actions.hold(session, id, command)


@router.post("/actions/{id}/_complete", dependencies=[KEEPS_PLAN], response_model=ActionOut)
async def complete_action(id: UUID, command: CompleteAction, session: Session) -> Action:
    return await actions.complete(session, id, command)


@router.post("/actions/{id}/_drop", dependencies=[KEEPS_PLAN], response_model=ActionOut)
async def drop_action(id: UUID, command: DropAction, session: Session) -> Action:
    return await actions.drop(session, id, command)


@router.post("/actions/{id}/_reschedule", dependencies=[KEEPS_PLAN], response_model=ActionOut)
async def reschedule_action(id: UUID, command: RescheduleAction, session: Session) -> Action:
    return await actions.reschedule(session, id, command)


@router.post("/actions/{id}/_assign", dependencies=[KEEPS_PLAN], response_model=ActionOut)
async def assign_action(id: UUID, command: AssignAction, session: Session) -> Action:
    return await actions.assign(session, id, command)


@router.post("/actions/{id}/_classify", dependencies=[KEEPS_PLAN], response_model=ActionOut)
async def classify_action(id: UUID, command: ClassifyAction, session: Session) -> Action:
    return await actions.classify(session, id, command)


@router.post("/actions/{id}/_note", dependencies=[KEEPS_PLAN], response_model=ActionOut)
async def note_action(id: UUID, command: NoteAction, session: Session) -> Action:
    return await actions.note(session, id, command)


@router.post("/links", status_code=201, dependencies=[PROPOSES], response_model=LinkOut)
async def propose_link(command: ProposeLink, session: Session) -> Link:
    return await links.propose(session, command)


@router.get("/links", response_model=Listing[LinkOut])
async def list_links(
    session: Session,
    page: Paging,
    external_id: ExternalId = None,
    action_id: Annotated[UUID | None, Query(alias="actionId")] = None,
    recommendation_id: Annotated[UUID | None, Query(alias="recommendationId")] = None,
    state: LinkState | None = None,
) -> object:
    return await links.listed(session, page, external_id, action_id, recommendation_id, state)


@router.get("/links/{id}", response_model=LinkOut)
async def read_link(id: UUID, session: Session) -> Link:
    return await find(session, Link, id)


@router.post("/links/{id}/_confirm", dependencies=[JUDGES_LINKS], response_model=LinkOut)
async def confirm_link(id: UUID, command: ConfirmLink, session: Session) -> Link:
    return await links.confirm(session, id, command)


@router.post("/links/{id}/_dispute", dependencies=[PROPOSES], response_model=LinkOut)
async def dispute_link(id: UUID, command: DisputeLink, session: Session) -> Link:
    return await links.dispute(session, id, command)


@router.post("/links/{id}/_end", dependencies=[JUDGES_LINKS], response_model=LinkOut)
async def end_link(id: UUID, command: EndLink, session: Session) -> Link:
    return await links.end(session, id, command)


@router.post("/links/{id}/_declare-sufficient", dependencies=[JUDGES_LINKS], response_model=LinkOut)
async def declare_link_sufficient(id: UUID, command: DeclareSufficient, session: Session) -> Link:
    return await links.declare_sufficient(session, id, command)
