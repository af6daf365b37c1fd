"""Subscriptions as they are kept: their rules, their keys, how far each is, its attempts and its dead letters.

Plain rows, not entities that tell: how a subscription fares is the operation of one client's line, no fact of policy.
See docs/decisions/0016-subscriptions-are-not-facts.md.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from uuid_utils.compat import uuid7

from shared.database import COMMON, TYPES, Json
from shared.errors import Conflict
from shared.outbox import Stored
from shared.webhooks.filters import Filter
from shared.webhooks.signatures import new_key, public_half
from shared.webhooks.sinks import Answer

MOST_KEYS = 5
"""Keys that sign at once; more would make the header of a call too long."""


class State(StrEnum):
    """`requested` until the sink says that it wants to be called; then `active`; `ended` for good."""

    REQUESTED = "requested"
    ACTIVE = "active"
    PAUSED = "paused"
    ENDED = "ended"


STANDING = (State.REQUESTED, State.ACTIVE)
"""States in which there is something to send."""


class AttemptKind(StrEnum):
    HANDSHAKE = "handshake"
    DELIVERY = "delivery"
    REDELIVERY = "redelivery"


class LetterState(StrEnum):
    """Whether a dead letter waits for somebody to ask for it, or was delivered after all."""

    WAITING = "waiting"
    DELIVERED = "delivered"


class Rows(DeclarativeBase):
    """Rows of every publisher's database, beside its outbox."""

    metadata = COMMON
    type_annotation_map = TYPES


class Subscription(Rows):
    """What a client asked for. Its version counts what was changed by command, or by what the sink said."""

    __tablename__ = "subscription"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    version: Mapped[int]
    organisation: Mapped[str] = mapped_column(index=True)
    sink: Mapped[str]
    types: Mapped[list[str]]
    filters: Mapped[list[Filter]] = mapped_column(Json(list[Filter]))
    state: Mapped[State]
    reason: Mapped[str | None]
    """Why it is paused or has ended."""
    allowed_rate: Mapped[int | None]
    """Calls a minute, as the sink allowed; None before it did."""
    began_at: Mapped[datetime]

    keys: Mapped[list["Key"]] = relationship(
        lazy="selectin", cascade="all, delete-orphan", order_by="Key.began_at.desc()"
    )
    delivery: Mapped["Delivery"] = relationship(lazy="joined", innerjoin=True, cascade="all")

    protocol = "HTTP"

    def wants(self, event: Stored) -> bool:
        """Whether an event is one of the types, and every filter matches; without any, each event is wanted."""
        attributes = {"type": event.type, "subject": str(event.entity)}
        return (not self.types or event.type in self.types) and all(one.matches(attributes) for one in self.filters)

    @property
    def spacing(self) -> timedelta:
        """What lies at least between two calls, so that the allowed rate is kept."""
        return timedelta(minutes=1) / self.allowed_rate if self.allowed_rate else timedelta()

    def allow(self, rate: int) -> None:
        self.state, self.reason, self.allowed_rate = State.ACTIVE, None, rate
        self.delivery.start_over()
        self.version += 1

    def pause(self, reason: str) -> None:
        if self.state not in STANDING:
            raise Conflict(f"Only a standing subscription can be paused; this one is {self.state}.")
        self.state, self.reason = State.PAUSED, reason
        self.version += 1

    def resume(self) -> None:
        """The sink is asked anew whether it wants to be called."""
        if self.state is not State.PAUSED:
            raise Conflict(f"Only a paused subscription can be resumed; this one is {self.state}.")
        self.state, self.reason = State.REQUESTED, None
        self.delivery.start_over()
        self.version += 1

    def end(self, reason: str) -> None:
        self._must_not_have_ended()
        self.state, self.reason = State.ENDED, reason
        self.keys.clear()
        self.version += 1

    def replay(self, after: int) -> None:
        self._must_not_have_ended()
        self.delivery.position = after
        self.delivery.start_over()
        self.version += 1

    def redeliver(self) -> None:
        if self.state is not State.ACTIVE:
            raise Conflict(f"Only an active subscription gets its dead letters; this one is {self.state}.")
        self.delivery.start_over()
        self.version += 1

    def rotate_key(self, now: datetime, overlap: timedelta) -> None:
        """A new key; those that sign now go on beside it for a while."""
        self._must_not_have_ended()
        standing = [key for key in self.keys if key.signs_at(now)]
        if len(standing) >= MOST_KEYS and overlap:
            raise Conflict(f"{MOST_KEYS} keys sign already; wait until one ends, or rotate with overlapHours 0.")
        for key in standing:
            key.ends_at = min(key.ends_at or now + overlap, now + overlap)
        self.keys = [Key.made(now), *(standing if overlap else [])]
        self.version += 1

    def _must_not_have_ended(self) -> None:
        if self.state is State.ENDED:
            raise Conflict("This subscription has ended; make a new one.")


