"""Which web pages of other origins may read the answers (CORS): the listed ones; openapi.json any."""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

SENT = (
    "Authorization",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "Kapstok-At-Least",
    "Last-Event-ID",
    "traceparent",
)
READ = (
    "Allow",
    "API-Version",
    "Deprecation",
    "ETag",
    "Idempotency-Replayed",
    "Kapstok-Checked-At",
    "Kapstok-Position",
    "Kapstok-Receipt",
    "Kapstok-Shown-Once",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "Sunset",
    "traceresponse",
)


class _Shared(CORSMiddleware):
    """Whoever may not come in gets no leave and no lecture: a browser decides by the headers alone."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        headers = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        return Response(status_code=204, headers=headers)


class Origins:
    """In front of everything, kept answers too. Tokens come in a header of their own, so cookies are never allowed."""

    def __init__(self, app: ASGIApp, listed: Collection[str], open_to_all: Collection[str]) -> None:
        self._app = app
        self._listed = _Shared(
            app,
            allow_origins=listed,
            allow_methods=("GET", "HEAD", "OPTIONS", "POST", "PATCH"),
            allow_headers=SENT,
            expose_headers=READ,
        )
        self._open = _Shared(app, allow_origins=["*"], allow_methods=("GET", "HEAD"), expose_headers=READ)
        self._open_to_all = frozenset(open_to_all)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in self._open_to_all:
            await self._open(scope, receive, send)
        elif self._listed.allow_origins:
            await self._listed(scope, receive, send)
        else:
            await self._app(scope, receive, send)
