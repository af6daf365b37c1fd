"""What every service answers besides its own nouns: receipts, the catalogue of problems, and security.txt."""

from collections.abc import Sequence
from datetime import timedelta
from html import escape
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response
from pydantic import AwareDatetime

from shared.access import By
from shared.calendar import written
from shared.errors import NotFound
from shared.http import Door, Out, Session
from shared.problem_types import CATALOGUE, ProblemType, Words
from shared.receipts import receipt_of

if TYPE_CHECKING:
    from shared.service import Service

HTML = "text/html"


# --- receipts ---------------------------------------------------------------------------------------------------


class ReceiptOut(Out):
    number: UUID
    time: AwareDatetime
    asked: str
    """Method and address of the request."""
    status: int
    digest: str
    """SHA-256, in base64, of the answer's body, with what is shown once replaced."""
    location: str | None
    position: str | None
    shown_once: list[str]
    kept_until: AwareDatetime


def receipts() -> APIRouter:
    router = APIRouter(route_class=Door, tags=["receipts"])

    @router.get("/receipts/{number}", response_model=ReceiptOut)
    async def read_receipt(request: Request, number: UUID, session: Session, caller: By) -> ReceiptOut:
        """What was acknowledged to this client under a number; the same as the header `Kapstok-Receipt` said."""
        service: Service = request.app.state.service
        found = await receipt_of(session, number, caller.account)
        return ReceiptOut(
            number=found.number,
            time=found.at,
            asked=found.asked,
            status=found.status,
            digest=found.digest,
            location=found.location,
            position=found.position,
            shown_once=found.shown_once,
            kept_until=found.at + timedelta(days=service.settings.receipt_days),
        )

    return router


# --- the catalogue of problems ----------------------------------------------------------------------------------


class WordsOut(Out):
    nl: str
    en: str


class ProblemTypeOut(Out):
    """One kind of problem, as the `type` of a problem document names it."""

    type: str
    slug: str
    status: int
    title: WordsOut
    meaning: WordsOut
    mend: WordsOut


class ProblemTypesOut(Out):
    items: list[ProblemTypeOut]


_AS_PAGE = {200: {"content": {HTML: {"schema": {"type": "string"}}}}}

Slug = Annotated[str, Path(max_length=60, pattern=r"^[a-z0-9][a-z0-9-]*$", description="The end of a `type`.")]


def problems() -> APIRouter:
    router = APIRouter(route_class=Door, tags=["problems"])

    @router.get("/problems", response_model=ProblemTypesOut, responses=_AS_PAGE)  # type: ignore[arg-type]
    async def list_problems(request: Request) -> object:
        """Every kind of problem that this service can answer with."""
        return _shown(request, [*CATALOGUE.values()]) or {"items": [_told(request, one) for one in CATALOGUE.values()]}

    @router.get("/problems/{slug}", response_model=ProblemTypeOut, responses=_AS_PAGE)  # type: ignore[arg-type]
    async def read_problem(request: Request, slug: Slug) -> object:
        """What a kind of problem means, and what mends it; in Dutch and in English, as JSON or as a page."""
        found = CATALOGUE.get(slug)
        if found is None:
            raise NotFound("There is no kind of problem with this name.")
        return _shown(request, [found]) or _told(request, found)

    return router


def _told(request: Request, type: ProblemType) -> ProblemTypeOut:
    service: Service = request.app.state.service
    return ProblemTypeOut(
        type=type.uri(service.name),
        slug=type.slug,
        status=type.status,
        title=WordsOut.model_validate(type.title),
        meaning=WordsOut.model_validate(type.meaning),
        mend=WordsOut.model_validate(type.mend),
    )


def _shown(request: Request, types: Sequence[ProblemType]) -> Response | None:
    """A page for people, when that is what the caller prefers."""
    if request.state.media_type != HTML:
        return None
    sections = "".join(_section(language, one) for one in types for language in ("nl", "en"))
    page = (
        f'<!doctype html><html lang="nl"><meta charset="utf-8"><title>{escape(types[0].title.nl)}</title>'
        f"<main>{sections}</main></html>"
    )
    return Response(page, media_type=f"{HTML}; charset=utf-8")


def _section(language: str, type: ProblemType) -> str:
    def said(words: Words) -> str:
        return escape(str(getattr(words, language)))

    return (
        f'<section lang="{language}" id="{type.slug}-{language}"><h1>{said(type.title)} ({type.status})</h1>'
        f"<p>{said(type.meaning)}</p><p>{said(type.mend)}</p></section>"
    )


# --- security.txt -----------------------------------------------------------------------------------------------


def well_known() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/.well-known/security.txt")
    async def security(request: Request) -> Response:
        """Whom to tell of a weakness (RFC 9116)."""
        service: Service = request.app.state.service
        settings = service.settings
        lines = [
            f"Contact: {settings.security_contact}",
            f"Expires: {written(settings.security_expires)}",
            "Preferred-Languages: nl, en",
        ]
        return Response("\n".join(lines) + "\n", media_type="text/plain; charset=utf-8")

    return router
