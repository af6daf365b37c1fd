"""The pages for people: one plain table of live progress, in Dutch and English."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.types import Scope

from services.reporting import progress, rules
from services.reporting.pages.texts import TEXTS
from services.reporting.progress import Newest
from shared.answers import Answers, answered
from shared.projection import Standing
from shared.service import Service

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)

_templates = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

router = APIRouter(include_in_schema=False)
static = StaticFiles(directory=HERE / "static")


def language(scope: Scope) -> str:
    """`?lang=` first, then what the browser prefers; Dutch when it does not say."""
    query = scope["query_string"].decode("latin-1")
    for wanted in ("nl", "en"):
        if f"lang={wanted}" in query.split("&"):
            return wanted
    accepted = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept-language"), "")
    for part in accepted.lower().split(","):
        if part.strip()[:2] in ("nl", "en"):
            return part.strip()[:2]
    return "nl"


def language_of_page(scope: Scope) -> str:
    """What a kept answer varies by: pages by language, figures by nothing."""
    return language(scope) if scope["path"] == "/" else ""


@router.get("/")
async def overview(request: Request) -> Response:
    """The live table per domain and per partner."""
    scope = request.scope
    answers: Answers = request.app.state.answers
    spoken = language(scope)
    made = await answers.give(
        (scope["path"], scope["query_string"], spoken), "text/html; charset=utf-8", lambda: _overview(request, spoken)
    )
    wanted = request.headers.get("if-none-match")
    start, body = answered(answers, made, wanted.encode() if wanted else None)
    answer = Response(body["body"], start["status"])
    answer.raw_headers = start["headers"]
    return answer


async def _overview(request: Request, spoken: str) -> tuple[Standing, bytes]:
    service: Service = request.app.state.service
    newest: Newest = request.app.state.newest
    standing, now = await newest.get()
    lines = progress.partner_lines(now)
    partners = [line for line in lines if line.led + line.contributing + line.addressed + line.undecided]
    partners.sort(key=lambda line: (-line.led - line.contributing - line.addressed, line.code))
    page = _templates.get_template("overview.html").render(
        t=TEXTS[spoken],
        language=spoken,
        head=progress.Head(**progress.head(now, standing)),
        moment=(standing.newest or now.moment.held).astimezone(service.settings.zone),
        total=progress.total(now),
        domains=progress.domain_lines(now),
        partners=partners,
        silent=len(lines) - len(partners),
        implementations=progress.IMPLEMENTATIONS,
        no_data=rules.NO_DATA,
    )
    return standing, page.encode()
