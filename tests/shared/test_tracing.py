"""The trace of a request: a caller's is continued, a bad one is never passed on, and none at all begins one."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace as opentelemetry
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.tracing import trace_of
from tests.examples import term
from tests.house import Builder, House

ID, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "b7ad6b7169203331"
GOOD = f"00-{ID}-{SPAN}-01"
BAD = (
    "",
    "nothing",
    f"00-{ID}-{SPAN}",
    f"00-{ID}-{SPAN}-01-more",
    f"ff-{ID}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{ID}-{'0' * 16}-01",
    f"00-{ID.upper()}-{SPAN}-01",
    f"00-{ID[:-1]}-{SPAN}-01",
    f"00-{ID}-{SPAN}-zz",
    "00-" + "a" * 5000,
    "'; drop table term; --",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    async with builder.house("recommendations") as house:
        yield house


async def told(house: House, *traceparents: str) -> tuple[httpx.Response, str]:
    """The answer to a write with these headers, and the trace that its event names."""
    key = term()["code"]
    headers = [("traceparent", one) for one in traceparents]
    headers += [("Authorization", f"Bearer {house.token('jenv', 'coordinator')}"), ("Idempotency-Key", key)]
    url = f"{house.url('recommendations')}/recommendations/v1"
    answer = await house.client.post(f"{url}/terms", json=term(), headers=headers)
    position = int(answer.headers["kapstok-position"][1:])
    feed = await house.client.get(f"{url}/events?after={position - 1}&limit=1", headers=headers)
    return answer, feed.json()["items"][0]["event"]["traceparent"]


async def test_a_trace_is_continued_in_the_answer_and_in_the_event(house: House) -> None:
    answer, recorded = await told(house, GOOD)
    assert answer.status_code == 201
    assert answer.headers["traceresponse"] == recorded
    version, id, span, flags = recorded.split("-")
    assert (version, id, flags) == ("00", ID, "01")
    assert span != SPAN, "our own step in it"


@pytest.mark.parametrize("traceparent", BAD)
async def test_a_bad_trace_fails_nothing_and_is_not_stored(house: House, traceparent: str) -> None:
    answer, recorded = await told(house, traceparent)
    assert answer.status_code == 201
    assert answer.headers["traceresponse"] == recorded
    assert ID not in recorded
    assert trace_of([recorded]).id == recorded.split("-")[1], "what began instead can be read"


async def test_two_traces_are_none_and_none_begins_one(house: House) -> None:
    for given_traces in ((GOOD, GOOD), ()):
        answer, recorded = await told(house, *given_traces)
        assert answer.status_code == 201
        assert ID not in recorded


async def test_a_failure_is_logged_under_the_trace_that_its_answer_names(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = house.running["recommendations"].service.engine
    async with engine.begin() as connection:
        await connection.exec_driver_sql("alter table source rename column published_on to printed_on")
    answer = await house.send("GET", "/recommendations/v1/sources", headers={"traceparent": GOOD})
    assert answer.status_code == 500
    assert ID in answer.headers["traceresponse"]
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "a request failed" in line]
    assert [line["trace"] for line in logged] == [ID]
    async with engine.begin() as connection:
        await connection.exec_driver_sql("alter table source rename column printed_on to published_on")


HEX = st.text("0123456789abcdefAF", min_size=0, max_size=33)
LIKE_ONE = st.builds(
    lambda *parts: "-".join(parts),
    st.sampled_from(["00", "01", "ff", "fe", "0", "000"]),
    st.sampled_from([ID, "0" * 32]) | HEX,
    st.sampled_from([SPAN, "0" * 16]) | HEX,
    st.sampled_from(["00", "01", "02", "ff", "1", "01-more", "01-"]),
)


@given(LIKE_ONE | st.text(max_size=60))
def test_the_same_is_read_as_opentelemetry_reads(written: str) -> None:
    context = TraceContextTextMapPropagator().extract({"traceparent": written})
    theirs = opentelemetry.get_current_span(context).get_span_context()
    ours = trace_of([written])
    if theirs.is_valid:
        assert ours.id == f"{theirs.trace_id:032x}"
        assert ours.sampled == theirs.trace_flags.sampled
    else:
        assert ours.id not in written
