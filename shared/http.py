"""The HTTP edge: one request is one transaction, answered after its commit; problem documents; the API rules."""

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import structlog
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import ParamTypes
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import access, outbox
from shared.database import Entity, ExternalIds, Page, Work, is_passing
from shared.errors import Conflict, DomainError, Invalid, TooLarge, Unavailable, VersionNeeded
from shared.events.event import Actor, Basis, Precision
from shared.gate import Function
from shared.receipts import close_receipt, key_of, open_receipt
from shared.texts import Day

if TYPE_CHECKING:
    from shared.service import Service

log = structlog.get_logger("kapstok.http")

Handle = Callable[[Request], Coroutine[Any, Any, Response]]

DEEPEST = 20
"""Levels of nesting in a request body."""


# --- one request, one transaction ------------------------------------------------------------------------------


class StrictRequest(Request):
    """A request whose JSON says each thing once: duplicate keys, NaN and deep nesting are refused."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            try:
                text = (await self.body()).decode()
                self._json = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)
            except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of thousands of digits, too deep
                raise Invalid("The body is not JSON in UTF-8.") from None
            if _depth(self._json) > DEEPEST:
                raise Invalid(f"The body is nested deeper than {DEEPEST} levels.")
        return self._json


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Invalid("The body names a field twice.")
    return found


def _no_constant(name: str) -> Any:
    raise Invalid("The body holds a number that JSON does not have.")


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level and deepest <= DEEPEST:
        deepest += 1
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return deepest


class Door(APIRoute):
    """Every route of a service: reads get a session, writes get a unit of work that ends before the answer leaves."""

    tells = True
    """Whether a write tells a fact, and so takes a caller, a key and JSON, and gives a receipt."""

    def get_route_handler(self) -> Handle:
        inner = super().get_route_handler()
        names_version = "{id}" in self.path
        parameters = get_flat_params(self.dependant)
        asked = {one.alias for one in parameters if getattr(one.field_info, "in_", None) is ParamTypes.query}

        async def handle(request: Request) -> Response:
            request = StrictRequest(request.scope, request.receive)
            service: Service = request.app.state.service
            if not service.ready:
                raise Unavailable("Starting or stopping; ask again in a moment.")
            acting = await access.admit(request, service.name, self.name, service.permissions[self.name])
            _must_be_asked(request, asked)
            await _wait_for_position(request, service)
            if request.method in access.READING:
                return await _read(request, service, inner)
            if not self.tells:
                return await _exchange(request, service, inner)
            return await _write(request, service, inner, acting, names_version=names_version)

        return handle


class Counter(Door):
    """A door where something is exchanged and no fact is told of it; what is noted there is committed all the same."""

    tells = False


async def _exchange(request: Request, service: "Service", inner: Handle) -> Response:
    async def unit_of_work() -> Response:
        async with service.sessions() as session:
            request.state.session = session
            answer = await inner(request)
            await session.commit()
        return answer

    return await service.finish(unit_of_work())


async def _read(request: Request, service: "Service", inner: Handle) -> Response:
    async with service.sessions() as session:
        request.state.session = session
        if service.view is not None and service.relay is not None:
            await service.view.enter(session)
        answer = await inner(request)
        _describe(request, session, answer)
    if answer.headers.get("etag") and answer.headers["etag"] == request.headers.get("if-none-match"):
        kept = {name: answer.headers[name] for name in ("etag", "link") if name in answer.headers}
        return Response(status_code=304, headers=kept)
    return answer


async def _write(
    request: Request, service: "Service", inner: Handle, acting: Function | None, *, names_version: bool
) -> Response:
    caller = access.calling(request)
    _check_media_type(request, await request.body())
    key = await key_of(request, caller.account)
    expected = _expected_version(request) if names_version else None
    request.state.work = Work(
        actor=Actor(organisation=caller.organisation, function=acting or ""),
        account=caller.account,
        today=service.today(),
        expected=expected,
    )

    async def unit_of_work() -> Response:
        async with service.sessions() as session:
            request.state.session = session
            earlier = await open_receipt(session, key)
            if earlier is not None:
                return earlier
            if names_version and "if-match" not in request.headers:
                raise VersionNeeded('Send If-Match with the version that you read, such as "3".')
            if service.view is not None:
                await service.view.enter(session)
            session.info["work"] = request.state.work
            await _read_body(request)
            answer = await inner(request)
            if answer.status_code >= 400:
                return answer
            sequence = await outbox.number(session, service.source, request.headers.get("traceparent"))
            _describe(request, session, answer)
            if sequence is not None:
                answer.headers["kapstok-position"] = f"{service.name[0]}{sequence}"
            await close_receipt(session, key, answer)
            await session.commit()
        service.wake()
        return answer

    # A caller who goes away must not stop a transaction half-way through its commit.
    return await service.finish(unit_of_work())


async def _wait_for_position(request: Request, service: "Service") -> None:
    asked = request.headers.get("kapstok-at-least")
    if asked is None or service.view is None:
        return
    parts = [re.fullmatch(r"([a-z])([0-9]{1,18})", part) for part in asked.split(".")]
    wanted = {part[1]: int(part[2]) for part in parts if part}
    followed = {owner[0] for owner in service.view.owners} | {service.name[0]}
    if not all(parts) or not followed & set(wanted):
        raise Invalid(
            "Write Kapstok-At-Least as a position that was given: r412 or r412.p980.", field="Kapstok-At-Least"
        )
    reached = await service.view.reach(wanted, timeout=2)
    if not reached and request.method in ("GET", "HEAD"):
        raise Unavailable("This is not followed as far as you ask yet; ask again in a moment.")


def _must_be_asked(request: Request, known: set[str]) -> None:
    """A misspelt query key is refused; answering as if it were not there would answer another question."""
    unknown = set(request.query_params) - known
    if unknown:
        takes = f"This address takes {', '.join(sorted(known))}." if known else "This address takes no query."
        raise Invalid(f"{len(unknown)} of these query keys does not exist. {takes}")


def _check_media_type(request: Request, body: bytes) -> None:
    if not body:
        return
    written = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted = (
        ("application/merge-patch+json", "application/json") if request.method == "PATCH" else ("application/json",)
    )
    if written not in wanted:
        raise HTTPException(415, f"Send the body as {wanted[0]}.")


async def _read_body(request: Request) -> None:
    """Read it before FastAPI does, which would say only that there was an error; what it reads then is kept."""
    if await request.body():
        await request.json()


def _expected_version(request: Request) -> int | None:
    """The version in If-Match; None for `*` or nothing."""
    written = request.headers.get("if-match")
    if written is None or written.strip() == "*":
        return None
    found = re.fullmatch(r'"(\d{1,9})"', written.strip())
    if not found:
        raise Invalid('Write If-Match as the ETag that you read, such as "3".', field="If-Match")
    return int(found[1])


def _describe(request: Request, session: AsyncSession, answer: Response) -> None:
    """ETag, Location and Link, from what the command or query found."""
    subject: Entity | None = session.info.get("subject")
    if subject is not None:
        answer.headers["etag"] = f'"{subject.version}"'
        if answer.status_code == 201:
            answer.headers["location"] = f"{request.url.path}/{subject.id}"
    following = session.info.get("next")
    if following is not None:
        target = request.url.include_query_params(cursor=str(following))
        answer.headers["link"] = f'<{target.path}?{target.query}>; rel="next"'


async def _session(request: Request) -> AsyncSession:
    return request.state.session  # type: ignore[no-any-return]


Session = Annotated[AsyncSession, Depends(_session)]
"""The request's transaction. Nobody commits it: the door does, before the answer leaves."""


