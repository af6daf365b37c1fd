"""How far things are, per domain and per partner: the line of progress, and the lists behind its figures."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from services.reporting import rules
from services.reporting.rows import (
    ActionRow,
    ClaimRow,
    LinkRow,
    ObligationRow,
    PartnerRow,
    RecommendationRow,
    RoundRow,
    TermRow,
    UptakeRow,
)
from services.reporting.rules import NO_DATA, Coverage, LinkFacts
from shared.calendar import day_of, start_of
from shared.errors import Invalid, NotFound, Unavailable
from shared.events.monitor import Confidence, Implementation, ObligationState, RoundState, Verdict, obligation_state
from shared.events.programme import ActionState, LinkState, ObligationLevel, PartnerKind
from shared.events.recommendations import Kind, RegisterState, Strength, Vocabulary
from shared.http import Out
from shared.projection import Attached, Standing
from shared.rows import Temporal
from shared.texts import Text

IMPLEMENTATIONS = [*(value.value for value in Implementation), NO_DATA]
DEFAULT_ROUND = timedelta(days=184)
"""How long a round is taken to be while none is known: half a year."""

HREF = "/reporting/v1/progress"


# --- what was so at a moment -----------------------------------------------------------------------------------

R = TypeVar("R", bound=Temporal)


@dataclass(frozen=True)
class Moment:
    """What is asked about: what held at `held`, as known at `known`; `told` is what the caller wrote."""

    held: datetime
    known: datetime
    day: date
    asked: datetime | None

    @classmethod
    def live(cls, standing: Standing, today: date, zone: ZoneInfo) -> "Moment":
        """Now, as a function of position and day only, so that every replica answers the same."""
        begun = start_of(today, zone)
        newest = max(standing.newest, begun) if standing.newest else begun
        return cls(newest, newest, today, None)

    @classmethod
    def asked_for(cls, as_of: datetime | None, known_at: datetime | None, live: "Moment", zone: ZoneInfo) -> "Moment":
        held = as_of or known_at or live.held
        return cls(held, known_at or max(live.known, held), day_of(held, zone), held)


@dataclass(frozen=True)
class Snapshot:
    """The rows as they held at a moment, and everything that the rules make of them."""

    moment: Moment
    terms: list[TermRow]
    partners: list[PartnerRow]
    recommendations: list[RecommendationRow]
    actions: list[ActionRow]
    links: list[LinkRow]
    rounds: list[RoundRow]
    obligations: list[ObligationRow]
    claims: dict[UUID, ClaimRow]
    verdicts: dict[UUID, UptakeRow]
    parked: frozenset[UUID] = frozenset()
    """What a view had to leave aside: of these the rows say what was so before, so they count as no data."""

    @cached_property
    def action_by_id(self) -> dict[UUID, ActionRow]:
        return {action.entity: action for action in self.actions}

    @cached_property
    def partner_by_id(self) -> dict[UUID, PartnerRow]:
        return {partner.entity: partner for partner in self.partners}

    @cached_property
    def _links_of(self) -> dict[UUID, list[LinkFacts]]:
        found: dict[UUID, list[LinkFacts]] = defaultdict(list)
        for link in self.links:
            action = self.action_by_id.get(link.action_id)
            if link.state is LinkState.ENDED or action is None or action.state is ActionState.DROPPED:
                continue
            found[link.recommendation_id].append(
                LinkFacts(link.action_id, link.contribution, link.state, link.jointly_sufficient)
            )
        return found

    @cached_property
    def _parts_of(self) -> dict[UUID, list[RecommendationRow]]:
        found: dict[UUID, list[RecommendationRow]] = defaultdict(list)
        for recommendation in self.recommendations:
            if recommendation.parent_id is not None:
                found[recommendation.parent_id].append(recommendation)
        return found

    @cached_property
    def round_length(self) -> timedelta:
        newest = max(self.rounds, key=lambda round: (round.opens_on, round.entity), default=None)
        return newest.closes_on - newest.opens_on if newest else DEFAULT_ROUND

    @cached_property
    def reported(self) -> dict[UUID, Implementation]:
        """Per action, the claim that still counts as data."""
        due = [round.due_on for round in self.rounds]
        return {
            action: claim.implementation
            for action, claim in self.claims.items()
            if rules.reported_lately(claim.accepted_on, due, self.moment.day)
        }

    @cached_property
    def items(self) -> list["RecommendationItem"]:
        """Every recommendation that counts: the kind is recommendation, and it is not a part of another."""
        return [
            self._item(recommendation)
            for recommendation in self.recommendations
            if recommendation.kind is Kind.RECOMMENDATION and recommendation.parent_id is None
        ]

    def _item(self, recommendation: RecommendationRow) -> "RecommendationItem":
        parts = self._parts_of.get(recommendation.entity) or [recommendation]
        whole = self._links_of.get(recommendation.entity, [])
        # A link to the whole recommendation serves each of its parts.
        links = [whole if part is recommendation else whole + self._links_of.get(part.entity, []) for part in parts]
        covered, share = rules.coverage(links)
        implementation = rules.reported_implementation(links, self.reported)
        verdict = self.verdicts.get(recommendation.entity)
        if recommendation.entity in self.parked:
            implementation = verdict = None
        return RecommendationItem(
            id=recommendation.entity,
            reference=recommendation.reference,
            version=recommendation.version,
            summary=recommendation.summary,
            strength=recommendation.strength,
            state=recommendation.state,
            domains=recommendation.domains,
            addressees=recommendation.addressees,
            parts=len(parts),
            coverage=covered,
            coverage_share=share,
            implementation=NO_DATA if implementation is None else implementation.value,
            voice=None if implementation is None else "claim",
            verdict=verdict.verdict if verdict else Verdict.NOT_ASSESSED,
            actions=sorted({link.action for part in links for link in part}, key=str),
            demonstration=any(self._is_demonstration(id) for id in recommendation.addressees),
        )

    @cached_property
    def action_items(self) -> list["ActionItem"]:
        return [self._action_item(action) for action in self.actions]

    def _action_item(self, action: ActionRow) -> "ActionItem":
        claim = self.claims.get(action.entity) if action.entity in self.reported else None
        last = self.claims.get(action.entity)
        day = self.moment.day
        return ActionItem(
            id=action.entity,
            reference=action.reference,
            version=action.version,
            name=action.name,
            state=action.state,
            domains=action.domains,
            lead_id=action.lead_id,
            lead_undecided=action.lead_undecided,
            contributors=action.contributors,
            obligation_level=action.obligation_level,
            due_on=action.due_on,
            due_on_precision=action.due_on_precision,
            implementation=claim.implementation.value if claim else NO_DATA,
            confidence=claim.confidence if claim else Confidence.NO_STATUS,
            claimed_on=last.accepted_on if last else None,
            report_id=last.report_id if last else None,
            overdue=rules.overdue(action.state, action.due_on, action.due_on_precision, day),
            stale=rules.stale(action.state, last.accepted_on if last else action.planned_on, self.round_length, day),
            demonstration=self._is_demonstration(action.lead_id),
        )

    @cached_property
    def obligation_items(self) -> list["ObligationItem"]:
        rounds = {round.entity: round for round in self.rounds}
        found = []
        for owed in self.obligations:
            round = rounds.get(owed.round_id)
            opens_on = round.opens_on if round and round.state is not RoundState.PLANNED else date.max
            state = obligation_state(owed.due_on, owed.met_on, owed.waived, opens_on, self.moment.day)
            found.append(
                ObligationItem(
                    id=owed.entity,
                    version=owed.version,
                    round_id=owed.round_id,
                    partner_id=owed.partner_id,
                    due_on=owed.due_on,
                    first_due_on=owed.first_due_on,
                    met_on=owed.met_on,
                    state=state,
                )
            )
        return found

    @cached_property
    def by_domain(self) -> dict[str, tuple[list["RecommendationItem"], list["ActionItem"]]]:
        found: dict[str, tuple[list[RecommendationItem], list[ActionItem]]] = defaultdict(lambda: ([], []))
        for item in self.items:
            for code in set(item.domains):
                found[code][0].append(item)
        for action in self.action_items:
            for code in set(action.domains):
                found[code][1].append(action)
        return found

    @cached_property
    def by_partner(
        self,
    ) -> dict[UUID, tuple[list["RecommendationItem"], list["ActionItem"], list["ObligationItem"]]]:
        """Per partner: what is addressed to it, what it leads, what it owes."""
        found: dict[UUID, tuple[list[RecommendationItem], list[ActionItem], list[ObligationItem]]]
        found = defaultdict(lambda: ([], [], []))
        for item in self.items:
            for id in set(item.addressees):
                found[id][0].append(item)
        for action in self.action_items:
            if action.lead_id is not None:
                found[action.lead_id][1].append(action)
        for owed in self.obligation_items:
            found[owed.partner_id][2].append(owed)
        return found

    @cached_property
    def contributing(self) -> Counter[UUID]:
        return Counter(id for action in self.actions for id in set(action.contributors))

    @cached_property
    def undecided(self) -> Counter[UUID]:
        return Counter(id for action in self.actions for id in set(action.lead_undecided))

    def _is_demonstration(self, partner_id: UUID | None) -> bool:
        partner = self.partner_by_id.get(partner_id) if partner_id else None
        return partner is not None and partner.kind is PartnerKind.DEMONSTRATION


async def snapshot(session: AsyncSession, moment: Moment, parked: Iterable[UUID] = ()) -> Snapshot:
    """Read every row that held at the moment, in the order of entry; what is parked counts as no data."""
    aside = frozenset(parked)

    async def rows(kind: type[R]) -> list[R]:
        found = select(kind).where(*kind.at(moment.held, moment.known)).order_by(kind.entity)
        return list(await session.scalars(found))

    return Snapshot(
        moment=moment,
        terms=[term for term in await rows(TermRow) if not term.ended],
        partners=await rows(PartnerRow),
        recommendations=await rows(RecommendationRow),
        actions=await rows(ActionRow),
        links=[row for row in await rows(LinkRow) if row.entity not in aside],
        rounds=await rows(RoundRow),
        obligations=[row for row in await rows(ObligationRow) if row.entity not in aside],
        claims={row.entity: row for row in await rows(ClaimRow) if not aside & {row.entity, row.report_id}},
        verdicts={row.entity: row for row in await rows(UptakeRow) if row.assessment_id not in aside},
        parked=aside,
    )


class Newest:
    """The live snapshot: read once for each state of the view and each day, and shared by all who ask."""

    def __init__(self, view: Attached, today: Callable[[], date], zone: ZoneInfo) -> None:
        self._view = view
        self._today = today
        self._zone = zone
        self._kept: tuple[Standing, Snapshot] | None = None
        self._reading = asyncio.Lock()

    async def get(self) -> tuple[Standing, Snapshot]:
        async with self._reading, self._view.reading() as session:
            standing = await self._stand(session)
            moment = Moment.live(standing, self._today(), self._zone)
            if self._kept is None or not standing.same_rows(self._kept[0]) or self._kept[1].moment != moment:
                self._kept = standing, await snapshot(session, moment, standing.parked)
            return self._kept

    async def _stand(self, session: AsyncSession) -> Standing:
        """Where the rows stand. Raises Unavailable while they are being filled for the first time."""
        standing = await self._view.stand(session)
        if standing.checked_at is None:
            raise Unavailable("These figures are being made; ask again in a moment.")
        return standing

    async def at(self, as_of: datetime | None, known_at: datetime | None) -> tuple[Standing, Snapshot]:
        """What held at a moment, as known at another; the live snapshot when neither is asked for."""
        if as_of is None and known_at is None:
            return await self.get()
        async with self._view.reading() as session:
            standing = await self._stand(session)
            live = Moment.live(standing, self._today(), self._zone)
            moment = Moment.asked_for(as_of, known_at, live, self._zone)
            return standing, await snapshot(session, moment, standing.parked)


# --- the items behind a figure ---------------------------------------------------------------------------------


class RecommendationItem(Out):
    """A recommendation as the figures count it."""

    id: UUID
    reference: str
    version: int
    summary: Text
    strength: Strength | None
    state: RegisterState
    domains: list[str]
    addressees: list[UUID]
    parts: int
    coverage: Coverage
    coverage_share: float
    implementation: str
    voice: str | None
    """Whose word the implementation is; none without data."""
    verdict: Verdict
    actions: list[UUID]
    demonstration: bool

    def counts_in(self) -> set[str]:
        return {
            "recommendations",
            f"implementation:{self.implementation}",
            f"coverage:{self.coverage}",
            f"verdict:{self.verdict}",
            *(["demonstration"] if self.demonstration else []),
        }


class ActionItem(Out):
    """An action as the figures count it."""

    id: UUID
    reference: str
    version: int
    name: Text
    state: ActionState
    domains: list[str]
    lead_id: UUID | None
    lead_undecided: list[UUID]
    contributors: list[UUID]
    obligation_level: ObligationLevel | None
    due_on: date | None
    due_on_precision: str
    implementation: str
    confidence: Confidence
    claimed_on: date | None
    report_id: UUID | None
    overdue: bool
    stale: bool
    demonstration: bool

    def counts_in(self) -> set[str]:
        return {
            "actions",
            f"state:{self.state}",
            f"confidence:{self.confidence}",
            f"action-implementation:{self.implementation}",
            *(["overdue"] if self.overdue else []),
            *(["stale"] if self.stale else []),
            *([f"obligation-level:{self.obligation_level}"] if self.obligation_level else []),
            *(["demonstration"] if self.demonstration else []),
        }


class ObligationItem(Out):
    """What a partner owes in a round, and where that stands."""

    id: UUID
    version: int
    round_id: UUID
    partner_id: UUID
    due_on: date
    first_due_on: date
    met_on: date | None
    state: ObligationState

    def counts_in(self) -> set[str]:
        return {"obligations", f"obligation:{self.state}"}


# --- the line of progress --------------------------------------------------------------------------------------


class CoverageFigures(Out):
    """Parts with a covering confirmed link; what is only proposed stands apart."""

    share: float | None
    by_class: dict[str, int]


class ActionFigures(Out):
    total: int
    by_state: dict[str, int]
    by_confidence: dict[str, int]
    by_implementation: dict[str, int]
    """What is claimed of the actions themselves, whatever they answer."""
    by_obligation_level: dict[str, int]
    voluntary_share: float | None
    """Voluntary ÷ those with a known obligation level, so that non-committal can be seen falling."""


class Line(Out):
    """How far one domain, one partner, or everything together is."""

    recommendations: int
    parts: int
    coverage: CoverageFigures
    implementation: dict[str, int]
    no_data_share: float | None
    verdicts: dict[str, int]
    actions: ActionFigures
    overdue: int
    stale: int
    demonstration: int
    """How many of these recommendations and actions are invented, to show how Kapstok works."""


class DomainLine(Line):
    code: str
    name: Text
    list: str
    """Where the list behind each figure is: put the figure's name for `{figure}`."""


