"""What this service knows of the others: the partners that recommendations are addressed to."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from services.recommendations.base import Known
from shared.database import seen
from shared.errors import NotKnownYet
from shared.events.programme import PartnerRegistered
from shared.names import Named
from shared.projection import Projection
from shared.roster import Roster
from shared.rows import Followed, follow_entity

known = Projection("known", Known)
roster = Roster(known, Known)


class PartnerKnown(Followed, Named, Known):
    __tablename__ = "partner_known"
    code: Mapped[str]


@known.on(PartnerRegistered)
async def registered(session: AsyncSession, event: PartnerRegistered) -> None:
    await follow_entity(session, PartnerKnown, event)


async def must_know_partners(session: AsyncSession, ids: Sequence[UUID], field: str) -> None:
    """Raises NotKnownYet for a partner that `programme` has not told us of."""
    missing = set(ids) - seen(session, PartnerKnown)
    if missing:
        known_now = select(PartnerKnown.entity).where(PartnerKnown.entity.in_(missing))
        missing -= set(await session.scalars(known_now))
    if missing:
        raise NotKnownYet(
            f"{len(missing)} of these partners are not known here yet. Made just now? Ask again; else check the ids.",
            field=field,
        )


async def code_of(session: AsyncSession, partner_id: UUID) -> str | None:
    return await session.scalar(select(PartnerKnown.code).where(PartnerKnown.entity == partner_id))
