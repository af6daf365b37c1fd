"""Requests whose answer is lost, cancelled, refused or awaited too long: the key tells the truth, once."""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio
from sqlalchemy import event as on

from deploy.embedded import end
from deploy.stack import Stack
from shared import outbox
from shared.service import Service
from tests.faults.conftest import SLACK, Measured
from tests.faults.proxy import Mode, Proxy
from tests.faults.standing import another, recorded
from tests.faults.writing import WRITES, Client, folded, has_written, nothing_lost, told, writing
from tests.house import Builder, House, eventually

pytestmark = pytest.mark.fault

PATH = WRITES["programme"].path
IN_TIME = 13.0
"""Seconds: a statement has 10, its connection is given 2 more to end."""


def partner(code: str, name: str | None = None) -> dict[str, Any]:
    return {"code": code, "name": {"nl": name or code}, "kind": "ngo"}


async def post(stack: Stack, body: dict[str, Any], key: str, *, wait: float = 30) -> httpx.Response:
    """One try, on a connection of its own."""
    headers = {
        "Authorization": f"Bearer {stack.issuer.token('jenv', ['coordinator'])}",
        "Idempotency-Key": f'"{key}"',
    }
    async with httpx.AsyncClient(timeout=wait) as client:
        return await client.post(f"{stack.url('programme')}{PATH}", json=body, headers=headers)


async def timed(asked: Awaitable[httpx.Response]) -> tuple[float, httpx.Response]:
    began = time.monotonic()
    answer = await asked
    return time.monotonic() - began, answer


def told_of(log: list[dict[str, Any]], code: str) -> int:
    """How often it was told that this was registered."""
    return sum(event["data"].get("code") == code for event in log)


@contextlib.asynccontextmanager
async def outbox_held(stack: Stack) -> AsyncIterator[None]:
    """Another writer has the outbox: requests stand still in the middle of their transaction."""
    connection = await stack.postgres.connect("programme")
    try:
        await connection.execute("select pg_advisory_lock($1)", outbox.LOCK)
        yield
    finally:
        await connection.close()


async def waiting(stack: Stack, count: int) -> None:
    """Until so many transactions wait for the outbox."""
    connection = await stack.postgres.connect("programme")
    standing = "select count(*) from pg_locks where locktype = 'advisory' and mode = 'ExclusiveLock' and not granted"

    async def there() -> bool:
        return int(await connection.fetchval(standing)) >= count

    try:
        await eventually(there)
    finally:
        await connection.close()


# --- the answer does not come --------------------------------------------------------------------------------------


class _Overheard:
    """A reader whose words are told to someone before they go on."""

    def __init__(self, reader: asyncio.StreamReader, hear: Callable[[bytes], None]) -> None:
        self._reader = reader
        self._hear = hear

    async def read(self, most: int) -> bytes:
        data = await self._reader.read(most)
        self._hear(data)
        return data