class PartnerLine(Line):
    id: UUID
    code: str
    name: Text
    kind: PartnerKind
    led: int
    contributing: int
    undecided: int
    """Actions for which this partner is named as lead among others, and none is picked."""
    addressed: int
    obligations: dict[str, int]
    on_time: float | None
    list: str


class Cell(Line):
    """Where a domain and a partner meet: addressed to the partner, or led by it."""

    domain: str
    partner: str
    list: str


def _counted(values: Iterable[Any], order: Iterable[Any]) -> dict[str, int]:
    counts = Counter(str(getattr(value, "value", value)) for value in values)
    return {str(key): counts.get(str(key), 0) for key in order}


def figures(recommendations: Sequence[RecommendationItem], actions: Sequence[ActionItem]) -> dict[str, Any]:
    """The fields of a line: one counting for every line there is."""
    parts = sum(item.parts for item in recommendations)
    total = len(recommendations)
    levels = _counted((item.obligation_level for item in actions if item.obligation_level), ObligationLevel)
    levelled = sum(levels.values())
    return {
        "recommendations": total,
        "parts": parts,
        "coverage": CoverageFigures(
            share=sum(item.coverage_share * item.parts for item in recommendations) / parts if parts else None,
            by_class=_counted((item.coverage for item in recommendations), Coverage),
        ),
        "implementation": _counted((item.implementation for item in recommendations), IMPLEMENTATIONS),
        "no_data_share": sum(item.implementation == NO_DATA for item in recommendations) / total if total else None,
        "verdicts": _counted((item.verdict for item in recommendations), Verdict),
        "actions": ActionFigures(
            total=len(actions),
            by_state=_counted((item.state for item in actions), ActionState),
            by_confidence=_counted((item.confidence for item in actions), Confidence),
            by_implementation=_counted((item.implementation for item in actions), IMPLEMENTATIONS),
            by_obligation_level=levels,
            voluntary_share=levels[ObligationLevel.VOLUNTARY.value] / levelled if levelled else None,
        ),
        "overdue": sum(item.overdue for item in actions),
        "stale": sum(item.stale for item in actions),
        "demonstration": sum(item.demonstration for item in recommendations)
        + sum(item.demonstration for item in actions),
    }


