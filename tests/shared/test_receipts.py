"""The same key gives the same answer: over HTTP, on a real database, also for two at once."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select

from shared.receipts import digest_of, receipt, sweep
from tests.examples import term
from tests.house import Builder, House, eventually
from tests.programme.test_clients import TOMORROW, WRITES, made

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
    names = ("content-type", "location", "etag", "kapstok-position", "kapstok-receipt")
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
        row = (await session.execute(select(receipt).where(receipt.c.key == digest_of(key)))).one()
    assert (row.caller, row.status, row.body) == ("local-jenv", 201, first.content)
    await house.stop("recommendations")
    await house.start("recommendations")
    assert kept(await post(house, body, key)) == kept(first)


# --- what a receipt says, and for how long ----------------------------------------------------------------------


def receipt_on(answer: httpx.Response) -> dict[str, str]:
    """The dictionary of structured fields in `Kapstok-Receipt`."""
    found = re.fullmatch(r'number="([^"]+)", time="([^"]+)", digest=:([^:]+):', answer.headers["kapstok-receipt"])
    assert found, answer.headers["kapstok-receipt"]
    return dict(zip(("number", "time", "digest"), found.groups(), strict=True))


async def read(house: House, number: str, **more: Any) -> httpx.Response:
    return await house.send("GET", f"/recommendations/v1/receipts/{number}", **more)


async def test_a_receipt_has_a_number_a_time_and_a_digest_of_the_answer(house: House) -> None:
    before = datetime.now(UTC)
    answer = await post(house, term(), str(uuid4()))
    found = receipt_on(answer)
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(found["time"]) <= datetime.now(UTC)
    assert base64.b64decode(found["digest"]) == sha256(answer.content).digest()


async def test_every_acknowledged_write_has_a_receipt_of_its_own(house: House) -> None:
    made = await post(house, term(), str(uuid4()))
    path = f"{PATH}/{made.json()['id']}/_end"
    ended = await house.send("POST", path, {"reason": "Merged."}, version=made.json()["version"])
    assert receipt_on(made)["number"] != receipt_on(ended)["number"]
    refused = await house.send("POST", path, {"reason": "Merged."}, version=9)
    assert "kapstok-receipt" not in refused.headers


async def test_a_receipt_can_be_read_later_with_what_was_asked_and_until_when_it_is_kept(house: House) -> None:
    answer = await post(house, term(), str(uuid4()))
    on_it = receipt_on(answer)
    told = (await read(house, on_it["number"])).json()
    assert told["number"] == on_it["number"]
    assert datetime.fromisoformat(told["time"]) == datetime.fromisoformat(on_it["time"])
    assert told["digest"] == on_it["digest"]
    assert (told["asked"], told["status"]) == (f"POST {PATH}", 201)
    assert told["location"] == answer.headers["location"]
    assert told["position"] == answer.headers["kapstok-position"]
    assert told["shownOnce"] == []
    kept = datetime.fromisoformat(told["keptUntil"]) - datetime.fromisoformat(told["time"])
    assert kept == timedelta(days=30)


async def test_a_receipt_is_read_by_the_client_that_got_it_and_by_no_other(house: House) -> None:
    number = receipt_on(await post(house, term(), str(uuid4())))["number"]
    assert (await read(house, number)).status_code == 200
    same_organisation = house.token("jenv", "coordinator", account="another-client")
    other = await read(house, number, by=None, headers={"Authorization": f"Bearer {same_organisation}"})
    unknown = await read(house, str(uuid4()))
    assert other.status_code == unknown.status_code == 404
    assert other.json() == unknown.json(), "it does not tell that there is one"
    assert (await read(house, number, by=None)).status_code == 401


async def test_a_refused_request_leaves_no_receipt(house: House) -> None:
    key = str(uuid4())
    await post(house, {"code": "no"}, key)
    async with house.running["recommendations"].service.sessions() as session:
        assert (await session.execute(select(receipt).where(receipt.c.key == digest_of(key)))).one_or_none() is None


async def test_an_old_receipt_goes_and_its_key_can_be_used_anew(house: House) -> None:
    service = house.running["recommendations"].service
    old, young = (str(uuid4()), str(uuid4()))
    first, kept_one = await post(house, body := term(), old), await post(house, other := term(), young)
    long_ago = datetime.now(UTC) - timedelta(days=31)
    async with service.engine.begin() as connection:
        await connection.execute(receipt.update().where(receipt.c.key == digest_of(old)).values(at=long_ago))
    assert await sweep(service.engine, datetime.now(UTC) - timedelta(days=30)) == 1
    assert (await read(house, receipt_on(first)["number"])).status_code == 404
    anew = await post(house, body | {"code": f"anew-{uuid4().hex[:8]}"}, old)
    assert anew.status_code == 201
    assert kept(await post(house, other, young)) == kept(kept_one), "the young one stays"


async def test_the_sweep_runs_by_itself_at_the_hour_of_the_night(builder: Builder) -> None:
    """Also at the start, so that a service that is down each night sweeps all the same."""
    async with builder.house("recommendations", receipt_days=1) as house:
        number = receipt_on(await post(house, term(), str(uuid4())))["number"]
        async with house.running["recommendations"].service.engine.begin() as connection:
            await connection.execute(receipt.update().values(at=datetime.now(UTC) - timedelta(days=2)))
        await house.stop("recommendations")
        await house.start("recommendations")

        async def gone() -> bool:
            return (await read(house, number)).status_code == 404

        await eventually(gone)


# --- what is shown only once ------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def key_maker(builder: Builder) -> AsyncIterator[House]:
    """The service that gives out keys."""
    async with builder.house("programme") as house:
        yield house


async def issue(house: House) -> tuple[httpx.Response, httpx.Response]:
    """A key, and what a repeat of the same request gets."""
    one, key = await made(house), str(uuid4())
    asked = {"client": one.client["id"], "scopes": WRITES, "expiresOn": TOMORROW}
    first = await house.send("POST", "/programme/v1/keys", asked, key=key)
    return first, await house.send("POST", "/programme/v1/keys", asked, key=key)


async def test_a_repeat_says_which_field_was_shown_before_and_has_the_same_receipt(key_maker: House) -> None:
    first, again = await issue(key_maker)
    assert "kapstok-shown-once" not in first.headers
    assert again.headers["kapstok-shown-once"] == '"/key"'
    assert again.json() == first.json() | {"key": None}
    assert receipt_on(again) == receipt_on(first)


async def test_the_digest_is_of_the_answer_as_it_is_kept_and_gives_no_secret_away(key_maker: House) -> None:
    first, again = await issue(key_maker)
    digest = base64.b64decode(receipt_on(first)["digest"])
    assert digest == sha256(again.content).digest() != sha256(first.content).digest()
    answer = await key_maker.send("GET", f"/programme/v1/receipts/{receipt_on(first)['number']}")
    assert answer.json()["shownOnce"] == ["/key"]
    assert first.json()["key"] not in answer.text
