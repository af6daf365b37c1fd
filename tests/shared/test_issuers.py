"""Keys of issuers: from a file or as published, believed while they are published, asked for sparingly."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from deploy.embedded import LOOPBACK, free_port
from deploy.issuer import AUDIENCE
from shared.issuers import KEPT, SPARED, KeysInFile, KeysUnavailable, PublishedKeys
from tests.house import Builder, QuietServer, eventually


def key(kid: str) -> ECKey:
    return ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"})


@dataclass
class Provider:
    """An identity provider on loopback, as far as keys go."""

    port: int = field(default_factory=free_port)
    keys: list[ECKey] = field(default_factory=lambda: [key("first")])
    named: str | None = None
    """What its discovery document says that it is called; its own address unless set."""
    broken: bool = False
    looks: int = 0

    @property
    def issuer(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def discovery(self, request: Request) -> Response:
        return JSONResponse({"issuer": self.named or self.issuer, "jwks_uri": f"{self.issuer}/keys"})

    async def published(self, request: Request) -> Response:
        self.looks += 1
        if self.broken:
            return Response("<html>", 500)
        return JSONResponse(dict(KeySet(list(self.keys)).as_dict(private=False)))


@asynccontextmanager
async def running(provider: Provider) -> AsyncIterator[Provider]:
    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", provider.discovery),
            Route("/keys", provider.published),
        ]
    )
    server = QuietServer(uvicorn.Config(app, host=LOOPBACK, port=provider.port, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: _is(server.started))
    try:
        yield provider
    finally:
        server.should_exit = True
        await serving


async def _is(true: bool) -> bool:
    return true


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def kids(found: KeySet) -> set[Any]:
    return {key.kid for key in found.keys}


async def test_keys_are_found_by_the_issuers_discovery_document_and_kept() -> None:
    async with running(Provider()) as provider:
        keys = PublishedKeys(issuer=provider.issuer)
        for _ in range(5):
            assert kids(await keys.holding("first")) == {"first"}
        assert provider.looks == 1
        await keys.close()


async def test_a_key_that_is_new_is_looked_for_at_once_by_one_request_of_many() -> None:
    clock = Clock()
    async with running(Provider()) as provider:
        keys = PublishedKeys(issuer=provider.issuer, clock=clock)
        await keys.holding("first")
        provider.keys.append(key("second"))
        clock.now += SPARED
        found = await asyncio.gather(*(keys.holding("second") for _ in range(20)))
        assert all(kids(one) == {"first", "second"} for one in found)
        assert provider.looks == 2
        await keys.close()


async def test_made_up_key_ids_do_not_become_a_load_on_the_issuer() -> None:
    clock = Clock()
    async with running(Provider()) as provider:
        keys = PublishedKeys(issuer=provider.issuer, clock=clock)
        for number in range(50):
            await keys.holding(f"made-up-{number}")
        assert provider.looks == 1
        clock.now += SPARED
        await keys.holding("made-up")
        assert provider.looks == 2
        await keys.close()


async def test_a_key_that_was_withdrawn_is_not_believed_for_ever() -> None:
    clock = Clock()
    async with running(Provider(keys=[key("first"), key("second")])) as provider:
        keys = PublishedKeys(issuer=provider.issuer, clock=clock)
        await keys.holding("first")
        del provider.keys[0]
        clock.now += KEPT
        assert kids(await keys.holding("first")) == {"second"}
        await keys.close()


async def test_an_issuer_that_is_away_for_a_while_locks_nobody_out_and_one_never_reached_says_so() -> None:
    clock = Clock()
    async with running(Provider()) as provider:
        keys = PublishedKeys(issuer=provider.issuer, clock=clock)
        await keys.holding("first")
        provider.broken = True
        clock.now += KEPT
        assert kids(await keys.holding("first")) == {"first"}
        await keys.close()
        never = PublishedKeys(issuer=provider.issuer, clock=clock)
        with pytest.raises(KeysUnavailable):
            await never.holding("first")
        await never.close()


async def test_a_discovery_document_of_another_issuer_is_not_believed() -> None:
    async with running(Provider(named="https://elsewhere.example")) as provider:
        keys = PublishedKeys(issuer=provider.issuer)
        with pytest.raises(KeysUnavailable):
            await keys.holding("first")
        assert provider.looks == 0
        await keys.close()


async def test_a_file_is_read_again_when_it_changed_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    keys = KeysInFile(file)
    with pytest.raises(KeysUnavailable):
        await keys.holding(None)
    file.write_text(json.dumps(KeySet([key("first")]).as_dict(private=False)))
    assert kids(await keys.holding("first")) == {"first"}
    file.write_text("not JSON at all")
    assert kids(await keys.holding("first")) == {"first"}
    file.write_text(json.dumps(KeySet([key("second")]).as_dict(private=False)))
    assert kids(await keys.holding("second")) == {"second"}


# --- in a running house ------------------------------------------------------------------------------------------


def signed(provider: Provider, by: ECKey) -> str:
    now = int(time.time())
    claims = {
        "iss": provider.issuer,
        "aud": AUDIENCE,
        "sub": "account-1",
        "azp": "client-1",
        "iat": now,
        "exp": now + 600,
        "organisation": "jenv",
        "functions": ["coordinator"],
        "scope": "programme:write",
    }
    return jwt.encode({"alg": "ES256", "kid": str(by.kid)}, claims, by)


async def test_a_service_believes_the_issuer_whose_keys_it_discovered_and_no_key_besides(
    builder: Builder,
) -> None:
    async with running(Provider()) as provider, builder.house(issuer=provider.issuer, jwks_file=None) as house:

        async def plans(by: ECKey) -> int:
            headers = {"Authorization": f"Bearer {signed(provider, by)}"}
            body = {"code": f"p-{uuid4().hex[:8]}", "name": {"nl": "Partner"}, "kind": "ngo"}
            return (await house.send("POST", "/programme/v1/partners", body, by=None, headers=headers)).status_code

        first, second = provider.keys[0], key("second")
        assert await plans(first) == 201
        assert await plans(second) == 401, "not a key of the issuer's, yet"
        assert await plans(first) == 201
    # How soon a new key is looked for is tried above, with a clock.
