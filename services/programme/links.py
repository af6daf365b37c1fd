"""Links: which action answers which recommendation, how far, and why."""

from uuid import UUID

from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from services.programme.actions import Action
from services.programme.base import Base
from services.programme.known import must_know_recommendation
from services.programme.partners import code_of
from shared import outbox
from shared.database import (
    Begin,
    Command,
    Entity,
    Json,
    Page,
    Slice,
    begin,
    called,
    find,
    memory,
    must_exist,
    page_of,
    work,
)
from shared.errors import Conflict, Forbidden, Invalid
from shared.events.event import Actor
from shared.events.programme import (
    ActionState,
    Contribution,
    LinkConfirmed,
    LinkDeclaredSufficient,
    LinkDisputed,
    LinkEnded,
    LinkProposed,
    LinkState,
)
from shared.gate import Function
from shared.texts import Citations, Evidence, Prose, Sourced, Text


class Link(Entity, Base):
    __tablename__ = "link"
    prefix = "LNK"

    action_id: Mapped[UUID] = mapped_column(ForeignKey("action.id"))
    recommendation_id: Mapped[UUID]
    contribution: Mapped[Contribution]
    rationale: Mapped[Text] = mapped_column(Json(Text))
    state: Mapped[LinkState]
    jointly_sufficient: Mapped[bool]
    proposed_by: Mapped[str]
    confirmed_by: Mapped[str | None]
    basis: Mapped[Evidence]
    citations: Mapped[Citations] = mapped_column(Json(Citations))
    notes: Mapped[str | None]

    def confirm(self, by: Actor, lead: str | None) -> LinkConfirmed:
        """The coordinator confirms, never the action's lead; where its own organisation leads, the secretariat does.

        `lead` is the code of the organisation that leads the action.
        """
        if self.state not in (LinkState.PROPOSED, LinkState.DISPUTED):
            raise Conflict(f"Only a proposed or disputed link can be confirmed; this one is {self.state}.")
        self._must_not_judge_itself(by, lead)
        self.state, self.confirmed_by = LinkState.CONFIRMED, by.organisation
        return self.tell(LinkConfirmed)

    def dispute(self, reason: str) -> LinkDisputed:
        if self.state not in (LinkState.PROPOSED, LinkState.CONFIRMED):
            raise Conflict(f"Only a proposed or confirmed link can be disputed; this one is {self.state}.")
        self.state = LinkState.DISPUTED
        return self.tell(LinkDisputed, reason=reason)

    def end(self, reason: str) -> LinkEnded:
        if self.state is LinkState.ENDED:
            raise Conflict("This link has ended already.")
        self.state = LinkState.ENDED
        return self.tell(LinkEnded, reason=reason)

    def declare_sufficient(
        self, jointly_sufficient: bool, reason: str, by: Actor, lead: str | None
    ) -> LinkDeclaredSufficient:
        if self.state is not LinkState.CONFIRMED or self.contribution is not Contribution.PARTIAL:
            raise Conflict("Only a confirmed partial link can be declared sufficient together with others.")
        self._must_not_judge_itself(by, lead)
        self.jointly_sufficient = jointly_sufficient
        return self.tell(LinkDeclaredSufficient, reason=reason)

    def _must_not_judge_itself(self, by: Actor, lead: str | None) -> None:
        if lead is not None and lead == by.organisation:
            raise Forbidden("The lead of an action does not judge its own link; the Task Force secretariat does.")


class LinkFields(Sourced):
    action_id: UUID
    recommendation_id: UUID
    contribution: Contribution
    rationale: Text


class ProposeLink(LinkFields, Begin):
    """That an action answers a recommendation; proposed until the coordinator confirms it."""


class ConfirmLink(Command):
    pass


class DisputeLink(Command):
    reason: Prose


class EndLink(Command):
    reason: Prose


class DeclareSufficient(Command):
    jointly_sufficient: bool = True
    reason: Prose


