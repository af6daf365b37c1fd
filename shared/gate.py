"""Who calls: a token proves it, and the roster says for which organisation, in which functions, within which scopes."""

import hmac
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any
from uuid import UUID

import structlog
from fastapi import Request
from joserfc import jws, jwt
from joserfc.errors import JoseError
from pydantic import BaseModel, Field

from shared.errors import Unauthenticated, Unavailable
from shared.issuers import Keys, KeysInFile, KeysUnavailable, PublishedKeys
from shared.projection import Attached
from shared.roster import Appointment, Asked, Entry, Roster, holder_of
from shared.screening import Trace, traces_in
from shared.settings import Settings

log = structlog.get_logger("kapstok.gate")

ALGORITHMS = ["ES256", "PS256", "RS256"]
CLOCK_SKEW = 30
LONGEST_LIFE = 6 * 3600
"""Seconds; NL GOV Assurance profile for OAuth 2.0: an access token for a machine lives six hours at most."""
HOUSE_ISSUER = "programme"
"""The service that exchanges keys for tokens, and owns the roster."""


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
    scopes: tuple[frozenset[str], ...] = ()
    """What it is narrowed to by its token, its client's grant and its key; each must open what is asked."""
    client: str | None = None
    """The client's id at its issuer; for limits on how often one may ask."""


class Gate:
    """Who calls: tokens of the issuer, and those that the house gives for its own keys, held against the roster."""

    def __init__(self, settings: Settings, today: Callable[[], date]) -> None:
        self._settings = settings
        self._today = today
        self._roster: Roster | None = None
        self._view: Attached | None = None
        self._house = house = settings.source(HOUSE_ISSUER)
        outside = (
            KeysInFile(settings.jwks_file)
            if settings.jwks_file is not None
            else PublishedKeys(issuer=settings.issuer, address=settings.jwks_url)
        )
        published = f"{settings.url(HOUSE_ISSUER)}/{HOUSE_ISSUER}/v1/jwks"
        self._issuers: dict[str, tuple[Keys, jwt.JWTClaimsRegistry]] = {
            settings.issuer: (outside, _claims_of(settings.issuer, settings.audience)),
            house: (PublishedKeys(issuer=house, address=published), _claims_of(house, settings.audience)),
        }

    def follow(self, roster: Roster, view: Attached) -> None:
        """Hold callers against the roster that a view of this service keeps."""
        self._roster, self._view = roster, view

    async def caller(self, request: Request) -> Caller:
        """Who calls. Raises Unauthenticated, with a sentence that says what is wrong, and Unavailable."""
        claims = await self.proven(request)
        if self._roster is None or self._view is None:
            return _from_token(claims)
        if claims.key is not None:
            await self._caught_up(self._view, claims)
        entry = await self._roster.entry(self._view, claims.asked())
        return _standing(claims, entry, self._today())

    async def proven(self, request: Request) -> "Claims":
        """What the token of a request says, checked once; whether it still stands, the roster knows."""
        if not hasattr(request.state, "claims"):
            request.state.claims = await self._claims(_token_of(request))
        return request.state.claims  # type: ignore[no-any-return]

    async def _claims(self, token: str) -> "Claims":
        """What a token says, once its issuer is known, its signature holds and its time has not run out."""
        try:
            unproven = jws.extract_compact(token.encode())
            issuer = json.loads(unproven.payload)["iss"]
            keys, expected = self._issuers[issuer]
            key_set = await keys.holding(unproven.headers().get("kid"))
            decoded = jwt.decode(token, key_set, algorithms=ALGORITHMS)
            expected.validate(decoded.claims)
            claims = Claims.model_validate(decoded.claims)
            claims.must_be_for_access(by_house=issuer == self._house)
        except KeysUnavailable as error:
            log.warning("no keys to check tokens with", reason=str(error))
            raise Unavailable("The issuer's keys cannot be read at the moment; try again.") from None
        except (JoseError, ValueError, TypeError, KeyError) as error:
            log.info("token refused", reason=type(error).__name__)
            raise Unauthenticated(
                "The token is expired, or not one from this issuer for this audience; get a new one."
            ) from None
        return claims

    async def _caught_up(self, view: Attached, claims: "Claims") -> None:
        """A token of the house says how far the roster went when it was given; what it rests on must be known here."""
        if not await view.reach({HOUSE_ISSUER[0]: claims.since}, timeout=2):
            raise Unavailable("What this token rests on is not known here yet; try again in a moment.")

    def is_house(self, request: Request) -> bool:
        """Whether another service of this house asks."""
        key = self._settings.house_key.get_secret_value()
        return bool(key) and hmac.compare_digest(request.headers.get("kapstok-house-key", "").encode(), key.encode())

    async def close(self) -> None:
        for keys, _ in self._issuers.values():
            await keys.close()


