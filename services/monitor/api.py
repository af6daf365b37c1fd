"""Every route of `monitor`; each is one line that calls a noun."""

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from services.monitor import assessments, forms, reports, rounds
from services.monitor.assessments import Assessment, AssessmentFields, AssessUptake
from services.monitor.reports import (
    AcceptReport,
    DraftReport,
    Report,
    ReviseReport,
    SendBackReport,
    SubmitReport,
    TakeUpReport,
    WithdrawReport,
)
from services.monitor.rounds import (
    CloseRound,
    ExtendObligation,
    ImposeObligation,
    Obligation,
    OpenRound,
    PlanRound,
    Round,
    RoundFields,
    WaiveObligation,
)
from shared.access import By
from shared.database import Page, find
from shared.events.monitor import Claim, ReportState, RoundState
from shared.http import Door, EntityOut, ExternalId, Listing, Paging, Session, paging
from shared.sheets import XLSX

router = APIRouter(route_class=Door)


class RoundOut(RoundFields, EntityOut):
    state: RoundState


class ObligationOut(EntityOut):
    round_id: UUID
    partner_id: UUID
    due_on: date
    first_due_on: date
    met_on: date | None
    waived: bool


class ReportOut(EntityOut):
    round_id: UUID
    partner_id: UUID
    claims: list[Claim]
    state: ReportState
    reason: str | None
    submitted_on: date | None
    accepted_on: date | None


class AssessmentOut(AssessmentFields, EntityOut):
    assessed_by: str


@router.post("/rounds", status_code=201, response_model=RoundOut)
async def plan_round(command: PlanRound, session: Session) -> Round:
    return await rounds.plan(session, command)


@router.get("/rounds", response_model=Listing[RoundOut])
async def list_rounds(
    session: Session,
    page: Annotated[Page, paging("opensOn", "dueOn", "closesOn")],
    external_id: ExternalId = None,
    state: Annotated[RoundState | None, Query(description="Those in this state.")] = None,
) -> object:
    return await rounds.listed(session, page, external_id, state)


@router.get("/rounds/{id}", response_model=RoundOut)
async def read_round(id: UUID, session: Session) -> Round:
    return await find(session, Round, id)


@router.post("/rounds/{id}/_open", response_model=RoundOut)
async def open_round(id: UUID, command: OpenRound, session: Session) -> Round:
    return await rounds.open_round(session, id, command)


@router.post("/rounds/{id}/_close", response_model=RoundOut)
async def close_round(id: UUID, command: CloseRound, session: Session) -> Round:
    return await rounds.close_round(session, id, command)


@router.post("/obligations", status_code=201, response_model=ObligationOut)
async def impose_obligation(command: ImposeObligation, session: Session) -> Obligation:
    return await rounds.impose(session, command)


@router.get("/obligations", response_model=Listing[ObligationOut])
async def list_obligations(
    session: Session,
    page: Annotated[Page, paging("dueOn", "metOn")],
    round_id: Annotated[UUID | None, Query(alias="roundId", description="Those in this round.")] = None,
    partner_id: Annotated[UUID | None, Query(alias="partnerId", description="Those of this partner.")] = None,
) -> object:
    return await rounds.obligations(session, page, round_id, partner_id)


@router.get("/obligations/{id}", response_model=ObligationOut)
async def read_obligation(id: UUID, session: Session) -> Obligation:
    return await find(session, Obligation, id)


@router.post("/obligations/{id}/_extend", response_model=ObligationOut)
async def extend_obligation(id: UUID, command: ExtendObligation, session: Session) -> Obligation:
    return await rounds.extend(session, id, command)


@router.post("/obligations/{id}/_waive", response_model=ObligationOut)
async def waive_obligation(id: UUID, command: WaiveObligation, session: Session) -> Obligation:
    return await rounds.waive(session, id, command)


@router.post("/reports", status_code=201, response_model=ReportOut)
async def draft_report(command: DraftReport, session: Session) -> Report:
    return await reports.draft(session, command)


@router.get("/reports", response_model=Listing[ReportOut])
async def list_reports(
    session: Session,
    page: Annotated[Page, paging("submittedOn", "acceptedOn")],
    caller: By,
    external_id: ExternalId = None,
    round_id: Annotated[UUID | None, Query(alias="roundId", description="Those in this round.")] = None,
    partner_id: Annotated[UUID | None, Query(alias="partnerId", description="Those of this partner.")] = None,
    state: Annotated[ReportState | None, Query(description="Those in this state.")] = None,
) -> object:
    return await reports.listed(session, page, caller, external_id, round_id, partner_id, state)


@router.get("/reports/form.xlsx", response_class=Response, responses={200: {"content": {XLSX: {}}}, 404: {}, 409: {}})
async def report_form(
    session: Session,
    caller: By,
    round_id: Annotated[
        UUID | None, Query(alias="roundId", description="Which round; the open one if left out.")
    ] = None,
) -> Response:
    """A workbook in which your organisation can fill in its report; send it back to `/imports?kind=report-form`."""
    form = await forms.for_partner(session, caller.organisation, round_id)
    session.info.pop("subject", None)
    name = {"content-disposition": f'attachment; filename="{form.name}.xlsx"'}
    return Response(forms.workbook_of(form), headers=name, media_type=XLSX)


@router.get("/reports/{id}", response_model=ReportOut)
async def read_report(id: UUID, session: Session, caller: By) -> Report:
    return await reports.read(session, id, caller)


@router.post("/reports/{id}/_revise", response_model=ReportOut)
async def revise_report(id: UUID, command: ReviseReport, session: Session) -> Report:
    return await reports.revise(session, id, command)


@router.post("/reports/{id}/_submit", response_model=ReportOut)
async def submit_report(id: UUID, command: SubmitReport, session: Session) -> Report:
    return await reports.submit(session, id, command)


@router.post("/reports/{id}/_withdraw", response_model=ReportOut)
async def withdraw_report(id: UUID, command: WithdrawReport, session: Session) -> Report:
    return await reports.withdraw(session, id, command)


@router.post("/reports/{id}/_take-up", response_model=ReportOut)
async def take_up_report(id: UUID, command: TakeUpReport, session: Session) -> Report:
    return await reports.take_up(session, id, command)


@router.post("/reports/{id}/_send-back", response_model=ReportOut)
async def send_back_report(id: UUID, command: SendBackReport, session: Session) -> Report:
    return await reports.send_back(session, id, command)


@router.post("/reports/{id}/_accept", response_model=ReportOut)
async def accept_report(id: UUID, command: AcceptReport, session: Session) -> Report:
    return await reports.accept(session, id, command)


@router.post("/assessments", status_code=201, response_model=AssessmentOut)
async def assess_uptake(command: AssessUptake, session: Session) -> Assessment:
    return await assessments.assess(session, command)


@router.get("/assessments", response_model=Listing[AssessmentOut])
async def list_assessments(
    session: Session,
    page: Paging,
    external_id: ExternalId = None,
    recommendation_id: Annotated[
        UUID | None, Query(alias="recommendationId", description="Those of this recommendation.")
    ] = None,
) -> object:
    return await assessments.listed(session, page, external_id, recommendation_id)


@router.get("/assessments/{id}", response_model=AssessmentOut)
async def read_assessment(id: UUID, session: Session) -> Assessment:
    return await find(session, Assessment, id)