async def propose(session: AsyncSession, command: ProposeLink) -> Link:
    await must_exist(session, Action, command.action_id, "/actionId")
    recommendation = await must_know_recommendation(session, command.recommendation_id, "/recommendationId")
    action = await find(session, Action, command.action_id)
    begins = max(action.began_on, recommendation.began_on)
    if (command.effective_from or work(session).today) < begins:
        raise Invalid(
            f"Both sides of this link are there since {begins}; it cannot hold before.", field="/effectiveFrom"
        )
    if action.state in (ActionState.DROPPED, ActionState.MERGED):
        raise Conflict(f"This action is {action.state}; it cannot answer anything any more.")
    await _must_have_a_part(session, action)
    standing = await _standing_of(session, command.action_id)
    if command.recommendation_id in standing:
        raise Conflict(f"There is a link between these two already: {standing[command.recommendation_id]}.")
    session.info.pop("subject", None)
    link = await begin(
        session,
        Link,
        command,
        state=LinkState.PROPOSED,
        jointly_sufficient=False,
        proposed_by=work(session).actor.organisation,
    )
    await outbox.add(session, link.tell(LinkProposed))
    standing[command.recommendation_id] = link.reference
    return link


async def confirm(session: AsyncSession, id: UUID, command: ConfirmLink) -> Link:
    link = await find(session, Link, id, command)
    await outbox.add(session, link.confirm(work(session).actor, await _lead_of(session, link)))
    return link


async def dispute(session: AsyncSession, id: UUID, command: DisputeLink) -> Link:
    link = await find(session, Link, id, command)
    await _must_have_a_part(session, await find(session, Action, link.action_id))
    await outbox.add(session, link.dispute(command.reason))
    return link


async def end(session: AsyncSession, id: UUID, command: EndLink) -> Link:
    link = await find(session, Link, id, command)
    await outbox.add(session, link.end(command.reason))
    memory(session).pop((Link, link.action_id), None)
    return link


async def declare_sufficient(session: AsyncSession, id: UUID, command: DeclareSufficient) -> Link:
    link = await find(session, Link, id, command)
    actor, lead = work(session).actor, await _lead_of(session, link)
    await outbox.add(session, link.declare_sufficient(command.jointly_sufficient, command.reason, actor, lead))
    return link


async def _lead_of(session: AsyncSession, link: Link) -> str | None:
    action = await find(session, Action, link.action_id)
    return await code_of(session, action.lead_id)


async def _must_have_a_part(session: AsyncSession, action: Action) -> None:
    """A partner proposes and disputes links of actions that it leads or contributes to."""
    actor = work(session).actor
    if actor.function not in (Function.REPORTER, Function.ALTERNATE):
        return
    named = [*([action.lead_id] if action.lead_id else []), *action.lead_undecided, *action.contributors]
    if actor.organisation not in [await code_of(session, id) for id in named]:
        raise Forbidden("Your organisation neither leads nor contributes to this action.")


async def _standing_of(session: AsyncSession, action_id: UUID) -> dict[UUID, str]:
    """The references of the links that an action has, by recommendation; until this commits nobody else adds one."""
    known = memory(session)
    if (Link, action_id) not in known:
        # Who proposes for the same action at the same time waits here, and then sees this link.
        await session.execute(select(Action.id).where(Action.id == action_id).with_for_update())
        links = select(Link.recommendation_id, Link.reference).where(
            Link.action_id == action_id, Link.state != LinkState.ENDED
        )
        known[Link, action_id] = {row.recommendation_id: row.reference for row in await session.execute(links)}
    standing: dict[UUID, str] = known[Link, action_id]
    return standing


async def listed(
    session: AsyncSession,
    page: Page,
    external_id: str | None,
    action_id: UUID | None,
    recommendation_id: UUID | None,
    state: LinkState | None,
) -> Slice[Link]:
    where = called(Link, external_id)
    if action_id is not None:
        where.append(Link.action_id == action_id)
    if recommendation_id is not None:
        where.append(Link.recommendation_id == recommendation_id)
    if state is not None:
        where.append(Link.state == state)
    return await page_of(session, Link, page, *where)
