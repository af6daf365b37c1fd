"""Processes killed with SIGKILL under a client that writes on and keeps its own list of what was acknowledged."""

import asyncio
import signal

import pytest

from deploy.stack import SERVICES, Stack
from tests.faults.conftest import Measured
from tests.faults.writing import Client, nothing_lost, writing

pytestmark = pytest.mark.fault


async def kill_and_bring_back(stack: Stack, victim: str) -> None:
    """SIGKILL to a service or the bus, and a new process a moment later."""
    if victim == "nats":
        assert stack.nats.process is not None
        stack.nats.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(stack.nats.process.wait)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(stack.nats.start)
        return
    stack.processes[victim].send_signal(signal.SIGKILL)
    await asyncio.to_thread(stack.processes[victim].wait)
    await asyncio.sleep(0.3)
    stack.start_service(victim)
    await asyncio.to_thread(stack.wait_ready, victim)


@pytest.mark.parametrize("victim", [*SERVICES, pytest.param("nats", marks=pytest.mark.row(26))])
async def test_every_acknowledged_write_is_in_the_view_once_after(
    victim: str, stack: Stack, measured: Measured
) -> None:
    client = Client(stack, victim, services=("programme", "recommendations"))
    async with writing(client):
        for _ in range(2):
            await asyncio.sleep(0.7)
            await kill_and_bring_back(stack, victim)
        await asyncio.sleep(0.3)
    assert client.count > 20
    measured(await nothing_lost(stack, client))
