"""The owner of a log killed at every point that matters, its order of commits, its clock, and what it refuses."""

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from deploy.embedded import end
from deploy.stack import ROOT, Stack
from services.programme import partners
from services.programme.partners import RegisterPartner
from shared import outbox
from shared.database import engine
from tests.faults.conftest import SLACK, Measured
from tests.faults.standing import another, last_stored, recorded, stored_once_and_in_order
from tests.faults.writing import WRITES, Client, folded, has_written, nothing_lost, told, writing
from tests.house import eventually
from tests.shared.test_outbox import PROGRAMME, Writer

pytestmark = pytest.mark.fault


# --- killed at a point ---------------------------------------------------------------------------------------------


async def start_armed(stack: Stack, note: Path, point: str, passed_first: int) -> None:
    """Programme again, as one that ends itself with SIGKILL at a point."""
    await asyncio.to_thread(end, stack.processes["programme"])
    stack.start_service(
        "programme",
        app="tests.faults.crashing:programme",
        CRASH_AT=point,
        CRASH_AFTER=str(passed_first),
        CRASH_NOTE=str(note),
    )
    await asyncio.to_thread(stack.wait_ready, "programme")


async def dies_at(stack: Stack, note: Path, point: str) -> None:
    """Wait until it killed itself, there and nowhere else."""
    assert await asyncio.to_thread(stack.processes["programme"].wait, 20) == -signal.SIGKILL
    assert note.read_text() == point


async def start_again(stack: Stack) -> None:
    stack.start_service("programme")
    await asyncio.to_thread(stack.wait_ready, "programme")


@pytest.mark.row(1)
async def test_killed_before_its_commit_it_told_nothing_and_the_retry_is_carried_out_once(
    stack: Stack, tmp_path: Path, measured: Measured
) -> None:
    note = tmp_path / "note"
    await start_armed(stack, note, "before commit", 7)
    before = len(await recorded(stack))
    client = Client(stack, "before-commit")
    async with writing(client, writers=1):
        await dies_at(stack, note, "before commit")
        assert len(await recorded(stack)) == before + client.count == before + 7
        await start_again(stack)
        await eventually(lambda: has_written(client, 15))
    measured(f"7 acknowledged and told when killed; {await nothing_lost(stack, client, moments=5)}")


@pytest.mark.row(2)
async def test_killed_after_its_commit_it_told_once_and_the_retry_gets_the_receipt(
    stack: Stack, tmp_path: Path, measured: Measured
) -> None:
    note = tmp_path / "note"
    await start_armed(stack, note, "after commit", 7)
    before = len(await recorded(stack))
    client = Client(stack, "after-commit")
    async with writing(client, writers=1):
        await dies_at(stack, note, "after commit")
        assert client.count == 7
        assert len(await recorded(stack)) == before + 8, "told, and not yet answered"
        await start_again(stack)
        await eventually(lambda: has_written(client, 15))
    assert len(await recorded(stack)) == before + client.count, "the retry told nothing more"
    measured(f"7 acknowledged and 8 told when killed; {await nothing_lost(stack, client, moments=5)}")


@pytest.mark.row(3)
async def test_killed_before_it_publishes_what_it_told_is_on_the_bus_within_a_second_after_the_start(
    stack: Stack, tmp_path: Path, measured: Measured
) -> None:
    note = tmp_path / "note"
    await start_armed(stack, note, "before publish", 20)
    client = Client(stack, "before-publish")
    async with writing(client):
        await dies_at(stack, note, "before publish")
        waiting = (await recorded(stack))[-1]
        published = await last_stored(stack)
        assert published < waiting, "something was told and not published"
        await start_again(stack)
        ready = time.monotonic()

        async def there() -> bool:
            return await last_stored(stack) >= waiting

        await eventually(there, 5)
        took = time.monotonic() - ready
    assert took <= 1.0 * SLACK
    await stored_once_and_in_order(stack)
    seen = f"{waiting - published} told and unpublished when killed, published {took:.2f} s after ready"
    measured(f"{seen}; {await nothing_lost(stack, client, moments=5)}")


@pytest.mark.row(4)
async def test_killed_after_it_published_no_message_is_stored_twice(
    stack: Stack, tmp_path: Path, measured: Measured
) -> None:
    note = tmp_path / "note"
    await start_armed(stack, note, "after publish", 20)
    client = Client(stack, "after-publish")
    async with writing(client):
        await dies_at(stack, note, "after publish")
        await start_again(stack)
        so_far = client.count
        await eventually(lambda: has_written(client, so_far + 10))
    count = await stored_once_and_in_order(stack)
    measured(f"{count} messages, {count} ids; {await nothing_lost(stack, client, moments=5)}")


# --- order of commits ----------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def beside(stack: Stack) -> AsyncIterator[Writer]:
    """Another writer on programme's database, as a second replica is one."""
    made = engine(stack.settings("programme"))
    try:
        yield Writer(made)
    finally:
        await made.dispose()


