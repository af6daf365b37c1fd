"""The rules behind the figures: each by example, and by what must hold for whatever they are given."""

from calendar import monthrange
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reporting import rules
from services.reporting.rules import Coverage, LinkFacts
from shared.events.event import Precision
from shared.events.monitor import Implementation, ObligationState, obligation_state
from shared.events.programme import ActionState, Contribution, LinkState

DAY = date(2026, 11, 24)
HALF_YEAR = timedelta(days=184)
OPEN_STATES = [state for state in ActionState if state not in rules.ENDED]


def link(action: Any = "training", **fields: Any) -> LinkFacts:
    given: dict[str, Any] = {
        "contribution": Contribution.FULL,
        "state": LinkState.CONFIRMED,
        "jointly_sufficient": False,
    }
    return LinkFacts(action, **(given | fields))


partial = {"contribution": Contribution.PARTIAL}
sufficient = partial | {"jointly_sufficient": True}
enabling = {"contribution": Contribution.ENABLING}
proposed = {"state": LinkState.PROPOSED}

links = st.builds(
    LinkFacts, st.integers(0, 5), st.sampled_from(Contribution), st.sampled_from(LinkState), st.booleans()
)
parts = st.lists(st.lists(links, max_size=4), min_size=1, max_size=5)
claims = st.dictionaries(st.integers(0, 5), st.sampled_from(Implementation))
verified = [value for value in Implementation if value is not Implementation.COULD_NOT_BE_VERIFIED]
days = st.dates(date(2000, 1, 1), date(2100, 12, 31))
obligations = st.lists(st.sampled_from(ObligationState), max_size=12)


# --- coverage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of_parts", "shown", "share"),
    [
        ([[link()]], Coverage.COVERED, 1.0),
        ([[link()], []], Coverage.PARTLY, 0.5),
        ([[link("a", **sufficient), link("b", **sufficient)]], Coverage.COVERED, 1.0),
        ([[link("a", **partial), link("b", **partial)]], Coverage.LINKED, 0.0),
        ([[link(**enabling)]], Coverage.LINKED, 0.0),
        ([[link(**proposed)]], Coverage.PROPOSED, 0.0),
        ([[link(state=LinkState.DISPUTED)]], Coverage.NONE, 0.0),
        ([[]], Coverage.NONE, 0.0),
    ],
)
def test_coverage_counts_the_parts_with_a_confirmed_link_that_covers(
    of_parts: list[list[LinkFacts]], shown: Coverage, share: float
) -> None:
    assert rules.coverage(of_parts) == (shown, share)


def test_an_enabling_link_covers_nothing_also_when_it_carries_the_mark() -> None:
    assert rules.coverage([[link(contribution=Contribution.ENABLING, jointly_sufficient=True)]])[1] == 0


@given(parts)
def test_coverage_is_a_share_and_its_class_says_the_same(of_parts: list[list[LinkFacts]]) -> None:
    shown, share = rules.coverage(of_parts)
    assert 0 <= share <= 1
    assert (shown is Coverage.COVERED) == (share == 1)
    assert (shown is Coverage.PARTLY) == (0 < share < 1)


@given(parts, st.data())
def test_confirming_a_link_never_lowers_coverage(of_parts: list[list[LinkFacts]], data: st.DataObject) -> None:
    confirmed = [
        [replace(one, state=LinkState.CONFIRMED) if data.draw(st.booleans()) else one for one in some]
        for some in of_parts
    ]
    assert rules.coverage(confirmed)[1] >= rules.coverage(of_parts)[1]


@given(parts, st.integers(0, 4), links)
def test_one_more_link_never_lowers_coverage(of_parts: list[list[LinkFacts]], at: int, more: LinkFacts) -> None:
    at %= len(of_parts)
    added = [*of_parts[:at], [*of_parts[at], more], *of_parts[at + 1 :]]
    assert rules.coverage(added)[1] >= rules.coverage(of_parts)[1]


@given(parts)
def test_what_is_not_confirmed_covers_nothing(of_parts: list[list[LinkFacts]]) -> None:
    withdrawn = [[replace(one, state=LinkState.PROPOSED) for one in some] for some in of_parts]
    assert rules.coverage(withdrawn)[1] == 0
    assert rules.required_actions(withdrawn) == set()


# --- reported implementation -----------------------------------------------------------------------------------


