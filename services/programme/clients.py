"""Clients and their keys: which system may call for which organisation, as what, within which scopes, until when."""

import hmac
import secrets
from collections.abc import Sequence
from datetime import date, datetime
from hashlib import sha256
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from sqlalchemy import ForeignKey, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.permissions import SCOPES
from services.programme.base import Base
from services.programme.partners import Partner
from shared import outbox
from shared.database import Begin, Command, Entity, Page, Slice, begin, called, find, page_of, show_once, work
from shared.errors import Conflict, Invalid, Unauthenticated
from shared.events.programme import ClientGranted, ClientRegistered, ClientRevoked, KeyIssued, KeyRevoked
from shared.gate import Function
from shared.texts import Day, Line, Prose, Value

MARK = "kpk"
"""How a key begins, so that one that leaked into a text is recognised: `kpk_<prefix>_<secret>`."""


def _known(scope: str) -> str:
    if scope not in SCOPES:
        raise PydanticCustomError(
            "no_such_scope",
            "There is no such scope; write programme:read, programme:write, or one operation: programme:propose-link.",
        )
    return scope


Scope = Annotated[
    str,
    Field(max_length=80, pattern=r"^[a-z]+:[a-z-]+$", examples=["programme:propose-link"]),
    AfterValidator(_known),
]


class Client(Entity, Base):
    __tablename__ = "client"
    prefix = "CLT"

    client_id: Mapped[str] = mapped_column(unique=True)
    partner_id: Mapped[UUID] = mapped_column(ForeignKey("partner.id"))
    name: Mapped[str]
    functions: Mapped[list[str]]
    scopes: Mapped[list[str]]
    expires_on: Mapped[date | None]
    revoked_on: Mapped[date | None]

    def grant(self, to: "Grant", reason: str) -> ClientGranted:
        self.must_stand()
        self.functions, self.scopes = [function.value for function in to.functions], list(to.scopes)
        self.expires_on = to.expires_on
        return self.tell(ClientGranted, reason=reason)

    def revoke(self, reason: str) -> ClientRevoked:
        self.must_stand()
        self.revoked_on = self.effective_from
        return self.tell(ClientRevoked, reason=reason)

    def must_stand(self) -> None:
        if self.revoked_on is not None:
            raise Conflict(f"This client was revoked on {self.revoked_on}; register another.")


class ApiKey(Entity, Base):
    __tablename__ = "api_key"
    prefix = "KEY"

    client: Mapped[UUID] = mapped_column(ForeignKey("client.id"))
    begins_with: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str]
    scopes: Mapped[list[str]]
    expires_on: Mapped[date]
    revoked_on: Mapped[date | None]
    last_used_at: Mapped[datetime | None]
    __allow_unmapped__ = True
    key: str | None = None
    """The whole key, in the one request that makes it."""

    def revoke(self, reason: str) -> KeyRevoked:
        if self.revoked_on is not None:
            raise Conflict(f"This key was revoked on {self.revoked_on} already.")
        self.revoked_on = self.effective_from
        return self.tell(KeyRevoked, reason=reason)


class Grant(Value):
    """What a client may: act in these functions, within these scopes, to the end of a day."""

    functions: list[Function] = Field(min_length=1, max_length=len(Function))
    scopes: list[Scope] = Field(min_length=1, max_length=200)
    expires_on: Day | None = None


class ClientFields(Grant):
    partner_id: UUID
    name: Line


class RegisterClient(ClientFields, Begin):
    """A system of an organisation; `clientId` is what its identity provider calls it, left out where it has none."""

    client_id: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x21-\x7e]+$")] | None = None


class GrantClient(Grant, Command):
    """What a client may from now on: all of it, not what is added."""

    reason: Prose


class RevokeClient(Command):
    reason: Prose


class IssueKey(Begin):
    """A key for a client without an identity provider; it may narrow the client's scopes, never widen them."""

    client: UUID
    scopes: list[Scope] = Field(min_length=1, max_length=200)
    expires_on: Day


class RevokeKey(Command):
    reason: Prose


