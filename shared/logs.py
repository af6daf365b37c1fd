"""Logs: one JSON line a thing, with the request it belongs to; never a body, a token, a query or an error's words."""

import logging
import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.processors import ExceptionRenderer
from structlog.stdlib import ProcessorFormatter
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, ExcInfo, Processor

log = structlog.get_logger("kapstok.requests")


def configure(level: str) -> None:
    """Our lines, and what libraries warn of, to standard output; an access log, which holds queries, nowhere."""
    shape: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        ExceptionRenderer(_without_words),
    ]
    structlog.configure(
        processors=[*shape, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(),
        cache_logger_on_first_use=False,
    )
    printed = _Printed(logging.WARNING)
    # Without their arguments: what a library fills in may be what a caller sent.
    printed.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*shape, _first_line],
            processors=[ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
            use_get_message=False,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Printed)] + [printed]
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = name != "uvicorn.access"


class _Printed(logging.Handler):
    """Writes to standard output, whatever that is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


_told = ExceptionDictTransformer(show_locals=False)


def _without_words(exc_info: ExcInfo) -> list[dict[str, Any]]:
    """Which errors, and from where; not their words, in which a database or a parser repeats what it was given."""
    return [_kind_and_place(one) for one in _told(exc_info)]


def _kind_and_place(error: dict[str, Any]) -> dict[str, Any]:
    place = [f"{frame['filename']}:{frame['lineno']} {frame['name']}" for frame in error["frames"]]
    found = {"kind": error["exc_type"], "place": place}
    inside = [_kind_and_place(one) for group in error.get("exceptions") or [] for one in group]
    return found | ({"inside": inside} if inside else {})


def _first_line(logger: Any, method: str, event: EventDict) -> EventDict:
    """asyncio writes the error that nobody fetched on the lines after it."""
    event["event"] = str(event["event"]).partition("\n")[0]
    return event


class Requests:
    """Around the routes: each write leaves one line with its outcome."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def send_noted(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
                log.info(
                    "answered",
                    operation=getattr(scope.get("route"), "name", None),
                    status=status,
                    milliseconds=round(1000 * (time.perf_counter() - began)),
                    **_who(scope),
                )


def _who(scope: Scope) -> dict[str, str]:
    """The opaque id of the account, and the organisation, once the token has proven them."""
    caller = scope.get("state", {}).get("caller")
    return {} if caller is None else {"account": caller.account, "organisation": caller.organisation}