# --- answers ---------------------------------------------------------------------------------------------------


class Head(Out):
    """What every answer begins with."""

    as_of: datetime
    """The moment asked for, else when the newest fact in these figures was recorded."""
    known_at: datetime | None
    position: str
    day: date
    """The day on which overdue, late and stale are judged."""
    rule: dict[str, int]
    """The rules behind the figures, by name, with their versions."""
    demonstration: bool
    """Whether anything invented is counted here."""
    parked: int
    """Entities of which a fact could not be taken up; until that is mended they count as no data."""


class Overlap(Out):
    """Why the lines do not add up to the total: what stands in several of them, and what in none."""

    counted: int
    """The sum over the lines."""
    distinct: int
    unplaced: int


class DomainProgress(Head):
    lines: list[DomainLine]
    total: Line
    overlap: Overlap


class PartnerProgress(Head):
    lines: list[PartnerLine]
    total: Line
    overlap: Overlap


class Matrix(Head):
    domains: list[str]
    partners: list[str]
    cells: list[Cell]


class DomainDetail(Head):
    line: DomainLine
    figure: str | None
    recommendations: list[RecommendationItem]
    actions: list[ActionItem]


class PartnerDetail(Head):
    line: PartnerLine
    figure: str | None
    recommendations: list[RecommendationItem]
    actions: list[ActionItem]
    obligations: list[ObligationItem]


