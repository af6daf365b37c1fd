"""Services that end themselves with SIGKILL at a named point: `uvicorn --factory tests.faults.crashing:programme`.

`CRASH_AT` names the point and `CRASH_AFTER` how often it is passed first. The services themselves know nothing of it:
the points are put around the methods that everything passes through.
"""

import os
import signal
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp

from shared import outbox
from shared.bus import NatsBus
from shared.projection import Attached

POINTS = (
    "before commit",
    "after commit",
    "before publish",
    "after publish",
    "reader before commit",
    "reader after commit",
)
_left = int(os.environ.get("CRASH_AFTER", "0"))


def _reach(point: str) -> None:
    global _left
    if os.environ.get("CRASH_AT") != point:
        return
    if _left > 0:
        _left -= 1
        return
    Path(os.environ["CRASH_NOTE"]).write_text(point)
    os.kill(os.getpid(), signal.SIGKILL)


def _around(owner: type, name: str, before: str | None, after: str | None) -> None:
    """Put a point before and one after a coroutine method."""
    inner = getattr(owner, name)

    async def wrapped(*arguments: Any, **more: Any) -> Any:
        if before:
            _reach(before)
        found = await inner(*arguments, **more)
        if after:
            _reach(after)
        return found

    setattr(owner, name, wrapped)


def _arm() -> None:
    """Points around the steps that the promises hang on."""
    numbered = outbox.number
    commit = AsyncSession.commit

    async def number(session: AsyncSession, *arguments: Any) -> int | None:
        sequence = await numbered(session, *arguments)
        session.info["tells"] = sequence is not None
        return sequence

    async def commit_or_die(session: AsyncSession) -> None:
        if session.info.get("tells"):
            _reach("before commit")
        await commit(session)
        if session.info.get("tells"):
            _reach("after commit")

    outbox.number = number
    AsyncSession.commit = commit_or_die  # type: ignore[method-assign]
    _around(NatsBus, "publish", "before publish", "after publish")
    _around(Attached, "_record", "reader before commit", None)
    _around(Attached, "_apply_together", None, "reader after commit")


def _app(name: str) -> Callable[[], ASGIApp]:
    def make() -> ASGIApp:
        _arm()
        create_app: Callable[[], ASGIApp] = import_module(f"services.{name}.app").create_app
        return create_app()

    return make


programme, reporting = _app("programme"), _app("reporting")
