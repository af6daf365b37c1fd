"""How much one client may ask: counted per client, told on every answer, refused with when to come again."""

import re
from collections.abc import AsyncIterator
from datetime import date
from functools import partial
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr
from starlette.requests import Request

from services.permissions import RECOMMENDATIONS
from shared.access import costly
from shared.gate import Gate
from shared.limits import Limits, client_of
from shared.settings import Settings
from tests import house as houses
from tests.examples import issuing_body
from tests.house import Builder, House, eventually

TERMS, BODIES = "/recommendations/v1/terms", "/recommendations/v1/issuing-bodies"
QUOTA, COSTLY = 5, 2
SECONDS = 600
"""So long that no window passes within a test, however slow the machine."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    """A register that lets little pass; whoever calls is a client of its own, so tests do not meet."""
    given = houses.FACTORIES["recommendations"]
    strict = RECOMMENDATIONS | {"register_issuing_body": costly(RECOMMENDATIONS["register_issuing_body"])}
    houses.FACTORIES["recommendations"] = partial(given, permissions=strict)
    limits = {"rate_limit": QUOTA, "costly_rate_limit": COSTLY, "rate_seconds": SECONDS}
    try:
        async with builder.house("recommendations", trusted_proxies="127.0.0.1", **limits) as house:
            yield house
    finally:
        houses.FACTORIES["recommendations"] = given


def by(house: House, account: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {house.token('jenv', 'coordinator', account=account)}"}


async def get(house: House, **headers: str) -> httpx.Response:
    return await house.send(
        "GET", TERMS, by=None, headers={name.replace("_", "-"): one for name, one in headers.items()}
    )


def left(answer: httpx.Response, policy: str = "default") -> int:
    """What `RateLimit` says is left, with what `RateLimit-Policy` says there is."""
    found = re.search(rf'"{policy}";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    told = re.search(rf'"{policy}";q=(\d+);w=(\d+)', answer.headers["ratelimit-policy"])
    assert found and told, answer.headers
    assert int(told[1]) == (QUOTA if policy == "default" else COSTLY)
    assert int(told[2]) == SECONDS
    assert 0 < int(found[2]) <= 2 * SECONDS
    return int(found[1])


async def test_every_answer_tells_what_is_left_until_nothing_is(house: House) -> None:
    client = by(house, f"client-{uuid4()}")
    answers = [await get(house, **client) for _ in range(QUOTA + 2)]
    assert [answer.status_code for answer in answers] == [200] * QUOTA + [429] * 2
    assert [left(answer) for answer in answers] == [4, 3, 2, 1, 0, 0, 0]


async def test_a_refusal_says_when_to_come_again_and_which_policy_it_was(house: House) -> None:
    client = by(house, f"client-{uuid4()}")
    for _ in range(QUOTA):
        await get(house, **client)
    refused = await get(house, **client)
    told = refused.json()
    assert told["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert told["violated-policies"] == ["default"]
    assert (told["status"], told["title"]) == (429, "Too many requests")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["api-version"]


async def test_clients_have_a_quota_each_and_one_without_a_token_that_of_its_address(house: House) -> None:
    one, other = by(house, f"client-{uuid4()}"), by(house, f"client-{uuid4()}")
    for _ in range(QUOTA + 1):
        exhausted = await get(house, **one)
    assert exhausted.status_code == 429
    assert (await get(house, **other)).status_code == 200
    assert left(await get(house, X_Forwarded_For="198.51.100.1")) == QUOTA - 1
    assert left(await get(house, X_Forwarded_For="198.51.100.2")) == QUOTA - 1
    assert left(await get(house, X_Forwarded_For="198.51.100.1")) == QUOTA - 2


async def test_a_token_that_proves_nothing_counts_for_the_address(house: House) -> None:
    """So that guessing at tokens, each another, is counted."""
    answers = [
        await house.send(
            "GET",
            "/recommendations/v1/events/head",
            by=None,
            headers={"Authorization": f"Bearer guess-{uuid4()}", "X-Forwarded-For": "198.51.100.9"},
        )
        for _ in range(QUOTA + 1)
    ]
    assert [answer.status_code for answer in answers] == [401] * QUOTA + [429]


async def test_a_refusal_counts_as_a_request_also_at_an_address_that_is_not_there(house: House) -> None:
    client = by(house, f"client-{uuid4()}")
    answers = [
        await house.send("GET", "/recommendations/v1/nowhere", by=None, headers=client) for _ in range(QUOTA + 1)
    ]
    assert [answer.status_code for answer in answers] == [404] * QUOTA + [429]


async def test_what_makes_much_work_is_counted_strictly_besides(house: House) -> None:
    client = by(house, f"client-{uuid4()}")
    answers = [await house.send("POST", BODIES, issuing_body(), by=None, headers=client) for _ in range(COSTLY + 1)]
    assert [answer.status_code for answer in answers] == [201] * COSTLY + [429]
    assert [left(answer, "costly") for answer in answers] == [1, 0, 0]
    assert answers[-1].json()["violated-policies"] == ["costly"]
    assert (await get(house, **client)).status_code == 200, "the rest goes on"


async def test_a_costly_request_that_is_refused_saves_nothing(house: House) -> None:
    client = by(house, f"client-{uuid4()}")
    for _ in range(COSTLY):
        await house.send("POST", BODIES, issuing_body(), by=None, headers=client)
    before = await _head(house)
    assert (await house.send("POST", BODIES, issuing_body(), by=None, headers=client)).status_code == 429
    assert await _head(house) == before


async def _head(house: House) -> int:
    answer = await house.client.get(
        f"{house.url('recommendations')}/recommendations/v1/events/head",
        headers={"Kapstok-House-Key": house.house_key},
    )
    return int(answer.json()["sequence"])


async def test_the_house_itself_and_the_platform_are_not_counted(house: House) -> None:
    for _ in range(QUOTA + 2):
        await _head(house)
        for path in ("/health/live", "/health/ready", "/metrics"):
            answer = await house.client.get(house.url("recommendations") + path)
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers


async def test_a_guessed_house_key_opens_no_way_around(house: House) -> None:
    answers = [
        await get(house, Kapstok_House_Key=f"guess-{uuid4()}", X_Forwarded_For="198.51.100.30")
        for _ in range(QUOTA + 1)
    ]
    assert answers[-1].status_code == 429


async def test_the_window_slides_on(builder: Builder) -> None:
    async with builder.house("recommendations", rate_limit=2, rate_seconds=1) as house:
        client = by(house, "client")

        async def refused() -> bool:
            return (await get(house, **client)).status_code == 429

        async def answered() -> bool:
            return (await get(house, **client)).status_code == 200

        await eventually(refused)
        await eventually(answered)


async def test_forwarded_addresses_are_not_believed_unless_a_proxy_is_trusted(builder: Builder) -> None:
    async with builder.house("recommendations", rate_limit=QUOTA, rate_seconds=SECONDS) as house:
        answers = [await get(house, X_Forwarded_For=f"198.51.100.{number}") for number in range(QUOTA + 1)]
        assert answers[-1].status_code == 429, "they all came from one address"


async def test_without_a_limit_nothing_is_told_of_one(builder: Builder) -> None:
    async with builder.house("recommendations", rate_limit=0) as house:
        assert "ratelimit" not in (await get(house)).headers


def test_replicas_share_a_quota_and_each_keeps_at_least_one() -> None:
    given = Settings(
        database_url=SecretStr("postgresql+asyncpg://nowhere"), rate_limit=100, costly_rate_limit=2, replicas=4
    )
    limits = Limits(given)
    assert (limits.default.quota, limits.costly.quota) == (25, 1)
    off = Limits(given.model_copy(update={"rate_limit": 0}))
    assert off.default.quota == 0


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("2001:db8:1:2:aaaa::1", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2:bbbb::9", "address:2001:db8:1:2::/64"),
        ("testclient", "address:testclient"),
        (None, "address:"),
    ],
)
async def test_an_address_is_a_client_and_of_ipv6_a_whole_network_is(host: str | None, client: str) -> None:
    caller = None if host is None else (host, 1)
    gate = Gate(Settings(database_url=SecretStr("postgresql+asyncpg://nowhere")), date.today)
    assert await client_of(Request({"type": "http", "headers": [], "client": caller}), gate) == client
    await gate.close()
