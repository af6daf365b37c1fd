"""Writers that go on while faults happen at random: `make soak MINUTES=30`, or `SEED=…` to have the same ones again."""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import nats
from nats.js.errors import NotFoundError

from deploy.embedded import end, free_port, spawn
from deploy.stack import PORTS, ROOT, SERVICES, Stack
from shared.events.event import stream
from tests.faults import report
from tests.faults.writing import Client, caught_up, heads, nothing_lost, writing

PUBLISHERS = ("recommendations", "programme", "monitor")
OPTIONS = {"KAPSTOK_STREAM_DENY_DELETE": "false", "KAPSTOK_LOG_LEVEL": "ERROR"}
Fault = Callable[[], Awaitable[None]]


@dataclass
class Soak:
    """A stack, the faults that can be done to it, and chance that can be repeated."""

    stack: Stack
    chance: random.Random
    done: Counter[str] = field(default_factory=Counter)
    _copy: Path | None = None

    def faults(self) -> dict[str, Fault]:
        return {
            "service killed": self.kill_service,
            "service ended": self.end_service,
            "bus killed": self.kill_bus,
            "bus frozen": self.freeze_bus,
            "bus data lost": self.lose_bus,
            "bus rolled back": self.roll_back_bus,
            "database crashed": self.crash_database,
            "connections cut": self.cut_connections,
            "stream purged": self.purge_stream,
            "consumer deleted": self.delete_consumer,
            "rebuild killed": self.kill_rebuild,
        }

    async def one(self, names: list[str]) -> None:
        """A fault, or now and then two at once."""
        chosen = self.chance.sample(names, 2 if len(names) > 1 and self.chance.random() < 0.2 else 1)
        if len({name.split()[0] for name in chosen}) < len(chosen):
            chosen = chosen[:1]  # two to the same process would get in each other's way, here and not in Kapstok
        for name in chosen:
            self.done[name] += 1
        await asyncio.gather(*(self.faults()[name]() for name in chosen))

    # - to a service -

    async def kill_service(self) -> None:
        await self._restart(self.chance.choice(SERVICES), signal.SIGKILL)

    async def end_service(self) -> None:
        await self._restart(self.chance.choice(SERVICES), signal.SIGTERM)

    async def _restart(self, name: str, how: signal.Signals) -> None:
        process = self.stack.processes[name]
        process.send_signal(how)
        await asyncio.to_thread(process.wait, 40)
        await asyncio.sleep(self.chance.uniform(0, 1))
        self.stack.start_service(name)

    # - to the bus -

    async def kill_bus(self) -> None:
        await self._stop_bus()
        await asyncio.sleep(self.chance.uniform(0, 2))
        await self._start_bus()

    async def _stop_bus(self) -> None:
        process = self.stack.nats.process
        assert process is not None
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        if self._copy is None or self.chance.random() < 0.3:
            self._copy = self.stack.home / "older-bus"
            shutil.rmtree(self._copy, ignore_errors=True)
            shutil.copytree(self.stack.nats.home / "store", self._copy)

    async def _start_bus(self) -> None:
        await asyncio.to_thread(self.stack.nats.start)

    async def freeze_bus(self) -> None:
        process = self.stack.nats.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self.chance.uniform(0.5, 6))
        process.send_signal(signal.SIGCONT)

    async def lose_bus(self) -> None:
        await self._stop_bus()
        self.stack.nats.lose_everything()
        await self._start_bus()

    async def roll_back_bus(self) -> None:
        await self._stop_bus()
        assert self._copy is not None
        shutil.rmtree(self.stack.nats.home / "store")
        shutil.copytree(self._copy, self.stack.nats.home / "store")
        await self._start_bus()

    async def purge_stream(self) -> None:
        await self._on_bus(lambda js: js.purge_stream(stream(self.chance.choice(PUBLISHERS))))

    async def delete_consumer(self) -> None:
        name = stream(self.chance.choice(PUBLISHERS))
        await self._on_bus(lambda js: js.delete_consumer(name, "reporting_progress"))

    async def _on_bus(self, what: Callable[[nats.js.JetStreamContext], Awaitable[object]]) -> None:
        try:
            client = await nats.connect(self.stack.nats.url, connect_timeout=2, allow_reconnect=False)
        except (OSError, TimeoutError, nats.errors.Error):
            return
        try:
            await what(client.jetstream(timeout=2))
        except (NotFoundError, TimeoutError, nats.errors.Error):
            return
        finally:
            await client.close()

    # - to the database -

    async def crash_database(self) -> None:
        process = self.stack.postgres.process
        assert process is not None
        process.send_signal(signal.SIGQUIT)
        await asyncio.to_thread(process.wait)
        await asyncio.sleep(self.chance.uniform(0, 1))
        await asyncio.to_thread(self.stack.postgres.start)

    async def cut_connections(self) -> None:
        try:
            connection = await self.stack.postgres.connect()
        except OSError:
            return
        role = self.chance.choice(SERVICES)
        await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", role)
        await connection.close()

    # - to a view -

    async def kill_rebuild(self) -> None:
        name = self.chance.choice(SERVICES)
        command = [sys.executable, "-m", "services.tend", "rebuild", name]
        log = self.stack.home / "logs" / "rebuild.log"
        making = spawn(command, log, env=self.stack.environment(name), cwd=ROOT)
        await asyncio.sleep(self.chance.uniform(0.5, 3))
        end(making, signal.SIGKILL)

    async def rest(self) -> float:
        """Everything runs and is left alone; the seconds until every view was where the logs are."""
        for name in SERVICES:
            await asyncio.to_thread(self.stack.wait_ready, name)
        started = time.monotonic()
        await caught_up(self.stack, 120)
        return time.monotonic() - started


