"""An owner's database comes back from an older backup: the log went back, and every reader finds out."""

import asyncio
import signal
from uuid import uuid4

import pytest

from deploy.embedded import end
from deploy.stack import Stack
from tests.faults.conftest import Measured
from tests.faults.standing import last_stored, recorded
from tests.faults.writing import Client, caught_up, checkpoints, has_written, heads, nothing_lost, writing
from tests.house import eventually

pytestmark = pytest.mark.fault

OWNER = "programme"


async def stop(stack: Stack, *names: str) -> None:
    for name in names:
        await asyncio.to_thread(end, stack.processes[name], signal.SIGKILL)


async def start(stack: Stack, *names: str) -> None:
    for name in names:
        stack.start_service(name)
    for name in names:
        await asyncio.to_thread(stack.wait_ready, name)


async def backup(stack: Stack) -> str:
    """A copy of the owner's database as it is now, under another name; the owner is stopped for it."""
    name = f"backup_{uuid4().hex[:8]}"
    await stop(stack, OWNER)
    master = await stack.postgres.connect()
    try:

        async def unused() -> bool:
            return not await master.fetchval("select count(*) from pg_stat_activity where datname = $1", OWNER)

        await eventually(unused)
        await master.execute(f'create database "{name}" template "{OWNER}" owner "{OWNER}"')
    finally:
        await master.close()
    await start(stack, OWNER)
    return name


async def put_back(stack: Stack, name: str) -> None:
    """The backup in the place of the owner's database; the owner must be stopped."""
    master = await stack.postgres.connect()
    try:
        await master.execute(f'drop database "{OWNER}" with (force)')
        await master.execute(f'alter database "{name}" rename to "{OWNER}"')
    finally:
        await master.close()


async def write(stack: Stack, prefix: str, count: int) -> Client:
    """A client that wrote so much, and stopped."""
    client = Client(stack, prefix)
    async with writing(client):
        await eventually(lambda: has_written(client, count), 20)
    return client


async def backed_up_and_written_on(stack: Stack, prefix: str) -> tuple[str, Client, Client]:
    """A backup with what was kept, and what was acknowledged, told and shown after it, and will be lost."""
    kept = await write(stack, f"{prefix}-kept", 30)
    copy = await backup(stack)
    lost = await write(stack, f"{prefix}-lost", 30)
    await caught_up(stack)
    sequence = (await recorded(stack))[-1]

    async def published() -> bool:
        return await last_stored(stack) == sequence

    await eventually(published)
    return copy, kept, lost


@pytest.mark.row(23)
async def test_when_the_log_went_back_and_the_bus_tells_so_a_new_epoch_begins_and_views_are_made_again(
    stack: Stack, measured: Measured
) -> None:
    copy, kept, lost = await backed_up_and_written_on(stack, "told")
    was = (await heads(stack))[OWNER]
    await stop(stack, OWNER)
    await put_back(stack, copy)
    await start(stack, OWNER)

    async def another_epoch() -> bool:
        return bool((await heads(stack))[OWNER]["epoch"] != was["epoch"])

    await eventually(another_epoch)
    back = (await heads(stack))[OWNER]["sequence"]
    assert back < was["sequence"]
    client = Client(stack, "told-anew", acknowledged={OWNER: dict(kept.acknowledged[OWNER])})
    async with writing(client):
        await eventually(lambda: has_written(client, 30), 20)
    found = await nothing_lost(stack, client, moments=10)
    assert (await checkpoints(stack))[OWNER]["epoch"] != was["epoch"]
    measured(f"{lost.count} lost with {was['sequence'] - back} events; a new epoch; {found}")


@pytest.mark.row(24)
@pytest.mark.parametrize("length", ["longer", "shorter"])
async def test_when_the_log_went_back_and_was_written_on_untold_views_are_made_again(
    length: str, stack: Stack, measured: Measured
) -> None:
    """The bus lost everything too, so that nobody could tell: the epoch stays what it was."""
    copy, kept, lost = await backed_up_and_written_on(stack, length)
    was = (await heads(stack))[OWNER]
    followed = (await checkpoints(stack))[OWNER]
    await stop(stack, OWNER, "reporting")
    await asyncio.to_thread(stack.nats.stop)
    stack.nats.lose_everything()
    await put_back(stack, copy)
    await start(stack, OWNER)
    anew = Client(stack, f"{length}-anew", acknowledged={OWNER: dict(kept.acknowledged[OWNER])})
    async with writing(anew):
        await eventually(lambda: has_written(anew, 10 if length == "shorter" else lost.count + 10), 20)
    now = (await heads(stack))[OWNER]
    assert now["epoch"] == was["epoch"] == followed["epoch"], "nobody was told"
    assert (now["sequence"] > followed["sequence"]) == (length == "longer")
    await asyncio.to_thread(stack.nats.start)
    await start(stack, "reporting")
    found = await nothing_lost(stack, anew, moments=10)
    assert (await checkpoints(stack))[OWNER]["epoch"] == was["epoch"]
    gap = now["sequence"] - followed["sequence"]
    measured(f"log {abs(gap)} events {length} than what was followed, same epoch; {found}")
