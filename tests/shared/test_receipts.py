"""The same key gives the same answer: over HTTP, on a real database, also for two at once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select

from shared.receipts import receipt
from tests.examples import term
from tests.house import Builder, House

PATH = "/recommendations/v1/terms"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    """One service is enough here."""
    async with builder.house("recommendations") as house:
        yield house


async def head(house: House) -> int:
    answer = await house.send("GET", "/recommendations/v1/events/head")
    return int(answer.json()["sequence"])


async def post(house: House, body: Any, key: str, **more: Any) -> httpx.Response:
    return await house.send("POST", PATH, body, key=key, **more)


def kept(answer: httpx.Response) -> tuple[Any, ...]:
    names = ("content-type", "location", "etag", "kapstok-position")
    return answer.status_code, answer.content, *(answer.headers[name] for name in names)


async def test_the_same_request_with_the_same_key_gets_the_same_answer_and_is_carried_out_once(house: House) -> None:
    before, body, key = await head(house), term(), str(uuid4())
    first = await post(house, body, key)
    again = await post(house, body, key)
    assert first.status_code == 201
    assert kept(again) == kept(first)
    assert await head(house) == before + 1


async def test_only_a_repeat_says_that_it_is_one(house: House) -> None:
    body, key = term(), str(uuid4())
    assert "idempotency-replayed" not in (await post(house, body, key)).headers
    assert (await post(house, body, key)).headers["idempotency-replayed"] == "true"


async def test_the_same_key_many_times_at_once_makes_one_event_and_one_answer(house: House) -> None:
    before, body, key = await head(house), term(), str(uuid4())
    answers = await asyncio.gather(*(post(house, body, key) for _ in range(6)))
    assert len({kept(answer) for answer in answers}) == 1
    assert answers[0].status_code == 201
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert await head(house) == before + 1


async def test_the_same_key_with_another_body_is_refused_and_changes_nothing(house: House) -> None:
    key = str(uuid4())
    first = await post(house, body := term(), key)
    before = await head(house)
    other = await post(house, term(), key)
    assert other.status_code == 422
    assert other.headers["content-type"] == "application/problem+json"
    assert "Idempotency-Key" in other.json()["detail"]
    assert await head(house) == before
    assert kept(await post(house, body, key)) == kept(first)


async def test_of_two_bodies_with_one_key_at_once_one_is_carried_out_and_one_refused(house: House) -> None:
    before, key = await head(house), str(uuid4())
    answers = await asyncio.gather(post(house, term(), key), post(house, term(), key))
    assert sorted(answer.status_code for answer in answers) == [201, 422]
    assert await head(house) == before + 1


async def test_the_same_key_at_another_address_is_another_request(house: House) -> None:
    key = str(uuid4())
    await post(house, term(), key)
    body = {"name": {"nl": "Toezichthouder"}}
    other = await house.send("POST", "/recommendations/v1/issuing-bodies", body, key=key)
    assert other.status_code == 422


async def test_without_a_key_nothing_is_carried_out(house: House) -> None:
    before = await head(house)
    answer = await house.client.post(
        house.url("recommendations") + PATH,
        json=term(),
        headers={"Authorization": f"Bearer {house.token('jenv', 'coordinator')}"},
    )
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "Idempotency-Key"
    assert await head(house) == before


@pytest.mark.parametrize("written", ["", '""', '"', "two words", "x" * 201, '"a"b"', "\u00e9"])
async def test_a_key_that_is_not_written_as_one_is_refused(house: House, written: str) -> None:
    request = house.client.build_request(
        "POST",
        house.url("recommendations") + PATH,
        json=term(),
        headers=[
            (b"Authorization", f"Bearer {house.token('jenv', 'coordinator')}".encode()),
            (b"Idempotency-Key", written.encode("latin-1")),
        ],
    )
    answer = await house.client.send(request)
    assert answer.status_code == 400


async def test_a_key_is_the_same_with_and_without_its_quotes(house: House) -> None:
    body, key = term(), str(uuid4())
    first = await post(house, body, key)
    again = await post(house, body, key, headers={"Idempotency-Key": key})
    assert kept(again) == kept(first)


async def test_another_caller_may_use_the_same_key(house: House) -> None:
    before, key = await head(house), str(uuid4())
    first = await post(house, term(), key)
    token = house.token("jenv", "coordinator", account="another-client")
    other = await post(house, term(), key, headers={"Authorization": f"Bearer {token}"})
    assert (first.status_code, other.status_code) == (201, 201)
    assert other.json()["id"] != first.json()["id"]
    assert await head(house) == before + 2


async def test_a_refused_request_leaves_its_key_free(house: House) -> None:
    """Nothing was done, so a mended request may come with the key that it had."""
    body, key = term(), str(uuid4())
    refused = await post(house, body | {"name": {}}, key)
    assert refused.status_code == 400
    assert (await post(house, body, key)).status_code == 201


async def test_a_refusal_by_a_rule_leaves_its_key_free(house: House) -> None:
    standing = (await post(house, body := term(), str(uuid4()))).json()
    key = str(uuid4())
    path = f"{PATH}/{standing['id']}/_end"
    stale = await house.send("POST", path, {"reason": "Merged."}, key=key, version=standing["version"] + 7)
    assert stale.status_code == 412
    twice = await post(house, body, key)
    assert twice.status_code == 409, "the same term again"
    ended = await house.send("POST", path, {"reason": "Merged."}, key=key, version=standing["version"])
    assert ended.status_code == 200


async def test_a_repeat_gets_its_answer_although_the_version_it_read_has_passed(house: House) -> None:
    """The key is looked up before If-Match."""
    standing = (await post(house, term(), str(uuid4()))).json()
    key, path = str(uuid4()), f"{PATH}/{standing['id']}/_end"
    first = await house.send("POST", path, {"reason": "Merged."}, key=key, version=standing["version"])
    again = await house.send("POST", path, {"reason": "Merged."}, key=key, version=standing["version"])
    assert first.status_code == again.status_code == 200
    assert again.content == first.content


async def test_the_answer_is_kept_in_the_database_not_in_the_process(house: House) -> None:
    body, key = term(), str(uuid4())
    first = await post(house, body, key)
    async with house.running["recommendations"].service.sessions() as session:
        row = (await session.execute(select(receipt).where(receipt.c.key == key))).one()
    assert (row.caller, row.status, row.body) == ("local-jenv", 201, first.content)
    await house.stop("recommendations")
    await house.start("recommendations")
    assert kept(await post(house, body, key)) == kept(first)