@contextlib.asynccontextmanager
async def watched(stack: Stack) -> AsyncIterator[list[int]]:
    """Looks at the outbox again and again while the body runs: there is no hole at any moment. How far it went."""
    lengths: list[int] = []

    async def watch() -> None:
        connection = await stack.postgres.connect("programme")
        try:
            while True:
                found = await connection.fetchrow("select count(*), max(sequence) from outbox")
                assert found["count"] == (found["max"] or 0), "the log has a hole"
                lengths.append(found["count"])
                await asyncio.sleep(0)
        finally:
            await connection.close()

    watching = asyncio.create_task(watch())
    try:
        yield lengths
        assert not watching.done(), watching.exception()
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError, AssertionError):
            await watching


def called(code: str) -> RegisterPartner:
    return RegisterPartner.model_validate({"code": code, "name": {"nl": code}, "kind": "ngo"})


@pytest.mark.row(13)
async def test_numbers_follow_the_order_of_commits_whoever_began_first(stack: Stack, measured: Measured) -> None:
    client = Client(stack, "order")
    async with beside(stack) as writer, writing(client), watched(stack), writer() as session:
        await partners.register(session, called("order-began-first"))
        await session.flush()
        await eventually(lambda: has_written(client, 20))
        number = await outbox.number(session, PROGRAMME)
        assert number is not None and number > 20
        acknowledged = client.count
        await asyncio.sleep(0.7)
        assert (await recorded(stack))[-1] == number - 1, "nobody passes whoever has a number"
        assert client.count - acknowledged <= 4, "only what had been committed is still answered"
        await session.commit()
        committed = client.count
        await eventually(lambda: has_written(client, committed + 20))
    log = await told(stack, "programme")
    assert log[number - 1]["data"].get("code") == "order-began-first"
    measured(f"began before 20 others, committed as number {number}; {await nothing_lost(stack, client, moments=5)}")


@pytest.mark.row(14)
async def test_when_a_quarter_is_rolled_back_there_is_no_hole_at_any_moment(stack: Stack, measured: Measured) -> None:
    chance = random.Random(20181019)
    kept: list[str] = []
    given_up: list[str] = []

    async def write(writer: Writer, name: str) -> None:
        for number in range(25):
            code = f"quarter-{name}-{number}"
            async with writer() as session:
                await partners.register(session, called(code))
                await outbox.number(session, PROGRAMME)
                if chance.random() < 0.25:
                    await session.rollback()
                    given_up.append(code)
                else:
                    await session.commit()
                    kept.append(code)

    client = Client(stack, "quarter")
    async with beside(stack) as writer, writing(client), watched(stack) as looks:
        await asyncio.gather(*(write(writer, name) for name in "abcd"))
    truth = folded("programme", await told(stack, "programme"))
    assert len(given_up) > 10
    assert set(kept) <= set(truth) and not set(given_up) & set(truth)
    seen = f"{len(given_up)} of {len(kept) + len(given_up)} rolled back, {len(looks)} looks without a hole"
    measured(f"{seen}; {await nothing_lost(stack, client, moments=5)}")


HOLDS_THE_OUTBOX = """
import asyncio
from sqlalchemy import text
from shared import outbox, settings
from shared.database import engine

async def hold():
    async with engine(settings.read()).begin() as connection:
        await connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": outbox.LOCK})
        print("holds", flush=True)
        await asyncio.sleep(60)

asyncio.run(hold())
"""


