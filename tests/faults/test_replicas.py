"""Two processes of one publisher: one relay leads, the other takes over when it dies."""

import asyncio
import signal
from time import monotonic

import httpx
import pytest

from deploy.embedded import end
from deploy.stack import Stack
from tests.faults.conftest import SLACK, Measured
from tests.faults.standing import another, last_stored, stored_once_and_in_order
from tests.faults.writing import Client, has_written, nothing_lost, writing
from tests.house import eventually

pytestmark = pytest.mark.fault


async def leads(stack: Stack) -> bool:
    async with httpx.AsyncClient(timeout=5) as client:
        found = (await client.get(f"{stack.url('programme')}/health/detail")).json()["outbox"]
    return bool(found["leading"])


@pytest.mark.row(40)
async def test_of_two_relays_one_leads_and_when_it_dies_the_other_takes_over(stack: Stack, measured: Measured) -> None:
    with another(stack) as twin:
        twin.start_service("programme")
        await asyncio.to_thread(twin.wait_ready, "programme")
        assert (await leads(stack), await leads(twin)) == (True, False)
        clients = [Client(stack, "replica"), Client(twin, "twin")]
        async with writing(clients[0], 2), writing(clients[1], 2):
            await eventually(lambda: has_written(clients[1], 20))
            started = monotonic()
            await asyncio.to_thread(end, stack.processes["programme"], signal.SIGKILL)
            await eventually(lambda: leads(twin))
            took = monotonic() - started
            so_far = clients[1].count
            await eventually(lambda: has_written(clients[1], so_far + 20))
            assert await last_stored(stack) > so_far
            stack.start_service("programme")
            await asyncio.to_thread(stack.wait_ready, "programme")
            assert (await leads(stack), await leads(twin)) == (False, True)
        count = await stored_once_and_in_order(stack)
        found = [await nothing_lost(stack, client) for client in clients]
    assert took < 3 * SLACK
    measured(f"handed over {took:.1f} s after the kill; {count} messages, {count} ids; {found[1]}")
