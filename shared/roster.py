"""The roster: which clients, keys and appointments stand, followed by every service from the one that owns them.

A token proves who calls; what the caller may is narrowed by what stands here, so that a function that is taken away, or
a key that is revoked, is gone within the moment it takes to follow the fact, and not when the token runs out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped

from shared.events.programme import (
    AppointmentEnded,
    ClientGranted,
    ClientRegistered,
    ClientRevoked,
    FunctionAppointed,
    KeyIssued,
    KeyRevoked,
)
from shared.projection import Attached, Projection, Standing
from shared.rows import Followed, follow_entity

MOST = 10_000
"""Callers remembered between two changes of the roster."""


def holder_of(issuer: str, account: str) -> str:
    """What the roster knows an account by: nobody's name, and no identity provider's number, stands in a log."""
    return sha256(f"{issuer}\n{account}".encode()).hexdigest()


@dataclass(frozen=True)
class ClientStanding:
    """A registered client of an organisation: the functions and scopes it was granted."""

    id: UUID
    organisation: str
    functions: Sequence[str]
    scopes: Sequence[str]
    expires_on: date | None
    revoked: bool

    def stands(self, today: date) -> bool:
        return not self.revoked and (self.expires_on is None or today <= self.expires_on)


@dataclass(frozen=True)
class KeyStanding:
    """A key of a client, that may narrow its scopes further."""

    id: UUID
    client: UUID
    scopes: Sequence[str]
    expires_on: date
    revoked: bool

    def stands(self, client: UUID, today: date) -> bool:
        return self.client == client and not self.revoked and today <= self.expires_on


@dataclass(frozen=True)
class Appointment:
    """That an account acts in a function of an organisation, from a day to a day."""

    organisation: str
    function: str
    begins_on: date
    ends_on: date | None

    def holds(self, today: date) -> bool:
        return self.begins_on <= today and (self.ends_on is None or today <= self.ends_on)


@dataclass(frozen=True)
class Entry:
    """All that the roster says of one caller."""

    client: ClientStanding | None = None
    key: KeyStanding | None = None
    appointments: tuple[Appointment, ...] = ()


@dataclass(frozen=True)
class Asked:
    """By what a token names its caller."""

    client: str | None
    key: UUID | None
    holder: str


class Roster:
    """The rows of the roster beside a service's other rows, and what was last read of them."""

    def __init__(self, view: Projection, base: type[DeclarativeBase]) -> None:
        self._client, self._key, self._appointment = _rows(base)
        self._read: dict[Asked, Entry] = {}
        self._read_at: Standing | None = None
        for kinds, handler in (
            ((ClientRegistered, ClientGranted), self._follow_client),
            ((ClientRevoked,), self._follow_client_end),
            ((KeyIssued,), self._follow_key),
            ((KeyRevoked,), self._follow_key_end),
            ((FunctionAppointed,), self._follow_appointment),
            ((AppointmentEnded,), self._follow_appointment_end),
        ):
            view.on(*kinds)(handler)

    async def _follow_client(self, session: AsyncSession, event: ClientRegistered | ClientGranted) -> None:
        await follow_entity(session, self._client, event, revoked=False)

    async def _follow_client_end(self, session: AsyncSession, event: ClientRevoked) -> None:
        await follow_entity(session, self._client, event, revoked=True)

    async def _follow_key(self, session: AsyncSession, event: KeyIssued) -> None:
        await follow_entity(session, self._key, event, revoked=False)

    async def _follow_key_end(self, session: AsyncSession, event: KeyRevoked) -> None:
        await follow_entity(session, self._key, event, revoked=True)

    async def _follow_appointment(self, session: AsyncSession, event: FunctionAppointed) -> None:
        await follow_entity(session, self._appointment, event, begins_on=event.effective_from)

    async def _follow_appointment_end(self, session: AsyncSession, event: AppointmentEnded) -> None:
        await follow_entity(session, self._appointment, event)

    async def entry(self, view: Attached, asked: Asked) -> Entry:
        """What stands about a caller now; read once for each state of the rows. Raises Unavailable."""
        if self._read_at is None or not self._read_at.same_rows(view.standing) or len(self._read) > MOST:
            self._read, self._read_at = {}, view.standing
        remembered = self._read
        if asked not in remembered:
            async with view.reading() as session:
                remembered[asked] = await self._look_up(session, asked)
        return remembered[asked]

    async def _look_up(self, session: AsyncSession, asked: Asked) -> Entry:
        client, key, appointment = self._client, self._key, self._appointment
        named = select(client).where(client.client_id == asked.client)
        held = select(appointment).where(appointment.holder == asked.holder)
        return Entry(
            _client_standing((await session.scalars(named)).one_or_none() if asked.client else None),
            _key_standing(await session.get(key, asked.key) if asked.key else None),
            tuple(
                Appointment(row.organisation, row.function, row.begins_on, row.ends_on)
                for row in await session.scalars(held)
            ),
        )


def _client_standing(row: Any) -> ClientStanding | None:
    if row is None:
        return None
    return ClientStanding(row.entity, row.organisation, row.functions, row.scopes, row.expires_on, row.revoked)


def _key_standing(row: Any) -> KeyStanding | None:
    return None if row is None else KeyStanding(row.entity, row.client, row.scopes, row.expires_on, row.revoked)


def _rows(base: type[DeclarativeBase]) -> tuple[Any, Any, Any]:
    """The three tables, made on a service's own base."""

    class ClientRow(Followed, base):  # type: ignore[misc, valid-type]
        __tablename__ = "client_known"
        client_id: Mapped[str]
        organisation: Mapped[str]
        functions: Mapped[list[str]]
        scopes: Mapped[list[str]]
        expires_on: Mapped[date | None]
        revoked: Mapped[bool]

    class KeyRow(Followed, base):  # type: ignore[misc, valid-type]
        __tablename__ = "key_known"
        client: Mapped[UUID]
        scopes: Mapped[list[str]]
        expires_on: Mapped[date]
        revoked: Mapped[bool]

    class AppointmentRow(Followed, base):  # type: ignore[misc, valid-type]
        __tablename__ = "appointment_known"
        holder: Mapped[str]
        organisation: Mapped[str]
        function: Mapped[str]
        begins_on: Mapped[date]
        ends_on: Mapped[date | None]

    return ClientRow, KeyRow, AppointmentRow