class DeafAtCommit(Proxy):
    """Lets no answer through any more from the COMMIT of the transaction that names `marker`."""

    marker = b"nothing is marked"

    async def _pump(self, reader: Any, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        marked = False

        def hear(data: bytes) -> None:
            nonlocal marked
            marked = not answers and (marked or self.marker in data)
            if marked and b"COMMIT" in data:
                self.mode = Mode.NO_ANSWERS

        await super()._pump(_Overheard(reader, hear), writer, answers=answers)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def through(stack: Stack, proxy: Proxy) -> AsyncIterator[Stack]:
    """Another process of programme, which reaches the database through the proxy."""
    url = stack.postgres.url("programme", stack.secret).replace(f":{stack.postgres.port}/", f":{proxy.port}/")
    async with proxy:
        with another(stack) as behind:
            behind.start_service("programme", KAPSTOK_DATABASE_URL=url)
            await asyncio.to_thread(behind.wait_ready, "programme")
            try:
                yield behind
            finally:
                proxy.mode = Mode.PASS
                proxy.cut()
                await asyncio.to_thread(end, behind.processes["programme"])


@pytest.mark.row(5)
async def test_when_the_answer_to_a_commit_is_lost_the_retry_tells_the_truth(stack: Stack, measured: Measured) -> None:
    proxy = DeafAtCommit(stack.postgres.port)
    body, key = partner("answer-lost"), str(uuid4())
    async with through(stack, proxy) as behind:
        client = Client(behind, "deaf")
        async with writing(client, writers=2):
            await eventually(lambda: has_written(client, 10))
            proxy.marker = b"answer-lost"
            took, lost = await timed(post(behind, body, key))
            assert proxy.mode is Mode.NO_ANSWERS
            connection = await stack.postgres.connect("programme")
            committed = await connection.fetchval("select count(*) from partner where code = 'answer-lost'")
            await connection.close()
            assert committed == 1, "the COMMIT arrived"
            proxy.marker = DeafAtCommit.marker
            proxy.mode = Mode.PASS
            proxy.cut()
            again = await eventually(lambda: answered(behind, body, key))
    assert lost.status_code == 503, lost.text
    assert lost.headers["retry-after"]
    assert took < IN_TIME
    assert again.status_code == 201 and again.headers["idempotency-replayed"] == "true"
    assert told_of(await told(stack, "programme"), "answer-lost") == 1
    measured(f"503 after {took:.1f} s, the retry replayed; {await nothing_lost(stack, client, moments=5)}")


async def answered(stack: Stack, body: dict[str, Any], key: str) -> httpx.Response | None:
    """What a client does: try again while it is asked to."""
    answer = await post(stack, body, key)
    return None if answer.status_code == 503 else answer


@pytest.mark.row(22)
async def test_when_the_database_is_a_black_hole_requests_are_answered_in_time_and_it_recovers(
    stack: Stack, measured: Measured
) -> None:
    proxy = Proxy(stack.postgres.port)
    async with through(stack, proxy) as behind:
        client = Client(behind, "hole")
        async with writing(client, writers=2):
            await eventually(lambda: has_written(client, 10))
            proxy.mode = Mode.BLACK_HOLE
            asked = [timed(post(behind, partner(f"hole-asked-{number}"), str(uuid4()))) for number in range(4)]
            answers = await asyncio.gather(*asked)
            proxy.mode = Mode.PASS
            proxy.cut()
            began, so_far = time.monotonic(), client.count
            await eventually(lambda: has_written(client, so_far + 4), 20)
            recovered = time.monotonic() - began
    longest = max(took for took, _ in answers)
    for took, answer in answers:
        assert answer.status_code == 503 and answer.headers["retry-after"], answer.text
        assert took < IN_TIME, f"answered after {took:.1f} s"
    assert recovered < 5 * SLACK
    seen = f"503 after {longest:.1f} s at most, writing again {recovered:.1f} s after it came back"
    measured(f"{seen}; {await nothing_lost(stack, client, moments=5)}")


@contextlib.asynccontextmanager
async def slow_inserts(stack: Stack) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Whoever registers a partner called slow-… sleeps seven seconds in the database."""
    connection = await stack.postgres.connect("programme")
    await connection.execute(
        "create function slowly() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(7); return new; end $$;"
        "create trigger slowly before insert on partner for each row when (new.code like 'slow-%')"
        " execute function slowly()"
    )
    try:
        yield connection
    finally:
        await connection.execute("drop trigger slowly on partner; drop function slowly()")
        await connection.close()


@pytest.mark.row(21)
async def test_when_all_connections_are_used_requests_are_answered_in_time_and_it_recovers_at_once(
    stack: Stack, measured: Measured
) -> None:
    async with slow_inserts(stack) as connection:
        with another(stack) as small:
            small.start_service("programme", KAPSTOK_POOL_SIZE="5")  # three wait to lead relay, imports and webhooks
            await asyncio.to_thread(small.wait_ready, "programme")
            client = Client(small, "pool")
            async with writing(client, writers=1):
                await eventually(lambda: has_written(client, 5))
                slow = [asyncio.create_task(post(small, partner(f"slow-{n}"), str(uuid4()))) for n in range(3)]
                await eventually(lambda: sleeping(connection))
                quick = [timed(post(small, partner(f"quick-{n}"), str(uuid4()))) for n in range(4)]
                answers = await asyncio.gather(*quick)
                slept = [answer.status_code for answer in await asyncio.gather(*slow)]
                began, so_far = time.monotonic(), client.count
                await eventually(lambda: has_written(client, so_far + 3))
                recovered = time.monotonic() - began
    assert set(slept) <= {201, 503} and 201 in slept
    longest = max(took for took, _ in answers)
    for took, answer in answers:
        assert answer.status_code == 503 and answer.headers["retry-after"], answer.text
        assert took < 6.5 * SLACK, f"answered after {took:.1f} s"
    assert recovered < 2 * SLACK
    seen = f"503 after {longest:.1f} s at most, 3 writes {recovered:.2f} s after the first connection came free"
    measured(f"{seen}; {await nothing_lost(stack, client, moments=5)}")


async def sleeping(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    """Every connection that requests can have is at it."""
    return bool(await connection.fetchval("select count(*) >= 2 from pg_stat_activity where wait_event = 'PgSleep'"))


# --- the same key, at two processes --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twin(stack: Stack) -> Iterator[Stack]:
    """A second process of programme on the same database."""
    with another(stack) as twin:
        twin.start_service("programme")
        twin.wait_ready("programme")
        yield twin


@pytest.mark.row(9)
async def test_the_same_key_at_two_processes_at_once_makes_one_event_and_one_answer(
    stack: Stack, twin: Stack, measured: Measured
) -> None:
    before = len(await recorded(stack))
    pairs = 25

    async def twice(number: int) -> None:
        body, key = partner(f"twice-{number}"), str(uuid4())
        one, other = await asyncio.gather(post(stack, body, key), post(twin, body, key))
        assert (one.status_code, other.status_code) == (201, 201), one.text + other.text
        assert one.content == other.content
        assert sorted("idempotency-replayed" in answer.headers for answer in (one, other)) == [False, True]

    for first in range(0, pairs, 5):
        await asyncio.gather(*(twice(number) for number in range(first, first + 5)))
    assert len(await recorded(stack)) == before + pairs
    measured(f"{pairs} keys, each at two processes at once: {pairs} events, {pairs} answers")


@pytest.mark.row(10)
async def test_the_same_key_with_another_body_is_refused_and_tells_nothing(
    stack: Stack, twin: Stack, measured: Measured
) -> None:
    before = len(await recorded(stack))
    pairs = 15
    for number in range(pairs):
        key = str(uuid4())
        bodies = [partner(f"other-body-{number}-{which}") for which in "ab"]
        both = await asyncio.gather(post(stack, bodies[0], key), post(twin, bodies[1], key))
        assert sorted(answer.status_code for answer in both) == [201, 422]
        late = await post(stack, partner(f"other-body-{number}-c"), key)
        assert late.status_code == 422, "also when the first has long been answered"
    assert len(await recorded(stack)) == before + pairs
    measured(f"{pairs} keys with three bodies each: {pairs} events, {2 * pairs} times 422")


# --- the client goes away ------------------------------------------------------------------------------------------


@pytest.mark.row(8)
async def test_when_the_client_goes_away_it_is_stored_and_the_retry_gets_the_receipt(
    stack: Stack, measured: Measured
) -> None:
    client = Client(stack, "gone")
    asked = [(partner(f"gone-away-{number}"), str(uuid4())) for number in range(6)]
    async with writing(client, writers=1):
        await eventually(lambda: has_written(client, 5))
        async with outbox_held(stack):
            gone = await asyncio.gather(
                *(post(stack, body, key, wait=0.5) for body, key in asked), return_exceptions=True
            )
            assert [type(answer) for answer in gone] == [httpx.ReadTimeout] * len(asked)

        async def stored() -> bool:
            log = await told(stack, "programme")
            return all(told_of(log, body["code"]) == 1 for body, _ in asked)

        await eventually(stored, 5)
        for body, key in asked:
            again = await post(stack, body, key)
            assert (again.status_code, again.headers.get("idempotency-replayed")) == (201, "true")
    log = await told(stack, "programme")
    assert all(told_of(log, body["code"]) == 1 for body, _ in asked)
    measured(f"{len(asked)} clients gone, {len(asked)} stored; {await nothing_lost(stack, client, moments=5)}")


# --- SIGTERM ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bus", [pytest.param("there", marks=pytest.mark.row(11)), pytest.param("away", marks=pytest.mark.row(12))]
)
async def test_when_it_is_told_to_stop_requests_in_flight_are_answered_and_it_ends_cleanly(
    bus: str, stack: Stack, measured: Measured
) -> None:
    log = stack.home / "logs" / "programme.log"
    client = Client(stack, f"term-{bus}")
    process = stack.processes["programme"]
    async with writing(client):
        await eventually(lambda: has_written(client, 10))
        if bus == "away":
            await asyncio.to_thread(stack.nats.stop)
            so_far = client.count
            await eventually(lambda: has_written(client, so_far + 10))
        written = log.stat().st_size
        async with outbox_held(stack):
            in_flight = [
                asyncio.create_task(post(stack, partner(f"term-{bus}-in-flight-{number}"), str(uuid4())))
                for number in range(4)
            ]
            await waiting(stack, 4)
            await asyncio.sleep(0.2)
            process.terminate()
            began = time.monotonic()
            await eventually(lambda: refuses(stack), 5)
        answers = await asyncio.gather(*in_flight)
        ended = await asyncio.to_thread(process.wait, 20)
        took = time.monotonic() - began
        assert [answer.status_code for answer in answers] == [201] * 4, [answer.text for answer in answers]
        said = log.read_bytes()[written:].decode()
        if bus == "away":
            await asyncio.to_thread(stack.nats.start)
        stack.start_service("programme")
        await asyncio.to_thread(stack.wait_ready, "programme")
    assert ended in (0, -15), "uvicorn raises the signal again when all is done"
    assert "Traceback" not in said and "Task was destroyed" not in said and "never awaited" not in said, said
    assert took < 10 * SLACK
    assert not {"500", "ReadTimeout"} & set(client.statuses), client.statuses
    truth = folded("programme", await told(stack, "programme"))
    assert {f"term-{bus}-in-flight-{number}" for number in range(4)} <= set(truth)
    seen = f"4 in flight answered 201, ended with {ended} after {took:.1f} s"
    measured(f"{seen}; {await nothing_lost(stack, client, moments=5)}")


async def refuses(stack: Stack) -> bool:
    """Nobody listens there any more."""
    try:
        async with httpx.AsyncClient(timeout=2) as client:
            await client.get(f"{stack.url('programme')}/health/live")
    except httpx.ConnectError:
        return True
    return False


# --- in one process: a COMMIT that fails, a request that is cancelled ------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    """One service is enough here."""
    async with builder.house("programme") as house:
        yield house


async def head(house: House) -> int:
    answer = await house.send("GET", "/programme/v1/events/head")
    return int(answer.json()["sequence"])


@pytest.mark.row(6)
@pytest.mark.parametrize("state", ["P0001", "40001", "23514", "53100"])
async def test_when_a_commit_fails_nothing_is_acknowledged_or_told(
    state: str, house: House, measured: Measured
) -> None:
    connection = await house.postgres.connect(house.databases["programme"])
    failing = partner(f"fails-{state.lower()}")
    key = str(uuid4())
    await connection.execute(
        "create function fail_late() returns trigger language plpgsql as"
        f" $$ begin raise exception 'at the COMMIT' using errcode = '{state}'; end $$;"
        "create constraint trigger fail_late after insert on outbox deferrable initially deferred for each row"
        f" when (new.event like '%{failing['code']}%') execute function fail_late()"
    )
    try:
        before = await head(house)
        statuses = [(await house.send("POST", PATH, failing, key=key)).status_code for _ in range(3)]
        assert all(status >= 400 for status in statuses), statuses
        assert await head(house) == before
        other = await house.send("POST", PATH, partner(f"beside-{state.lower()}"))
        assert other.status_code == 201, "others go on, and get the number that came free"
        assert await head(house) == before + 1
    finally:
        await connection.execute("drop trigger fail_late on outbox; drop function fail_late()")
        await connection.close()
    again = await house.send("POST", PATH, failing, key=key)
    assert again.status_code == 201 and "idempotency-replayed" not in again.headers
    assert await head(house) == before + 2
    measured(f"COMMIT fails with {state}: {statuses}, nothing told; 201 with the same key afterwards")


@contextlib.contextmanager
def cancelling(service: Service, victim: Callable[[asyncio.Task[Any]], asyncio.Task[Any]]) -> Iterator[list[float]]:
    """Cancels a task of each write once: by turns among its last statements, and around its COMMIT; after how long."""
    chance = random.Random(20181019)
    delays: list[float] = []
    done: set[asyncio.Task[Any]] = set()

    def cancel_soon(most: float, turn: int) -> None:
        unit_of_work = asyncio.current_task()
        if unit_of_work in service._running and unit_of_work not in done and len(delays) % 2 == turn:
            done.add(unit_of_work)
            delays.append(most * chance.random())
            asyncio.get_running_loop().call_later(delays[-1], victim(unit_of_work).cancel)

    def executes(*given: Any) -> None:
        if "pg_advisory_xact_lock(" in given[2]:
            cancel_soon(0.008, turn=0)

    def commits(_: Any) -> None:
        cancel_soon(0.001, turn=1)

    on.listen(service.engine.sync_engine, "before_cursor_execute", executes)
    on.listen(service.engine.sync_engine, "commit", commits)
    try:
        yield delays
    finally:
        on.remove(service.engine.sync_engine, "before_cursor_execute", executes)
        on.remove(service.engine.sync_engine, "commit", commits)


@pytest.mark.row(7)
@pytest.mark.parametrize("who", ["the caller", "the transaction"])
async def test_when_it_is_cancelled_during_its_commit_there_is_one_row_per_key_or_none(
    who: str, house: House, measured: Measured
) -> None:
    running = house.running["programme"]
    headers = {"Authorization": f"Bearer {house.token('jenv', 'coordinator')}"}
    asked = [(partner(f"cancelled-{who.split()[1]}-{number}"), str(uuid4())) for number in range(60)]
    outcomes: Counter[str] = Counter()
    caller: asyncio.Task[Any] | None = None

    def victim(unit_of_work: asyncio.Task[Any]) -> asyncio.Task[Any]:
        assert caller is not None
        return caller if who == "the caller" else unit_of_work

    transport = httpx.ASGITransport(app=running.server.config.app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=house.url("programme"), headers=headers) as client:
        with cancelling(running.service, victim) as delays:
            for body, key in asked:
                given = {"Idempotency-Key": f'"{key}"'}
                caller = asyncio.create_task(client.post(PATH, json=body, headers=given))
                (answer,) = await asyncio.gather(caller, return_exceptions=True)
                outcomes[str(answer.status_code) if isinstance(answer, httpx.Response) else type(answer).__name__] += 1
    assert len(delays) == len(asked)
    assert outcomes["CancelledError"] > 10 and set(outcomes) <= {"CancelledError", "201", "503"}, outcomes
    await running.service.finish_all()
    log = await told(house, "programme")
    committed = {body["code"] for body, _ in asked if told_of(log, body["code"])}
    for body, key in asked:
        again = await house.send("POST", PATH, body, key=key)
        assert again.status_code == 201, again.text
        assert ("idempotency-replayed" in again.headers) == (body["code"] in committed)
    log = await told(house, "programme")
    assert all(told_of(log, body["code"]) == 1 for body, _ in asked)
    names = folded("programme", log)
    connection = await house.postgres.connect(house.databases["programme"])
    assert {row["code"] for row in await connection.fetch("select code from partner")} == set(names)
    assert await connection.fetchval("select count(*) from receipt") == len(log)
    await connection.close()
    seen = f"{outcomes['CancelledError']} of {len(asked)} cancelled, {len(committed)} committed"
    measured(f"{who}: {seen}; every retry 201, each told once")