class Key(Rows):
    """A key of one subscription alone, so that what one subscriber knows is worth nothing with another."""

    __tablename__ = "subscription_key"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscription.id"), index=True)
    private: Mapped[bytes]
    began_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]

    @classmethod
    def made(cls, now: datetime) -> "Key":
        return cls(id=uuid7(), private=new_key(), began_at=now, ends_at=None)

    @property
    def public_key(self) -> str:
        return public_half(self.private)

    def signs_at(self, now: datetime) -> bool:
        return self.ends_at is None or self.ends_at > now


class Delivery(Rows):
    """How far a subscription is; moves with every call, and so has no version."""

    __tablename__ = "subscription_delivery"

    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscription.id"), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    """The last event that the sink has, or that was passed over."""
    failures: Mapped[int] = mapped_column(default=0)
    """In a row."""
    waited: Mapped[float] = mapped_column(default=0)
    """Seconds that were waited between them; not counting when we ourselves were away."""
    failing_since: Mapped[datetime | None]
    next_at: Mapped[datetime | None]
    """Not before this moment is the sink called again."""
    delivered_at: Mapped[datetime | None]

    def start_over(self) -> None:
        """A person acted: what failed before counts no more."""
        if self.failures:
            self.failures, self.waited, self.failing_since, self.next_at = 0, 0, None, None

    def succeed(self, now: datetime, next_at: datetime) -> None:
        self.start_over()
        self.delivered_at, self.next_at = now, next_at

    def fail(self, now: datetime, wait: float) -> None:
        self.failures += 1
        self.waited += wait
        self.failing_since = self.failing_since or now
        self.next_at = now + timedelta(seconds=wait)


class Attempt(Rows):
    """One call of a sink: when, how long, and what came of it; nothing of what was said."""

    __tablename__ = "subscription_attempt"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscription.id"))
    kind: Mapped[AttemptKind]
    event_id: Mapped[UUID | None]
    at: Mapped[datetime] = mapped_column(index=True)
    seconds: Mapped[float]
    status: Mapped[int | None]
    problem: Mapped[str | None]

    __table_args__ = (Index(None, "subscription_id", "id"),)

    @classmethod
    def made(
        cls, kind: AttemptKind, event_id: UUID | None, began: datetime, answer: Answer, problem: str | None
    ) -> "Attempt":
        return cls(
            id=uuid7(),
            kind=kind,
            event_id=event_id,
            at=began,
            seconds=answer.seconds,
            status=answer.status,
            problem=problem,
        )


class DeadLetter(Rows):
    """An event that was given up: left out of the order, waiting for somebody to ask for it again."""

    __tablename__ = "subscription_dead_letter"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    subscription_id: Mapped[UUID] = mapped_column(ForeignKey("subscription.id"))
    event_id: Mapped[UUID]
    sequence: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str]
    attempts: Mapped[int]
    reason: Mapped[str]
    died_at: Mapped[datetime]
    asked_at: Mapped[datetime | None]
    """When somebody asked to deliver it after all."""
    redelivered_at: Mapped[datetime | None]

    __table_args__ = (Index(None, "subscription_id", "event_id", unique=True),)
