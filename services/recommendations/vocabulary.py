"""The words that things are classified with: domains, forms, goals, levels. Data, with the days they hold."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import Field
from sqlalchemy import UniqueConstraint, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.recommendations.base import Base
from shared import outbox
from shared.database import Begin, Command, Entity, Json, begin, find, seen
from shared.errors import Conflict, Invalid
from shared.events.recommendations import TermEnded, TermIntroduced, Vocabulary
from shared.texts import Citations, Code, Codes, Evidence, Line, Prose, Sourced, Text, Value


class Term(Entity, Base):
    __tablename__ = "term"
    __table_args__ = (UniqueConstraint("vocabulary", "code"),)
    prefix = "TRM"

    vocabulary: Mapped[Vocabulary]
    code: Mapped[str]
    name: Mapped[Text] = mapped_column(Json(Text))
    definition: Mapped[Text | None] = mapped_column(Json(Text))
    parent: Mapped[str | None]
    group: Mapped[str | None]
    ended: Mapped[bool]
    basis: Mapped[Evidence]
    citations: Mapped[Citations] = mapped_column(Json(Citations))
    notes: Mapped[str | None]

    def introduce(self) -> TermIntroduced:
        return self.tell(TermIntroduced)

    def end(self, reason: str) -> TermEnded:
        if self.ended:
            raise Conflict("This term has ended already.")
        self.ended = True
        return self.tell(TermEnded, reason=reason)


class TermFields(Sourced):
    vocabulary: Vocabulary
    code: Code
    name: Text
    definition: Text | None = None
    parent: Code | None = None
    group: Line | None = None


class IntroduceTerm(TermFields, Begin):
    """A new word in a vocabulary, from the day it holds."""


class EndTerm(Command):
    reason: Prose


async def introduce(session: AsyncSession, command: IntroduceTerm) -> Term:
    if command.parent is not None:
        await must_hold(session, command.vocabulary, [command.parent], "/parent")
    term = await begin(session, Term, command, ended=False)
    await outbox.add(session, term.introduce())
    return term


async def end(session: AsyncSession, id: UUID, command: EndTerm) -> Term:
    term = await find(session, Term, id, command)
    await outbox.add(session, term.end(command.reason))
    seen(session, Term).discard((term.vocabulary, term.code))
    return term


async def must_hold(session: AsyncSession, vocabulary: Vocabulary, codes: Sequence[str], field: str) -> None:
    """Refuse codes that the vocabulary does not have, or that have ended."""
    unknown = {(vocabulary, code) for code in codes} - seen(session, Term)
    if not unknown:
        return
    standing = select(Term.code).where(Term.vocabulary == vocabulary, Term.code.in_(codes), ~Term.ended)
    seen(session, Term).update((vocabulary, code) for code in await session.scalars(standing))
    unknown -= seen(session, Term)
    if unknown:
        raise Invalid(f"{len(unknown)} of these is no {vocabulary} in the vocabulary; see /terms.", field=field)


async def must_hold_all(session: AsyncSession, placed: "Placed") -> None:
    """Refuse a classification with words that do not hold."""
    await must_hold(session, Vocabulary.DOMAIN, placed.domains, "/domains")
    await must_hold(session, Vocabulary.FORM, placed.forms, "/forms")
    await must_hold(session, Vocabulary.GOAL, placed.goals, "/goals")
    await must_hold(session, Vocabulary.LEVEL, placed.levels, "/levels")


class Placed(Value):
    """Where something stands in the four vocabularies."""

    domains: Codes = Field(default_factory=list)
    forms: Codes = Field(default_factory=list)
    goals: Codes = Field(default_factory=list)
    levels: Codes = Field(default_factory=list)