def head(now: Snapshot, standing: Standing, known_at: datetime | None = None) -> dict[str, Any]:
    moment = now.moment
    return {
        "as_of": moment.asked or standing.newest or moment.held,
        "known_at": known_at,
        "position": str(standing.position),
        "day": moment.day,
        "rule": rules.VERSIONS,
        "demonstration": any(partner.kind is PartnerKind.DEMONSTRATION for partner in now.partners),
        "parked": len(now.parked),
    }


def domain_lines(now: Snapshot) -> list[DomainLine]:
    return [_domain_line(now, term) for term in now.terms if term.vocabulary is Vocabulary.DOMAIN]


def _in_domain(now: Snapshot, code: str) -> tuple[list[RecommendationItem], list[ActionItem]]:
    return now.by_domain.get(code, ([], []))


def _domain_line(now: Snapshot, term: TermRow) -> DomainLine:
    recommendations, actions = _in_domain(now, term.code)
    return DomainLine(
        code=term.code,
        name=term.name,
        list=f"{HREF}/domains/{term.code}?figure={{figure}}",
        **figures(recommendations, actions),
    )


def partner_lines(now: Snapshot) -> list[PartnerLine]:
    return [_partner_line(now, partner) for partner in now.partners if not _has_ended(partner, now.moment.day)]


