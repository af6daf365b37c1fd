"""Webhooks: each sink gets every fact it wants, in the order of the log, signed, however often it or we were away."""

import asyncio
import base64
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from deploy.embedded import Postgres, free_port
from shared.webhooks import subscriptions
from shared.webhooks.dispatch import Dispatch, standing, sweep
from shared.webhooks.outcomes import Patience
from shared.webhooks.rows import Attempt, AttemptKind, State, Subscription
from shared.webhooks.subscriptions import EndSubscription, Pause, Redeliver, Replay, Resume, RotateKey
from tests.examples import term
from tests.house import Builder, House, eventually
from tests.receiver import ALLOWING, Behaviour, Got, Receiver, answering, receiving, saying
from tests.shared.facts import TRACEPARENT
from tests.shared.line import Line, line_on, rescheduled

ROOT = Path(__file__).parent.parent.parent
DAYS_3 = 72 * 3600


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def log(builder: Builder, postgres: Postgres) -> AsyncIterator[Line]:
    async with line_on(builder, postgres) as line:
        yield line


@pytest_asyncio.fixture(loop_scope="session")
async def line(log: Line) -> AsyncIterator[Line]:
    """One log for all tests here: each subscribes from where it goes up to then."""
    yield log
    await log.retire_all()


@pytest_asyncio.fixture(loop_scope="session")
async def sink() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def active(line: Line, sink: Receiver, **fields: Any) -> Subscription:
    """A subscription whose sink has been asked and said yes."""
    one = await line.subscribe(sink, **fields)
    await line.step(one)
    found = await line.now(one)
    assert found.state is State.ACTIVE
    return found


# --- what is sent ----------------------------------------------------------------------------------------------


