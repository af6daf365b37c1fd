"""Outcomes: what a sink's answer means, and how long to wait after it; pure, so that three days pass in a test."""

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

from shared.settings import Settings
from shared.webhooks.sinks import Answer


class Outcome(Enum):
    DELIVERED = auto()
    GONE = auto()
    """The sink says that it wants nothing any more."""
    REFUSED = auto()
    """The sink is there, and does not take this event."""
    FAILED = auto()
    """The sink is away, busy, or not what it was."""


_REFUSALS = (400, 413, 415, 422)


def outcome(answer: Answer) -> Outcome:
    match answer.status:
        case int(status) if 200 <= status < 300:
            return Outcome.DELIVERED
        case 410:
            return Outcome.GONE
        case int(status) if status in _REFUSALS:
            return Outcome.REFUSED
    return Outcome.FAILED


def told(answer: Answer) -> str:
    """What went wrong, in a sentence."""
    if answer.status is None:
        return answer.problem or "It did not answer."
    if 300 <= answer.status < 400:
        return f"It answered {answer.status}; redirects are not followed."
    return f"It answered {answer.status}."


def consent(answer: Answer, origin: str, rate: int) -> int | None:
    """The calls a minute that a sink allows us, at most what we asked for; None when it did not allow any."""
    allowed = answer.headers.get("webhook-allowed-origin", "").strip().lower()
    if outcome(answer) is not Outcome.DELIVERED or allowed not in ("*", origin.lower()):
        return None
    return min(rate, _number(answer.headers.get("webhook-allowed-rate", "")) or rate)


@dataclass(frozen=True)
class Patience:
    """How long a sink is tried again: the waits double from the first to the longest, until they add up to it all."""

    first: float
    longest: float
    altogether: float

    @classmethod
    def of(cls, settings: Settings) -> "Patience":
        return cls(
            settings.webhook_first_wait_seconds,
            settings.webhook_longest_wait_seconds,
            settings.webhook_patience_hours * 3600,
        )

    def wait(self, failures: int, waited: float, asked: float | None, chance: float) -> float | None:
        """Seconds until the next try; None when it is enough.

        `failures` came before this one, `waited` is what was waited between them, `asked` is what the sink asked for,
        and `chance`, from 0 to 1, spreads those who failed together.
        """
        left = self.altogether - waited
        if left <= 0:
            return None
        longest = min(self.longest, self.first * 2.0 ** min(failures, 60))
        wait = longest / 2 * (1 + chance) if asked is None else max(self.first, asked)
        return min(wait, left)


def asked_to_wait(answer: Answer, now: datetime) -> float | None:
    """Seconds in `Retry-After` of an answer that says that we come too often, or too early."""
    if answer.status not in (429, 503):
        return None
    written = answer.headers.get("retry-after", "")
    seconds = _number(written)
    if seconds is not None:
        return float(seconds)
    try:
        return max(0.0, (parsedate_to_datetime(written) - now).total_seconds())
    except (ValueError, TypeError, OverflowError):  # no date, or one without a time zone
        return None


def _number(written: str) -> int | None:
    return int(written) if re.fullmatch(r"\s*[0-9]{1,9}\s*", written) else None
