"""Three nats-servers in a cluster, every stream on all three: a leader is killed, and two of three disks are lost."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import nats
import pytest
from nats.js.api import StreamInfo
from nats.js.errors import APIError

from deploy.embedded import LOOPBACK, Nats, free_port
from tests.faults import bus
from tests.faults.conftest import Measured
from tests.faults.standing import stored_once_and_in_order
from tests.faults.writing import Client, nothing_lost, writing
from tests.house import Builder, House, eventually

pytestmark = pytest.mark.fault


KILLS = 3 if "FAULTS_REPORT" in os.environ else 1


@dataclass
class Cluster(Nats):
    """Three servers behind what one is elsewhere; its `url` names all of them."""

    servers: tuple[Nats, ...] = ()

    @classmethod
    def of_three(cls, home: Path) -> "Cluster":
        routes = [free_port() for _ in range(3)]
        others = ", ".join(f'"nats-route://{LOOPBACK}:{port}"' for port in routes)
        servers = []
        for number, route in enumerate(routes):
            more = f"cluster {{ name: kapstok, listen: {LOOPBACK}:{route}, routes: [{others}] }}"
            own = home / str(number)
            servers.append(Nats(own / "nats", free_port(), own / "nats.log", f"kapstok-{number}", more))
        return cls(home, 0, home / "log", servers=tuple(servers))

    @property
    def url(self) -> str:
        return ",".join(server.url for server in self.servers)

    def start(self) -> None:
        for server in self.servers:
            server.start()

    def stop(self) -> None:
        for server in self.servers:
            server.stop()


@asynccontextmanager
async def clustered(builder: Builder, home: Path) -> AsyncIterator[tuple[House, Cluster]]:
    cluster = Cluster.of_three(home)
    async with builder.house(
        bus=cluster, stream_replicas=3, stream_max_bytes=64 << 20, head_check_seconds=bus.SELDOM
    ) as house:
        yield house, cluster


async def _quiet(_: Exception) -> None:
    """One of the servers is dead; the client says so each time that it tries it."""


async def info(cluster: Cluster) -> StreamInfo | None:
    """How programme's stream is; None while the cluster does not say."""
    client = await nats.connect(cluster.url.split(","), connect_timeout=2, error_cb=_quiet)
    try:
        return await client.jetstream(timeout=2).stream_info(bus.name_of())
    except (APIError, TimeoutError, nats.errors.Error):
        return None
    finally:
        await client.close()


async def leader(cluster: Cluster) -> Nats:
    """The server that leads programme's stream."""

    async def found() -> Nats | None:
        here = await info(cluster)
        if here is None or here.cluster is None or not here.cluster.leader:
            return None
        return cluster.servers[int(here.cluster.leader[-1])]

    leading: Nats = await eventually(found, 60)
    return leading


async def whole(cluster: Cluster) -> bool:
    """Both other servers have what the leader has."""
    here = await info(cluster)
    followers = (here.cluster.replicas or []) if here is not None and here.cluster is not None else []
    return [one.current for one in followers] == [True, True]


@pytest.mark.row(53)
async def test_when_the_leader_of_a_cluster_is_killed_nothing_is_lost_and_no_hand_is_needed(
    builder: Builder, tmp_path: Path, measured: Measured
) -> None:
    async with clustered(builder, tmp_path) as (house, cluster):
        before = await bus.made(house)
        client = Client(house, "leader", pause=0.05)
        longest = 0.0
        async with writing(client, 2):
            for _ in range(KILLS):
                await bus.more(client, 30)
                await bus.published(house)
                await eventually(lambda: whole(cluster), 60)
                first = await leader(cluster)
                await bus.kill(first)
                started, so_far = monotonic(), client.count
                while (await leader(cluster)) is first:
                    await asyncio.sleep(0.1)
                await bus.more(client, 30)
                await bus.published(house)
                longest = max(longest, monotonic() - started)
                meanwhile = client.count - so_far
                await bus.start(first)
                await eventually(lambda: whole(cluster), 60)
        assert not {"500", "503"} & set(client.statuses), client.statuses
        slowest = await bus.flows(house)
        await stored_once_and_in_order(house)
        assert await bus.made(house) == before
        seen = f"killed {KILLS} times, published again within {longest:.1f} s, {meanwhile} written meanwhile"
        measured(f"{seen}; {await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")


@pytest.mark.row(54)
async def test_when_two_of_three_disks_are_lost_views_are_exact_and_fresh_facts_flow(
    builder: Builder, tmp_path: Path, measured: Measured
) -> None:
    """The two blank servers start first and agree with each other that there is nothing."""
    async with clustered(builder, tmp_path) as (house, cluster):
        before = await bus.made(house)
        client = Client(house, "blank", pause=0.05)
        async with writing(client, 2):
            await bus.more(client, 60)
            await bus.published(house)
            for server in cluster.servers:
                await bus.kill(server)
            for server in cluster.servers[:2]:
                server.lose_everything()
            await bus.more(client, 30)
            started = monotonic()
            for server in cluster.servers[:2]:
                await bus.start(server)
            await asyncio.sleep(3)
            await bus.start(cluster.servers[2])
            await bus.more(client, 30)
            slowest = await bus.flows(house)
            took = monotonic() - started
        assert not {"500", "503"} & set(client.statuses), client.statuses
        assert await bus.made(house) == before
        seen = f"flowing {took:.1f} s after the first blank server"
        measured(f"{seen}; {await nothing_lost(house, client)}; fresh facts taken up within {slowest:.2f} s")
