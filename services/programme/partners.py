"""Partner organisations: who takes part in the approach, and in which roles."""

from uuid import UUID

from pydantic import Field
from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.programme.base import Base
from services.programme.known import must_hold
from shared import outbox
from shared.database import Begin, Command, Entity, Json, Page, Slice, begin, called, find, must_exist, page_of, seen
from shared.errors import Conflict, Invalid
from shared.events.programme import PartnerDescribed, PartnerEnded, PartnerKind, PartnerRegistered
from shared.events.recommendations import Vocabulary
from shared.texts import Citation, Citations, Code, Codes, Day, Evidence, Line, Prose, Sourced, Text, Value


class ChainRole(Value):
    """A role in the chain: which, when, and where that was read."""

    role: Code
    period: Line | None = None
    note: Line | None = None
    basis: Evidence = Evidence.READ
    citation: Citation | None = None


class Partner(Entity, Base):
    __tablename__ = "partner"
    prefix = "PRT"

    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[Text] = mapped_column(Json(Text))
    aliases: Mapped[list[str]]
    kind: Mapped[PartnerKind]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("partner.id"))
    chain_roles: Mapped[list[ChainRole]] = mapped_column(Json(list[ChainRole]))
    domains: Mapped[list[str]]
    ended_on: Mapped[Day | None]
    basis: Mapped[Evidence]
    citations: Mapped[Citations] = mapped_column(Json(Citations))
    notes: Mapped[str | None]

    def describe(self, name: Text) -> PartnerDescribed:
        self._must_not_have_ended()
        self.name = name
        return self.tell(PartnerDescribed)

    def end(self, reason: str) -> PartnerEnded:
        self._must_not_have_ended()
        self.ended_on = self.effective_from
        return self.tell(PartnerEnded, reason=reason)

    def _must_not_have_ended(self) -> None:
        if self.ended_on is not None:
            raise Conflict(f"This partner ended on {self.ended_on}.")


class PartnerFields(Sourced):
    code: Code
    """Short and stable; what a token names the organisation by."""
    name: Text
    aliases: list[Line] = Field(default_factory=list, max_length=20)
    kind: PartnerKind
    parent_id: UUID | None = None
    chain_roles: list[ChainRole] = Field(default_factory=list, max_length=50)
    domains: Codes = Field(default_factory=list)


class RegisterPartner(PartnerFields, Begin):
    """An organisation, consultation or group in the approach."""


class DescribePartner(Command):
    name: Text


class EndPartner(Command):
    reason: Prose


async def register(session: AsyncSession, command: RegisterPartner) -> Partner:
    await must_exist(session, Partner, command.parent_id, "/parentId")
    await must_hold(session, Vocabulary.DOMAIN, command.domains, "/domains")
    partner = await begin(session, Partner, command)
    await outbox.add(session, partner.tell(PartnerRegistered))
    return partner


async def describe(session: AsyncSession, id: UUID, command: DescribePartner) -> Partner:
    partner = await find(session, Partner, id, command)
    await outbox.add(session, partner.describe(command.name))
    return partner


async def end(session: AsyncSession, id: UUID, command: EndPartner) -> Partner:
    partner = await find(session, Partner, id, command)
    await outbox.add(session, partner.end(command.reason))
    return partner


async def must_all_exist(session: AsyncSession, ids: list[UUID], field: str) -> None:
    missing = set(ids) - seen(session, Partner)
    if missing:
        missing -= set(await session.scalars(select(Partner.id).where(Partner.id.in_(missing))))
    if missing:
        raise Invalid(f"{len(missing)} of these is no partner.", field=field)


async def code_of(session: AsyncSession, id: UUID | None) -> str | None:
    return None if id is None else await session.scalar(select(Partner.code).where(Partner.id == id))


async def listed(
    session: AsyncSession, page: Page, external_id: str | None, code: str | None, kind: PartnerKind | None
) -> Slice[Partner]:
    where = called(Partner, external_id)
    if code is not None:
        where.append(Partner.code == code)
    if kind is not None:
        where.append(Partner.kind == kind)
    return await page_of(session, Partner, page, *where)