def test_reported_implementation_is_the_lowest_and_not_the_mean() -> None:
    of_parts = [[link("a")], [link("b"), link("c")]]
    told = {
        "a": Implementation.FULLY_IMPLEMENTED,
        "b": Implementation.IN_PREPARATION,
        "c": Implementation.FULLY_IMPLEMENTED,
    }
    assert rules.reported_implementation(of_parts, told) is Implementation.IN_PREPARATION


def test_an_enabling_action_neither_raises_nor_lowers_it() -> None:
    of_parts = [[link("a"), link("b", **enabling)]]
    for enabled in Implementation:
        told = {"a": Implementation.SOME_RESPECTS, "b": enabled}
        assert rules.reported_implementation(of_parts, told) is Implementation.SOME_RESPECTS


@pytest.mark.parametrize(
    ("of_parts", "told"),
    [
        pytest.param([[link("a")]], {}, id="nothing was reported"),
        pytest.param([[link("a")], []], {"a": Implementation.FULLY_IMPLEMENTED}, id="a part has no action"),
        pytest.param([[link("a"), link("b")]], {"a": Implementation.NOT_STARTED}, id="one of two was not reported"),
        pytest.param([[link("a")]], {"a": Implementation.COULD_NOT_BE_VERIFIED}, id="could not be verified"),
        pytest.param([[link("a", **proposed)]], {"a": Implementation.IN_PROGRESS}, id="the link is only proposed"),
        pytest.param([[link("a", **partial)]], {"a": Implementation.IN_PROGRESS}, id="partial and not sufficient"),
    ],
)
def test_what_is_missing_makes_no_data_and_never_zero(of_parts: list[list[LinkFacts]], told: dict[str, Any]) -> None:
    assert rules.reported_implementation(of_parts, told) is None


@given(parts, claims)
def test_the_outcome_is_no_data_or_a_claim_below_which_no_required_action_is(
    of_parts: list[list[LinkFacts]], told: dict[Any, Implementation]
) -> None:
    found = rules.reported_implementation(of_parts, told)
    required = rules.required_actions(of_parts)
    if found is None:
        uncovered = any(not any(one.covers for one in some) for some in of_parts)
        assert uncovered or any(told.get(action) not in verified for action in required)
    else:
        assert found in {told[action] for action in required}
        assert all(verified.index(found) <= verified.index(told[action]) for action in required)


@given(parts, claims, st.data())
def test_a_required_action_without_a_claim_leaves_the_whole_without_data(
    of_parts: list[list[LinkFacts]], told: dict[Any, Implementation], data: st.DataObject
) -> None:
    required = sorted(rules.required_actions(of_parts))
    if not required:
        return
    silent = data.draw(st.sampled_from(required))
    remaining = {action: claim for action, claim in told.items() if action != silent}
    assert rules.reported_implementation(of_parts, remaining) is None


@given(parts, claims, st.integers(0, 4), st.integers(0, 5), st.sampled_from(LinkState), st.booleans())
def test_adding_an_enabling_link_changes_nothing(
    of_parts: list[list[LinkFacts]],
    told: dict[Any, Implementation],
    at: int,
    action: int,
    state: LinkState,
    mark: bool,
) -> None:
    at %= len(of_parts)
    more = LinkFacts(action, Contribution.ENABLING, state, mark)
    added = [*of_parts[:at], [*of_parts[at], more], *of_parts[at + 1 :]]
    assert rules.reported_implementation(added, told) == rules.reported_implementation(of_parts, told)
    assert rules.coverage(added)[1] == rules.coverage(of_parts)[1]


# --- reported in the last two rounds ---------------------------------------------------------------------------


def test_a_claim_counts_until_the_second_round_after_it_fell_due() -> None:
    due = [date(2018, 6, 30), date(2018, 12, 31), date(2019, 6, 30)]
    claimed = date(2018, 6, 30)
    assert rules.reported_lately(claimed, due, date(2018, 12, 30))
    assert rules.reported_lately(claimed, due, date(2018, 12, 31))
    assert rules.reported_lately(claimed, due, date(2019, 6, 29))
    assert not rules.reported_lately(claimed, due, date(2019, 6, 30))


@given(days, st.lists(days, max_size=6), days, st.integers(0, 400))
def test_what_has_stopped_counting_does_not_count_again_later(
    claimed: date, due: list[date], day: date, later: int
) -> None:
    if rules.reported_lately(claimed, due, day + timedelta(days=later)):
        assert rules.reported_lately(claimed, due, day)


@given(days, st.lists(days, max_size=6))
def test_a_claim_of_today_always_counts(day: date, due: list[date]) -> None:
    assert rules.reported_lately(day, due, day)


