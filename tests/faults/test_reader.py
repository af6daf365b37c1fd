"""Faults of whoever reads: killed at its commit, doubled, its database lost, its owner away, its events poisonous."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import nats
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from deploy.embedded import end, free_port, spawn
from deploy.stack import ROOT, Stack
from services import tend
from services.reporting.rows import progress
from shared import projection
from shared.events.event import stream
from shared.events.programme import PartnerDescribed
from shared.projection import Checkpoint, Decision
from tests.faults.conftest import Measured
from tests.faults.test_killed import kill_and_bring_back
from tests.faults.writing import (
    Client,
    an_event,
    caught_up,
    checkpoints,
    heads,
    nothing_lost,
    shown,
    slip_in,
    told,
    writing,
)
from tests.house import Builder, House, eventually

pytestmark = pytest.mark.fault
BOTH = ("programme", "recommendations")


# --- the process -----------------------------------------------------------------------------------------------


async def reader_dies_at(stack: Stack, point: str, note: Path) -> None:
    """Replace reporting by one that kills itself at a point; wait until it has; bring a sound one back."""
    end(stack.processes["reporting"])
    stack.start_service(
        "reporting", app="tests.faults.crashing:reporting", CRASH_AT=point, CRASH_AFTER="5", CRASH_NOTE=str(note)
    )

    async def dead() -> bool:
        return stack.processes["reporting"].poll() is not None

    await eventually(dead, 30)
    assert stack.processes["reporting"].returncode == -signal.SIGKILL
    assert note.read_text() == point
    stack.start_service("reporting")
    await asyncio.to_thread(stack.wait_ready, "reporting")


@pytest.mark.parametrize(
    "point",
    [
        pytest.param("reader before commit", marks=pytest.mark.row(41)),
        pytest.param("reader after commit", marks=pytest.mark.row(42)),
    ],
)
async def test_a_reader_killed_around_its_commit_takes_everything_up_once(
    point: str, stack: Stack, tmp_path: Path, measured: Measured
) -> None:
    client = Client(stack, point.replace(" ", "-"), services=BOTH, pause=0.02)
    async with writing(client):
        await reader_dies_at(stack, point, tmp_path / "note")
    measured(await nothing_lost(stack, client))


@pytest.mark.row(43)
async def test_two_readers_of_one_view_are_exact(stack: Stack, measured: Measured) -> None:
    """Two processes on the same rows, one of them killed now and then."""
    twin = replace(stack, ports=stack.ports | {"reporting": free_port()}, processes={})
    twin.start_service("reporting")
    await asyncio.to_thread(twin.wait_ready, "reporting")
    try:
        client = Client(stack, "twins", services=BOTH, pause=0.02)
        async with writing(client):
            for _ in range(2):
                await asyncio.sleep(0.5)
                await kill_and_bring_back(twin, "reporting")
        measured(await nothing_lost(stack, client))
        for service in BOTH:
            assert await shown(twin, service) == await shown(stack, service)
    finally:
        end(twin.processes["reporting"])


@pytest.mark.row(44)
async def test_a_reader_whose_database_is_lost_makes_everything_again(stack: Stack, measured: Measured) -> None:
    """Dropped under its hands, and made anew empty; nobody starts the service again."""
    client = Client(stack, "lost", services=BOTH, pause=0.02)
    seen: set[int] = set()
    async with writing(client):
        await asyncio.sleep(0.5)
        connection = await stack.postgres.connect()
        await connection.execute("drop database reporting with (force)")
        await connection.close()
        async with httpx.AsyncClient(timeout=15) as asking:
            url = f"{stack.url('reporting')}/reporting/v1/progress/partners"
            for _ in range(20):
                seen.add((await asking.get(url, params={"asOf": "2026-01-01"})).status_code)
                await asyncio.sleep(0.02)
            await stack.postgres.ensure_database("reporting", stack.secret)
            started = monotonic()

            async def answers() -> bool:
                seen.add((await asking.get(url, params={"asOf": "2026-01-01"})).status_code)
                return (await asking.get(f"{stack.url('reporting')}/health/ready")).status_code == 200

            await eventually(answers, 30)
            seconds = monotonic() - started
    assert seen <= {200, 503} and 503 in seen
    measured(f"{await nothing_lost(stack, client)}; filled again {seconds:.1f} s after the empty database")


@pytest.mark.row(58)
async def test_without_a_database_a_service_waits_and_says_so(stack: Stack, measured: Measured) -> None:
    await asyncio.to_thread(end, stack.processes["programme"])
    await asyncio.to_thread(stack.postgres.stop)
    stack.start_service("programme")
    async with httpx.AsyncClient(timeout=15) as asking:

        async def lives() -> bool:
            return (await asking.get(f"{stack.url('programme')}/health/live")).status_code == 200

        await eventually(lives, 20)
        ready = await asking.get(f"{stack.url('programme')}/health/ready")
        refused = await asking.get(f"{stack.url('programme')}/programme/v1/partners")
    assert (ready.status_code, refused.status_code) == (503, 503)
    assert "retry-after" in refused.headers
    await asyncio.to_thread(stack.postgres.start)
    started = monotonic()
    await asyncio.to_thread(stack.wait_ready, "programme")
    measured(f"503 with Retry-After; ready {monotonic() - started:.1f} s after the database")
    client = Client(stack, "late")
    async with writing(client, 1):
        await asyncio.sleep(0.3)
    await nothing_lost(stack, client)


# --- the owner -------------------------------------------------------------------------------------------------


@pytest.mark.row(45)
async def test_a_gap_whose_owner_is_away_waits_for_it_and_names_it(own_house: House, measured: Measured) -> None:
    """The messages are gone, the owner is away: the reader says whom it waits for, and follows the others on."""
    house = own_house
    client = Client(house, "gap")
    async with httpx.AsyncClient(timeout=15) as writer:
        await client.write(writer, "gap-before")
        await caught_up(house)
        await house.stop("reporting")
        for number in range(5):
            await client.write(writer, f"gap-{number}")
        async with connected(house) as js:
            await _until_published(house)
            await js.purge_stream(stream("programme"))
        await house.stop("programme")
        await house.start("reporting")
        await client.write(writer, "other", "recommendations")

        async def names_it() -> bool:
            found = (await house.client.get(f"{house.url('reporting')}/health/detail")).json()["views"]["progress"]
            return not found["programme"]["ownerAnswers"] and found["recommendations"]["checkpoint"] == 1

        await eventually(names_it)
        assert (await shown(house, "programme")).keys() == {"gap-before"}, "what was followed before is still shown"
        assert "other" in await shown(house, "recommendations")
        await house.start("programme")
    started = monotonic()
    await caught_up(house)
    measured(f"healed {monotonic() - started:.1f} s after its owner was back")
    await nothing_lost(house, client)


async def _until_published(house: House, service: str = "programme") -> None:
    async def published() -> bool:
        found = (await house.client.get(f"{house.url(service)}/health/detail")).json()
        return bool(found["outbox"]["waiting"] == 0)

    await eventually(published)


def connected(house: House) -> Any:
    """A look past the services, straight at the stream."""
    return _Connected(house.nats.url)


class _Connected:
    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Any:
        self._client = await nats.connect(self._url)
        return self._client.jetstream()

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()


@pytest.mark.row(52)
async def test_what_a_dead_reader_took_and_never_acknowledged_is_read_at_once(
    own_house: House, measured: Measured
) -> None:
    """As many messages as a reader may hold, fetched by one that dies; the bus gives them again only much later."""
    house = own_house
    client = Client(house, "held")
    async with httpx.AsyncClient(timeout=15) as writer:
        await client.write(writer, "held-before")
        await caught_up(house)
        await house.stop("reporting")
        await slip_in(house, "programme", *(an_event("programme", "nobody-knows.v1") for _ in range(2000)))
        await client.write(writer, "held-after")
    await _until_published(house)
    held = 0
    async with connected(house) as js:
        dead = await js.pull_subscribe_bind("reporting_progress", stream("programme"))
        while held < 2000:
            held += len(await dead.fetch(250, timeout=5))
        info = await js.consumer_info(stream("programme"), "reporting_progress")
    assert info.num_ack_pending >= 2000
    started = monotonic()
    await house.start("reporting")
    await caught_up(house, 5)
    measured(f"{held} messages held by the dead; its successor was exact {monotonic() - started:.1f} s after its start")
    await nothing_lost(house, client)


# --- the events ------------------------------------------------------------------------------------------------


@contextmanager
def poisonous() -> Iterator[Callable[[], None]]:
    """Reporting cannot take up a new name while this is so; call what it gives to mend it."""
    handler = progress._handlers[PartnerDescribed.type]

    async def fail(session: AsyncSession, event: PartnerDescribed) -> None:
        raise ValueError("a defect of ours")

    def mend() -> None:
        progress._handlers[PartnerDescribed.type] = handler

    progress._handlers[PartnerDescribed.type] = fail
    try:
        yield mend
    finally:
        mend()


async def stopped_at(house: House) -> dict[str, Any]:
    async def stopped() -> dict[str, Any] | None:
        found = (await house.client.get(f"{house.url('reporting')}/health/detail")).json()["views"]["progress"]
        return found["programme"]["stoppedAt"]  # type: ignore[no-any-return]

    return dict(await eventually(stopped))


@pytest.mark.row(46)
async def test_at_a_poisonous_event_the_view_stops_visibly_and_goes_on_when_mended(
    own_house: House, measured: Measured
) -> None:
    house = own_house
    client = Client(house, "poison", services=BOTH, pause=0.02)
    with poisonous() as mend:
        async with writing(client):
            found = await stopped_at(house)
            before = (await checkpoints(house))["recommendations"]["sequence"]

            async def others_go_on() -> bool:
                return (await checkpoints(house))["recommendations"]["sequence"] > before + 3

            await eventually(others_go_on)
            assert (await checkpoints(house))["programme"]["sequence"] == found["sequence"] - 1
            log = await told(house, "programme")
            assert log[found["sequence"] - 1]["id"] == found["eventId"]
            mend()
    measured(f"stopped at event {found['sequence']} while the rest ran on; {await nothing_lost(house, client)}")


@pytest.mark.row(46)
async def test_a_poisonous_event_that_is_parked_holds_up_nothing_else(own_house: House, measured: Measured) -> None:
    house = own_house
    client = Client(house, "parked")
    with poisonous() as mend:
        async with writing(client, 1):
            parked = []
            for _ in range(3):
                found = await stopped_at(house)
                assert await operator(house, "park", "--owner", "programme", "--by", "us", "--reason", "x") == tend.DONE
                parked.append(found["sequence"])

                async def went_on(sequence: int = found["sequence"]) -> bool:
                    return (await checkpoints(house))["programme"]["sequence"] >= sequence

                await eventually(went_on)
            client.stopping.set()
        while (await heads(house))["programme"]["sequence"] > (await checkpoints(house))["programme"]["sequence"]:
            await operator(house, "park", "--owner", "programme", "--by", "us", "--reason", "x")
        here = await shown(house, "programme")
        assert here.keys() == client.acknowledged["programme"].keys()
        assert all(name == code for code, name in here.items()), "no entity shows what it could not take up"
        mend()
        aside = (await house.client.get(f"{house.url('reporting')}/health/detail")).json()["views"]["progress"]
        for one in aside["parked"]:
            assert await operator(house, "release", "--id", one["id"], "--by", "us") == tend.DONE
    measured(f"{len(aside['parked'])} entities parked and released; {await nothing_lost(house, client)}")


async def operator(house: House, verb: str, *more: str) -> int:
    return await tend.run(tend.asked_for([verb, "reporting", *more]), house.settings("reporting"))


@pytest.mark.row(47)
@pytest.mark.parametrize("broken", ['{"half', '"text"', '{"type": 3}'])
async def test_at_broken_bytes_every_view_stops_visibly_and_goes_on_when_they_are_parked(
    broken: str, own_house: House, measured: Measured
) -> None:
    """Nobody can mend bytes that are in the log for good: they are parked."""
    house = own_house
    client = Client(house, "broken")
    readers = ("recommendations", "monitor", "reporting")
    async with writing(client, 2):
        await asyncio.sleep(0.3)
        sequence = await slip_in(house, "programme", broken)
        assert (await stopped_at(house))["sequence"] == sequence
        await asyncio.sleep(0.3)
        for reader in readers:
            asked = [reader, "--owner", "programme", "--by", "us", "--reason", "Broken."]
            assert await tend.run(tend.asked_for(["park", *asked]), house.settings(reader)) == tend.DONE
    await caught_up(house)
    assert client.refused == []
    assert await shown(house, "programme") == client.acknowledged["programme"]
    measured(f"stopped at event {sequence}; parked; then all of {client.count} acknowledged writes were shown")


@pytest.mark.row(48)
async def test_an_unknown_type_and_unknown_fields_pass(own_house: House, measured: Measured) -> None:
    """As from an owner of a newer version."""
    house = own_house
    client = Client(house, "newer")
    async with writing(client, 1):
        for number in range(10):
            known = {
                "reference": f"PRT-2030-{number}",
                "code": f"slipped-{number}",
                "name": {"nl": "Nieuwer", "fy": "Nijer"},
                "kind": "ngo",
                "mood": "good",
            }
            await slip_in(
                house,
                "programme",
                an_event("programme", "partner-applauded.v1", how="loudly"),
                an_event("programme", "partner-registered.v1", **known),
            )
            await asyncio.sleep(0.03)
    measured(await nothing_lost(house, client))
    assert "slipped-9" in await shown(house, "programme")


# --- making it again -------------------------------------------------------------------------------------------


@pytest.mark.row(50)
async def test_while_a_view_is_made_again_answers_are_never_empty_and_never_go_back(
    own_house: House, measured: Measured
) -> None:
    house = own_house
    client = Client(house, "again", services=BOTH, pause=0.02)
    done = asyncio.Event()

    async def watch() -> int:
        last: dict[str, int] = {}
        looks, lines = 0, 0
        while not done.is_set():
            answer = await house.get("/reporting/v1/progress/partners", by=None)
            position = {part[0]: int(part[1:]) for part in answer["position"].split(".")}
            assert all(position[owner] >= sequence for owner, sequence in last.items()), (last, position)
            assert len(answer["lines"]) >= lines, "a line was gone"
            last, lines, looks = position, len(answer["lines"]), looks + 1
            await asyncio.sleep(0.005)
        return looks

    async with writing(client, 2):
        watching = asyncio.create_task(watch())
        for _ in range(4):
            assert await operator(house, "rebuild") == tend.DONE
        assert await operator(house, "rebuild", "--force") == tend.DONE
        done.set()
        looks = await watching
    measured(f"5 rebuilds, {looks} answers; {await nothing_lost(house, client)}")


@pytest.mark.row(51)
async def test_a_rebuild_killed_half_way_leaves_the_live_rows_and_the_next_succeeds(
    stack: Stack, tmp_path: Path, measured: Measured
) -> None:
    client = Client(stack, "half-way", services=BOTH, pause=0.02)
    kills = 0
    async with writing(client, 2):
        await asyncio.sleep(0.5)
        command = [sys.executable, "-m", "services.tend", "rebuild", "reporting"]
        environment = stack.environment("reporting")
        for moment in (1.0, 1.3):
            making = spawn(command, tmp_path / "rebuild.log", env=environment, cwd=ROOT)
            await asyncio.sleep(moment)
            if making.poll() is None:
                making.kill()
                kills += 1
            await asyncio.to_thread(making.wait)
            assert await shown(stack, "programme"), "there are rows to answer with"
        whole = spawn(command, tmp_path / "rebuild.log", env=environment, cwd=ROOT)
        assert await asyncio.to_thread(whole.wait, 30) == tend.DONE, (tmp_path / "rebuild.log").read_text()
    assert kills > 0
    measured(f"{kills} rebuilds killed; {await nothing_lost(stack, client)}")


# --- the control -----------------------------------------------------------------------------------------------


def without_the_gap_check(
    at: Checkpoint, epoch: str, sequence: int, chain: str, event: str, *, from_feed: bool
) -> Decision:
    return Decision.APPLY if epoch == at.epoch and sequence > at.sequence else Decision.DROP


async def lose_a_message(house: House, client: Client) -> None:
    """Of three writes, the second one's message is gone before a reader sees it; the head is asked too seldom."""
    async with httpx.AsyncClient(timeout=15) as writer:
        await client.write(writer, "control-1", "recommendations")
        await caught_up(house)
        await house.stop("reporting")
        await client.write(writer, "control-2", "recommendations")
        await client.write(writer, "control-3", "recommendations")
        await _until_published(house, "recommendations")
        async with connected(house) as js:
            last = (await js.stream_info(stream("recommendations"))).state.last_seq
            await js.delete_msg(stream("recommendations"), last - 1)
        house.own["reporting"] = {"head_check_seconds": 3600}
        await house.start("reporting")


@pytest.mark.parametrize("checked", [True, False])
async def test_the_oracles_notice_a_reader_that_does_not_check_for_gaps(
    checked: bool, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same loss, with the gap check and without; without it, it must be found out."""
    async with builder.house() as house:
        client = Client(house, "control")
        if not checked:
            monkeypatch.setattr(projection, "decide", without_the_gap_check)
            monkeypatch.setattr(projection.Attached, "_check_head", _never)
        await lose_a_message(house, client)
        if checked:
            await nothing_lost(house, client)
            return
        await caught_up(house)
        monkeypatch.undo()
        with pytest.raises(AssertionError, match="the view is not what the log says"):
            await nothing_lost(house, client)


async def _never(view: projection.Attached, owner: str) -> None:
    """The head is not asked."""
