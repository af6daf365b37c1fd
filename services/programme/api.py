"""Every route of `programme`; each is one line that calls a noun."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from services.programme import actions, appointments, clients, links, partners, plans, tokens
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
from services.programme.appointments import AppointFunction, Appointment, EndAppointment
from services.programme.clients import (
    ApiKey,
    Client,
    ClientFields,
    GrantClient,
    IssueKey,
    RegisterClient,
    RevokeClient,
    RevokeKey,
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
from shared.database import Page, called, find, page_of
from shared.events.programme import ActionState, LinkState, PartnerKind
from shared.gate import Function
from shared.http import Counter, Door, EntityOut, ExternalId, Listing, Paging, Session, paging
from shared.oauth import TOKEN_REQUEST, Granted, Issuer, KeyShown, MintHere
from shared.texts import Code, DatedNote, Day

router = APIRouter(route_class=Door)
counter = APIRouter(route_class=Counter)
"""Where keys are exchanged: no fact comes of it."""


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


class ClientOut(ClientFields, EntityOut):
    client_id: str
    revoked_on: Day | None


class KeyOut(EntityOut):
    client: UUID
    begins_with: str
    scopes: list[str]
    expires_on: Day
    revoked_on: Day | None
    last_used_at: datetime | None


class NewKey(KeyOut):
    key: str | None
    """The key itself, shown this once; in a repeated answer it is null."""


class AppointmentOut(EntityOut):
    holder: str
    partner_id: UUID
    function: Function
    ends_on: Day | None


@router.post("/partners", status_code=201, response_model=PartnerOut)
async def register_partner(command: RegisterPartner, session: Session) -> Partner:
    return await partners.register(session, command)


@router.get("/partners", response_model=Listing[PartnerOut])
async def list_partners(
    session: Session,
    page: Annotated[Page, paging("code")],
    external_id: ExternalId = None,
    code: Annotated[Code | None, Query(description="The one with this code.")] = None,
    kind: Annotated[PartnerKind | None, Query(description="Those of this kind.")] = None,
) -> object:
    return await partners.listed(session, page, external_id, code, kind)


@router.get("/partners/{id}", response_model=PartnerOut)
async def read_partner(id: UUID, session: Session) -> Partner:
    return await find(session, Partner, id)


@router.patch("/partners/{id}", response_model=PartnerOut)
async def describe_partner(id: UUID, command: DescribePartner, session: Session) -> Partner:
    return await partners.describe(session, id, command)


@router.post("/partners/{id}/_end", response_model=PartnerOut)
async def end_partner(id: UUID, command: EndPartner, session: Session) -> Partner:
    return await partners.end(session, id, command)


@router.post("/programmes", status_code=201, response_model=ProgrammeOut)
async def adopt_programme(command: AdoptProgramme, session: Session) -> Programme:
    return await plans.adopt(session, command)


@router.get("/programmes", response_model=Listing[ProgrammeOut])
async def list_programmes(session: Session, page: Paging, external_id: ExternalId = None) -> object:
    return await page_of(session, Programme, page, *called(Programme, external_id))


@router.get("/programmes/{id}", response_model=ProgrammeOut)
async def read_programme(id: UUID, session: Session) -> Programme:
    return await find(session, Programme, id)


@router.post("/action-lines", status_code=201, response_model=ActionLineOut)
async def draw_action_line(command: DrawActionLine, session: Session) -> ActionLine:
    return await plans.draw_line(session, command)


@router.get("/action-lines", response_model=Listing[ActionLineOut])
async def list_action_lines(session: Session, page: Paging, external_id: ExternalId = None) -> object:
    return await page_of(session, ActionLine, page, *called(ActionLine, external_id))


@router.get("/action-lines/{id}", response_model=ActionLineOut)
async def read_action_line(id: UUID, session: Session) -> ActionLine:
    return await find(session, ActionLine, id)


@router.post("/actions", status_code=201, response_model=ActionOut)
async def plan_action(command: PlanAction, session: Session) -> Action:
    return await actions.plan(session, command)


@router.get("/actions", response_model=Listing[ActionOut])
async def list_actions(
    session: Session,
    page: Annotated[Page, paging("startsOn", "dueOn")],
    external_id: ExternalId = None,
    partner_id: Annotated[UUID | None, Query(alias="partnerId", description="Leads or contributes.")] = None,
    state: Annotated[ActionState | None, Query(description="Those in this state.")] = None,
) -> object:
    return await actions.listed(session, page, external_id, partner_id, state)


@router.get("/actions/{id}", response_model=ActionOut)
async def read_action(id: UUID, session: Session) -> Action:
    return await find(session, Action, id)


@router.patch("/actions/{id}", response_model=ActionOut)
async def describe_action(id: UUID, command: DescribeAction, session: Session) -> Action:
    return await actions.describe(session, id, command)


@router.post("/actions/{id}/_start", response_model=ActionOut)
async def start_action(id: UUID, command: StartAction, session: Session) -> Action:
    return await actions.start(session, id, command)


@router.post("/actions/{id}/_hold", response_model=ActionOut)
async def hold_action(id: UUID, command: HoldAction, session: Session) -> Action:
    return await actions.hold(session, id, command)


@router.post("/actions/{id}/_complete", response_model=ActionOut)
async def complete_action(id: UUID, command: CompleteAction, session: Session) -> Action:
    return await actions.complete(session, id, command)


@router.post("/actions/{id}/_drop", response_model=ActionOut)
async def drop_action(id: UUID, command: DropAction, session: Session) -> Action:
    return await actions.drop(session, id, command)


@router.post("/actions/{id}/_reschedule", response_model=ActionOut)
async def reschedule_action(id: UUID, command: RescheduleAction, session: Session) -> Action:
    return await actions.reschedule(session, id, command)


@router.post("/actions/{id}/_assign", response_model=ActionOut)
async def assign_action(id: UUID, command: AssignAction, session: Session) -> Action:
    return await actions.assign(session, id, command)


@router.post("/actions/{id}/_classify", response_model=ActionOut)
async def classify_action(id: UUID, command: ClassifyAction, session: Session) -> Action:
    return await actions.classify(session, id, command)


@router.post("/actions/{id}/_note", response_model=ActionOut)
async def note_action(id: UUID, command: NoteAction, session: Session) -> Action:
    return await actions.note(session, id, command)


@router.post("/links", status_code=201, response_model=LinkOut)
async def propose_link(command: ProposeLink, session: Session) -> Link:
    return await links.propose(session, command)


@router.get("/links", response_model=Listing[LinkOut])
async def list_links(
    session: Session,
    page: Paging,
    external_id: ExternalId = None,
    action_id: Annotated[UUID | None, Query(alias="actionId", description="Those of this action.")] = None,
    recommendation_id: Annotated[
        UUID | None, Query(alias="recommendationId", description="Those to this recommendation.")
    ] = None,
    state: Annotated[LinkState | None, Query(description="Those in this state.")] = None,
) -> object:
    return await links.listed(session, page, external_id, action_id, recommendation_id, state)


@router.get("/links/{id}", response_model=LinkOut)
async def read_link(id: UUID, session: Session) -> Link:
    return await find(session, Link, id)


@router.post("/links/{id}/_confirm", response_model=LinkOut)
async def confirm_link(id: UUID, command: ConfirmLink, session: Session) -> Link:
    return await links.confirm(session, id, command)


@router.post("/links/{id}/_dispute", response_model=LinkOut)
async def dispute_link(id: UUID, command: DisputeLink, session: Session) -> Link:
    return await links.dispute(session, id, command)


@router.post("/links/{id}/_end", response_model=LinkOut)
async def end_link(id: UUID, command: EndLink, session: Session) -> Link:
    return await links.end(session, id, command)


@router.post("/links/{id}/_declare-sufficient", response_model=LinkOut)
async def declare_link_sufficient(id: UUID, command: DeclareSufficient, session: Session) -> Link:
    return await links.declare_sufficient(session, id, command)


@router.post("/clients", status_code=201, response_model=ClientOut)
async def register_client(command: RegisterClient, session: Session) -> Client:
    return await clients.register(session, command)


@router.get("/clients", response_model=Listing[ClientOut])
async def list_clients(
    session: Session,
    page: Paging,
    external_id: ExternalId = None,
    partner_id: Annotated[UUID | None, Query(alias="partnerId", description="Those of this partner.")] = None,
) -> object:
    return await clients.listed(session, page, external_id, partner_id)


@router.get("/clients/{id}", response_model=ClientOut)
async def read_client(id: UUID, session: Session) -> Client:
    return await find(session, Client, id)


@router.post("/clients/{id}/_grant", response_model=ClientOut)
async def grant_client(id: UUID, command: GrantClient, session: Session) -> Client:
    return await clients.grant(session, id, command)


@router.post("/clients/{id}/_revoke", response_model=ClientOut)
async def revoke_client(id: UUID, command: RevokeClient, session: Session) -> Client:
    return await clients.revoke(session, id, command)


@router.post("/keys", status_code=201, response_model=NewKey)
async def issue_key(command: IssueKey, session: Session) -> object:
    return await clients.issue(session, command)


@router.get("/keys", response_model=Listing[KeyOut])
async def list_keys(
    session: Session,
    page: Annotated[Page, paging("expiresOn")],
    client: Annotated[UUID | None, Query(description="Those of this client.")] = None,
) -> object:
    return await clients.keys(session, page, client)


@router.get("/keys/{id}", response_model=KeyOut)
async def read_key(id: UUID, session: Session) -> ApiKey:
    return await find(session, ApiKey, id)


@router.post("/keys/{id}/_revoke", response_model=KeyOut)
async def revoke_key(id: UUID, command: RevokeKey, session: Session) -> ApiKey:
    return await clients.revoke_key(session, id, command)


@router.post("/appointments", status_code=201, response_model=AppointmentOut)
async def appoint_function(command: AppointFunction, session: Session, issuer: Issuer) -> Appointment:
    return await appointments.appoint(session, command, issuer)


@router.get("/appointments", response_model=Listing[AppointmentOut])
async def list_appointments(
    session: Session,
    page: Paging,
    external_id: ExternalId = None,
    partner_id: Annotated[UUID | None, Query(alias="partnerId", description="Those of this partner.")] = None,
) -> object:
    return await appointments.listed(session, page, external_id, partner_id)


@router.get("/appointments/{id}", response_model=AppointmentOut)
async def read_appointment(id: UUID, session: Session) -> Appointment:
    return await find(session, Appointment, id)


@router.post("/appointments/{id}/_end", response_model=AppointmentOut)
async def end_appointment(id: UUID, command: EndAppointment, session: Session) -> Appointment:
    return await appointments.end(session, id, command)


@counter.post("/token", response_model=Granted, openapi_extra=TOKEN_REQUEST)
async def exchange_key(shown: KeyShown, session: Session, mint: MintHere) -> Granted:
    return await tokens.exchange(session, shown, mint)


@counter.get("/jwks")
async def read_signing_keys(mint: MintHere) -> dict[str, Any]:
    """The public keys of the tokens that are given here (RFC 7517)."""
    return mint.published()