def _claims_of(issuer: str, audience: str) -> jwt.JWTClaimsRegistry:
    """RFC 9068 and the NL GOV Assurance profile for OAuth 2.0: what an access token must say."""
    return jwt.JWTClaimsRegistry(
        leeway=CLOCK_SKEW,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
        sub={"essential": True},
    )


def _token_of(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("Send a token: Authorization: Bearer …")
    return token


class Claims(BaseModel):
    """What an access token says, as far as it matters here."""

    iss: str
    sub: str
    exp: float
    iat: float = Field(default_factory=time.time)
    azp: str | None = None
    client_id: str | None = None
    organisation: str | None = None
    functions: list[str] | None = None
    scope: str = ""
    key: UUID | None = None
    """In tokens of the house only: the key that it was given for."""
    since: int = 0
    """In tokens of the house only: how far the roster went then."""
    nonce: Any = None

    @property
    def client(self) -> str | None:
        """The client: `client_id` in RFC 9068, `azp` in the NL GOV profile."""
        return self.client_id or self.azp

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset(self.scope.split())

    def asked(self) -> Asked:
        return Asked(self.client, self.key, holder_of(self.iss, self.sub))

    def must_be_for_access(self, *, by_house: bool) -> None:
        """An access token, of a life that is not too long; keys are named by the house alone, and always."""
        if {Trace.BSN, Trace.EMAIL} & {*traces_in(self.sub), *traces_in(self.organisation or "")}:
            raise Unauthenticated("The token names its account by personal data; it takes an opaque id.")
        if self.nonce is not None:
            raise Unauthenticated("This is an ID token; send an access token.")
        if self.exp - min(self.iat, time.time()) > LONGEST_LIFE + CLOCK_SKEW:
            raise Unauthenticated("The token lives longer than six hours; get a shorter one.")
        if (self.key is not None) != by_house:
            raise Unauthenticated("The token is not well formed; get a new one.")


def _from_token(claims: Claims) -> Caller:
    """What the issuer itself says of organisation and functions."""
    if not claims.organisation or claims.functions is None:
        raise Unauthenticated("The token names no organisation, or no functions, to act for.")
    return Caller(claims.sub, claims.organisation, _known_functions(claims.functions), (claims.scopes,), claims.client)


def _known_functions(names: Iterable[str]) -> frozenset[Function]:
    named = set(names)
    return frozenset(function for function in Function if function.value in named)


def _standing(claims: Claims, entry: Entry, today: date) -> Caller:
    """The caller, as the roster has it; where it has nothing of this client or account, the issuer's word stands."""
    if claims.key is not None or entry.client is not None:
        return _as_client(claims, entry, today)
    if entry.appointments:
        return _as_appointed(claims, entry.appointments, today)
    return _from_token(claims)


def _as_client(claims: Claims, entry: Entry, today: date) -> Caller:
    client, key = entry.client, entry.key
    if client is None or not client.stands(today):
        raise Unauthenticated("This client was revoked, or its time is over; ask the coordinator.")
    if claims.key is not None and (key is None or not key.stands(client.id, today)):
        raise Unauthenticated("This key was revoked, or its time is over; ask the coordinator for another.")
    if claims.organisation not in (None, client.organisation):
        raise Unauthenticated("The token names another organisation than this client's.")
    functions = _known_functions(client.functions)
    if claims.functions is not None:
        functions &= _known_functions(claims.functions)
    narrowed = [set(client.scopes), set(key.scopes) if key else None, claims.scopes or None]
    scopes = tuple(frozenset(one) for one in narrowed if one is not None)
    return Caller(claims.sub, client.organisation, functions, scopes, claims.client)


def _as_appointed(claims: Claims, appointments: Sequence[Appointment], today: date) -> Caller:
    """Once the roster knows an account, only its appointments count; a token may choose the organisation."""
    standing = [one for one in appointments if one.holds(today)]
    if not standing:
        raise Unauthenticated("Your appointment has ended; ask the coordinator.")
    organisations = sorted({one.organisation for one in standing})
    chosen = claims.organisation or organisations[0]
    if chosen not in organisations or (len(organisations) > 1 and not claims.organisation):
        raise Unauthenticated(f"Name in the token for which organisation you act: {' or '.join(organisations)}.")
    functions = _known_functions(one.function for one in standing if one.organisation == chosen)
    return Caller(claims.sub, chosen, functions, (claims.scopes,), claims.client)
