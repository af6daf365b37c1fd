"""One thread through everything: the trace of a request (W3C Trace Context), continued or begun here."""

import re
import secrets
from dataclasses import dataclass

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.porch import carry

_WRITTEN = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<id>[0-9a-f]{32})-[0-9a-f]{16}-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)
_SAMPLED = 1


@dataclass(frozen=True)
class Trace:
    """The trace that a request belongs to, and our own step in it."""

    id: str
    span: str
    sampled: bool = False

    def __str__(self) -> str:
        """As `traceparent` says it to whoever comes next."""
        return f"00-{self.id}-{self.span}-{int(self.sampled):02x}"


def trace_of(traceparents: list[str]) -> Trace:
    """The caller's trace, with a step of our own; a new one when it has none, or none that can be read."""
    span = secrets.token_hex(8)
    found = _WRITTEN.fullmatch(traceparents[0].strip()) if len(traceparents) == 1 else None
    if found is None or not _can_be_read(found):
        return Trace(secrets.token_hex(16), span)
    return Trace(found["id"], span, sampled=bool(int(found["flags"], 16) & _SAMPLED))


def _can_be_read(found: re.Match[str]) -> bool:
    """Ids of zeros and the version ff mean nothing; only versions to come may say more than ours does."""
    _, id, parent, *_ = found[0].split("-")
    if found["version"] == "ff" or not id.strip("0") or not parent.strip("0"):
        return False
    return found["version"] != "00" or found["more"] is None


class Traced:
    """Around the routes: each request has a trace, which logs and the answer name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            trace = trace_of(Headers(scope=scope).getlist("traceparent"))
            scope.setdefault("state", {})["trace"] = trace
            structlog.contextvars.clear_contextvars()
            structlog.contextvars.bind_contextvars(trace=trace.id, request=trace.span)
            carry(scope, "traceresponse", str(trace))
        await self._app(scope, receive, send)
