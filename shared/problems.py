"""Problem documents (RFC 9457): what every refusal looks like, whoever raised it."""

import re
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from starlette.exceptions import HTTPException

from shared import problem_types
from shared.database import is_passing, violated
from shared.errors import SENTENCES, DomainError, Unavailable
from shared.problem_types import CATALOGUE, ProblemType
from shared.screening import traces_in

if TYPE_CHECKING:
    from shared.service import Service

log = structlog.get_logger("kapstok.http")

MERGE_PATCH = "application/merge-patch+json"


def problem(
    service: str,
    type: ProblemType,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    retry_after: int | None = None,
    members: dict[str, Any] | None = None,
) -> JSONResponse:
    """A problem document of a kind that is in the catalogue."""
    body = {"type": type.uri(service), "title": type.title.en, "status": type.status, "detail": detail}
    if errors:
        body["errors"] = errors
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    return JSONResponse(body | (members or {}), type.status, headers, media_type="application/problem+json")


def refusal(service: str, error: DomainError) -> JSONResponse:
    """The answer that a refusal gets."""
    errors = [{"pointer": pointer, "detail": detail} for pointer, detail in error.errors]
    answer = problem(
        service, error.type, str(error), errors=errors, retry_after=error.retry_after, members=error.members
    )
    if error.type is problem_types.TOKEN_NEEDED:
        answer.headers["www-authenticate"] = 'Bearer realm="kapstok"'
    return answer


def _service(request: Request) -> "Service":
    return request.app.state.service  # type: ignore[no-any-return]


async def _on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DomainError)
    answer = refusal(_service(request).name, error)
    if error.type is problem_types.MEDIA_TYPE_NOT_TAKEN and request.method == "PATCH":
        answer.headers["accept-patch"] = MERGE_PATCH
    return answer


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [_field_error(dict(one)) for one in error.errors()]
    fields = ", ".join(sorted({one["pointer"] for one in errors}))
    detail = f"Mend {fields}: {errors[0]['detail']}"
    return problem(_service(request).name, problem_types.INVALID, detail, errors=errors)


def _field_error(one: dict[str, Any]) -> dict[str, str]:
    """Where and what, without the caller's value."""
    place, *rest = [str(part) for part in one["loc"]]
    named = ["?" if traces_in(part) else part for part in rest]
    inside = [re.sub(r"[^\w.-]", "?", part)[:60].replace("~", "~0").replace("/", "~1") for part in named]
    pointer = "/" + "/".join(inside) if place == "body" else f"{place}:{'/'.join(inside)}"
    return {"pointer": pointer, "detail": SENTENCES.get(one["type"], one["msg"])}


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself."""
    assert isinstance(error, HTTPException)
    name = _service(request).name
    if error.status_code == 404:
        return problem(
            name,
            problem_types.NO_SUCH_ADDRESS,
            "There is nothing at this address; see the openapi.json of this service.",
        )
    if error.status_code == 405:
        return _on_another_method(request)
    types = {type.status: type for type in CATALOGUE.values() if type.status not in (404, 409)}
    return problem(name, types.get(error.status_code, problem_types.INVALID), str(error.detail))


def _on_another_method(request: Request) -> Response:
    """The methods that an address does take: to OPTIONS as what it asked for, to others as a refusal."""
    allowed = sorted(_service(request).addresses.methods(request.url.path))
    headers = {"allow": ", ".join(allowed)}
    if "PATCH" in allowed:
        headers["accept-patch"] = MERGE_PATCH
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=headers)
    answer = problem(_service(request).name, problem_types.METHOD_NOT_TAKEN, f"This address takes {headers['allow']}.")
    answer.headers.update(headers)
    return answer


async def _on_database_error(request: Request, error: Exception) -> Response:
    if isinstance(error, IntegrityError):
        return await _on_domain_error(request, violated(error))
    if is_passing(error):
        log.warning("the database did not answer in time", reason=type(error).__name__)
        refused = Unavailable(
            "The outcome is not known. Try again with the same Idempotency-Key: it is carried out once."
            if request.method not in ("GET", "HEAD")
            else "The database does not answer; try again."
        )
        return await _on_domain_error(request, refused)
    return await _on_any_error(request, error)


async def _on_any_error(request: Request, error: Exception) -> Response:
    log.error("a request failed", operation=getattr(request.scope.get("route"), "name", None), exc_info=error)
    detail = "This is our fault; nothing was saved. It has been noted."
    return problem(_service(request).name, problem_types.OUR_FAULT, detail)


def install_problems(app: FastAPI) -> None:
    app.add_exception_handler(DomainError, _on_domain_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(SQLAlchemyError, _on_database_error)
    app.add_exception_handler(OSError, _on_database_error)
    app.add_exception_handler(TimeoutError, _on_database_error)
    app.add_exception_handler(Exception, _on_any_error)