def _has_ended(partner: PartnerRow, day: date) -> bool:
    return partner.ended_on is not None and partner.ended_on <= day


def _of_partner(now: Snapshot, id: UUID) -> tuple[list[RecommendationItem], list[ActionItem], list[ObligationItem]]:
    return now.by_partner.get(id, ([], [], []))


def _partner_line(now: Snapshot, partner: PartnerRow) -> PartnerLine:
    recommendations, actions, obligations = _of_partner(now, partner.entity)
    states = [item.state for item in obligations]
    return PartnerLine(
        id=partner.entity,
        code=partner.code,
        name=partner.name,
        kind=partner.kind,
        led=len(actions),
        contributing=now.contributing[partner.entity],
        undecided=now.undecided[partner.entity],
        addressed=len(recommendations),
        obligations=_counted(states, ObligationState),
        on_time=rules.on_time(states),
        list=f"{HREF}/partners/{partner.entity}?figure={{figure}}",
        **figures(recommendations, actions),
    )


def total(now: Snapshot) -> Line:
    return Line(**figures(now.items, now.action_items))


def _overlap(now: Snapshot, counted: int, placed: Iterable[bool]) -> Overlap:
    return Overlap(counted=counted, distinct=len(now.items), unplaced=sum(not one for one in placed))


def per_domain(now: Snapshot, standing: Standing, known_at: datetime | None) -> Out:
    lines = domain_lines(now)
    codes = {line.code for line in lines}
    return DomainProgress(
        **head(now, standing, known_at),
        lines=lines,
        total=total(now),
        overlap=_overlap(
            now, sum(line.recommendations for line in lines), (bool(codes & {*item.domains}) for item in now.items)
        ),
    )


