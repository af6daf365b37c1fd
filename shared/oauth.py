"""The token endpoint's side of OAuth 2.0: how a client asks for a token with its key, and how the house signs one.

Client credentials grant (RFC 6749, 4.4), the key as the client's secret: in `Authorization: Basic`, or in the form.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, unquote_plus
from uuid import UUID, uuid4

from fastapi import Depends, Request
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from pydantic import Field

from shared.errors import Invalid, MediaTypeNotTaken, Unauthenticated, Unavailable
from shared.http import Out

LIFE = 300
"""Seconds that a token lives which was given for a key."""


class Granted(Out):
    """The answer of a token endpoint (RFC 6749, 5.1), in its own spelling."""

    access_token: Annotated[str, Field(examples=["eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9…"])]
    token_type: Annotated[str, Field(examples=["Bearer"])] = "Bearer"  # noqa: S105  # a kind of token
    expires_in: Annotated[int, Field(examples=[LIFE])] = LIFE
    scope: Annotated[str, Field(examples=["monitor:write"])]

    model_config = {"alias_generator": None}


@dataclass(frozen=True)
class Credentials:
    """What a client shows to get a token: its key, its id where it says so, and the scopes that it asks for."""

    key: str
    client_id: str | None
    scopes: tuple[str, ...]


async def _credentials(request: Request) -> Credentials:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise MediaTypeNotTaken("Send the body as application/x-www-form-urlencoded.")
    form = _form(await request.body())
    if form.get("grant_type") != "client_credentials":
        raise Invalid("Write grant_type=client_credentials; no other is given here.", field="grant_type")
    client_id, key = _basic(request.headers.get("authorization", "")) or (
        form.get("client_id"),
        form.get("client_secret"),
    )
    if not key:
        raise Unauthenticated(
            "Send the key: Authorization: Basic with client id and key, or client_secret in the form."
        )
    return Credentials(key, client_id or None, tuple(form.get("scope", "").split()))


def _form(body: bytes) -> dict[str, str]:
    try:
        fields = parse_qs(body.decode(), strict_parsing=bool(body), max_num_fields=20, errors="strict")
    except ValueError:
        raise Invalid("The body is not a form.") from None
    if any(len(values) > 1 for values in fields.values()):
        raise Invalid("The form names a field twice.")
    return {name: values[0] for name, values in fields.items()}


def _basic(authorization: str) -> tuple[str | None, str | None] | None:
    scheme, _, written = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(written, validate=True).decode().partition(":")
    except ValueError:
        raise Unauthenticated("Authorization: Basic holds no client id and key.") from None
    return unquote_plus(name), unquote_plus(secret)


KeyShown = Annotated[Credentials, Depends(_credentials)]


@dataclass(frozen=True)
class Mint:
    """Signs the house's own tokens with keys from a file, at the moment of one request."""

    path: Path | None
    issuer: str
    audience: str
    moment: datetime
    today: date

    def _keys(self) -> list[ECKey]:
        """The first one signs, all are published. Raises Unavailable."""
        if self.path is None:
            raise Unavailable("No keys are set to sign tokens with; the operator sets KAPSTOK_TOKEN_KEYS_FILE.")
        try:
            return [ECKey.import_key(key) for key in json.loads(self.path.read_text())["keys"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable("The keys to sign tokens with cannot be read.") from error

    def published(self) -> dict[str, Any]:
        """The public halves (RFC 7517)."""
        return dict(KeySet(list(self._keys())).as_dict(private=False))

    def token(self, *, client_id: str, organisation: str, key: UUID, scopes: Sequence[str], since: int) -> str:
        """A signed access token (RFC 9068); `since` is how far the roster went when it was given."""
        signing, now = self._keys()[0], int(self.moment.timestamp())
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": client_id,
            "client_id": client_id,
            "organisation": organisation,
            "key": str(key),
            "scope": " ".join(scopes),
            "since": since,
            "iat": now,
            "exp": now + LIFE,
            "jti": str(uuid4()),
        }
        return jwt.encode({"alg": "ES256", "kid": str(signing.kid), "typ": "at+jwt"}, claims, signing)


def _mint(request: Request) -> Mint:
    service = request.app.state.service
    settings = service.settings
    return Mint(settings.token_keys_file, service.source, settings.audience, service.now(), service.today())


MintHere = Annotated[Mint, Depends(_mint)]


def _issuer(request: Request) -> str:
    return request.app.state.service.settings.issuer  # type: ignore[no-any-return]


Issuer = Annotated[str, Depends(_issuer)]
"""Whose accounts are appointed: the identity provider of this house."""

TOKEN_REQUEST = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"type": "string", "const": "client_credentials"},
                        "client_id": {"type": "string"},
                        "client_secret": {"type": "string", "description": "The key, where it is not sent as Basic."},
                        "scope": {"type": "string", "description": "Narrower scopes than the key's, with spaces."},
                    },
                }
            }
        },
    }
}
"""How openapi.json tells of the form."""
