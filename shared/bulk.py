"""The doors for many at once: `POST /imports` takes a file, `GET /exports/{kind}` gives one."""

import asyncio
import base64
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import chain
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException
from uuid_utils.compat import uuid7

from shared import access, exports, imports, lines, sheets
from shared.database import Slice, work
from shared.errors import NotFound
from shared.http import Door, Out, Session, media_type_of
from shared.kinds import Kind, plain
from shared.sheets import CSV, JSON, XLSX
from shared.texts import Code

if TYPE_CHECKING:
    from shared.service import Service

MEDIA_TYPES = (CSV, XLSX, JSON)


class FileDoor(Door):
    files = MEDIA_TYPES


class LineCounts(Out):
    """Of the lines: how many there are, how many are settled, and what came of those, or would have."""

    total: int
    done: int
    made: int
    changed: int
    skipped: int
    refused: int


class LineError(Out):
    """What is wrong, in the words of the file: its own line number and its own header; in JSON, a pointer."""

    line: int
    column: str | None
    detail: str


class ImportOut(Out):
    """How far an import is, and what is wrong so far. `saved` says whether anything of it is kept."""

    id: UUID
    kind: str
    mode: imports.Mode
    dry_run: bool
    state: imports.State
    saved: bool
    digest: str
    """SHA-256 of the file, as in RFC 9530."""
    received_at: datetime
    finished_at: datetime | None
    kept_until: datetime | None
    lines: LineCounts
    problem: str | None
    error_count: int
    errors: list[LineError]
    next: int | None = None


class LineOut(Out):
    """What came of a line; what it made is named only where that is kept."""

    line: int
    outcome: imports.Outcome
    id: UUID | None
    reference: str | None


class LineListing(Out):
    items: list[LineOut]
    next: int | None = None


Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
After = Annotated[int, Query(ge=0, le=2**31 - 1, description="Where the page before this one ended.")]


def routes(name: str, kinds: Sequence[Kind]) -> list[APIRouter]:
    """The routes of a service whose files hold lines of these kinds."""
    taking = APIRouter(route_class=FileDoor, tags=["imports"])
    giving = APIRouter(route_class=Door, tags=["imports"])
    by_name = {kind.name: kind for kind in kinds}
    kind_name: Any = Literal[tuple(by_name)]
    exported = {kind.name: kind for kind in kinds if kind.exported}

    @taking.post("/imports", status_code=202, response_model=ImportOut, openapi_extra=_body_of_a_file())
    async def start_import(
        request: Request,
        answer: Response,
        session: Session,
        kind: Annotated[kind_name, Query(description="What the lines are.")],
        dry_run: Annotated[bool, Query(alias="dryRun", description="Check it only; nothing is saved.")] = False,
        mode: Annotated[imports.Mode, Query(description="What happens to good lines beside bad ones.")] = (
            imports.Mode.ALL_OR_NOTHING
        ),
    ) -> Any:
        """Take a file up: CSV, XLSX or JSON, up to 10,000 lines; look at `Location` for what comes of it."""
        service: Service = request.app.state.service
        wanted = by_name[kind]
        allowed = await _allowed(request, service, wanted)
        asked = imports.Request(
            id=uuid7(),
            kind=wanted,
            mode=mode,
            dry_run=dry_run,
            actor=work(session).actor.model_copy(update={"function": allowed.function}),
            account=work(session).account,
            operations=allowed.operations,
            digest=_digest(await request.body()),
            lines=await _lines(request, service, wanted),
            traceparent=str(request.state.trace),
            received_at=service.now(),
        )
        await imports.keep(session, asked)
        answer.headers["location"] = f"/{name}/v1/imports/{asked.id}"
        return await _told(session, service, asked.id, asked.actor.organisation, 0, 1)

    @giving.get("/imports/{id}", response_model=ImportOut)
    async def read_import(
        request: Request, id: UUID, session: Session, caller: access.By, cursor: After = 0, limit: Limit = 100
    ) -> Any:
        """How far it is, with what is wrong; kept for some weeks after it is finished."""
        return await _told(session, request.app.state.service, id, caller.organisation, cursor, limit)

    @giving.get("/imports/{id}/lines", response_model=LineListing)
    async def lines_of_import(
        id: UUID, session: Session, caller: access.By, cursor: After = 0, limit: Limit = 100
    ) -> Any:
        """What came of each line, with the id and reference of what it made."""
        await _own(session, id, caller.organisation)
        found = await imports.lines_of(session, id, cursor, limit + 1)
        following = found[limit - 1].line if len(found) > limit else None
        if following is not None:
            session.info["page"] = Slice([], str(following), None)
        items = [
            {"line": r.line, "outcome": r.outcome, "id": r.entity, "reference": r.reference} for r in found[:limit]
        ]
        return {"items": items, "next": following}

    @giving.get("/exports/{kind}", response_class=Response, responses=_files_of(exported))
    async def export_all(request: Request, kind: Code, session: Session) -> Response:
        """Everything of one kind that you may see, in columns that can be imported again; CSV, XLSX or JSON."""
        wanted = exported.get(kind)
        if wanted is None:
            raise NotFound(f"There are exports of {', '.join(exported)}.")
        service: Service = request.app.state.service
        permitted = service.permissions[wanted.listing]
        await access.admit(request, service.name, wanted.listing, permitted)
        organisation = None if permitted.public else access.calling(request).organisation
        media_type = preferred(request.headers.get("accept", "*/*"))
        where = await wanted.seen(session, organisation)
        bodies = [body async for page in exports.things(session, wanted, where) for body in page]
        await session.rollback()
        return await as_file(f"{name}-{wanted.name}", wanted, bodies, media_type)

    return [taking, giving]


