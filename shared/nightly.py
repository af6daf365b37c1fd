"""What is done each night, by one of the replicas, at an hour that the settings name."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

log = structlog.get_logger("kapstok.nightly")


def last_turn(now: datetime, at: str, zone: ZoneInfo) -> datetime:
    """The newest moment, not after `now`, at which the clock in a time zone stood at `at` (HH:MM)."""
    local = now.astimezone(zone)
    turn = datetime.combine(local.date(), time_of_day.fromisoformat(at), zone)
    if turn > local:
        turn = datetime.combine(local.date() - timedelta(days=1), time_of_day.fromisoformat(at), zone)
    return turn.astimezone(UTC)


@contextlib.asynccontextmanager
async def one_replica(engine: AsyncEngine, task: str) -> AsyncIterator[bool]:
    """Whether this process is the one that does a task: by a lock that goes with its holder."""
    named = {"name": f"kapstok-{task}"}
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        mine = bool(await connection.scalar(text("select pg_try_advisory_lock(hashtext(:name))"), named))
        try:
            yield mine
        finally:
            if mine:
                await connection.scalar(text("select pg_advisory_unlock(hashtext(:name))"), named)


async def each_night(
    engine: AsyncEngine,
    task: str,
    work: Callable[[], Awaitable[None]],
    *,
    at: str,
    zone: ZoneInfo,
    now: Callable[[], datetime],
) -> None:
    """Do a task that is harmless when done again: at the start, and at every turn of the night after it."""
    done_at: datetime | None = None
    told = ""
    while True:
        try:
            if done_at is None or done_at < last_turn(now(), at, zone):
                async with one_replica(engine, task) as mine:
                    if mine:
                        await work()
                done_at = now()
            told = ""
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if type(error).__name__ != told:
                told = type(error).__name__
                log.warning("nightly work waits", task=task, reason=str(error)[:300])
        await asyncio.sleep(60)
