"""The live stream: a snapshot with its position, then what changed, for any number of open dashboards."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any

import structlog
from fastapi.sse import ServerSentEvent

from services.reporting import progress
from services.reporting.progress import Newest
from shared.errors import Unavailable
from shared.projection import Attached, Standing

log = structlog.get_logger("kapstok.live")

REMEMBERED = 1000
"""Changes that a client which was away can be given; one that was away longer gets a snapshot."""


@dataclass(frozen=True)
class State:
    """All lines at one position and day of the same logs, each already written as JSON."""

    id: str
    head: dict[str, Any]
    domains: dict[str, dict[str, Any]]
    partners: dict[str, dict[str, Any]]
    total: dict[str, Any]

    def snapshot(self) -> ServerSentEvent:
        lines = {"domains": [*self.domains.values()], "partners": [*self.partners.values()], "total": self.total}
        return ServerSentEvent(event="snapshot", id=self.id, raw_data=_json(self.head | lines))

    def change_from(self, before: "State") -> ServerSentEvent:
        """Only the lines that differ; the position moves also when none does."""
        lines: dict[str, Any] = {
            "domains": [line for code, line in self.domains.items() if before.domains.get(code) != line],
            "partners": [line for id, line in self.partners.items() if before.partners.get(id) != line],
        }
        if self.total != before.total:
            lines["total"] = self.total
        return ServerSentEvent(event="change", id=self.id, raw_data=_json(self.head | lines))


@dataclass(frozen=True)
class Change:
    """What to tell whoever has seen the state with the id `after`."""

    after: str
    event: ServerSentEvent


def _id(standing: Standing, day: date) -> str:
    """Names a state. Another log that is as long stands at the same position, so the epochs are in it too."""
    logs = "/".join([standing.epochs, *map(str, standing.parked)])
    return f"{standing.position}@{day}@{sha256(logs.encode()).hexdigest()[:8]}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class Live:
    """One computation for each move of the view, shared by all who listen."""

    def __init__(self, view: Attached, newest: Newest) -> None:
        self._view = view
        self._newest = newest
        self._state: State | None = None
        self._standing: Standing | None = None
        self._changes: deque[Change] = deque(maxlen=REMEMBERED)
        self._number = 0
        self._moved = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="live")

    async def _run(self) -> None:
        """Compute at every move, and at midnight; a failure is logged once and tried again."""
        told = ""
        while True:
            try:
                await self._compute()
                told = ""
                await self._view.moved(self._standing, timeout=1)
            except Exception as error:
                if not isinstance(error, Unavailable) and repr(error) != told:
                    told = repr(error)
                    log.exception("the live stream cannot compute and tries again")
                await asyncio.sleep(0.25)

    async def _compute(self) -> None:
        standing, now = await self._newest.get()
        id = _id(standing, now.moment.day)
        if self._state is not None and self._state.id == id:
            self._standing = standing
            return
        head = progress.Head(**progress.head(now, standing))
        state = State(
            id,
            head.model_dump(mode="json", by_alias=True),
            {line.code: line.model_dump(mode="json", by_alias=True) for line in progress.domain_lines(now)},
            {str(line.id): line.model_dump(mode="json", by_alias=True) for line in progress.partner_lines(now)},
            progress.total(now).model_dump(mode="json", by_alias=True),
        )
        if self._state is not None:
            self._changes.append(Change(self._state.id, state.change_from(self._state)))
            self._number += 1
        self._state, self._standing = state, standing
        self._moved.set()
        self._moved = asyncio.Event()

    def _after(self, number: int) -> list[ServerSentEvent]:
        """The changes after the one with this number."""
        missed = self._number - number
        return [change.event for change in list(self._changes)[-missed:]] if missed else []

    def _number_of(self, last_event_id: str) -> int | None:
        """Which change a client has seen last; None when that is not remembered."""
        if self._state is not None and self._state.id == last_event_id:
            return self._number
        for back, change in enumerate(reversed(self._changes), start=1):
            if change.after == last_event_id:
                return self._number - back
        return None

    async def listen(self, last_event_id: str | None, stopping: asyncio.Event) -> AsyncIterator[ServerSentEvent]:
        """A snapshot (or, resumed, what was missed), then every change, until the service stops."""
        self._start()
        while self._state is None and not stopping.is_set():
            await _either(self._moved, stopping)
        if self._state is None:
            return
        seen = self._number_of(last_event_id) if last_event_id else None
        if seen is None:
            yield self._state.snapshot()
            seen = self._number
        while not stopping.is_set():
            moved, newest = self._moved, self._number
            if newest - seen > len(self._changes):
                yield self._state.snapshot()
            else:
                for change in self._after(seen):
                    yield change
            seen = newest
            await _either(moved, stopping)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1)


async def _either(one: asyncio.Event, other: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(one.wait()), asyncio.ensure_future(other.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
