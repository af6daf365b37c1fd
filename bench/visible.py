"""From 2xx at one door to visible at the other: 200 writes, as seen on the stream and by polling."""

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from uuid import uuid4

import httpx

from deploy.embedded import free_port
from deploy.stack import PORTS, Stack

TARGET_MS = 100


async def measure(stack: Stack, writes: int) -> dict[str, list[float]]:
    """Milliseconds per write: a bare answer (the limit), the POST, until the stream tells, until a poll shows."""
    found: dict[str, list[float]] = {"bare answer": [], "POST": [], "2xx to stream": [], "2xx to poll": []}
    async with httpx.AsyncClient(timeout=30) as client, _positions(stack) as told:
        for _ in range(writes):
            started = perf_counter()
            await client.get(f"{stack.url('programme')}/health/live")
            found["bare answer"].append(_ms(started))

            started = perf_counter()
            sequence = await _write(stack, client)
            answered = perf_counter()
            found["POST"].append((answered - started) * 1000)
            polled, streamed = await asyncio.gather(_until_polled(stack, client, sequence), told.until(sequence))
            found["2xx to poll"].append((polled - answered) * 1000)
            found["2xx to stream"].append((streamed - answered) * 1000)
    return found


def _ms(started: float) -> float:
    return (perf_counter() - started) * 1000


async def _write(stack: Stack, client: httpx.AsyncClient) -> int:
    headers = {
        "Authorization": f"Bearer {stack.issuer.token('jenv', ['coordinator'])}",
        "Idempotency-Key": f'"{uuid4()}"',
    }
    body = {"code": f"p-{uuid4().hex[:12]}", "name": {"nl": "Gemeten"}, "kind": "ngo"}
    answer = await client.post(f"{stack.url('programme')}/programme/v1/partners", json=body, headers=headers)
    answer.raise_for_status()
    return int(answer.headers["kapstok-position"][1:])


async def _until_polled(stack: Stack, client: httpx.AsyncClient, sequence: int) -> float:
    etag = ""
    while True:
        answer = await client.get(
            f"{stack.url('reporting')}/reporting/v1/progress/domains", headers={"If-None-Match": etag}
        )
        if answer.status_code == 200:
            etag = answer.headers["etag"]
            if _programme(answer.json()["position"]) >= sequence:
                return perf_counter()
        await asyncio.sleep(0.002)


def _programme(position: str) -> int:
    return next(int(part[1:]) for part in position.split(".") if part[0] == "p")


class Told:
    """When the stream told each position."""

    def __init__(self) -> None:
        self._newest = 0
        self._moved = asyncio.Event()

    async def listen(self, stack: Stack, client: httpx.AsyncClient) -> None:
        async with client.stream("GET", f"{stack.url('reporting')}/reporting/v1/progress/stream") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    self._newest = _programme(line.removeprefix("id: ").partition("@")[0])
                    self._moved.set()
                    self._moved = asyncio.Event()

    async def until(self, sequence: int) -> float:
        while self._newest < sequence:
            await self._moved.wait()
        return perf_counter()


@contextlib.asynccontextmanager
async def _positions(stack: Stack) -> AsyncIterator[Told]:
    told = Told()
    async with httpx.AsyncClient(timeout=None) as client:  # noqa: S113  # an event stream stays open
        task = asyncio.create_task(told.listen(stack, client))
        await asyncio.sleep(1)
        try:
            yield told
        finally:
            task.cancel()


async def _run(writes: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack.at(Path(folder), {name: free_port() for name in PORTS})
        try:
            await stack.start()
            found = await measure(stack, writes)
        finally:
            stack.stop()
            stack.postgres.discard()
    limit = median(found["bare answer"])
    for what, values in found.items():
        middle, high = median(values), quantiles(values, n=100)[98]
        print(f"{what:<14} median {middle:7.1f} ms   p99 {high:7.1f} ms   {middle / limit:6.1f} × a bare answer")
    met = median(found["2xx to poll"]) < TARGET_MS
    print(f"Target: 2xx to visible under {TARGET_MS} ms (median): {'met' if met else 'NOT met'}.")
    return 0 if met else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writes", type=int, default=200)
    raise SystemExit(asyncio.run(_run(parser.parse_args().writes)))