@contextlib.contextmanager
def frozen_writer(stack: Stack) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that took the outbox in a transaction and was then stopped by SIGSTOP."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_OUTBOX],
        cwd=ROOT,
        env=stack.environment("programme"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"holds\n"
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.wait(5)
        if process.stdout is not None:
            process.stdout.close()


async def write_once(stack: Stack, code: str) -> httpx.Response:
    """One write with a key of its own, tried once."""
    headers = {
        "Authorization": f"Bearer {stack.issuer.token('jenv', ['coordinator'])}",
        "Idempotency-Key": f'"{uuid4()}"',
    }
    how = WRITES["programme"]
    body = {"code": code, "name": {"nl": code}} | how.more
    async with httpx.AsyncClient(timeout=30) as client:
        return await client.post(f"{stack.url('programme')}{how.path}", json=body, headers=headers)


@pytest.mark.row(15)
async def test_while_a_frozen_writer_holds_the_outbox_others_are_answered_in_time_and_then_go_on(
    stack: Stack, measured: Measured
) -> None:
    """PostgreSQL ends the frozen one's transaction; nobody has to find and kill the process."""
    client = Client(stack, "frozen")
    with contextlib.ExitStack() as ending:
        async with writing(client):
            await eventually(lambda: has_written(client, 5))
            process = await asyncio.to_thread(ending.enter_context, frozen_writer(stack))
            began = time.monotonic()
            answer = await write_once(stack, "frozen-out")
            refused_after = time.monotonic() - began
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"]
            assert refused_after < 6.5 * SLACK
            so_far = client.count
            await eventually(lambda: has_written(client, so_far + 20), 12)
            resumed_after = time.monotonic() - began
            assert process.poll() is None, "it is frozen still"
    assert client.statuses["503"] >= 4
    seen = f"503 after {refused_after:.1f} s, going on after {resumed_after:.1f} s with the writer still frozen"
    measured(f"{seen}; {await nothing_lost(stack, client, moments=5)}")


# --- the clock -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def clock_back(stack: Stack, service: str, hours: int) -> AsyncIterator[None]:
    """The clock that one database reads goes back, and runs on from there."""
    connection = await stack.postgres.connect(service)
    reconnect = "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1"
    try:
        await connection.execute(
            "create function public.clock_timestamp() returns timestamptz language sql volatile"
            f" return pg_catalog.clock_timestamp() - interval '{hours} hours'"
        )
        await connection.execute(f'alter database "{service}" set search_path = public, pg_catalog')
        await connection.execute(reconnect, service)
        yield
    finally:
        await connection.execute(f'alter database "{service}" reset search_path')
        await connection.execute("drop function public.clock_timestamp()")
        await connection.execute(reconnect, service)
        await connection.close()


async def clock_is_back(stack: Stack, service: str) -> bool:
    connection = await stack.postgres.connect(service)
    try:
        late = "select clock_timestamp() < pg_catalog.clock_timestamp() - interval '59 minutes'"
        return bool(await connection.fetchval(late))
    finally:
        await connection.close()


async def watermark(stack: Stack, service: str) -> datetime:
    """What the service promises of time: nothing will be recorded at or before it."""

    async def asked() -> datetime:
        headers = {"Kapstok-House-Key": stack.house_key}
        async with httpx.AsyncClient(timeout=15, headers=headers) as client:
            answer = await client.get(f"{stack.url(service)}/{service}/v1/events/head")
        assert answer.status_code == 200, answer.text
        return datetime.fromisoformat(answer.json()["watermark"])

    found: datetime = await eventually(asked)
    return found


def times(log: Sequence[dict[str, str]]) -> list[datetime]:
    return [datetime.fromisoformat(event["time"]) for event in log]


@pytest.mark.row(16)
async def test_when_the_clock_steps_back_recorded_at_rises_and_no_promise_of_time_is_broken(
    stack: Stack, measured: Measured
) -> None:
    """Promises are given by the clock that went back; tests/shared/test_outbox.py has the numbering by it."""
    service = "recommendations"
    client = Client(stack, "clock", services=(service,))
    async with writing(client, writers=2):
        await eventually(lambda: has_written(client, 10))
    promised = await watermark(stack, service)
    before = len(await told(stack, service))
    async with clock_back(stack, service, hours=1):
        assert await clock_is_back(stack, service), "the clock of the database did go back"
        behind = Client(stack, "clock-back", services=(service,))
        promises: list[tuple[int, datetime]] = []
        async with writing(behind, writers=2):
            for count in (3, 6, 9, 12):
                await eventually(lambda count=count: has_written(behind, count))  # type: ignore[misc]
                promise = await watermark(stack, service)
                log = await told(stack, service)
                promises.append((sum(at <= promise for at in times(log)), promise))
        log = await told(stack, service)
        first_back = times(log)[before]
        assert first_back > promised, f"recorded {promised - first_back} before a promise that was given"
        for count, promise in promises:
            assert sum(at <= promise for at in times(log)) == count, "something was recorded before a promise"
    behind.acknowledged[service] |= client.acknowledged[service]
    seen = f"an hour back, {len(log) - before} told meanwhile, the first {first_back - promised} after the promise"
    measured(f"{seen}; {await nothing_lost(stack, behind, moments=5)}")


# --- durability ----------------------------------------------------------------------------------------------------


@pytest.mark.row(20)
@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
async def test_it_refuses_to_start_on_a_database_that_may_forget(
    setting: str, stack: Stack, measured: Measured
) -> None:
    connection = await stack.postgres.connect()
    with another(stack) as other:
        try:
            await connection.execute(f"alter system set {setting} = off")
            await connection.execute("select pg_reload_conf()")
            await eventually(lambda: is_off(stack, setting))
            began = time.monotonic()
            other.start_service("programme")
            ended = await asyncio.to_thread(other.processes["programme"].wait, 20)
            took = time.monotonic() - began
        finally:
            await connection.execute(f"alter system reset {setting}")
            await connection.execute("select pg_reload_conf()")
            await connection.close()
        said = (other.home / "logs" / "programme.log").read_text()
    assert ended != 0
    assert f"PostgreSQL runs with {setting} = off and may lose acknowledged writes." in said
    assert "Traceback" not in said
    measured(f"{setting} off: ended after {took:.1f} s with {ended}")


async def is_off(stack: Stack, setting: str) -> bool:
    connection = await stack.postgres.connect("programme")
    try:
        return str(await connection.fetchval(f"show {setting}")) == "off"
    finally:
        await connection.close()
