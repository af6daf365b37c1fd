"""A log with subscriptions on a real database, and couriers that a test sends out step by step, on a clock it sets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from deploy.embedded import Postgres
from shared import outbox
from shared.database import Page, Work, engine, sessions
from shared.events.event import Actor, Event
from shared.events.programme import ActionRescheduled
from shared.settings import Settings
from shared.webhooks import subscriptions
from shared.webhooks.couriers import Courier, Rest, Road
from shared.webhooks.rows import Attempt, DeadLetter, State, Subscription
from shared.webhooks.sinks import Sinks
from shared.webhooks.subscriptions import Subscribe, Terms
from tests.house import Builder
from tests.receiver import Receiver
from tests.shared.facts import SOURCE

BEGAN = datetime(2018, 10, 19, 9, 30, tzinfo=UTC)


@dataclass
class Clock:
    at: datetime = BEGAN

    def __call__(self) -> datetime:
        return self.at

    def forward(self, **much: float) -> None:
        self.at += timedelta(**much)


def rescheduled(entity: UUID | None = None, reason: str = "Later.") -> ActionRescheduled:
    return ActionRescheduled(
        entity=entity or uuid4(), version=1, effective_from=date(2018, 10, 19), due_on=date(2019, 1, 1), reason=reason
    )


@dataclass
class Line:
    """The log of `programme`, its subscriptions, and what carries them."""

    engine: AsyncEngine
    settings: Settings
    clock: Clock
    sessions: async_sessionmaker[AsyncSession]
    road: Road
    couriers: dict[UUID, Courier] = field(default_factory=dict)

    def acting(self, organisation: str = "jenv", expected: int | None = None) -> AsyncSession:
        actor = Actor(organisation=organisation, function="coordinator")
        work = Work(actor, account="local", today=date(2018, 10, 19), expected=expected)
        return self.sessions(info={"work": work})

    @property
    def terms(self) -> Terms:
        return Terms("programme", self.settings, self.clock())

    async def tell(self, *facts: Event | int, trace: str | None = None) -> list[outbox.Stored]:
        """Record facts, or so many of them; they as stored."""
        async with self.acting() as session:
            for one in facts or (1,):
                told = [rescheduled() for _ in range(one)] if isinstance(one, int) else [one]
                await outbox.add(session, *told)
            count = len(session.info["work"].told)
            last = await outbox.number(session, SOURCE.format("programme"), trace)
            assert last is not None
            found = await outbox.after(session, last - count, count)
            await session.commit()
        return found

    async def subscribe(self, sink: Receiver, **fields: Any) -> Subscription:
        async with self.acting() as session:
            made = await subscriptions.begin(session, Subscribe(sink=sink.url, **fields), self.terms)
            await session.commit()
        return made

    async def command(self, verb: Any, id: UUID, command: Any, *more: Any) -> Subscription:
        async with self.acting() as session:
            found: Subscription = await verb(session, id, command, *more)
            await session.commit()
        return found

    async def step(self, one: Subscription) -> Rest | None:
        return await self.couriers.setdefault(one.id, Courier(one.id, self.road)).step()

    async def carry(self, one: Subscription, *, patience: float = 0.1) -> Rest:
        """Until there is nothing to do, or nothing before some moment; what lies between two calls is waited for."""
        while True:
            rest = await self.step(one)
            if rest is None:
                continue
            if rest.until is None or rest.until > self.clock() + timedelta(seconds=patience):
                return rest
            self.clock.at = rest.until

    async def carry_through(self, one: Subscription, **most: float) -> Rest:
        """The same, with the clock put forward to each moment that is waited for."""
        end = self.clock() + timedelta(**most)
        while True:
            rest = await self.carry(one)
            if rest.until is None or rest.until > end:
                return rest
            self.clock.at = rest.until

    async def now(self, one: Subscription) -> Subscription:
        async with self.sessions() as session:
            return await subscriptions.find(session, one.id, one.organisation)

    async def attempts(self, one: Subscription) -> list[Attempt]:
        """In the order of time."""
        async with self.sessions() as session:
            where = Attempt.subscription_id == one.id
            return list(await session.scalars(select(Attempt).where(where).order_by(Attempt.id)))

    async def dead_letters(self, one: Subscription) -> list[DeadLetter]:
        async with self.sessions() as session:
            part = await subscriptions.dead_letters(session, one.id, one.organisation, Page(), None)
            return list(part.items)  # type: ignore[arg-type]

    async def retire_all(self) -> None:
        """So that the next test on this log has it for itself."""
        async with self.sessions.begin() as session:
            await session.execute(update(Subscription).values(state=State.ENDED))


@asynccontextmanager
async def line_on(builder: Builder, postgres: Postgres, **given: Any) -> AsyncIterator[Line]:
    name = await builder.database("programme")
    local = {"webhook_allow_http": True, "webhook_allow_private": True, "webhook_timeout_seconds": 2}
    local |= {"webhook_longest_wait_seconds": 6 * 3600}  # so that three days take fewer calls
    settings = Settings(database_url=SecretStr(postgres.url("programme", "kapstok", name)), **(local | given))
    made, clock, sinks = engine(settings), Clock(), Sinks(settings)
    road = Road(sessions(made), sinks, settings, clock, chance=lambda: 0.5)
    yield Line(made, settings, clock, sessions(made), road)
    await sinks.close()
    await made.dispose()
