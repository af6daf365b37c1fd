"""Verification of a view: made again from the owners' logs beside the live rows, compared, and taken away again."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import BigInteger, Column, Float, Index, Table, Text, Uuid, insert, select
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from uuid_utils.compat import uuid7

from shared.calendar import written
from shared.database import COMMON
from shared.errors import Unavailable
from shared.feed import FeedUnavailable
from shared.nightly import last_turn, one_replica
from shared.projection import Attached, Into, generation, take_time

log = structlog.get_logger("kapstok.verification")

verification = Table(
    "verification",
    COMMON,
    Column("id", Uuid, primary_key=True),
    Column("view", Text, nullable=False),
    Column("at", TIMESTAMP(timezone=True), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("position", Text, nullable=False),
    Column("differing", ARRAY(Text), nullable=False),
    Column("first", Text),
    Index("ix_verification_view_at", "view", "at"),
)


@dataclass(frozen=True)
class Verified:
    """What came of it: how many events were read, which tables differ from the logs, and the first row that does."""

    at: datetime
    seconds: float
    events: int
    position: str
    differing: list[str]
    first: str | None

    def told(self) -> dict[str, Any]:
        """As health shows it."""
        return {
            "at": written(self.at),
            "seconds": round(self.seconds, 3),
            "events": self.events,
            "position": self.position,
            "differing": self.differing,
            "first": self.first,
        }


async def verify(view: Attached, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Verified:
    """Compare a view's live rows with what the logs give, as of one moment; nothing waits for it, nothing is changed.

    The result is kept. Raises FeedUnavailable while an owner is away, and what a handler raises at a poisonous event.
    """
    began, started = now(), time.monotonic()
    async with view.made_beside() as schema, view.reading() as live:
        await take_time(live)
        standing = await view.stand(live)
        events = 0
        for owner, at in (await view.checkpoints(live)).items():  # an owner not met yet has told it nothing
            events += await view.fill(Into(schema), owner, upto=at.sequence)
        differing = await view.differing(live, schema)
        first = await view.first_difference(live, schema, differing[0]) if differing else None
    found = Verified(began, time.monotonic() - started, events, str(standing.position), differing, first)
    async with view.acting() as session:
        row = {name: getattr(found, name) for name in Verified.__dataclass_fields__}
        await session.execute(insert(verification).values(id=uuid7(), view=view.view.name, **row))
    if differing:
        log.error("a view is not what its logs say", view=view.view.name, differing=differing, first=first)
    else:
        log.info("a view is what its logs say", view=view.view.name, events=events, position=found.position)
    return found


async def last(session: AsyncSession, view: str) -> Verified | None:
    """The newest verification of a view."""
    columns = (verification.c[name] for name in Verified.__dataclass_fields__)
    newest = select(*columns).where(verification.c.view == view).order_by(verification.c.at.desc()).limit(1)
    row = (await session.execute(newest)).one_or_none()
    return None if row is None else Verified(*row)


async def nightly(view: Attached, engine: AsyncEngine, at: str, zone: ZoneInfo, now: Callable[[], datetime]) -> None:
    """Verify each night at `at`, by one of the replicas; rows made since the last turn are left for the next."""
    told = ""
    while True:
        try:
            async with one_replica(engine, f"verify-{view.view.name}") as mine:
                if mine and await _since(view) < last_turn(now(), at, zone):
                    await verify(view, now)
            told = ""
        except (FeedUnavailable, Unavailable, SQLAlchemyError, OSError, TimeoutError) as error:
            if type(error).__name__ != told:
                told = type(error).__name__
                log.warning("verification waits", view=view.view.name, reason=str(error)[:300])
        except Exception as error:
            if type(error).__name__ != told:
                told = type(error).__name__
                log.exception("verification failed and is tried again", view=view.view.name)
        await asyncio.sleep(60)


async def _since(view: Attached) -> datetime:
    """When the live rows were last compared, or else made."""
    async with view.acting() as session:
        verified = await last(session, view.view.name)
        live = (generation.c.view == view.view.name) & generation.c.live
        made = await session.scalar(select(generation.c.made_at).where(live).order_by(generation.c.made_at.desc()))
    made = made or datetime.now(UTC)
    return made if verified is None else max(made, verified.at)
