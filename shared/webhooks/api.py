"""The routes of subscriptions, which every publisher has."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import PlainSerializer, WithJsonSchema

from shared.access import By
from shared.calendar import written
from shared.http import Door, Listing, Out, Session
from shared.webhooks import subscriptions
from shared.webhooks.filters import Filter
from shared.webhooks.rows import AttemptKind, LetterState, State, Subscription
from shared.webhooks.subscriptions import (
    EndSubscription,
    InTime,
    Pause,
    Progress,
    Redeliver,
    Replay,
    Resume,
    RotateKey,
    Subscribe,
    Terms,
)

Moment = Annotated[
    datetime,
    PlainSerializer(written, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class KeyOut(Out):
    public_key: str
    """Standard Webhooks: `whpk_` and 32 bytes in base64, for ed25519."""
    began_at: Moment
    ends_at: Moment | None


class SubscriptionOut(Out):
    id: UUID
    version: int
    organisation: str
    sink: str
    protocol: Literal["HTTP"]
    types: list[str]
    filters: list[Filter]
    state: State
    reason: str | None
    allowed_rate: int | None
    began_at: Moment
    keys: list[KeyOut]


class ProgressOut(Out):
    position: int
    head: int
    behind: int
    failures: int
    failing_since: Moment | None
    next_attempt_at: Moment | None
    delivered_at: Moment | None
    dead_letters: int


class AttemptOut(Out):
    id: UUID
    kind: AttemptKind
    event_id: UUID | None
    at: Moment
    seconds: float
    status: int | None
    problem: str | None


class DeadLetterOut(Out):
    id: UUID
    event_id: UUID
    sequence: int
    type: str
    attempts: int
    reason: str
    died_at: Moment
    asked_at: Moment | None
    redelivered_at: Moment | None


def _terms(request: Request) -> Terms:
    service = request.app.state.service
    return Terms(service.name, service.settings, service.now())


On = Annotated[Terms, Depends(_terms)]


def _in_time(
    cursor: Annotated[UUID | None, Query(description="Where the page before this one ended.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="How many at most.")] = 100,
) -> InTime:
    return InTime(cursor, limit)


InTheirOrder = Annotated[InTime, Depends(_in_time)]
InState = Annotated[State | None, Query(description="Only those in this state.")]

router = APIRouter(route_class=Door, tags=["subscriptions"])


@router.post("/subscriptions", status_code=201, response_model=SubscriptionOut)
async def begin_subscription(command: Subscribe, session: Session, terms: On) -> Subscription:
    """Have facts sent to a sink: an address that takes CloudEvents by POST, and says so to an OPTIONS."""
    return await subscriptions.begin(session, command, terms)


@router.get("/subscriptions", response_model=Listing[SubscriptionOut])
async def list_subscriptions(session: Session, by: By, page: InTheirOrder, state: InState = None) -> object:
    """Those of your own organisation."""
    return await subscriptions.listed(session, by.organisation, page, state)


@router.get("/subscriptions/{id}", response_model=SubscriptionOut)
async def read_subscription(id: UUID, session: Session, by: By) -> Subscription:
    return await subscriptions.find(session, id, by.organisation)


@router.get("/subscriptions/{id}/progress", response_model=ProgressOut)
async def read_subscription_progress(id: UUID, session: Session, by: By) -> Progress:
    """How far it is in the log, and how the sink is doing."""
    return await subscriptions.progress(session, id, by.organisation)


@router.get("/subscriptions/{id}/attempts", response_model=Listing[AttemptOut])
async def list_subscription_attempts(id: UUID, session: Session, by: By, page: InTheirOrder) -> object:
    """Every call of the sink, the newest first."""
    return await subscriptions.attempts(session, id, by.organisation, page)


@router.get("/subscriptions/{id}/dead-letters", response_model=Listing[DeadLetterOut])
async def list_subscription_dead_letters(
    id: UUID,
    session: Session,
    by: By,
    page: InTheirOrder,
    state: Annotated[LetterState | None, Query(description="Only those in this state.")] = None,
) -> object:
    """Events that were given up."""
    return await subscriptions.dead_letters(session, id, by.organisation, page, state)


@router.post("/subscriptions/{id}/_pause", response_model=SubscriptionOut)
async def pause_subscription(id: UUID, command: Pause, session: Session) -> Subscription:
    return await subscriptions.pause(session, id, command)


@router.post("/subscriptions/{id}/_resume", response_model=SubscriptionOut)
async def resume_subscription(id: UUID, command: Resume, session: Session) -> Subscription:
    """Go on from where it was; the sink is asked anew whether it wants to be called."""
    return await subscriptions.resume(session, id, command)


@router.post("/subscriptions/{id}/_replay", response_model=SubscriptionOut)
async def replay_subscription(id: UUID, command: Replay, session: Session) -> Subscription:
    """Send everything after a position, again or for the first time."""
    return await subscriptions.replay(session, id, command)


@router.post("/subscriptions/{id}/_redeliver", response_model=SubscriptionOut)
async def redeliver_subscription(id: UUID, command: Redeliver, session: Session, terms: On) -> Subscription:
    """Send dead letters after all."""
    return await subscriptions.redeliver(session, id, command, terms)


@router.post("/subscriptions/{id}/_rotate-key", response_model=SubscriptionOut)
async def rotate_key_of_subscription(id: UUID, command: RotateKey, session: Session, terms: On) -> Subscription:
    """Sign with a new key; the keys until now sign beside it for a while."""
    return await subscriptions.rotate_key(session, id, command, terms)


@router.post("/subscriptions/{id}/_end", response_model=SubscriptionOut)
async def end_subscription(id: UUID, command: EndSubscription, session: Session) -> Subscription:
    return await subscriptions.end(session, id, command)
