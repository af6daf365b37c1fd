"""Processes killed with SIGKILL under a client that writes on and keeps its own list of what was acknowledged."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import httpx
import pytest
import pytest_asyncio

from deploy.embedded import free_port
from deploy.stack import PORTS, SERVICES, Stack
from tests.house import eventually

pytestmark = pytest.mark.fault


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Everything in processes of its own, with the durable settings that `make up` uses."""
    home: Path = tmp_path_factory.mktemp("stack")
    stack = Stack.at(home, {name: free_port() for name in PORTS})
    try:
        await stack.start()
        yield stack
    finally:
        stack.stop()
        stack.postgres.discard()


@dataclass
class Client:
    """Registers partners one after another; each is tried with the same key until it is acknowledged."""

    stack: Stack
    prefix: str
    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def write_on(self, worker: int) -> None:
        async with httpx.AsyncClient(timeout=15) as client:
            number = 0
            while not self.stopping.is_set():
                number += 1
                await self._write(client, f"{self.prefix}-{worker}-{number}")

    async def _write(self, client: httpx.AsyncClient, code: str) -> None:
        headers = {
            "Authorization": f"Bearer {self.stack.issuer.token('jenv', ['coordinator'])}",
            "Idempotency-Key": f'"{uuid5(NAMESPACE_URL, code)}"',
        }
        body = {"code": code, "name": {"nl": code}, "kind": "ngo"}
        for _ in range(400):
            try:
                answer = await client.post(
                    f"{self.stack.url('programme')}/programme/v1/partners", json=body, headers=headers
                )
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code == 201:
                self.acknowledged.append(code)
                return
            if answer.status_code not in (502, 503):
                self.refused.append(f"{answer.status_code} {answer.text[:200]}")
                return
            await asyncio.sleep(0.05)
        self.refused.append(f"{code} was never acknowledged")


async def _kill_and_bring_back(stack: Stack, victim: str) -> None:
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


async def _told(stack: Stack) -> list[dict[str, Any]]:
    """Every event of programme's log, in order, straight from its feed."""
    found: list[dict[str, Any]] = []
    async with httpx.AsyncClient(headers={"Kapstok-House-Key": stack.secret}, timeout=15) as client:
        while True:
            url = f"{stack.url('programme')}/programme/v1/events?after={len(found)}&limit=1000"
            items = json.loads((await client.get(url)).content)["items"]
            if not items:
                return found
            assert [item["sequence"] for item in items] == list(range(len(found) + 1, len(found) + 1 + len(items)))
            found += [item["event"] for item in items]


async def _shown(stack: Stack, sequence: int) -> list[str]:
    """The codes that reporting shows, once it has followed programme up to a sequence."""

    async def caught_up() -> list[str] | None:
        async with httpx.AsyncClient(timeout=15) as client:
            answer = (await client.get(f"{stack.url('reporting')}/reporting/v1/progress/partners")).json()
        position = {part[0]: int(part[1:]) for part in answer["position"].split(".")}
        return [line["code"] for line in answer["lines"]] if position["p"] >= sequence else None

    return list(await eventually(caught_up, 30))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("victim", [*SERVICES, "nats"])
async def test_every_acknowledged_write_is_in_the_view_once_after(victim: str, stack: Stack) -> None:
    client = Client(stack, f"{victim}")
    workers = [asyncio.create_task(client.write_on(number)) for number in range(4)]
    for _ in range(2):
        await asyncio.sleep(0.7)
        await _kill_and_bring_back(stack, victim)
    await asyncio.sleep(0.3)
    client.stopping.set()
    await asyncio.gather(*workers)

    assert client.refused == []
    assert len(client.acknowledged) > 20
    told = await _told(stack)
    codes = [event["data"]["code"] for event in told if event["type"].endswith("partner-registered.v1")]
    assert len(codes) == len(set(codes)), "a write was told twice"
    assert set(client.acknowledged) <= set(codes), "an acknowledged write is not in the log"
    shown = await _shown(stack, len(told))
    assert sorted(shown) == sorted(codes), "the view is not what was told"
    print(f"\n{victim}: {len(client.acknowledged)} acknowledged, all told and shown once")
