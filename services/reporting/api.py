"""Every route of `reporting`; each is one line that asks a view."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from services.reporting import progress
from services.reporting.live import Live
from services.reporting.progress import DomainDetail, DomainProgress, Matrix, Newest, PartnerDetail, PartnerProgress
from shared.answers import Answers, answered
from shared.calendar import end_of, moment_asked
from shared.errors import Invalid
from shared.http import Door, Out
from shared.projection import Standing
from shared.service import Service
from shared.texts import Code

router = APIRouter(route_class=Door, tags=["progress"])

View = Callable[..., Out]


@dataclass
class Asked:
    """A question about a view: which moment, and by whom it was known."""

    request: Request
    as_of: datetime | None
    known_at: datetime | None

    async def answer(self, view: View, *arguments: Any) -> Response:
        """The kept answer, or a new one: as JSON, with its ETag."""
        scope = self.request.scope
        answers: Answers = self.request.app.state.answers
        made = await answers.give(
            (scope["path"], scope["query_string"], ""), "application/json", lambda: self._make(view, arguments)
        )
        wanted = self.request.headers.get("if-none-match")
        start, body = answered(answers, made, wanted.encode() if wanted else None)
        answer = Response(body["body"], start["status"])
        answer.raw_headers = start["headers"]
        return answer

    async def _make(self, view: View, arguments: tuple[Any, ...]) -> tuple[Standing, bytes]:
        newest: Newest = self.request.app.state.newest
        standing, now = await newest.at(self.as_of, self.known_at)
        found = view(now, standing, self.known_at, *arguments)
        return standing, found.model_dump_json(by_alias=True).encode()


def _asked(
    request: Request,
    as_of: Annotated[str | None, Query(alias="asOf", max_length=40, description="A date or a date-time")] = None,
    known_at: Annotated[str | None, Query(alias="knownAt", max_length=40, description="What was known then")] = None,
) -> Asked:
    return Asked(request, _moment(request, as_of, "query:asOf"), _moment(request, known_at, "query:knownAt"))


def _moment(request: Request, written: str | None, field: str) -> datetime | None:
    """The moment meant; today at the latest, for nothing is told of days to come."""
    if written is None:
        return None
    service: Service = request.app.state.service
    moment = moment_asked(written, service.settings.zone, field)
    if moment > end_of(service.today(), service.settings.zone):
        raise Invalid("Ask about today or an earlier day; nothing is told of days to come.", field=field)
    return moment


Question = Annotated[Asked, Depends(_asked)]


def _a_figure(name: str) -> str:
    if name not in progress.FIGURES:
        named = ", ".join(sorted(progress.FIGURES))
        raise PydanticCustomError("no_such_figure", "There is no such figure. There are: {named}.", {"named": named})
    return name


FigureName = Annotated[
    str,
    AfterValidator(_a_figure),
    WithJsonSchema({"type": "string", "enum": sorted(progress.FIGURES)}),
]
Figure = Annotated[FigureName | None, Query(description="Only what this figure counts.")]


@router.get("/progress/domains", response_model=DomainProgress)
async def progress_per_domain(question: Question) -> Response:
    return await question.answer(progress.per_domain)


@router.get("/progress/domains/{code}", response_model=DomainDetail)
async def progress_of_domain(code: Code, question: Question, figure: Figure = None) -> Response:
    return await question.answer(progress.one_domain, code, figure)


@router.get("/progress/partners", response_model=PartnerProgress)
async def progress_per_partner(question: Question) -> Response:
    return await question.answer(progress.per_partner)


@router.get("/progress/partners/{id}", response_model=PartnerDetail)
async def progress_of_partner(
    id: UUID,
    question: Question,
    figure: Figure = None,
    domain: Annotated[Code | None, Query(description="Only in this domain.")] = None,
) -> Response:
    return await question.answer(progress.one_partner, id, figure, domain)


@router.get("/progress/matrix", response_model=Matrix)
async def progress_matrix(question: Question) -> Response:
    return await question.answer(progress.matrix)


@router.get("/progress/stream", response_class=EventSourceResponse)
async def progress_stream(
    request: Request, last_event_id: Annotated[str | None, Header(max_length=100)] = None
) -> AsyncIterator[ServerSentEvent]:
    """A snapshot of all lines, then each change; resumes after the `Last-Event-ID` that a client saw."""
    live: Live = request.app.state.live
    stopping: asyncio.Event = request.app.state.service.stopping
    async for event in live.listen(last_event_id, stopping):
        yield event