def per_partner(now: Snapshot, standing: Standing, known_at: datetime | None) -> Out:
    lines = partner_lines(now)
    ids = {line.id for line in lines}
    return PartnerProgress(
        **head(now, standing, known_at),
        lines=lines,
        total=total(now),
        overlap=_overlap(
            now, sum(line.recommendations for line in lines), (bool(ids & {*item.addressees}) for item in now.items)
        ),
    )


def matrix(now: Snapshot, standing: Standing, known_at: datetime | None) -> Out:
    domains = [term.code for term in now.terms if term.vocabulary is Vocabulary.DOMAIN]
    partners = [partner for partner in now.partners if not _has_ended(partner, now.moment.day)]
    cells = []
    for code in domains:
        in_domain = _in_domain(now, code)
        for partner in partners:
            recommendations = [item for item in in_domain[0] if partner.entity in item.addressees]
            actions = [item for item in in_domain[1] if item.lead_id == partner.entity]
            if recommendations or actions:
                href = f"{HREF}/partners/{partner.entity}?domain={code}&figure={{figure}}"
                cells.append(Cell(domain=code, partner=partner.code, list=href, **figures(recommendations, actions)))
    return Matrix(
        **head(now, standing, known_at),
        domains=domains,
        partners=[partner.code for partner in partners],
        cells=cells,
    )


I = TypeVar("I", RecommendationItem, ActionItem, ObligationItem)  # noqa: E741  # an item


FIGURES = frozenset(
    {
        *("recommendations", "actions", "obligations", "overdue", "stale", "demonstration"),
        *("addressed", "led", "contributing", "undecided"),
        *(f"implementation:{value}" for value in IMPLEMENTATIONS),
        *(f"action-implementation:{value}" for value in IMPLEMENTATIONS),
        *(f"coverage:{value}" for value in Coverage),
        *(f"verdict:{value}" for value in Verdict),
        *(f"state:{value}" for value in ActionState),
        *(f"confidence:{value}" for value in Confidence),
        *(f"obligation-level:{value}" for value in ObligationLevel),
        *(f"obligation:{value}" for value in ObligationState),
    }
)
"""The names by which the list behind a figure is asked for."""


def _behind(items: Sequence[I], figure: str | None) -> list[I]:
    return [item for item in items if figure is None or figure in item.counts_in()]


def one_domain(now: Snapshot, standing: Standing, known_at: datetime | None, code: str, figure: str | None) -> Out:
    term = next((one for one in now.terms if one.vocabulary is Vocabulary.DOMAIN and one.code == code), None)
    if term is None:
        raise NotFound("There is no domain with this code at this moment.")
    recommendations, actions = _in_domain(now, code)
    return DomainDetail(
        **head(now, standing, known_at),
        line=_domain_line(now, term),
        figure=figure,
        recommendations=_behind(recommendations, figure),
        actions=_behind(actions, figure),
    )


def one_partner(
    now: Snapshot,
    standing: Standing,
    known_at: datetime | None,
    id: UUID,
    figure: str | None,
    domain: str | None,
) -> Out:
    if domain is not None and not any(
        term.vocabulary is Vocabulary.DOMAIN and term.code == domain for term in now.terms
    ):
        raise Invalid("There is no domain with this code at this moment.", field="query:domain")
    partner = now.partner_by_id.get(id)
    if partner is None:
        raise NotFound("There is no partner with this id at this moment.")
    recommendations, actions, obligations = _of_partner(now, id)
    if domain is not None:
        recommendations = [item for item in recommendations if domain in item.domains]
        actions = [item for item in actions if domain in item.domains]
    if figure == "contributing":
        actions = [item for item in now.action_items if id in item.contributors]
    if figure == "undecided":
        actions = [item for item in now.action_items if id in item.lead_undecided]
    whole = {"addressed", "led", "contributing", "undecided"}
    narrowed = None if figure in whole else figure
    return PartnerDetail(
        **head(now, standing, known_at),
        line=_partner_line(now, partner),
        figure=figure,
        recommendations=_behind(recommendations, narrowed) if figure not in whole - {"addressed"} else [],
        actions=_behind(actions, narrowed) if figure != "addressed" else [],
        obligations=_behind(obligations, narrowed) if figure not in whole else [],
    )
