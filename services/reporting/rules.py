"""The rules behind the figures: each small, named, versioned, and without any input but its arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from shared.events.event import Precision
from shared.events.monitor import Implementation, ObligationState
from shared.events.programme import ActionState, Contribution, LinkState

VERSIONS = {
    "coverage": 1,
    "reported-implementation": 1,
    "shown-status": 1,
    "on-time": 1,
    "overdue": 1,
    "stale": 1,
    "domain-totals": 1,
}
"""The rules in force; a change in what a rule means raises its version."""

NO_DATA = "no data"
"""A class of its own, never zero."""

ENDED = frozenset({ActionState.COMPLETED, ActionState.DROPPED, ActionState.MERGED})
_ORDER = list(Implementation)


class Coverage(StrEnum):
    """How far a recommendation's parts are covered by confirmed links."""

    COVERED = "covered"
    PARTLY = "partly covered"
    LINKED = "linked"
    """Confirmed links, none of which covers a part by itself or together with others."""
    PROPOSED = "proposed only"
    NONE = "no action"


@dataclass(frozen=True)
class LinkFacts:
    """What the rules need to know of a link."""

    action: Any
    contribution: Contribution
    state: LinkState
    jointly_sufficient: bool

    @property
    def covers(self) -> bool:
        """Whether this link, alone or with those it was declared sufficient with, covers its part."""
        if self.state is not LinkState.CONFIRMED:
            return False
        return self.contribution is Contribution.FULL or (
            self.contribution is Contribution.PARTIAL and self.jointly_sufficient
        )


def coverage(parts: Sequence[Sequence[LinkFacts]]) -> tuple[Coverage, float]:
    """Rule `coverage`: the share of a recommendation's parts with a covering link, and its class.

    A recommendation that is not split is its own only part.
    """
    covered = sum(any(link.covers for link in links) for links in parts)
    share = covered / len(parts)
    states = {link.state for links in parts for link in links}
    if covered == len(parts):
        return Coverage.COVERED, share
    if covered:
        return Coverage.PARTLY, share
    if LinkState.CONFIRMED in states:
        return Coverage.LINKED, share
    return (Coverage.PROPOSED if LinkState.PROPOSED in states else Coverage.NONE), share


def required_actions(parts: Sequence[Sequence[LinkFacts]]) -> set[Any]:
    """The actions that the implementation of a recommendation hangs on; enabling ones do not count."""
    return {link.action for links in parts for link in links if link.covers}


def reported_implementation(
    parts: Sequence[Sequence[LinkFacts]], claims: dict[Any, Implementation]
) -> Implementation | None:
    """Rule `reported-implementation`: the lowest of the required actions, not the mean; None is no data.

    `claims` holds the actions that were reported on in the last two rounds. A part without a covering link, or a
    required action without a claim that could be verified, leaves the whole without data: the lowest is not known.
    """
    if not all(any(link.covers for link in links) for links in parts):
        return None
    found = [claims.get(action) for action in required_actions(parts)]
    if any(claim is None or claim is Implementation.COULD_NOT_BE_VERIFIED for claim in found):
        return None
    return min((claim for claim in found if claim is not None), key=_ORDER.index)


def reported_lately(claimed_on: date, round_due_days: Sequence[date], day: date) -> bool:
    """Whether fewer than two rounds fell due since a claim was accepted, up to a day."""
    return sum(claimed_on < due <= day for due in round_due_days) < 2


def last_due_day(due_on: date, precision: Precision) -> date:
    """The last day on which something due in a year, a month or on a day is in time."""
    if precision is Precision.YEAR:
        return date(due_on.year, 12, 31)
    if precision is Precision.MONTH:
        return (due_on.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return due_on


def overdue(state: ActionState, due_on: date | None, precision: Precision, day: date) -> bool:
    """Rule `overdue`: not ended, and its due day is over."""
    return state not in ENDED and due_on is not None and last_due_day(due_on, precision) < day


def stale(state: ActionState, last_claim: date, round_length: timedelta, day: date) -> bool:
    """Rule `stale`: open, and no accepted claim for the round length plus thirty days.

    `last_claim` is the day of the last accepted claim, or the day the action was planned when there is none.
    """
    return state not in ENDED and day - last_claim > round_length + timedelta(days=30)


def on_time(states: Sequence[ObligationState]) -> float | None:
    """Rule `on-time`: met ÷ (met + met late + late), waived left out; None when nothing fell due."""
    met = sum(state is ObligationState.MET for state in states)
    fell_due = met + sum(state in (ObligationState.MET_LATE, ObligationState.LATE) for state in states)
    return met / fell_due if fell_due else None