async def soak(
    stack: Stack,
    seed: int,
    *,
    seconds: float = 0,
    writes: int = 0,
    only: list[str] | None = None,
    lose_bus_half_way: bool = False,
    writers: int = 4,
) -> str:
    """Faults at random until time is over or as many writes are acknowledged; then the oracles. What was found."""
    harm = Soak(stack, random.Random(seed))
    client = Client(stack, f"soak-{seed}", services=("programme", "recommendations"))
    names = only or list(harm.faults())
    started, lost = time.monotonic(), False
    async with writing(client, writers):
        while (time.monotonic() - started < seconds) if seconds else (client.count < writes):
            await asyncio.sleep(harm.chance.uniform(0.2, 1.5))
            half_way = client.count >= writes / 2 if writes else time.monotonic() - started > seconds / 2
            if lose_bus_half_way and half_way and not lost:
                lost = True
                harm.done["bus data lost"] += 1
                await harm.lose_bus()
            else:
                await harm.one(names)
            if harm.chance.random() < 0.7:  # else the next one comes while the last one's victim is still starting
                for process in stack.processes:
                    await asyncio.to_thread(stack.wait_ready, process)
    at_rest = await harm.rest()
    ran = time.monotonic() - started
    found = await nothing_lost(stack, client, seconds=120)
    logs = ", ".join(f"{name} {head['sequence']}" for name, head in (await heads(stack)).items())
    harmed = ", ".join(f"{count} × {name}" for name, count in sorted(harm.done.items()))
    return (
        f"Seed {seed}, {ran:.0f} s: {sum(harm.done.values())} faults ({harmed}). {found}. No hole in any log ({logs});"
        f" at rest {at_rest:.1f} s after the last."
    )


async def _run(asked: argparse.Namespace) -> int:
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    print(f"SEED={seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack.at(Path(folder), {name: free_port() for name in PORTS}, extra=OPTIONS)
        try:
            await stack.start()
            found = await soak(
                stack,
                seed,
                seconds=asked.minutes * 60 if not asked.writes else 0,
                writes=asked.writes,
                only=asked.only.split(",") if asked.only else None,
                lose_bus_half_way=asked.lose_bus,
            )
        finally:
            stack.stop()
            stack.postgres.discard()
    print(found)
    if asked.section:
        report.write(ROOT / "docs" / "reliability.md", asked.section, f"{report.where_and_when()}. {found}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--writes", type=int, default=0, help="until so many are acknowledged, instead of minutes")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--only", help="these faults, with commas between them")
    parser.add_argument("--lose-bus", action="store_true", help="half-way, all data of the bus is lost")
    parser.add_argument("--section", help="write what was found into this section of docs/reliability.md")
    raise SystemExit(asyncio.run(_run(parser.parse_args())))
