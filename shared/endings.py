"""Operations that end: announced by a day, told on every answer until then (RFC 9745, RFC 8594), gone after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from starlette.types import Scope

from shared.errors import Gone
from shared.porch import carry


@dataclass(frozen=True)
class Ending:
    """One operation's end: since when it is advised against, when it stops, and where that is explained."""

    deprecated_at: datetime
    sunset_at: datetime
    explained_at: str
    """Address of a page that says why, and what to use instead."""
    successor: str | None = None
    """Address of the operation that takes its place."""

    def __post_init__(self) -> None:
        if self.sunset_at < self.deprecated_at:
            raise ValueError("An operation is advised against before it stops, not after.")

    def tell(self, scope: Scope, now: datetime) -> None:
        """Announce it on the answer. Raises Gone once the day has come."""
        carry(scope, "deprecation", f"@{int(self.deprecated_at.timestamp())}")
        carry(scope, "sunset", format_datetime(self.sunset_at.astimezone(UTC), usegmt=True))
        links = [f'<{self.explained_at}>; rel="deprecation"; type="text/html"', f'<{self.explained_at}>; rel="sunset"']
        if self.successor is not None:
            links.append(f'<{self.successor}>; rel="successor-version"')
        carry(scope, "link", ", ".join(links))
        if now >= self.sunset_at:
            raise Gone(f"This operation ended on {self.sunset_at.date()}; see {self.explained_at}.")


Endings = Mapping[str, Ending]
"""By the name of the operation."""


def mark_deprecated(paths: Mapping[str, Any], endings: Endings) -> None:
    """Say it in openapi.json. Raises TypeError for an ending of an operation that is not there."""
    operations = {one["operationId"]: one for path in paths.values() for one in path.values()}
    unknown = sorted(endings.keys() - operations.keys())
    if unknown:
        raise TypeError(f"These operations end, and are not there: {', '.join(unknown)}.")
    for name in endings:
        operations[name]["deprecated"] = True
        operations[name]["responses"]["410"] = {"$ref": "#/components/responses/410"}