async def register(session: AsyncSession, command: RegisterClient) -> Client:
    organisation = await _organisation(session, command.partner_id)
    _must_come(command.expires_on, work(session).today)
    plain = command.model_copy(update={"functions": [function.value for function in command.functions]})
    client = await begin(session, Client, plain)
    client.client_id = command.client_id or client.reference
    await outbox.add(session, client.tell(ClientRegistered, organisation=organisation))
    return client


async def grant(session: AsyncSession, id: UUID, command: GrantClient) -> Client:
    client = await find(session, Client, id, command)
    _must_come(command.expires_on, work(session).today)
    await outbox.add(session, client.grant(command, command.reason))
    return client


async def revoke(session: AsyncSession, id: UUID, command: RevokeClient) -> Client:
    client = await find(session, Client, id, command)
    await outbox.add(session, client.revoke(command.reason))
    return client


async def issue(session: AsyncSession, command: IssueKey) -> ApiKey:
    """A new key with the text of it, which is nowhere kept."""
    client = await session.get(Client, command.client)
    if client is None:
        raise Invalid("There is no client with this id.", field="/client")
    client.must_stand()
    _must_come(command.expires_on, work(session).today)
    if beyond := [scope for scope in command.scopes if not is_within(scope, client.scopes)]:
        raise Invalid(f"{len(beyond)} of these scopes the client does not have; grant them first.", field="/scopes")
    begins_with, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
    whole = f"{MARK}_{begins_with}_{secret}"
    key = await begin(session, ApiKey, command, begins_with=begins_with, digest=_digest(whole))
    key.key = whole
    show_once(session, "key")
    await outbox.add(session, key.tell(KeyIssued, prefix=begins_with))
    return key


def is_within(scope: str, scopes: Sequence[str]) -> bool:
    """Whether a scope is among others, or is one operation of a service that they open as a whole."""
    service = scope.partition(":")[0]
    wide = {f"{service}:read", f"{service}:write"}
    return scope in scopes or (scope in SCOPES - wide and not wide.isdisjoint(scopes))


async def revoke_key(session: AsyncSession, id: UUID, command: RevokeKey) -> ApiKey:
    key = await find(session, ApiKey, id, command)
    await outbox.add(session, key.revoke(command.reason))
    return key


async def prove(session: AsyncSession, whole: str, client_id: str | None, today: date) -> tuple[Client, ApiKey]:
    """The client and key that a text proves; the use is noted. Raises Unauthenticated, which does not say why."""
    begins_with = whole.split("_")[1] if whole.count("_") > 1 else ""
    key = (await session.scalars(select(ApiKey).where(ApiKey.begins_with == begins_with))).one_or_none()
    good = hmac.compare_digest(key.digest if key else _digest(""), _digest(whole))
    client = await session.get_one(Client, key.client) if key and good else None
    if key is None or client is None or not _stands(client, key, today) or client_id not in (None, client.client_id):
        raise Unauthenticated("This key is not good here, or no longer; ask the coordinator for another.")
    await session.execute(update(ApiKey).where(ApiKey.id == key.id).values(last_used_at=func.now()))
    return client, key


def _stands(client: Client, key: ApiKey, today: date) -> bool:
    ends = [day for day in (client.expires_on, key.expires_on) if day is not None]
    return client.revoked_on is None and key.revoked_on is None and all(today <= day for day in ends)


def _digest(whole: str) -> str:
    """A key is long and random: a plain digest of it cannot be tried out, and is quick to check."""
    return sha256(whole.encode()).hexdigest()


def _must_come(expires_on: date | None, today: date) -> None:
    if expires_on is not None and expires_on < today:
        raise Invalid("Give a last day that is still to come.", field="/expiresOn")


async def _organisation(session: AsyncSession, partner_id: UUID) -> str:
    partner = await session.get(Partner, partner_id)
    if partner is None:
        raise Invalid("There is no partner with this id.", field="/partnerId")
    return partner.code


async def listed(session: AsyncSession, page: Page, external_id: str | None, partner_id: UUID | None) -> Slice[Client]:
    where = called(Client, external_id)
    if partner_id is not None:
        where.append(Client.partner_id == partner_id)
    return await page_of(session, Client, page, *where)


async def keys(session: AsyncSession, page: Page, client: UUID | None) -> Slice[ApiKey]:
    return await page_of(session, ApiKey, page, *([ApiKey.client == client] if client else []))
