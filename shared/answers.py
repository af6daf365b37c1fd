"""Answers kept as bytes per position, given before routing: a figure is computed once for each state of the view."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.calendar import written
from shared.projection import Attached, Standing

MOST = 512
"""Answers kept at once; the one not asked for longest goes first."""


@dataclass(frozen=True)
class Stamp:
    """What an answer depends on besides its address: the logs as followed, the tables, and the day."""

    generation: str
    epochs: str
    position: str
    parked: str
    day: date


@dataclass(frozen=True)
class Answer:
    stamp: Stamp
    body: bytes
    media_type: bytes
    etag: bytes


Address = tuple[str, bytes, str]
"""Path, query as sent, and what else the answer varies by."""


class Answers:
    """Keeps answers of one view. Any replica gives the same bytes and ETag for the same stamp."""

    def __init__(
        self, view: Attached, today: Callable[[], date], rules: Mapping[str, int], page_policy: str = ""
    ) -> None:
        self._view = view
        self._page_policy = page_policy.encode()
        self._today = today
        self._rules = ",".join(f"{name}@{version}" for name, version in sorted(rules.items()))
        self._kept: OrderedDict[Address, Answer] = OrderedDict()
        self._making: dict[Address, asyncio.Lock] = {}

    def stamp(self, standing: Standing) -> Stamp:
        parked = ",".join(map(str, standing.parked))
        return Stamp(standing.generation, standing.epochs, str(standing.position), parked, self._today())

    def now(self) -> Stamp | None:
        """The stamp of the newest state this process has seen."""
        return None if self._view.standing is None else self.stamp(self._view.standing)

    def fresh(self, address: Address) -> Answer | None:
        """The kept answer, when nothing changed since."""
        kept = self._kept.get(address)
        if kept is None or kept.stamp != self.now():
            return None
        self._kept.move_to_end(address)
        return kept

    async def give(
        self, address: Address, media_type: str, make: Callable[[], Awaitable[tuple[Standing, bytes]]]
    ) -> Answer:
        """The kept answer, or a new one; asked for many times at once, it is made once."""
        lock = self._making.setdefault(address, asyncio.Lock())
        try:
            async with lock:
                kept = self.fresh(address)
                if kept is None:
                    standing, body = await make()
                    stamp = self.stamp(standing)
                    kept = Answer(stamp, body, media_type.encode(), self._etag(stamp, address, media_type))
                    self._kept[address] = kept
                    while len(self._kept) > MOST:
                        self._kept.popitem(last=False)
                return kept
        finally:
            if not lock.locked():
                self._making.pop(address, None)

    def _etag(self, stamp: Stamp, address: Address, media_type: str) -> bytes:
        path, query, varies = address
        state = (stamp.epochs, stamp.position, stamp.parked, str(stamp.day), self._rules)
        parts = (*state, path, query.decode(), varies, media_type)
        return b'"' + sha256("\n".join(parts).encode()).hexdigest()[:32].encode() + b'"'

    def headers(self, answer: Answer) -> list[tuple[bytes, bytes]]:
        """The headers of an answer; how lately the owners were asked stands here, outside body and ETag."""
        found = [(b"etag", answer.etag), (b"vary", b"accept-language"), (b"cache-control", b"private, no-cache")]
        if answer.media_type.startswith(b"text/html"):
            found.append((b"content-security-policy", self._page_policy))
        checked_at = self._view.standing.checked_at if self._view.standing else None
        if checked_at is not None:
            found.append((b"kapstok-checked-at", written(checked_at).encode()))
        return found


class Front:
    """In front of the app: kept answers leave here, as 200 or 304, before any routing."""

    def __init__(self, app: ASGIApp, answers: Answers, varies: Callable[[Scope], str]) -> None:
        self._app = app
        self._answers = answers
        self._varies = varies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET":
            kept = self._answers.fresh((scope["path"], scope["query_string"], self._varies(scope)))
            if kept is not None and not _asks_for_more(scope, kept):
                for message in answered(self._answers, kept, _if_none_match(scope)):
                    await send(message)
                return
        await self._app(scope, receive, send)


def answered(answers: Answers, answer: Answer, if_none_match: bytes | None) -> tuple[Message, Message]:
    """The two ASGI messages of an answer: 304 when the caller has it already."""
    headers = answers.headers(answer)
    if if_none_match is not None and (answer.etag in if_none_match or if_none_match == b"*"):
        return (
            {"type": "http.response.start", "status": 304, "headers": headers},
            {"type": "http.response.body", "body": b""},
        )
    headers += [(b"content-type", answer.media_type), (b"content-length", str(len(answer.body)).encode())]
    return (
        {"type": "http.response.start", "status": 200, "headers": headers},
        {"type": "http.response.body", "body": answer.body},
    )


def _if_none_match(scope: Scope) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == b"if-none-match"), None)


def _asks_for_more(scope: Scope, kept: Answer) -> bool:
    """Whether the caller wants at least some position, or does not name the form of what is kept: the app decides."""
    form = kept.media_type.partition(b";")[0]
    return any(
        name == b"kapstok-at-least" or (name == b"accept" and b"*/*" not in value and form not in value)
        for name, value in scope["headers"]
    )
