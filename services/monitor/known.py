"""What this service knows of the others: partners, actions with who takes part in them, recommendations."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.monitor.base import Known
from shared.database import Json
from shared.errors import NotKnownYet
from shared.events.programme import (
    ActionAssigned,
    ActionCompleted,
    ActionDescribed,
    ActionDropped,
    ActionHeld,
    ActionPlanned,
    ActionStarted,
    ActionState,
    PartnerDescribed,
    PartnerRegistered,
)
from shared.events.recommendations import IssuingBodyRegistered, Kind, RecommendationRegistered, SourceRegistered
from shared.names import Named
from shared.projection import Projection
from shared.roster import Roster
from shared.rows import Followed, follow_entity
from shared.texts import Text

known = Projection("known", Known)
roster = Roster(known, Known)


class PartnerKnown(Followed, Named, Known):
    __tablename__ = "partner_known"
    code: Mapped[str]
    name: Mapped[Text] = mapped_column(Json(Text))


class ActionKnown(Followed, Named, Known):
    __tablename__ = "action_known"
    name: Mapped[Text] = mapped_column(Json(Text))
    state: Mapped[ActionState]
    lead_id: Mapped[UUID | None]
    lead_undecided: Mapped[list[UUID]]
    contributors: Mapped[list[UUID]]

    def named(self) -> list[UUID]:
        return [*([self.lead_id] if self.lead_id else []), *self.lead_undecided, *self.contributors]


class IssuingBodyKnown(Followed, Known):
    __tablename__ = "issuing_body_known"
    partner_id: Mapped[UUID | None]


class SourceKnown(Followed, Known):
    __tablename__ = "source_known"
    issuing_body_id: Mapped[UUID]


class RecommendationKnown(Followed, Named, Known):
    __tablename__ = "recommendation_known"
    kind: Mapped[Kind]
    source_id: Mapped[UUID]


@known.on(PartnerRegistered)
async def partner_registered(session: AsyncSession, event: PartnerRegistered) -> None:
    await follow_entity(session, PartnerKnown, event)


@known.on(PartnerDescribed)
async def partner_described(session: AsyncSession, event: PartnerDescribed) -> None:
    await follow_entity(session, PartnerKnown, event)


@known.on(ActionPlanned)
async def planned(session: AsyncSession, event: ActionPlanned) -> None:
    await follow_entity(session, ActionKnown, event)


@known.on(ActionAssigned)
async def assigned(session: AsyncSession, event: ActionAssigned) -> None:
    await follow_entity(session, ActionKnown, event)


@known.on(ActionDescribed)
async def action_described(session: AsyncSession, event: ActionDescribed) -> None:
    await follow_entity(session, ActionKnown, event)


@known.on(ActionStarted, ActionHeld, ActionCompleted, ActionDropped)
async def moved(session: AsyncSession, event: ActionStarted | ActionHeld | ActionCompleted | ActionDropped) -> None:
    await follow_entity(session, ActionKnown, event)


@known.on(IssuingBodyRegistered)
async def issuing_body_registered(session: AsyncSession, event: IssuingBodyRegistered) -> None:
    await follow_entity(session, IssuingBodyKnown, event)


@known.on(SourceRegistered)
async def source_registered(session: AsyncSession, event: SourceRegistered) -> None:
    await follow_entity(session, SourceKnown, event)


@known.on(RecommendationRegistered)
async def recommendation_registered(session: AsyncSession, event: RecommendationRegistered) -> None:
    await follow_entity(session, RecommendationKnown, event)


async def partner_called(session: AsyncSession, code: str) -> UUID | None:
    return await session.scalar(select(PartnerKnown.entity).where(PartnerKnown.code == code))


async def partner_of(session: AsyncSession, code: str) -> UUID:
    """The partner that a token names by its code. Raises NotKnownYet."""
    found = await partner_called(session, code)
    if found is None:
        raise NotKnownYet("The organisation in your token is not known here as a partner yet.")
    return found


async def must_know_partner(session: AsyncSession, id: UUID, field: str) -> None:
    if await session.get(PartnerKnown, id) is None:
        raise NotKnownYet(
            "This partner is not known here yet. Registered just now? Ask again; else check the id.", field=field
        )


async def actions_known(session: AsyncSession, ids: Sequence[UUID], field: str) -> dict[UUID, ActionKnown]:
    """The actions with these ids. Raises NotKnownYet when one is missing."""
    found = {row.entity: row for row in await session.scalars(select(ActionKnown).where(ActionKnown.entity.in_(ids)))}
    missing = set(ids) - set(found)
    if missing:
        raise NotKnownYet(
            f"{len(missing)} of these actions are not known here yet. Planned just now? Ask again; else check the ids.",
            field=field,
        )
    return found


async def recommendation_known(session: AsyncSession, id: UUID, field: str) -> RecommendationKnown:
    found = await session.get(RecommendationKnown, id)
    if found is None:
        raise NotKnownYet(
            "This recommendation is not known here yet. Registered just now? Ask again; else check the id.",
            field=field,
        )
    return found


async def issuer_of(session: AsyncSession, recommendation: RecommendationKnown) -> UUID | None:
    """The partner that issued a recommendation, where its issuing body is one."""
    source = await session.get(SourceKnown, recommendation.source_id)
    body = await session.get(IssuingBodyKnown, source.issuing_body_id) if source else None
    return body.partner_id if body else None