# --- shapes of answers -----------------------------------------------------------------------------------------


class Out(BaseModel):
    """An answer's part: camelCase, read from an entity's fields."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class EntityOut(Out):
    """What every entity shows."""

    id: uuid.UUID
    reference: Annotated[str, Field(examples=["ABC-2018-0007"])]
    version: Annotated[int, Field(examples=[3])]
    began_on: Day
    effective_from: Day
    effective_from_basis: Basis
    effective_from_precision: Precision
    external_ids: ExternalIds


T = TypeVar("T")


class Listing(Out, Generic[T]):
    """One page; `next` is the cursor of the page after it."""

    items: list[T]
    next: uuid.UUID | None = None


def _page(
    cursor: Annotated[uuid.UUID | None, Query(description="Where the page before this one ended.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Page:
    return Page(cursor, limit)


Paging = Annotated[Page, Depends(_page)]

ExternalId = Annotated[
    str | None,
    Query(alias="externalId", max_length=200, pattern=r"^[a-z0-9][a-z0-9.-]*:[\x21-\x7e]+$", description="system:id"),
]


# --- problem documents -----------------------------------------------------------------------------------------


def problem(
    status: int, title: str, detail: str, *, errors: list[dict[str, str]] | None = None, retry_after: int | None = None
) -> JSONResponse:
    """An RFC 9457 problem document."""
    body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if errors:
        body["errors"] = errors
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


async def _on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    errors = [{"pointer": error.field, "detail": str(error)}] if error.field else None
    answer = problem(error.status, error.title, str(error), errors=errors, retry_after=error.retry_after)
    if error.status == 401:
        answer.headers["www-authenticate"] = 'Bearer realm="kapstok"'
    return answer


_SENTENCES = {
    "missing": "This field is needed.",
    "extra_forbidden": "There is no such field here.",
    "uuid_parsing": "Give an id: a UUID.",
    "uuid_type": "Give an id: a UUID.",
    "date_from_datetime_parsing": "Write a day as text: 2018-12-31.",
    "date_parsing": "Write a day as text: 2018-12-31.",
    "string_pattern_mismatch": "This is not written in the form that is asked.",
    "model_attributes_type": "Give an object with fields.",
    "union_tag_invalid": "This kind does not exist.",
}


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [_field_error(dict(one)) for one in error.errors()]
    fields = ", ".join(sorted({one["pointer"] for one in errors}))
    return problem(400, Invalid.title, f"Mend {fields}: {errors[0]['detail']}", errors=errors)


def _field_error(one: dict[str, Any]) -> dict[str, str]:
    """Where and what, without the caller's value."""
    place, *rest = [str(part) for part in one["loc"]]
    inside = [re.sub(r"[^\w.-]", "?", part)[:60].replace("~", "~0").replace("/", "~1") for part in rest]
    pointer = "/" + "/".join(inside) if place == "body" else f"{place}:{'/'.join(inside)}"
    return {"pointer": pointer, "detail": _SENTENCES.get(one["type"], one["msg"])}


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    titles = {404: "Not found", 405: "Method not allowed", 413: "Too large", 415: "Media type not supported"}
    detail = str(error.detail)
    headers = dict(error.headers or {})
    if error.status_code == 404:
        detail = "There is nothing at this address; see the openapi.json of this service."
    if error.status_code == 405:
        # What openapi.json does not tell of, such as pages and that document itself, is only read.
        allowed = request.app.state.service.methods(request.url.path) or {"GET", "HEAD"}
        headers["allow"] = ", ".join(sorted(allowed))
        detail = f"This address takes {headers['allow']}."
    answer = problem(error.status_code, titles.get(error.status_code, "The request cannot be answered"), detail)
    answer.headers.update({name.lower(): value for name, value in headers.items()})
    return answer


