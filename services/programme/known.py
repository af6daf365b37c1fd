"""What this service knows of the others: which recommendations there are."""

from datetime import date
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped

from services.programme.base import Known
from shared.database import seen
from shared.errors import NotKnownYet
from shared.events.recommendations import (
    Kind,
    RecommendationRegistered,
    SourceRegistered,
    TermEnded,
    TermIntroduced,
    Vocabulary,
)
from shared.names import Named
from shared.projection import Projection
from shared.roster import Roster
from shared.rows import Followed, follow_entity

known = Projection("known", Known)
roster = Roster(known, Known)


class RecommendationKnown(Followed, Named, Known):
    __tablename__ = "recommendation_known"
    kind: Mapped[Kind]
    began_on: Mapped[date]


class SourceKnown(Followed, Named, Known):
    __tablename__ = "source_known"


class TermKnown(Followed, Known):
    __tablename__ = "term_known"
    vocabulary: Mapped[Vocabulary]
    code: Mapped[str]
    ended: Mapped[bool]


@known.on(RecommendationRegistered)
async def registered(session: AsyncSession, event: RecommendationRegistered) -> None:
    await follow_entity(session, RecommendationKnown, event, began_on=event.effective_from)


@known.on(SourceRegistered)
async def source_registered(session: AsyncSession, event: SourceRegistered) -> None:
    await follow_entity(session, SourceKnown, event)


@known.on(TermIntroduced)
async def introduced(session: AsyncSession, event: TermIntroduced) -> None:
    await follow_entity(session, TermKnown, event, ended=False)


@known.on(TermEnded)
async def ended(session: AsyncSession, event: TermEnded) -> None:
    await follow_entity(session, TermKnown, event, ended=True)


async def must_know_recommendation(session: AsyncSession, id: UUID, field: str) -> RecommendationKnown:
    """Raises NotKnownYet for a recommendation that the register has not told us of."""
    found = await session.get(RecommendationKnown, id)
    if found is None:
        raise NotKnownYet(
            "This recommendation is not known here yet. Registered just now? Ask again; else check the id.",
            field=field,
        )
    return found


async def must_hold(session: AsyncSession, vocabulary: Vocabulary, codes: list[str], field: str) -> None:
    """Raises NotKnownYet for words that the vocabulary does not have, as far as it was told here."""
    unknown = {(vocabulary, code) for code in codes} - seen(session, TermKnown)
    if not unknown:
        return
    standing = select(TermKnown.code).where(
        TermKnown.vocabulary == vocabulary, TermKnown.code.in_(codes), ~TermKnown.ended
    )
    seen(session, TermKnown).update((vocabulary, code) for code in await session.scalars(standing))
    unknown -= seen(session, TermKnown)
    if unknown:
        raise NotKnownYet(
            f"{len(unknown)} of these is no {vocabulary} in the vocabulary, or not known here yet; see the terms.",
            field=field,
        )
