"""How soon everything is back: a service killed, the bus killed, the bus emptied, a view made again from a long log.

Each time beside a limit measured in the same run: what importing the service's code takes, what reading the same log
over HTTP takes.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import UUID, uuid4

import httpx

from deploy.embedded import free_port
from deploy.stack import PORTS, ROOT, SERVICES, Stack
from services.reporting.rows import progress
from shared.calendar import written
from shared.database import engine
from shared.feed import MOST, FeedClient
from shared.outbox import LOCK, link
from tests.faults import report


async def until(true: Callable[[], Awaitable[bool]], seconds: float = 600) -> float:
    """Seconds until something is true."""
    started = perf_counter()
    while perf_counter() - started < seconds:
        try:
            if await true():
                return perf_counter() - started
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.005)
    raise TimeoutError("It did not become true in time.")


async def fill(stack: Stack, count: int, each: int = 20) -> None:
    """Put as many events in programme's log, numbered and chained: partners, each described anew many times."""
    connection = await stack.postgres.connect("programme")
    async with connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1)", LOCK)
        last = await connection.fetchrow("select sequence, chain from outbox order by sequence desc limit 1")
        sequence, chain = (last["sequence"], last["chain"]) if last else (0, "")
        at = await connection.fetchval("select clock_timestamp()")
        rows: list[tuple[Any, ...]] = []
        entity = uuid4()
        for number in range(count):
            sequence, at, version = sequence + 1, at + timedelta(microseconds=1), number % each + 1
            entity = uuid4() if version == 1 else entity
            event = _event(entity, version, sequence, written(at))
            text = json.dumps(event, separators=(",", ":"))
            chain = link(chain, text)
            rows.append((sequence, UUID(event["id"]), event["type"], entity, version, at, text, chain))
        await connection.copy_records_to_table("outbox", records=rows)
    await connection.close()


def _event(entity: UUID, version: int, sequence: int, time: str) -> dict[str, Any]:
    name = {"nl": f"Partner {sequence}", "en": f"Partner {sequence}"}
    told = {"reference": f"PRT-2018-{sequence}", "code": f"p-{sequence}", "kind": "ngo"} if version == 1 else {}
    return {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "urn:nld:oin:00000099000000001000:systeem:kapstok-programme",
        "type": f"nl.kapstok-programme.partner-{'registered' if version == 1 else 'described'}.v1",
        "subject": str(entity),
        "time": time,
        "datacontenttype": "application/json",
        "sequence": f"{sequence:010d}",
        "sequencetype": "Integer",
        "data": {"version": version, "effectiveFrom": "2018-10-19", "name": name, **told},
    }


class Recovery:
    """A stack, and the times that it takes to come back."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.client = httpx.AsyncClient(timeout=30)
        self.lines: list[tuple[str, float, str]] = []

    def note(self, what: str, seconds: float, beside: str) -> None:
        self.lines.append((what, seconds, beside))
        print(f"{what:<58} {seconds:8.2f} s   {beside}", flush=True)

    async def services(self) -> None:
        for name in SERVICES:
            importing = perf_counter()
            command = [sys.executable, "-c", f"import services.{name}.app"]
            await asyncio.to_thread(subprocess.run, command, cwd=ROOT, check=True)
            limit = perf_counter() - importing
            process = self.stack.processes[name]
            process.send_signal(signal.SIGKILL)
            await asyncio.to_thread(process.wait)
            self.stack.start_service(name)
            path = "reporting/v1/progress/domains" if name == "reporting" else f"{name}/v1/openapi.json"
            seconds = await until(lambda name=name, path=path: self._answers(name, path))  # type: ignore[misc]
            self.note(f"{name} killed: start to first answer", seconds, f"{seconds / limit:.1f} × its imports alone")
            await asyncio.to_thread(self.stack.wait_ready, name)

    async def _answers(self, name: str, path: str) -> bool:
        ready = await self.client.get(f"{self.stack.url(name)}/health/ready")
        return ready.status_code == 200 and (await self.client.get(f"{self.stack.url(name)}/{path}")).status_code == 200

    async def bus(self, waiting: int) -> None:
        process = self.stack.nats.process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        await fill(self.stack, waiting)
        followed = await until(self._followed)
        self.note(f"bus away: {waiting} events followed by feed", followed, f"{waiting / followed:.0f} events a second")
        await asyncio.to_thread(self.stack.nats.start)
        sent = await until(self._sent)
        self.note(f"bus back: {waiting} events caught up with", sent, f"{waiting / sent:.0f} events a second")

    async def bus_lost(self) -> None:
        process = self.stack.nats.process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        self.stack.nats.lose_everything()
        await fill(self.stack, 1)
        await asyncio.to_thread(self.stack.nats.start)
        refilled = await until(self._sent)
        self.note("bus emptied: stream made anew and refilled (10,000 events)", refilled, "views needed nothing of it")

    async def _sent(self) -> bool:
        found = (await self.client.get(f"{self.stack.url('programme')}/health/detail")).json()["outbox"]
        return bool(found["leading"] and found["waiting"] == 0)

    async def _followed(self) -> bool:
        found = (await self.client.get(f"{self.stack.url('reporting')}/health/detail")).json()["views"]["progress"]
        head = f"{self.stack.url('programme')}/programme/v1/events/head"
        answer = await self.client.get(head, headers={"Kapstok-House-Key": self.stack.house_key})
        return bool(found["programme"]["checkpoint"] == answer.json()["sequence"])

    async def rebuild(self, events: int) -> None:
        await fill(self.stack, events)
        seconds = await until(self._followed)
        self.note(f"{events} new events followed by the view", seconds, f"{events / seconds:.0f} events a second")
        settings = self.stack.settings("reporting")
        feed, read, started = FeedClient(settings, "programme"), 0, perf_counter()
        while items := (await feed.after(read, MOST)).items:
            read += len(items)
        limit = perf_counter() - started
        await feed.close()
        made = engine(settings)
        view = progress.attach("reporting", made, None, settings)
        started = perf_counter()
        rebuilt = await view.rebuild()
        seconds = perf_counter() - started
        await view.close()
        await made.dispose()
        if rebuilt.differing:
            raise RuntimeError(f"The rows differ: {rebuilt.differing}")
        beside = f"{rebuilt.events / seconds:.0f} events a second; {seconds / limit:.1f} × reading the log over HTTP"
        self.note(f"view made again from {rebuilt.events} events, compared, switched", seconds, beside)


async def _run(asked: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack.at(Path(folder), {name: free_port() for name in PORTS})
        recovery = Recovery(stack)
        try:
            await stack.start()
            await recovery.services()
            await recovery.bus(waiting=5_000)
            await recovery.rebuild(asked.events)
            await recovery.bus_lost()
        finally:
            await recovery.client.aclose()
            stack.stop()
            stack.postgres.discard()
    if asked.report:
        rows = [f"| {what} | {seconds:.2f} s | {beside} |" for what, seconds, beside in recovery.lines]
        told = [f"{report.where_and_when()}.", "", "| what | how long | beside |", "|---|---|---|", *rows]
        report.write(ROOT / "docs" / "reliability.md", "recovery", "\n".join(told))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--report", action="store_true", help="write the times into docs/reliability.md")
    raise SystemExit(asyncio.run(_run(parser.parse_args())))