async def _on_database_error(request: Request, error: Exception) -> Response:
    if isinstance(error, IntegrityError):
        return await _on_domain_error(request, _violated(error))
    if is_passing(error):
        log.warning("the database did not answer in time", reason=type(error).__name__)
        refusal = Unavailable(
            "The outcome is not known. Try again with the same Idempotency-Key: it is carried out once."
            if request.method not in ("GET", "HEAD")
            else "The database does not answer; try again."
        )
        return await _on_domain_error(request, refusal)
    return await _on_any_error(request, error)


def _violated(error: IntegrityError) -> DomainError:
    name = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None) or ""
    found = re.fullmatch(r"uq_(?P<rest>.+)", name)
    if found:
        return Conflict(f"There is one of these already ({found['rest'].replace('_', ' ')}).")
    return Conflict("This does not fit with what is there already.")


async def _on_any_error(request: Request, error: Exception) -> Response:
    log.error("a request failed", path=request.url.path, exc_info=error)
    return problem(500, "Something went wrong here", "This is our fault; nothing was saved. It has been noted.")


def install_problems(app: FastAPI) -> None:
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(SQLAlchemyError, _on_database_error)
    app.add_exception_handler(OSError, _on_database_error)
    app.add_exception_handler(TimeoutError, _on_database_error)
    app.add_exception_handler(Exception, _on_any_error)


# --- what holds for every answer -------------------------------------------------------------------------------

SECURITY_HEADERS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]


class Porch:
    """Around the whole app: version and security headers on every answer, HEAD, and the limit on bodies."""

    def __init__(self, app: ASGIApp, version: str, max_body: int) -> None:
        self._app = app
        self._version = version.encode()
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(message)
            await send(message)

        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > self._max_body:
            await self._too_large()(scope, receive, send_dressed)
            return
        seen = 0

        async def receive_limited() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body:
                raise TooLarge(f"A body has {self._max_body} bytes at most.")
            return message

        if scope["method"] == "HEAD":
            await self._head(scope, receive_limited, send_dressed)
        else:
            await self._app(scope, receive_limited, send_dressed)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What GET answers, without its body; a stream, which has no end of its own, ends here."""
        ended = asyncio.Event()

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
            elif not ended.is_set():
                ended.set()
                await send({"type": "http.response.body", "body": b""})
                if message.get("more_body"):
                    answering.cancel()

        answering = asyncio.ensure_future(self._app(dict(scope, method="GET"), receive, send_head))
        try:
            await asyncio.wait({answering})
        finally:
            answering.cancel()
        if not answering.cancelled():
            answering.result()

    def _too_large(self) -> Response:
        return problem(413, TooLarge.title, f"A body has {self._max_body} bytes at most.")

    def _dress(self, message: MutableMapping[str, Any]) -> None:
        headers = [(name, value) for name, value in message["headers"] if name != b"server"]
        if message["status"] in (204, 304):
            headers = [(name, value) for name, value in headers if name not in (b"content-type", b"content-length")]
        present = {name for name, _ in headers}
        headers += [header for header in SECURITY_HEADERS if header[0] not in present]
        headers.append((b"api-version", self._version))
        message["headers"] = headers


async def shielded(work: Awaitable[Response], running: set[asyncio.Task[Response]]) -> Response:
    """Run to the end, also when the one who waits goes away."""
    task = asyncio.ensure_future(work)
    running.add(task)
    task.add_done_callback(running.discard)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(Exception):
            await asyncio.wait({task}, timeout=5)
        raise