# --- in -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Allowed:
    """The function in which a caller acts, and the operations that it opens of those that lines lead to."""

    function: str
    operations: list[str]


async def _allowed(request: Request, service: "Service", kind: Kind) -> Allowed:
    """What the caller may do with such lines. Raises Forbidden, as the single operation would."""
    acting = await access.admit(request, service.name, kind.operation, service.permissions[kind.operation])
    assert acting is not None, f"{kind.operation} makes things, and is open to anybody"
    caller = access.calling(request)
    opened = [
        operation
        for operation in kind.operations
        if acting in service.permissions[operation].functions
        and access.opens(caller, service.name, operation, writes=True)
    ]
    return Allowed(acting, opened)


async def _lines(request: Request, service: "Service", kind: Kind) -> lines.Lines:
    """The lines of the file in the body. Raises Invalid for one that cannot be read, or does not have the columns."""
    given, written = service.settings, media_type_of(request)
    if kind.layout is not plain and written != XLSX:
        raise HTTPException(415, f"Send the form back as the workbook that it is: {XLSX}.")
    if written == JSON:
        return lines.of_objects(kind, await request.json(), given.import_max_lines)
    found = await sheets.read(await request.body(), written, given.import_max_lines, given.import_max_unpacked)
    return lines.of_sheet(kind, kind.layout(found), given.import_max_lines)


def _digest(body: bytes) -> str:
    return f"sha-256=:{base64.b64encode(sha256(body).digest()).decode()}:"


async def _told(
    session: AsyncSession, service: "Service", id: UUID, organisation: str, cursor: int, limit: int
) -> dict[str, Any]:
    job = await _own(session, id, organisation)
    wrong = await imports.errors_of(session, id, cursor, limit + 1)
    following = wrong[limit - 1].number if len(wrong) > limit else None
    if following is not None:
        session.info["page"] = Slice([], str(following), None)
    counts = {name: getattr(job, name) for name in LineCounts.model_fields}
    return {name: getattr(job, name) for name in _AS_KEPT} | {
        "saved": not job.dry_run and (job.made + job.changed > 0) and job.state != imports.State.REFUSED,
        "kept_until": imports.kept_until(job.finished_at, service.settings.import_days),
        "lines": counts,
        "error_count": job.errors,
        "errors": [{"line": one.line, "column": one.column, "detail": one.detail} for one in wrong[:limit]],
        "next": following,
    }


_AS_KEPT = ("id", "kind", "mode", "dry_run", "state", "digest", "received_at", "finished_at", "problem")


async def _own(session: AsyncSession, id: UUID, organisation: str) -> Any:
    """An import is seen inside the organisation that sent it only."""
    job = await imports.found(session, id, organisation)
    if job is None:
        raise NotFound("Your organisation has no import with this id, or its result is kept no longer.")
    return job


def _body_of_a_file() -> dict[str, Any]:
    """How openapi.json tells of the body."""
    table: dict[str, Any] = {"type": "string", "format": "binary"}
    content = {CSV: {"schema": table}, XLSX: {"schema": table}, JSON: {"schema": {"type": "array", "items": {}}}}
    return {"requestBody": {"required": True, "content": content}}


# --- out ----------------------------------------------------------------------------------------------------------


def _files_of(kinds: Iterable[str]) -> dict[int | str, dict[str, Any]]:
    table: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    content = {CSV: table, XLSX: table, JSON: {"schema": {"type": "array", "items": {"type": "object"}}}}
    return {200: {"description": f"All of one kind: {', '.join(kinds)}.", "content": content}}


def preferred(accept: str) -> str:
    """The media type of an export that a caller likes best. Raises HTTPException 406."""
    best, weight = "", 0.0
    for offered in MEDIA_TYPES:
        likes = max((_weight(one, offered) for one in accept.split(",")), default=0.0)
        if likes > weight:
            best, weight = offered, likes
    if not best:
        raise HTTPException(406, f"An export is given as {', '.join(MEDIA_TYPES)}.")
    return best


def _weight(one: str, offered: str) -> float:
    """How much one part of an Accept header likes what is offered."""
    written, *parameters = [part.strip().lower() for part in one.split(";")]
    if written not in (offered, f"{offered.partition('/')[0]}/*", "*/*"):
        return 0.0
    asked = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    try:
        return float(asked)
    except ValueError:
        return 0.0


_ENDINGS = {CSV: "csv", XLSX: "xlsx", JSON: "json"}


async def as_file(name: str, kind: Kind, bodies: Sequence[dict[str, Any]], media_type: str) -> Response:
    """A file to keep, written before its first byte leaves: a slow reader holds no connection to the database."""
    out = tempfile.SpooledTemporaryFile(max_size=1 << 20)  # noqa: SIM115  # closed when it has been sent
    await asyncio.to_thread(_write, out, kind, bodies, media_type)
    headers = {"content-disposition": f'attachment; filename="{name}.{_ENDINGS[media_type]}"', "vary": "Accept"}
    written = f"{media_type}; charset=utf-8" if media_type == CSV else media_type
    return StreamingResponse(_parts(out), headers=headers, media_type=written)


def _write(out: IO[bytes], kind: Kind, bodies: Sequence[dict[str, Any]], media_type: str) -> None:
    if media_type == JSON:
        out.write(json.dumps(bodies, ensure_ascii=False).encode())
        return
    table = chain([exports.head(kind)], (row for body in bodies for row in exports.rows(kind, body)))
    if media_type == CSV:
        sheets.write_csv(out, table)
    else:
        sheets.write_workbook(out, kind.name, table)


def _parts(out: IO[bytes]) -> Iterator[bytes]:
    with out:
        out.seek(0)
        while part := out.read(1 << 16):
            yield part
