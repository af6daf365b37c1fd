"""Whose tokens are believed: the issuers' published keys, fetched when they are needed, kept, and read again.

Keys come from a file, from an address, or from the issuer's own discovery document (OpenID Connect Discovery 1.0).
"""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import httpx
import structlog
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

log = structlog.get_logger("kapstok.issuers")

KEPT = 600.0
"""Seconds that fetched keys are used before they are read again: a key that was withdrawn is believed no longer."""
SPARED = 30.0
"""Seconds between two looks for a key that is not there, so that made-up key ids do not become a load on the issuer."""


class KeysUnavailable(Exception):
    """The issuer's keys were never read and cannot be read now."""


class Keys(Protocol):
    async def holding(self, kid: str | None) -> KeySet:
        """The issuer's keys, among them `kid` if it has such a key. Raises KeysUnavailable."""
        ...

    async def close(self) -> None: ...


class KeysInFile:
    """Keys in a file that ops keeps; read again when it changed, so that rotation needs no restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys = KeySet([])
        self._changed_at = 0.0

    async def holding(self, kid: str | None) -> KeySet:
        try:
            changed_at = self._path.stat().st_mtime
            if changed_at != self._changed_at:
                self._keys = KeySet.import_key_set(json.loads(self._path.read_text()))
                self._changed_at = changed_at
        except (OSError, ValueError, JoseError) as error:
            log.warning("the issuer's keys cannot be read", path=str(self._path), reason=repr(error))
        if not self._keys.keys:
            raise KeysUnavailable(str(self._path))
        return self._keys

    async def close(self) -> None:
        pass


class PublishedKeys:
    """Keys at an address, or where an issuer's discovery document says that they are."""

    def __init__(self, *, issuer: str, address: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer.rstrip("/")
        self._address = address
        self._clock = clock
        self._client = httpx.AsyncClient(timeout=httpx.Timeout(3), follow_redirects=False)
        self._keys = KeySet([])
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()

    async def holding(self, kid: str | None) -> KeySet:
        if not self._serves(kid):
            async with self._reading:  # many requests with a new key cause one look
                if not self._serves(kid) and self._may_look():
                    await self._read()
        if not self._keys.keys:
            raise KeysUnavailable(self._issuer)
        return self._keys

    def _serves(self, kid: str | None) -> bool:
        young = self._clock() - self._read_at < KEPT
        return young and (kid is None or any(key.kid == kid for key in self._keys.keys))

    def _may_look(self) -> bool:
        waited = self._clock() - self._tried_at
        return waited >= (SPARED if self._keys.keys else 1)

    async def _read(self) -> None:
        self._tried_at = self._clock()
        try:
            published: Any = await self._get(self._address or await self._discovered())
            self._keys = KeySet.import_key_set(published)
            self._read_at = self._clock()
        except (httpx.HTTPError, ValueError, TypeError, KeyError, JoseError) as error:
            # Keys read before go on being believed: an issuer that is away for a moment locks nobody out.
            log.warning("the issuer's keys cannot be fetched", issuer=self._issuer, reason=repr(error)[:300])

    async def _discovered(self) -> str:
        found = await self._get(f"{self._issuer}/.well-known/openid-configuration")
        if str(found["issuer"]).rstrip("/") != self._issuer:
            raise ValueError("the discovery document is another issuer's")
        return str(found["jwks_uri"])

    async def _get(self, address: str) -> dict[str, Any]:
        answer = await self._client.get(address)
        answer.raise_for_status()
        found = answer.json()
        if not isinstance(found, dict):
            raise ValueError("not a JSON object")
        return found

    async def close(self) -> None:
        await self._client.aclose()