async def test_facts_arrive_byte_for_byte_in_the_order_of_the_log(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    told = await line.tell(12)
    await line.carry(one)
    assert [got.body for got in sink.posts] == [event.event.encode() for event in told]
    assert sink.ids == [str(event.id) for event in told]
    assert (await line.now(one)).delivery.position == told[-1].sequence


async def test_a_delivery_is_one_cloudevent_in_structured_mode_with_the_headers_of_both_standards(
    line: Line, sink: Receiver
) -> None:
    one = await active(line, sink)
    (event,) = await line.tell(rescheduled(), trace=TRACEPARENT)
    await line.carry(one)
    (got,) = sink.posts
    assert got.headers["content-type"] == "application/cloudevents+json; charset=UTF-8"
    assert got.headers["webhook-id"] == str(event.id) == json.loads(got.body)["id"]
    assert got.headers["webhook-timestamp"] == str(int(line.clock().timestamp()))
    assert got.headers["webhook-request-origin"] == line.settings.webhook_origin
    assert got.headers["traceparent"] == TRACEPARENT == json.loads(got.body)["traceparent"]
    assert not {"authorization", "cookie", "idempotency-key"} & set(got.headers)


@pytest.mark.parametrize(
    "trace", [None, "", "00-abc", "00-" + "G" * 32 + "-" + "0" * 16 + "-01", TRACEPARENT + "\r\nX: y"]
)
async def test_a_trace_that_is_none_is_not_passed_on(line: Line, sink: Receiver, trace: str | None) -> None:
    one = await active(line, sink)
    await line.tell(rescheduled(), trace=trace)
    await line.carry(one)
    (got,) = sink.posts
    assert "traceparent" not in got.headers and "x" not in got.headers


async def test_an_event_that_is_no_json_is_sent_as_it_is(line: Line, sink: Receiver) -> None:
    """What stands in the log is the truth, also where it is broken; a sink may refuse it."""
    one = await active(line, sink)
    async with line.sessions.begin() as session:
        row = {"id": uuid4(), "entity": uuid4(), "event": '{"broken": ', "chain": "0" * 64, "type": "nl.kapstok-x.y.v1"}
        await session.execute(
            text(
                "insert into outbox (sequence, id, type, entity, version, recorded_at, event, chain)"
                " select max(sequence) + 1, :id, :type, :entity, 1, max(recorded_at) + interval '1 s', :event, :chain"
                " from outbox"
            ),
            row,
        )
    await line.carry(one)
    assert sink.posts[-1].body == b'{"broken": '


# --- signatures -------------------------------------------------------------------------------------------------


def verifies(got: Got, public_key: str) -> bool:
    """By hand, as the specification says it: some signature is one of id, timestamp and body by this key."""
    kind, _, key = public_key.partition("_")
    assert kind == "whpk"
    signed = b".".join((got.headers["webhook-id"].encode(), got.headers["webhook-timestamp"].encode(), got.body))
    for signature in got.headers["webhook-signature"].split(" "):
        version, _, written = signature.partition(",")
        assert version == "v1a"
        try:
            Ed25519PublicKey.from_public_bytes(base64.b64decode(key)).verify(base64.b64decode(written), signed)
        except InvalidSignature:
            continue
        return True
    return False


async def test_each_delivery_is_signed_by_the_key_that_the_subscription_shows(line: Line, sink: Receiver) -> None:
    one, other = await active(line, sink), await active(line, sink)
    await line.tell(rescheduled(reason="Één später 😀"))
    await line.carry(one)
    (got,) = sink.posts
    assert verifies(got, one.keys[0].public_key)
    assert not verifies(got, other.keys[0].public_key), "each subscription has a key of its own"
    for changed in (
        Got(got.method, got.path, got.headers, got.body + b" "),
        Got(got.method, got.path, got.headers | {"webhook-id": str(uuid4())}, got.body),
        Got(got.method, got.path, got.headers | {"webhook-timestamp": "1"}, got.body),
    ):
        assert not verifies(changed, one.keys[0].public_key)


async def test_while_keys_change_the_old_and_the_new_one_sign_and_then_the_new_one_alone(
    line: Line, sink: Receiver
) -> None:
    one = await active(line, sink)
    old = one.keys[0].public_key
    changed = await line.command(subscriptions.rotate_key, one.id, RotateKey(overlap_hours=24), line.terms)
    new = changed.keys[0].public_key
    assert new != old and [key.public_key for key in changed.keys] == [new, old]
    await line.tell(1)
    await line.carry(one)
    assert verifies(sink.posts[-1], old) and verifies(sink.posts[-1], new)
    line.clock.forward(hours=25)
    await line.tell(1)
    await line.carry(one)
    assert not verifies(sink.posts[-1], old) and verifies(sink.posts[-1], new)


async def test_a_key_that_leaked_signs_no_more_at_once(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    changed = await line.command(subscriptions.rotate_key, one.id, RotateKey(overlap_hours=0), line.terms)
    assert len(changed.keys) == 1
    await line.tell(1)
    await line.carry(one)
    assert not verifies(sink.posts[-1], one.keys[0].public_key) and verifies(sink.posts[-1], changed.keys[0].public_key)


# --- the handshake ----------------------------------------------------------------------------------------------

NO_CONSENT: dict[str, Behaviour] = {
    "no word of it": answering(200),
    "another origin": answering(200, {"WebHook-Allowed-Origin": "elsewhere.example"}),
    "a list": answering(200, {"WebHook-Allowed-Origin": "kapstok.example, elsewhere.example"}),
    "allowed, and yet an error": answering(405, {"WebHook-Allowed-Origin": "*"}),
    "allowed elsewhere": answering(307, {"WebHook-Allowed-Origin": "*", "Location": "https://elsewhere.example/"}),
    "not allowed": answering(403),
    "busy": answering(503),
    "junk": saying(b"\x00\x01"),
}


@pytest.mark.parametrize("what", NO_CONSENT)
async def test_nothing_is_sent_to_a_sink_that_did_not_say_that_it_wants_it(
    line: Line, sink: Receiver, what: str
) -> None:
    sink.to_options = NO_CONSENT[what]
    one = await line.subscribe(sink)
    told = await line.tell(2)
    rest = await line.carry_through(one, hours=5)
    assert rest.until is not None
    asked = len(sink.got)
    assert asked > 5 and sink.posts == []
    assert (await line.now(one)).state is State.REQUESTED
    assert all(one.kind is AttemptKind.HANDSHAKE and one.problem for one in await line.attempts(one))

    sink.to_options = answering(204, {"WebHook-Allowed-Origin": "KAPSTOK.example"})
    line.clock.at = rest.until
    await line.carry(one)
    assert sink.ids == [str(event.id) for event in told], "and then it gets what was told since it asked"


async def test_the_handshake_asks_the_very_address_with_our_origin_and_rate(line: Line, sink: Receiver) -> None:
    await active(line, sink)
    (asked,) = sink.got
    assert (asked.method, asked.path, asked.body) == ("OPTIONS", "/kapstok", b"")
    assert asked.headers["webhook-request-origin"] == line.settings.webhook_origin
    assert asked.headers["webhook-request-rate"] == "600"


async def test_a_sink_that_never_says_yes_is_left_alone_after_three_days(line: Line, sink: Receiver) -> None:
    sink.to_options = answering(403)
    one = await line.subscribe(sink)
    began = line.clock()
    rest = await line.carry_through(one, days=30)
    assert rest.for_good
    assert line.clock() - began == timedelta(hours=72)
    found = await line.now(one)
    assert found.state is State.PAUSED and "did not allow" in str(found.reason) and "403" in str(found.reason)
    asked = len(sink.got)
    line.clock.forward(days=30)
    assert (await line.carry(one)).for_good and len(sink.got) == asked

    sink.to_options = ALLOWING
    await line.command(subscriptions.resume, one.id, Resume())
    await line.carry(one)
    assert (await line.now(one)).state is State.ACTIVE


@pytest.mark.parametrize(("allowed", "seconds"), [("6", 10), ("120", 0.5), ("*", 0.1), ("100000", 0.1), ("junk", 0.1)])
async def test_the_allowed_rate_is_kept_and_never_more_than_was_asked_for(
    line: Line, sink: Receiver, allowed: str, seconds: float
) -> None:
    sink.to_options = answering(200, {"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": allowed})
    one = await active(line, sink)
    await line.tell(4)
    times = []
    for _ in range(4):
        times.append(line.clock())
        rest = await line.carry(one, patience=0)
        assert rest.until is not None and len(sink.posts) == len(times)
        line.clock.at = rest.until
    assert [(later - before).total_seconds() for before, later in pairwise(times)] == [seconds] * 3


async def test_the_rate_holds_while_it_is_replayed_and_tried_again(line: Line, sink: Receiver) -> None:
    sink.to_options = answering(200, {"WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "1"})
    one = await active(line, sink)
    (event,) = await line.tell(1)
    await line.carry(one)
    await line.command(subscriptions.replay, one.id, Replay(after=event.sequence - 1))
    rest = await line.carry(one)
    assert rest.until == line.clock() + timedelta(minutes=1) and len(sink.posts) == 1
    line.clock.at = rest.until
    sink.script = [answering(500)]
    assert (await line.carry(one)).until == line.clock() + timedelta(minutes=1), "a first wait would be seconds"


# --- what its answers mean ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_delivered(line: Line, sink: Receiver, status: int) -> None:
    one = await active(line, sink)
    told = await line.tell(2)
    sink.script = [answering(status)]
    await line.carry(one)
    assert sink.ids == [str(event.id) for event in told]
    assert [attempt.status for attempt in await line.attempts(one)] == [200, status, 204]


FAILURES: dict[str, Behaviour] = {
    **{str(status): answering(status) for status in (300, 302, 307, 400, 401, 403, 404, 405, 408, 413, 415, 422, 429)},
    **{str(status): answering(status) for status in (500, 502, 503, 504, 599)},
    "junk": saying(b"\x00\x01\x02"),
    "nothing": saying(b""),
}


@pytest.mark.parametrize("what", FAILURES)
async def test_any_other_answer_is_a_failure_that_is_tried_again_before_what_comes_after(
    line: Line, sink: Receiver, what: str
) -> None:
    one = await active(line, sink)
    told = await line.tell(2)
    sink.script = [FAILURES[what]] * 2
    rest = await line.carry(one)
    assert rest.until is not None and rest.until > line.clock()
    assert sink.ids == [str(told[0].id)]
    assert (await line.carry(one)).until == rest.until and len(sink.ids) == 1, "not before its time"
    delivery = (await line.now(one)).delivery
    assert (delivery.failures, delivery.failing_since) == (1, line.clock())
    await line.carry_through(one, minutes=5)
    first, second = (str(event.id) for event in told)
    assert sink.ids == [first, first, first, second], "with the same id each time"
    delivery = (await line.now(one)).delivery
    assert (delivery.failures, delivery.failing_since, delivery.position) == (0, None, told[-1].sequence)
    problems = [attempt.problem for attempt in await line.attempts(one) if attempt.event_id]
    assert [problem is None for problem in problems] == [False, False, True, True]


async def test_a_sink_that_is_gone_for_good_ends_its_subscription(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    await line.tell(3)
    sink.script = [answering(204), answering(410)]
    assert (await line.carry(one)).for_good
    found = await line.now(one)
    assert found.state is State.ENDED and "410" in str(found.reason)
    assert found.version == one.version + 1 and found.keys == []
    line.clock.forward(days=9)
    assert (await line.carry(one)).for_good and len(sink.posts) == 2


async def test_a_sink_that_is_gone_at_the_handshake_is_not_asked_again(line: Line, sink: Receiver) -> None:
    sink.to_options = answering(410)
    one = await line.subscribe(sink)
    assert (await line.carry(one)).for_good
    assert (await line.now(one)).state is State.ENDED and len(sink.got) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_sink_that_says_when_to_come_again_is_believed(line: Line, sink: Receiver, status: int) -> None:
    one = await active(line, sink)
    await line.tell(1)
    at = line.clock() + timedelta(minutes=30)
    sink.script = [
        answering(status, {"Retry-After": format_datetime(at.replace(microsecond=0))}),
        answering(status, {"Retry-After": "7200"}),
        answering(status, {"Retry-After": "0"}),
        answering(status, {"Retry-After": "soon"}),
    ]
    waits = []
    for _ in range(4):
        rest = await line.carry(one)
        assert rest.until is not None
        waits.append((rest.until - line.clock()).total_seconds())
        line.clock.at = rest.until
    assert waits == [pytest.approx(1800, abs=1), 7200, 5, 30], (
        "never at once; and what is no time is as if it were not said"
    )


async def test_retry_after_means_nothing_with_another_status(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    await line.tell(1)
    sink.script = [answering(500, {"Retry-After": "7200"})]
    rest = await line.carry(one)
    assert rest.until is not None and rest.until - line.clock() < timedelta(seconds=6)


# --- being away -------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=200, max_size=200), st.floats(0, 1))
def test_the_waits_grow_and_add_up_to_three_days_whatever_chance_does(chances: list[float], first: float) -> None:
    patience, waits, waited = Patience(5, 3600, DAYS_3), [], 0.0
    for failures, chance in enumerate(chances):
        wait = patience.wait(failures, waited, None, chance)
        if wait is None:
            break
        assert 0 < wait <= min(3600, 5 * 2**failures)
        assert wait >= min(3600, 5 * 2**failures) / 2 or waited + wait == DAYS_3
        waits.append(wait)
        waited += wait
    assert waited == pytest.approx(DAYS_3)
    assert 72 <= len(waits) <= 155
    assert patience.wait(0, 0.0, None, first) == 2.5 * (1 + first), "who failed together does not come back together"


@given(st.floats(0, 1e9), st.integers(0, 10_000), st.floats(0, DAYS_3 - 1))
def test_what_a_sink_asks_for_is_kept_within_the_three_days(asked: float, failures: int, waited: float) -> None:
    wait = Patience(5, 3600, DAYS_3).wait(failures, waited, asked, 0.5)
    assert wait == min(max(5, asked), DAYS_3 - waited)
    assert Patience(5, 3600, DAYS_3).wait(failures, DAYS_3, asked, 0.5) is None


async def test_a_sink_that_was_away_for_a_day_misses_nothing(line: Line) -> None:
    port = free_port()
    async with receiving(port) as sink:
        one = await active(line, sink)
        told = await line.tell(2)
        await line.carry(one)
        assert sink.ids == [str(event.id) for event in told]
    for _ in range(24):
        told += await line.tell(2)
        await line.carry_through(one, hours=1)
        line.clock.forward(minutes=20)
    assert (await line.now(one)).state is State.ACTIVE
    async with receiving(port) as sink:
        rest = await line.carry_through(one, hours=6)
        assert rest.until is None, "it is called again within the longest wait"
        assert sink.ids == [str(event.id) for event in told[2:]]
    assert await line.dead_letters(one) == []


async def test_when_we_were_away_ourselves_that_does_not_count_against_the_sink(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    (event,) = await line.tell(1)
    sink.script = [answering(503)] * 3
    await line.carry(one)
    line.clock.forward(days=30)
    await line.carry(one)
    assert await line.dead_letters(one) == []
    await line.carry_through(one, minutes=5)
    assert sink.ids == [str(event.id)] * 4 and (await line.now(one)).delivery.failures == 0


async def test_a_sink_that_is_gone_for_three_days_is_paused_and_nothing_is_lost(line: Line) -> None:
    port = free_port()
    async with receiving(port) as sink:
        one = await active(line, sink)
    told = await line.tell(3)
    began = line.clock()
    assert (await line.carry_through(one, days=30)).for_good
    assert line.clock() - began == timedelta(hours=72)
    found = await line.now(one)
    assert found.state is State.PAUSED and "72 hours" in str(found.reason) and "No connection" in str(found.reason)
    (letter,) = await line.dead_letters(one)
    tries = [attempt for attempt in await line.attempts(one) if attempt.event_id]
    assert (letter.event_id, letter.sequence, letter.attempts) == (told[0].id, told[0].sequence, len(tries))
    assert "No connection" in letter.reason and 20 < len(tries) < 40
    async with receiving(port) as sink:
        await line.command(subscriptions.resume, one.id, Resume())
        await line.carry(one)
        assert sink.ids == [str(event.id) for event in told[1:]]
        await line.command(subscriptions.redeliver, one.id, Redeliver(), line.terms)
        await line.carry(one)
        assert sink.ids == [str(event.id) for event in (*told[1:], told[0])]
        (letter,) = await line.dead_letters(one)
        assert letter.redelivered_at is not None
    kinds = Counter(attempt.kind for attempt in await line.attempts(one))
    assert (kinds[AttemptKind.HANDSHAKE], kinds[AttemptKind.REDELIVERY]) == (2, 1)


@pytest.mark.parametrize("status", [400, 413, 415, 422])
async def test_one_event_that_a_sink_refuses_is_laid_aside_and_the_others_go_on(
    line: Line, sink: Receiver, status: int
) -> None:
    one = await active(line, sink)
    told = await line.tell(3)

    async def choosy(got: Got, out: asyncio.StreamWriter) -> None:
        refused = got.headers["webhook-id"] == str(told[1].id)
        await (answering(status) if refused else answering(204))(got, out)

    sink.otherwise = choosy
    await line.carry_through(one, days=30)
    assert (await line.now(one)).state is State.ACTIVE
    assert list(dict.fromkeys(sink.ids)) == [str(event.id) for event in told]
    assert Counter(sink.ids)[str(told[2].id)] == 1
    (letter,) = await line.dead_letters(one)
    assert letter.event_id == told[1].id and str(status) in letter.reason


async def test_a_dead_letter_that_is_refused_again_stays_one(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    told = await line.tell(1)
    sink.otherwise = answering(422)
    await line.carry_through(one, days=4)
    await line.command(subscriptions.redeliver, one.id, Redeliver(event_ids=[told[0].id]), line.terms)
    line.clock.forward(seconds=1)
    await line.carry_through(one, days=4)
    (letter,) = await line.dead_letters(one)
    assert letter.asked_at is None and letter.redelivered_at is None
    assert letter.died_at > line.clock() - timedelta(days=4)
    told += await line.tell(1)
    sink.otherwise = answering(204)
    await line.carry(one)
    assert sink.ids[-1] == str(told[1].id), "the log goes on meanwhile"


async def test_a_dead_letter_that_a_replay_brings_is_none_any_more(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    (event,) = await line.tell(1)
    sink.otherwise = answering(400)
    await line.carry_through(one, days=4)
    sink.otherwise = answering(204)
    await line.command(subscriptions.replay, one.id, Replay(after=event.sequence - 1))
    await line.carry(one)
    (letter,) = await line.dead_letters(one)
    assert letter.redelivered_at is not None
    async with line.engine.connect() as connection:
        assert (await standing(connection)).dead_letters == 0


# --- positions and filters --------------------------------------------------------------------------------------


async def test_a_replay_sends_everything_after_a_position_again(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    told = await line.tell(5)
    await line.carry(one)
    await line.command(subscriptions.replay, one.id, Replay(after=told[1].sequence))
    await line.carry(one)
    assert sink.ids == [str(event.id) for event in (*told, *told[2:])]


async def test_a_replay_asked_for_in_the_midst_of_a_call_stands(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    told = await line.tell(3)

    async def meanwhile(got: Got, out: asyncio.StreamWriter) -> None:
        await line.command(subscriptions.replay, one.id, Replay(after=told[0].sequence - 1))
        await answering(204)(got, out)

    sink.script = [answering(204), meanwhile]
    await line.carry(one)
    first, second, third = (str(event.id) for event in told)
    assert sink.ids == [first, second, first, second, third]


async def test_a_failure_in_the_midst_of_which_somebody_acted_does_not_count(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    await line.tell(1)

    async def meanwhile(got: Got, out: asyncio.StreamWriter) -> None:
        await line.command(subscriptions.pause, one.id, Pause(reason="Works."))
        await answering(410)(got, out)

    sink.script = [meanwhile]
    assert (await line.carry(one)).for_good
    found = await line.now(one)
    assert (found.state, found.reason, found.delivery.failures) == (State.PAUSED, "Works.", 0)


async def test_what_was_delivered_while_it_was_paused_counts(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    told = await line.tell(2)

    async def meanwhile(got: Got, out: asyncio.StreamWriter) -> None:
        await line.command(subscriptions.pause, one.id, Pause(reason="Works."))
        await answering(204)(got, out)

    sink.script = [meanwhile]
    assert (await line.carry(one)).for_good
    await line.command(subscriptions.resume, one.id, Resume())
    await line.carry(one)
    assert sink.ids == [str(event.id) for event in told]


async def test_a_paused_subscription_goes_on_from_where_it_was_or_from_where_it_is_told(
    line: Line, sink: Receiver
) -> None:
    one = await active(line, sink)
    told = await line.tell(1)
    await line.carry(one)
    await line.command(subscriptions.pause, one.id, Pause(reason="Works."))
    told += await line.tell(3)
    assert (await line.carry(one)).for_good
    await line.command(subscriptions.resume, one.id, Resume())
    await line.carry(one)
    assert sink.ids == [str(event.id) for event in told]
    await line.command(subscriptions.pause, one.id, Pause(reason="Works."))
    told += await line.tell(3)
    await line.command(subscriptions.resume, one.id, Resume(after=told[-1].sequence - 1))
    await line.carry(one)
    assert sink.ids == [str(event.id) for event in (*told[:4], told[-1])]


async def test_one_that_ended_gets_nothing_any_more(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    await line.command(subscriptions.end, one.id, EndSubscription(reason="No use."))
    await line.tell(1)
    assert (await line.carry(one)).for_good and sink.posts == []


async def test_only_what_all_filters_match_is_sent_and_the_rest_is_passed_over(line: Line, sink: Receiver) -> None:
    entity = uuid4()
    wanted = {"types": [rescheduled().type], "filters": [{"exact": {"subject": str(entity)}}]}
    one = await active(line, sink, **wanted)
    await line.tell(120)
    told = await line.tell(rescheduled(entity))
    last = (await line.tell(110))[-1]
    await line.carry(one)
    assert sink.ids == [str(told[0].id)]
    assert (await line.now(one)).delivery.position == last.sequence, "it is not behind"


async def test_from_an_earlier_position_it_gets_what_was_told_before_it_was_there(line: Line, sink: Receiver) -> None:
    entity = uuid4()
    told = await line.tell(rescheduled(entity))
    await line.tell(5)
    one = await active(line, sink, after=0, filters=[{"exact": {"subject": str(entity)}}])
    await line.carry(one)
    assert sink.ids == [str(event.id) for event in told]


# --- several at once, and the end of a process -------------------------------------------------------------------


async def test_a_slow_sink_delays_no_other(line: Line, sink: Receiver) -> None:
    released = asyncio.Event()

    async def slow(got: Got, out: asyncio.StreamWriter) -> None:
        await released.wait()
        await answering(204)(got, out)

    async with receiving(otherwise=slow) as sloth, delivering(line):
        for _ in range(3):
            await line.subscribe(sloth)
        one = await line.subscribe(sink)

        async def both_stand() -> bool:
            return (await line.now(one)).state is State.ACTIVE and len(sloth.got) == 3

        await eventually(both_stand)
        told = await line.tell(5)
        await eventually(lambda: has_all(sink, told), 5)
        assert len(sloth.posts) == 3, "each of the slow ones waits for its first"
        released.set()


async def has_all(sink: Receiver, told: list[Any]) -> bool:
    return set(sink.ids) >= {str(event.id) for event in told}


class delivering:
    """A replica that delivers, on the real clock, as a service does; by default it is killed at the end."""

    def __init__(self, line: Line, **settings: Any) -> None:
        given = line.settings.model_copy(update={"webhook_poll_seconds": 0.05, "webhook_rate": 60_000} | settings)
        self.dispatch = Dispatch(line.engine, given, lambda: datetime.now(UTC))

    async def __aenter__(self) -> Dispatch:
        self.running = asyncio.create_task(self.dispatch.run())
        return self.dispatch

    async def __aexit__(self, *_: object) -> None:
        self.running.cancel()
        await asyncio.wait([self.running])
        await self.dispatch.close()


async def test_of_two_replicas_one_delivers_and_when_it_dies_the_other_takes_over(line: Line, sink: Receiver) -> None:
    one = await line.subscribe(sink)
    first = delivering(line)
    async with first as leader:

        async def leads() -> bool:
            return leader.leading

        await eventually(leads)
        async with delivering(line) as other:
            told = await line.tell(20)
            await eventually(lambda: has_all(sink, told))
            assert sink.ids == [str(event.id) for event in told], "each once"
            assert not other.leading
            first.running.cancel()
            told += await line.tell(20)
            await eventually(lambda: has_all(sink, told))
            assert other.leading
    assert list(dict.fromkeys(sink.ids)) == [str(event.id) for event in told]
    assert (await line.now(one)).state is State.ACTIVE


async def test_killed_in_the_midst_of_a_call_it_is_made_again_with_the_same_id(line: Line, sink: Receiver) -> None:
    arrived = asyncio.Event()

    async def silent(got: Got, out: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.sleep(1)

    one = await active(line, sink)
    sink.script = [answering(204), silent]
    async with delivering(line):
        told = await line.tell(3)
        await asyncio.wait_for(arrived.wait(), 5)
    assert (await line.now(one)).delivery.position == told[0].sequence
    async with delivering(line):
        await eventually(lambda: has_all(sink, told))
    first, second, third = (str(event.id) for event in told)
    assert sink.ids == [first, second, second, third]


async def test_asked_to_rest_it_notes_what_is_under_way_and_begins_nothing_more(line: Line, sink: Receiver) -> None:
    arrived = asyncio.Event()

    async def thoughtful(got: Got, out: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.sleep(0.3)
        await answering(204)(got, out)

    one = await active(line, sink)
    sink.script = [thoughtful]
    async with delivering(line) as dispatch:
        told = await line.tell(3)
        await asyncio.wait_for(arrived.wait(), 5)
        await dispatch.rest(seconds=2)
        assert (await line.now(one)).delivery.position == told[0].sequence
        await asyncio.sleep(0.2)
        assert sink.ids == [str(told[0].id)]


async def test_when_the_database_hangs_up_it_begins_anew_and_misses_nothing(
    line: Line, sink: Receiver, postgres: Postgres
) -> None:
    one = await line.subscribe(sink)
    async with delivering(line) as dispatch:
        told = await line.tell(3)
        await eventually(lambda: has_all(sink, told))
        connection = await postgres.connect()
        name = line.engine.url.database
        await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        await connection.close()

        async def tell() -> list[Any] | None:
            try:
                return await line.tell(3)
            except Exception:
                return None

        told += await eventually(tell)
        await eventually(lambda: has_all(sink, told))
        assert dispatch.leading
    assert list(dict.fromkeys(sink.ids)) == [str(event.id) for event in told]
    assert (await line.now(one)).delivery.failures == 0


# --- kept, and for how long -------------------------------------------------------------------------------------


async def test_attempts_are_swept_after_their_days_and_dead_letters_that_still_wait_are_not(
    line: Line, sink: Receiver
) -> None:
    one = await active(line, sink)
    await line.tell(2)
    sink.otherwise = answering(400)
    await line.carry_through(one, days=8)
    waiting, delivered = await line.dead_letters(one)
    sink.otherwise = answering(204)
    await line.command(subscriptions.redeliver, one.id, Redeliver(event_ids=[delivered.event_id]), line.terms)
    await line.carry(one)
    line.clock.forward(days=31)
    await line.tell(1)
    await line.carry(one)
    async with line.engine.begin() as connection:
        await sweep(connection, line.clock() - timedelta(days=30))
    assert [attempt.status for attempt in await line.attempts(one)] == [204]
    assert [letter.event_id for letter in await line.dead_letters(one)] == [waiting.event_id]
    await line.command(subscriptions.end, one.id, EndSubscription(reason="No use."))
    async with line.engine.begin() as connection:
        await sweep(connection, line.clock())
    assert await line.dead_letters(one) == []


async def test_a_replica_that_leads_sweeps_by_itself(line: Line, sink: Receiver) -> None:
    one = await active(line, sink)
    async with delivering(line):

        async def swept() -> bool:
            return await line.attempts(one) == []

        await eventually(swept)


def test_an_attempt_keeps_nothing_of_what_was_said() -> None:
    kept = {column.name for column in Attempt.__table__.columns}
    assert kept == {"id", "subscription_id", "kind", "event_id", "at", "seconds", "status", "problem"}


# --- a whole service --------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    local = {"webhook_allow_http": True, "webhook_allow_private": True, "webhook_rate": 60_000}
    async with builder.house("recommendations", **local) as house:
        yield house


SUBSCRIPTIONS = "/recommendations/v1/subscriptions"


async def test_a_fact_reaches_the_sink_at_once_and_health_counts_what_does_not(house: House, sink: Receiver) -> None:
    made = await house.post(SUBSCRIPTIONS, {"sink": sink.url})
    told = await house.post("/recommendations/v1/terms", term())

    async def arrived() -> bool:
        return [json.loads(got.body)["subject"] for got in sink.posts] == [told["id"]]

    await eventually(arrived, 5)
    found = await house.get(f"{SUBSCRIPTIONS}/{made['id']}")
    assert (found["state"], found["allowedRate"], found["version"]) == ("active", 60_000, 2)
    assert verifies(sink.posts[0], found["keys"][0]["publicKey"])

    sink.otherwise = answering(503)
    for _ in range(3):
        await house.post("/recommendations/v1/terms", term())

    async def counted() -> bool:
        detail = (await house.client.get(f"{house.url('recommendations')}/health/detail")).json()["webhooks"]
        return detail == {
            "subscriptions": {"requested": 0, "active": 1, "paused": 0, "ended": 0},
            "waiting": 3,
            "oldestWaitsSeconds": pytest.approx(5, abs=5),
            "failing": 1,
            "deadLetters": 0,
            "leading": True,
        }

    await eventually(counted)
    metrics = (await house.client.get(f"{house.url('recommendations')}/metrics")).text
    measured = dict(re.findall(r"^kapstok_webhook_(\S+) (\S+)$", metrics, re.MULTILINE))
    assert measured['subscriptions{state="active"}'] == "1.0"
    assert (measured["backlog_events"], measured["failing"], measured["dead_letters"]) == ("3.0", "1.0", "0.0")
    assert float(measured["backlog_seconds"]) > 0 and measured["leading"] == "1.0"

    progress = await house.get(f"{SUBSCRIPTIONS}/{made['id']}/progress")
    assert (progress["position"], progress["behind"], progress["failures"]) == (1, 3, 1)
    assert progress["nextAttemptAt"] > progress["failingSince"]
    await house.send("POST", f"{SUBSCRIPTIONS}/{made['id']}/_end", {"reason": "Done."}, version=2)


async def test_a_service_that_is_stopped_and_started_in_the_midst_misses_nothing(house: House, sink: Receiver) -> None:
    async def thoughtful(got: Got, out: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        await answering(204)(got, out)

    sink.otherwise = thoughtful
    made = await house.post(SUBSCRIPTIONS, {"sink": sink.url})
    ids = [(await house.post("/recommendations/v1/terms", term()))["id"] for _ in range(15)]
    await house.stop("recommendations")
    assert sink.posts
    await house.start("recommendations")
    ids += [(await house.post("/recommendations/v1/terms", term()))["id"] for _ in range(5)]

    async def arrived() -> bool:
        return [json.loads(got.body)["subject"] for got in sink.posts] == ids

    await eventually(arrived)
    assert (await house.get(f"{SUBSCRIPTIONS}/{made['id']}"))["version"] == 2


# --- what a subscriber is told ----------------------------------------------------------------------------------


async def test_the_sample_of_the_docs_verifies_a_delivery_and_refuses_what_is_none(line: Line, sink: Receiver) -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text()
    (sample,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    given: dict[str, Any] = {}
    exec(compile(sample, "docs/webhooks.md", "exec"), given)
    verified, now = given["verified"], line.clock().timestamp()
    one = await active(line, sink)
    await line.command(subscriptions.rotate_key, one.id, RotateKey(), line.terms)
    keys = [key.public_key for key in (await line.now(one)).keys]
    await line.tell(rescheduled(reason="Één"))
    await line.carry(one)
    (got,) = sink.posts
    for key in keys:
        assert verified(got.headers, got.body, [key], now)["data"]["reason"] == "Één"
    for headers, body, known, at in (
        (got.headers, got.body + b" ", keys, now),
        (got.headers, got.body, [], now),
        (got.headers, got.body, keys, now + 301),
        (got.headers, got.body, keys, now - 301),
        (got.headers | {"webhook-timestamp": str(int(now) + 1)}, got.body, keys, now),
        (got.headers | {"webhook-signature": "v1a,AAAA"}, got.body, keys, now),
        (got.headers | {"webhook-signature": "v1," + "A" * 88}, got.body, keys, now),
    ):
        with pytest.raises(ValueError, match=r"^Not "):
            verified(headers, body, known, at)
