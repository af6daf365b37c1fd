"""Who calls, for which organisation, in which functions; and what a route asks of them."""

import hmac
import json
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from shared.errors import Forbidden, Unauthenticated
from shared.settings import Settings

log = structlog.get_logger("kapstok.access")

ALGORITHMS = ["ES256", "PS256", "RS256"]
CLOCK_SKEW = 30
LONGEST_LIFE = 6 * 3600
"""Seconds; NL GOV Assurance profile for OAuth 2.0: an access token for a machine lives six hours at most."""


class Function(StrEnum):
    """What a caller may act as. Duties hang on these, never on persons."""

    REPORTER = "reporter"
    ALTERNATE = "alternate"
    VALIDATOR = "validator"
    COORDINATOR = "coordinator"
    SECRETARIAT = "secretariat"
    TASK_FORCE_MEMBER = "task-force-member"
    ISSUING_BODY = "issuing-body"
    AUDITOR = "auditor"


@dataclass(frozen=True)
class Caller:
    """Proven by a token: the account, the organisation by its code, and its functions there."""

    account: str
    organisation: str
    functions: frozenset[Function]


class Gate:
    """Checks bearer tokens against the issuer's published keys."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keys = KeySet([])
        self._read_at = 0.0
        self._claims = jwt.JWTClaimsRegistry(
            leeway=CLOCK_SKEW,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": settings.audience},
            exp={"essential": True},
            sub={"essential": True},
        )

    def _key_set(self) -> KeySet:
        """The keys, read again when the file changed: rotation needs no restart."""
        path: Path | None = self._settings.jwks_file
        if path is not None:
            try:
                changed_at = path.stat().st_mtime
                if changed_at != self._read_at:
                    self._keys = KeySet.import_key_set(json.loads(path.read_text()))
                    self._read_at = changed_at
            except (OSError, ValueError, JoseError) as error:
                log.warning("the issuer's keys cannot be read", reason=repr(error))
        return self._keys

    def caller(self, request: Request) -> Caller:
        """Who calls. Raises Unauthenticated, with a sentence that says what is wrong with the token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Send a token: Authorization: Bearer …")
        try:
            decoded = jwt.decode(token, self._key_set(), algorithms=ALGORITHMS)
            self._claims.validate(decoded.claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            log.info("token refused", reason=type(error).__name__)
            raise Unauthenticated(
                "The token is expired, or not one from this issuer for this audience; get a new one."
            ) from None
        return _caller(decoded.claims)

    def is_house(self, request: Request) -> bool:
        """Whether another service of this house asks."""
        key = self._settings.house_key.get_secret_value()
        return bool(key) and hmac.compare_digest(request.headers.get("kapstok-house-key", ""), key)


def _caller(claims: dict[str, Any]) -> Caller:
    organisation, functions = claims.get("organisation"), claims.get("functions")
    if not isinstance(organisation, str) or not organisation or not isinstance(functions, list):
        raise Unauthenticated("The token names no organisation, or no functions, to act for.")
    if claims["exp"] - claims.get("iat", time.time()) > LONGEST_LIFE + CLOCK_SKEW:
        raise Unauthenticated("The token lives longer than six hours; get a shorter one.")
    known = frozenset(function for function in Function if function.value in functions)
    return Caller(str(claims["sub"]), organisation, known)


def calling(request: Request) -> Caller:
    """The caller of this request, checked once."""
    if not hasattr(request.state, "caller"):
        request.state.caller = request.app.state.service.gate.caller(request)
    return request.state.caller  # type: ignore[no-any-return]


def needs(*functions: Function) -> Any:
    """A route's demand: the caller acts in one of these functions. The first it has is the one that is recorded."""

    def check(request: Request) -> Caller:
        caller = calling(request)
        acting = next((function for function in functions if function in caller.functions), None)
        if acting is None:
            raise Forbidden(f"This takes the function {' or '.join(functions)}; the token does not have it.")
        request.state.work.actor = request.state.work.actor.model_copy(update={"function": acting.value})
        return caller

    check.functions = functions  # type: ignore[attr-defined]
    return Depends(check)


def _house_or_token(request: Request) -> None:
    if not request.app.state.service.gate.is_house(request) and not calling(request).functions:
        raise Forbidden("The token names no function that is known here.")


HouseOrToken = Depends(_house_or_token)
"""For the feed: another service of the house, or anyone with a valid token."""

By = Annotated[Caller, Depends(calling)]
