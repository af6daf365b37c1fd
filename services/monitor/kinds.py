"""What can be brought in and taken out in files here: rounds, obligations, reports, assessments, and forms."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.monitor import assessments, forms, reports, rounds
from services.monitor.assessments import Assessment, AssessUptake
from services.monitor.known import ActionKnown, PartnerKnown, RecommendationKnown, partner_called
from services.monitor.reports import (
    INSIDE,
    ClaimFields,
    DraftReport,
    Report,
    ReviseReport,
    SubmitReport,
    WithdrawReport,
)
from services.monitor.rounds import (
    CloseRound,
    ImposeObligation,
    Obligation,
    OpenRound,
    PlanRound,
    Round,
    WaiveObligation,
)
from shared.kinds import Change, Items, Kind, Move
from shared.names import followed, owned

ROUNDS = Kind(
    "rounds",
    Round,
    PlanRound,
    rounds.plan,
    operation="plan_round",
    listing="list_rounds",
    moves=[
        Move("open_round", ("planned",), "open", OpenRound, rounds.open_round),
        Move("close_round", ("open",), "closed", CloseRound, rounds.close_round),
    ],
    first="planned",
)

OBLIGATIONS = Kind(
    "obligations",
    Obligation,
    ImposeObligation,
    rounds.impose,
    operation="impose_obligation",
    listing="list_obligations",
    names={"round_id": owned(Round), "partner_id": followed(PartnerKnown, "partner")},
    key=("round_id", "partner_id"),
    moves=[Move("waive_obligation", ("standing",), "waived", WaiveObligation, rounds.waive)],
    first="standing",
    state=lambda obligation: "waived" if obligation.waived else "standing",
)


async def _own(session: AsyncSession, organisation: str | None) -> list[Any]:
    return [Report.partner_id == await _partner(session, organisation)]


async def _told(session: AsyncSession, organisation: str | None) -> list[Any]:
    """Reports, without what other organisations keep inside."""
    return [Report.state.not_in(INSIDE) | (Report.partner_id == await _partner(session, organisation))]


async def _partner(session: AsyncSession, organisation: str | None) -> Any:
    return None if organisation is None else await partner_called(session, organisation)


def _reports(name: str, **more: Any) -> Kind:
    """Each line of a file is a claim; lines in a row about the same report make one."""
    return Kind(
        name,
        Report,
        DraftReport,
        reports.draft,
        operation="draft_report",
        listing="list_reports",
        names={"round_id": owned(Round)},
        items=Items("claims", ClaimFields, {"action_id": followed(ActionKnown, "action")}),
        change=Change("revise_report", ReviseReport, reports.revise),
        moves=[
            Move("submit_report", ("draft",), "submitted", SubmitReport, reports.submit),
            Move("withdraw_report", ("draft", "submitted", "sent back"), "withdrawn", WithdrawReport, reports.withdraw),
        ],
        first="draft",
        own=_own,
        seen=_told,
        **more,
    )


REPORTS = _reports("reports")
FORMS = _reports("report-form", layout=forms.returned, exported=False)

ASSESSMENTS = Kind(
    "assessments",
    Assessment,
    AssessUptake,
    assessments.assess,
    operation="assess_uptake",
    listing="list_assessments",
    names={"recommendation_id": followed(RecommendationKnown, "recommendation")},
)

KINDS = (ROUNDS, OBLIGATIONS, REPORTS, FORMS, ASSESSMENTS)
