"""Web pages of other origins: only the listed ones may read, and openapi.json is for all."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from tests.house import Builder, House

LISTED, OTHER = "https://dashboard.example.org", "https://elsewhere.example.org"
PATH, KEPT, CONTRACT = "/reporting/v1/problems", "/reporting/v1/progress/domains", "/reporting/v1/openapi.json"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    async with builder.house(cors_origins=f"{LISTED} https://second.example.org") as house:
        yield house


async def preflight(house: House, path: str, origin: str, method: str = "POST") -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    asked["Access-Control-Request-Headers"] = "authorization, idempotency-key, if-match, content-type"
    return await house.client.options(f"{house.url(path.split('/')[1])}{path}", headers=asked)


async def read(house: House, path: str, origin: str, **headers: str) -> httpx.Response:
    return await house.send("GET", path, by=None, headers={"Origin": origin} | headers)


async def test_a_preflight_of_a_listed_origin_is_let_in_with_the_headers_of_every_answer(house: House) -> None:
    answer = await preflight(house, "/programme/v1/actions", LISTED)
    assert answer.status_code == 204
    assert "content-type" not in answer.headers
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert {"POST", "PATCH", "GET"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "idempotency-key", "if-match", "content-type"} <= set(allowed)
    assert "Origin" in answer.headers["vary"]
    for name in ("api-version", "content-security-policy", "strict-transport-security", "x-content-type-options"):
        assert name in answer.headers


@pytest.mark.parametrize("origin", [OTHER, "null", f"{LISTED}.evil.example", "http://dashboard.example.org", ""])
async def test_a_preflight_of_another_origin_is_not_let_in(house: House, origin: str) -> None:
    answer = await preflight(house, "/programme/v1/actions", origin)
    assert answer.status_code == 204
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["api-version"]


@pytest.mark.parametrize("path", [PATH, KEPT, "/reporting/v1/nowhere", "/programme/v1/actions"])
async def test_an_answer_names_only_an_origin_that_is_listed(house: House, path: str) -> None:
    """Kept answers and refusals too."""
    for _ in range(2):
        listed, other = await read(house, path, LISTED), await read(house, path, OTHER)
        assert listed.headers["access-control-allow-origin"] == LISTED
        assert "ETag" in listed.headers["access-control-expose-headers"]
        assert "access-control-allow-origin" not in other.headers
        assert "Origin" in listed.headers["vary"] and "Origin" in other.headers["vary"]
        assert other.status_code == listed.status_code


async def test_not_modified_names_the_origin_too(house: House) -> None:
    etag = (await read(house, KEPT, LISTED)).headers["etag"]
    again = await read(house, KEPT, LISTED, **{"If-None-Match": etag})
    assert (again.status_code, again.headers["access-control-allow-origin"]) == (304, LISTED)


@pytest.mark.parametrize("origin", [LISTED, OTHER])
async def test_the_contract_may_be_read_from_anywhere(house: House, origin: str) -> None:
    answer = await read(house, CONTRACT, origin)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "*")
    asked = await preflight(house, CONTRACT, origin, "GET")
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (204, "*")


@pytest.mark.parametrize("path", [PATH, KEPT, CONTRACT])
async def test_credentials_are_never_allowed(house: House, path: str) -> None:
    for answer in (await read(house, path, LISTED), await preflight(house, path, LISTED)):
        assert "access-control-allow-credentials" not in answer.headers


async def test_without_a_list_only_the_contract_is_shared(builder: Builder) -> None:
    async with builder.house("recommendations") as house:
        terms = await read(house, "/recommendations/v1/terms", LISTED)
        assert "access-control-allow-origin" not in terms.headers
        contract = await read(house, "/recommendations/v1/openapi.json", LISTED)
        assert contract.headers["access-control-allow-origin"] == "*"