# --- overdue ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "last_in_time"),
    [
        (Precision.DAY, date(2020, 2, 10)),
        (Precision.MONTH, date(2020, 2, 29)),
        (Precision.YEAR, date(2020, 12, 31)),
    ],
)
def test_overdue_waits_for_the_end_of_the_day_month_or_year(precision: Precision, last_in_time: date) -> None:
    due_on = date(2020, 2, 10)
    assert not rules.overdue(ActionState.ACTIVE, due_on, precision, last_in_time)
    assert rules.overdue(ActionState.ACTIVE, due_on, precision, last_in_time + timedelta(days=1))


@given(days)
def test_the_last_day_in_time_ends_the_month_or_the_year(due_on: date) -> None:
    month = rules.last_due_day(due_on, Precision.MONTH)
    assert month == due_on.replace(day=monthrange(due_on.year, due_on.month)[1])
    assert rules.last_due_day(due_on, Precision.YEAR) == date(due_on.year, 12, 31)
    assert due_on == rules.last_due_day(due_on, Precision.DAY) <= month <= rules.last_due_day(due_on, Precision.YEAR)


@given(st.sampled_from(sorted(rules.ENDED)), days, st.sampled_from(Precision), days)
def test_what_has_ended_is_never_overdue_and_never_stale(
    state: ActionState, due_on: date, precision: Precision, day: date
) -> None:
    assert not rules.overdue(state, due_on, precision, day)
    assert not rules.stale(state, due_on, HALF_YEAR, day)


@given(st.sampled_from(ActionState), st.sampled_from(Precision), days)
def test_without_a_due_day_nothing_is_overdue(state: ActionState, precision: Precision, day: date) -> None:
    assert not rules.overdue(state, None, precision, day)


# --- stale -----------------------------------------------------------------------------------------------------


@given(st.sampled_from(OPEN_STATES), st.integers(0, 400), days)
def test_an_open_action_is_stale_after_the_round_and_thirty_days_without_a_claim(
    state: ActionState, length: int, claimed: date
) -> None:
    last_quiet_day = claimed + timedelta(days=length + 30)
    assert not rules.stale(state, claimed, timedelta(days=length), last_quiet_day)
    assert rules.stale(state, claimed, timedelta(days=length), last_quiet_day + timedelta(days=1))


# --- on time ---------------------------------------------------------------------------------------------------


def test_on_time_is_met_of_all_that_fell_due() -> None:
    states = [ObligationState.MET, ObligationState.MET, ObligationState.MET_LATE, ObligationState.LATE]
    assert rules.on_time(states) == 0.5


@given(obligations, st.integers(0, 5))
def test_on_time_leaves_out_what_is_waived_or_not_yet_due(states: list[ObligationState], more: int) -> None:
    left_out = [ObligationState.WAIVED, ObligationState.DUE, ObligationState.NOT_YET_DUE] * more
    assert rules.on_time([*states, *left_out]) == rules.on_time(states)


@given(obligations)
def test_on_time_is_a_share_or_no_data_and_one_more_late_report_never_raises_it(states: list[ObligationState]) -> None:
    share = rules.on_time(states)
    fell_due = {ObligationState.MET, ObligationState.MET_LATE, ObligationState.LATE}
    assert (share is None) == fell_due.isdisjoint(states)
    if share is not None:
        assert 0 <= share <= 1
        later = rules.on_time([*states, ObligationState.LATE])
        assert later is not None and later <= share


@pytest.mark.parametrize(
    ("met_on", "waived", "day", "state"),
    [
        (None, False, date(2026, 6, 30), ObligationState.NOT_YET_DUE),
        (None, False, date(2026, 7, 1), ObligationState.DUE),
        (None, False, date(2026, 12, 31), ObligationState.DUE),
        (None, False, date(2027, 1, 1), ObligationState.LATE),
        (date(2026, 12, 31), False, date(2027, 1, 1), ObligationState.MET),
        (date(2027, 1, 1), False, date(2027, 1, 1), ObligationState.MET_LATE),
        (None, True, date(2027, 1, 1), ObligationState.WAIVED),
        (date(2026, 12, 31), False, date(2026, 12, 30), ObligationState.DUE),
    ],
)
def test_an_obligation_is_moved_by_the_clock_and_by_reports(
    met_on: date | None, waived: bool, day: date, state: ObligationState
) -> None:
    due_on, opens_on = date(2026, 12, 31), date(2026, 7, 1)
    assert obligation_state(due_on, met_on, waived, opens_on, day) is state


def test_every_rule_has_a_version() -> None:
    assert all(version >= 1 for version in rules.VERSIONS.values())
