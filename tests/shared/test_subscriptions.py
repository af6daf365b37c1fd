"""Subscriptions: over HTTP, each organisation its own, with versions and receipts like everything else."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.examples import term
from tests.house import Builder, House, eventually
from tests.receiver import Receiver, answering, receiving

PATH = "/recommendations/v1/subscriptions"
MOST = 6
COMMANDS: dict[str, dict[str, Any]] = {
    "_pause": {"reason": "Works."},
    "_resume": {},
    "_replay": {"after": 0},
    "_redeliver": {},
    "_rotate-key": {},
    "_end": {"reason": "No use."},
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    local = {"webhook_allow_http": True, "webhook_allow_private": True, "webhook_subscriptions": MOST}
    async with builder.house("recommendations", **local) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="session")
async def sink() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def by() -> tuple[str, str]:
    """An organisation of this test alone."""
    return f"organisation-{uuid4()}", "auditor"


async def subscribed(house: House, sink: Receiver, by: tuple[str, ...], **fields: Any) -> dict[str, Any]:
    """A subscription whose sink has said yes."""
    made = await house.post(PATH, {"sink": sink.url} | fields, by=by)

    async def active() -> dict[str, Any] | None:
        found = await house.get(f"{PATH}/{made['id']}", by=by)
        return found if found["state"] == "active" else None

    found: dict[str, Any] = await eventually(active)
    return found


async def told(house: House, one: dict[str, Any], verb: str, by: tuple[str, ...], **more: Any) -> httpx.Response:
    body = more.pop("body", COMMANDS[verb])
    version = more.pop("version", one["version"])
    return await house.send("POST", f"{PATH}/{one['id']}/{verb}", body, by=by, version=version, **more)


# --- making one -------------------------------------------------------------------------------------------------


async def test_a_new_one_waits_for_its_sink_and_shows_the_public_half_of_its_key(
    house: House, by: tuple[str, str]
) -> None:
    async with receiving(to_options=answering(403)) as sink:
        answer = await house.send("POST", PATH, {"sink": sink.url}, by=by)
        assert answer.status_code == 201, answer.text
        found = answer.json()
        assert (found["state"], found["version"], found["protocol"]) == ("requested", 1, "HTTP")
        assert (found["types"], found["filters"], found["organisation"]) == ([], [], by[0])
        assert found["keys"][0]["publicKey"].startswith("whpk_")
        assert answer.headers["etag"] == '"1"'
        assert answer.headers["location"] == f"{PATH}/{found['id']}"
        read = await house.send("GET", answer.headers["location"], by=by)
        assert (read.json(), read.headers["etag"]) == (found, '"1"')
        again = await house.send("GET", f"{PATH}/{found['id']}", by=by, headers={"If-None-Match": '"1"'})
        assert again.status_code == 304


async def test_it_tells_nothing_to_the_log(house: House, sink: Receiver, by: tuple[str, str]) -> None:
    before = (await house.get("/recommendations/v1/events/head"))["sequence"]
    one = await subscribed(house, sink, by)
    assert (await told(house, one, "_end", by)).status_code == 200
    assert (await house.get("/recommendations/v1/events/head"))["sequence"] == before


async def test_the_private_half_of_a_key_is_in_no_answer(house: House, sink: Receiver, by: tuple[str, str]) -> None:
    one = await subscribed(house, sink, by)
    assert set(one["keys"][0]) == {"publicKey", "beganAt", "endsAt"}
    async with house.running["recommendations"].service.engine.connect() as connection:
        from sqlalchemy import text

        asked = text("select encode(private, 'base64') from subscription_key where subscription_id = :id")
        (private,) = await connection.scalars(asked, {"id": one["id"]})
    answers = [await house.send("GET", f"{PATH}/{one['id']}", by=by), await told(house, one, "_rotate-key", by)]
    assert all(answer.is_success and private.strip() not in answer.text for answer in answers)


async def test_the_same_key_makes_one_subscription(house: House, sink: Receiver, by: tuple[str, str]) -> None:
    body, key = {"sink": sink.url}, str(uuid4())
    answers = await asyncio.gather(*(house.send("POST", PATH, body, by=by, key=key) for _ in range(4)))
    assert len({answer.content for answer in answers}) == 1
    assert len((await house.get(PATH, by=by))["items"]) == 1


async def test_it_begins_at_the_end_of_the_log_or_where_it_is_told(
    house: House, sink: Receiver, by: tuple[str, str]
) -> None:
    await house.post("/recommendations/v1/terms", term())
    head = (await house.get("/recommendations/v1/events/head"))["sequence"]
    one = await subscribed(house, sink, by)
    progress = await house.get(f"{PATH}/{one['id']}/progress", by=by)
    assert (progress["position"], progress["head"], progress["behind"]) == (head, head, 0)
    beyond = await house.send("POST", PATH, {"sink": sink.url, "after": head + 1}, by=by)
    assert beyond.status_code == 400
    assert beyond.json()["errors"][0]["pointer"] == "/after" and str(head) in beyond.json()["detail"]
    assert sink.posts == []
    await subscribed(house, sink, by, after=head - 1)
    await eventually(lambda: got(sink, 1))


async def got(sink: Receiver, count: int) -> bool:
    return len(sink.posts) == count


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"sink": "ftp://events.example.org/"}, "/sink"),
        ({"sink": "https://name:secret@events.example.org/"}, "/sink"),
        ({"sink": "https://169.254.169.254/"}, "/sink"),
        ({"protocol": "NATS"}, "/protocol"),
        ({"types": ["nl.kapstok-recommendations.term-forged.v1"]}, "/types"),
        ({"types": ["nl.kapstok-programme.action-planned.v1"]}, "/types"),
        ({"filters": [{}]}, "/filters/0"),
        ({"filters": [{"exact": {"type": "x", "sink": "y"}}]}, "/filters/0/exact/sink"),
        ({"filters": [{"exact": {"subject": "x"}}]}, "/filters/0/exact/subject"),
        ({"filters": [{"prefix": {"type": "x"}}] * 21}, "/filters"),
        ({"after": -1}, "/after"),
        ({"state": "active"}, "/state"),
        ({"organisation": "politie"}, "/organisation"),
        ({"allowedRate": 100000}, "/allowedRate"),
    ],
)
async def test_what_cannot_be_is_refused_and_pointed_at(
    house: House, sink: Receiver, by: tuple[str, str], fields: dict[str, Any], pointer: str
) -> None:
    answer = await house.send("POST", PATH, {"sink": sink.url} | fields, by=by)
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert "secret" not in answer.text
    assert (await house.get(PATH, by=by))["items"] == []


async def test_filters_are_shown_as_they_were_given(house: House, sink: Receiver, by: tuple[str, str]) -> None:
    subject, kind = str(uuid4()), "nl.kapstok-recommendations.term-introduced.v1"
    filters = [
        {"any": [{"exact": {"subject": subject}}, {"suffix": {"type": ".v1"}}]},
        {"not": {"exact": {"type": "x"}}},
    ]
    one = await subscribed(house, sink, by, filters=filters, types=[kind])
    assert without_nulls(one["filters"]) == filters and one["types"] == [kind]


def without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [without_nulls(one) for one in value]
    if isinstance(value, dict):
        return {name: without_nulls(one) for name, one in value.items() if one is not None}
    return value


async def test_an_organisation_has_no_more_than_its_number_also_when_it_asks_for_all_at_once(
    house: House, sink: Receiver, by: tuple[str, str]
) -> None:
    asked = [house.send("POST", PATH, {"sink": sink.url}, by=by) for _ in range(MOST + 3)]
    statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
    assert sorted(statuses) == [201] * MOST + [409] * 3
    other = await house.send("POST", PATH, {"sink": sink.url}, by=(f"{by[0]}-other", "auditor"))
    assert other.status_code == 201
    first = (await house.get(PATH, by=by))["items"][0]
    assert (await told(house, first, "_end", by, headers={"If-Match": "*"})).status_code == 200
    assert (await house.send("POST", PATH, {"sink": sink.url}, by=by)).status_code == 201


# --- whose it is ------------------------------------------------------------------------------------------------


async def test_another_organisations_is_as_if_it_were_not_there(
    house: House, sink: Receiver, by: tuple[str, str]
) -> None:
    one = await subscribed(house, sink, by)
    stranger = (f"{by[0]}-stranger", "coordinator")
    nothing = {"id": str(uuid4()), "version": 1}
    for path in ("", "/progress", "/attempts", "/dead-letters"):
        theirs = await house.send("GET", f"{PATH}/{one['id']}{path}", by=stranger)
        none = await house.send("GET", f"{PATH}/{nothing['id']}{path}", by=stranger)
        assert theirs.status_code == none.status_code == 404 and theirs.content == none.content
        assert "etag" not in theirs.headers
    for verb in COMMANDS:
        theirs, none = await told(house, one, verb, stranger), await told(house, nothing, verb, stranger)
        assert theirs.status_code == none.status_code == 404 and theirs.content == none.content
    assert (await house.get(PATH, by=stranger))["items"] == []
    assert await house.get(f"{PATH}/{one['id']}", by=by) == one


async def test_the_house_key_reads_the_feed_and_no_subscriptions(house: House) -> None:
    answer = await house.send("GET", PATH, by=None, headers={"Kapstok-House-Key": house.house_key})
    assert answer.status_code == 401


async def test_a_list_is_walked_page_by_page_and_by_state(house: House, sink: Receiver, by: tuple[str, str]) -> None:
    made = [(await subscribed(house, sink, by))["id"] for _ in range(3)]
    first = await house.send("GET", f"{PATH}?limit=2", by=by)
    assert [item["id"] for item in first.json()["items"]] == made[:2]
    assert 'rel="next"' in first.headers["link"]
    second = await house.get(f"{PATH}?limit=2&cursor={first.json()['next']}", by=by)
    assert ([item["id"] for item in second["items"]], second["next"]) == (made[2:], None)
    paused = await house.get(f"{PATH}/{made[0]}", by=by)
    await told(house, paused, "_pause", by)
    assert [item["id"] for item in (await house.get(f"{PATH}?state=paused", by=by))["items"]] == made[:1]
    assert (await house.send("GET", f"{PATH}?state=lost", by=by)).status_code == 400


# --- changing it ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", COMMANDS)
async def test_a_change_needs_the_version_that_stands(
    house: House, sink: Receiver, by: tuple[str, str], verb: str
) -> None:
    one = await subscribed(house, sink, by)
    missing = await house.send("POST", f"{PATH}/{one['id']}/{verb}", COMMANDS[verb], by=by)
    assert missing.status_code == 428
    assert (await told(house, one, verb, by, version=one["version"] - 1)).status_code == 412
    assert await house.get(f"{PATH}/{one['id']}", by=by) == one


async def test_of_two_changes_of_one_version_at_once_one_is_made(
    house: House, sink: Receiver, by: tuple[str, str]
) -> None:
    one = await subscribed(house, sink, by)
    answers = await asyncio.gather(*(told(house, one, "_rotate-key", by) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412]
    assert len((await house.get(f"{PATH}/{one['id']}", by=by))["keys"]) == 2


async def test_a_command_that_is_repeated_is_carried_out_once(
    house: House, sink: Receiver, by: tuple[str, str]
) -> None:
    one, key = await subscribed(house, sink, by), str(uuid4())
    first, again = (
        await told(house, one, "_rotate-key", by, key=key),
        await told(house, one, "_rotate-key", by, key=key),
    )
    assert (
        first.status_code == 200 and first.content == again.content and first.headers["etag"] == again.headers["etag"]
    )
    assert again.headers["idempotency-replayed"] == "true"


ORDERS = [
    (["_pause"], ["_pause", "_redeliver"]),
    (["_pause", "_resume"], []),
    (["_end"], ["_pause", "_resume", "_replay", "_redeliver", "_rotate-key", "_end"]),
    (["_pause", "_end"], ["_resume", "_end"]),
    ([], ["_resume"]),
]


@pytest.mark.parametrize(("before", "refused"), ORDERS)
async def test_what_does_not_fit_its_state_is_refused_in_words(
    house: House, sink: Receiver, by: tuple[str, str], before: list[str], refused: list[str]
) -> None:
    one = await subscribed(house, sink, by)
    for verb in before:
        done = await told(house, one, verb, by)
        assert done.status_code == 200, done.text
        one = done.json()
    for verb in refused:
        answer = await told(house, one, verb, by)
        assert answer.status_code == 409 and "subscription" in answer.json()["detail"], answer.text
    if "_resume" not in before:
        assert await house.get(f"{PATH}/{one['id']}", by=by) == one


async def test_paused_with_a_reason_it_gets_nothing_and_resumed_everything(
    house: House, sink: Receiver, by: tuple[str, str]
) -> None:
    one = await subscribed(house, sink, by)
    one = (await told(house, one, "_pause", by)).json()
    assert (one["state"], one["reason"]) == ("paused", "Works.")
    ids = [(await house.post("/recommendations/v1/terms", term()))["id"] for _ in range(2)]
    assert (await house.get(f"{PATH}/{one['id']}/progress", by=by))["behind"] == 2
    one = (await told(house, one, "_resume", by)).json()
    assert (one["state"], one["reason"]) == ("requested", None)

    async def arrived() -> bool:
        return [json.loads(post.body)["subject"] for post in sink.posts] == ids

    await eventually(arrived)
    assert [asked.method for asked in sink.got].count("OPTIONS") == 2, "and the sink is asked anew"


async def test_one_that_ended_keeps_its_reason_and_no_keys(house: House, sink: Receiver, by: tuple[str, str]) -> None:
    one = await subscribed(house, sink, by)
    ended = (await told(house, one, "_end", by)).json()
    assert (ended["state"], ended["reason"], ended["keys"]) == ("ended", "No use.", [])
    assert ended["version"] == one["version"] + 1
    assert (await house.get(f"{PATH}/{one['id']}/attempts", by=by))["items"], "what was tried can still be read"


async def test_there_are_no_more_keys_at_once_than_fit_a_header(
    house: House, sink: Receiver, by: tuple[str, str]
) -> None:
    one = await subscribed(house, sink, by)
    for _ in range(4):
        one = (await told(house, one, "_rotate-key", by)).json()
    assert len({key["publicKey"] for key in one["keys"]}) == 5
    assert [key["endsAt"] is None for key in one["keys"]] == [True, False, False, False, False]
    assert (await told(house, one, "_rotate-key", by)).status_code == 409
    one = (await told(house, one, "_rotate-key", by, body={"overlapHours": 0})).json()
    assert len(one["keys"]) == 1
    assert (await told(house, one, "_rotate-key", by, body={"overlapHours": 169})).status_code == 400


async def test_only_its_own_dead_letters_can_be_asked_for(house: House, sink: Receiver, by: tuple[str, str]) -> None:
    one = await subscribed(house, sink, by)
    for body in ({}, {"eventIds": [str(uuid4())]}):
        answer = await told(house, one, "_redeliver", by, body=body)
        assert answer.status_code == 409 and "dead letter" in answer.json()["detail"]
    assert (await house.get(f"{PATH}/{one['id']}", by=by))["version"] == one["version"]


async def test_attempts_come_newest_first_and_page_by_page(house: House, sink: Receiver, by: tuple[str, str]) -> None:
    one = await subscribed(house, sink, by)
    for _ in range(3):
        await house.post("/recommendations/v1/terms", term())

    async def all_noted() -> list[dict[str, Any]] | None:
        found = (await house.get(f"{PATH}/{one['id']}/attempts", by=by))["items"]
        return found if len(found) == 4 else None

    every = await eventually(all_noted)
    assert [item["eventId"] for item in every] == [*reversed(sink.ids), None]
    assert [item["kind"] for item in every] == ["delivery"] * 3 + ["handshake"]
    assert [item["at"] for item in every] == sorted((item["at"] for item in every), reverse=True)
    assert all(item["seconds"] > 0 and item["problem"] is None for item in every)
    first = await house.get(f"{PATH}/{one['id']}/attempts?limit=3", by=by)
    second = await house.get(f"{PATH}/{one['id']}/attempts?limit=3&cursor={first['next']}", by=by)
    assert first["items"] + second["items"] == every
