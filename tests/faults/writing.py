"""A client that keeps writing and keeps its own list of what was acknowledged; and the oracles that judge by it."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import httpx

from deploy.embedded import Nats, Postgres
from deploy.issuer import Issuer
from services.reporting.rows import progress
from shared.calendar import written
from shared.database import engine
from shared.feed import MOST, FeedClient
from shared.outbox import LOCK, link
from shared.settings import Settings
from shared.verification import verify
from tests.house import eventually


class System(Protocol):
    """A running Kapstok: a `House` in this process, or a `Stack` of processes."""

    issuer: Issuer
    postgres: Postgres
    nats: Nats

    def url(self, service: str) -> str: ...

    def settings(self, service: str) -> Settings: ...

    @property
    def house_key(self) -> str: ...


@dataclass(frozen=True)
class Writes:
    """How a service is written to here, and how reporting shows it."""

    path: str
    registered: str
    described: str | None
    shown_at: str
    more: dict[str, Any]


WRITES = {
    "programme": Writes(
        "/programme/v1/partners",
        "nl.kapstok-programme.partner-registered.v1",
        "nl.kapstok-programme.partner-described.v1",
        "partners",
        {"kind": "ngo"},
    ),
    "recommendations": Writes(
        "/recommendations/v1/terms",
        "nl.kapstok-recommendations.term-introduced.v1",
        None,
        "domains",
        {"vocabulary": "domain"},
    ),
}
AGAIN = (429, 502, 503)


@dataclass
class Client:
    """Registers things one after another and renames some; each write is tried with one key until it is acknowledged.

    `acknowledged` holds, per service, the name that each code was last acknowledged with.
    """

    system: System
    prefix: str
    services: Sequence[str] = ("programme",)
    acknowledged: dict[str, dict[str, str]] = field(default_factory=dict)
    count: int = 0
    """Writes acknowledged."""
    refused: list[str] = field(default_factory=list)
    """Answers that no fault excuses."""
    statuses: Counter[str] = field(default_factory=Counter)
    """Every answer there was, and every error instead of one."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    pause: float = 0.0
    """Seconds that a writer rests between two writes."""

    async def write_on(self, writer: int = 0) -> None:
        """Write until `stopping`."""
        number = 0
        async with httpx.AsyncClient(timeout=15) as client:
            while not self.stopping.is_set():
                number += 1
                await self.write(client, f"{self.prefix}-{writer}-{number}", self.services[number % len(self.services)])
                await asyncio.sleep(self.pause)

    async def write(self, client: httpx.AsyncClient, code: str, service: str = "programme") -> None:
        """One thing, registered; every third one of programme is given another name afterwards."""
        how = WRITES[service]
        body = {"code": code, "name": {"nl": code}} | how.more
        thing = await self._until_acknowledged(client, "POST", service, how.path, body)
        if thing is None:
            return
        self._keep(service, code, code)
        if how.described and self.count % 3 == 0:
            renamed = {"name": {"nl": f"{code} anders"}}
            path = f"{how.path}/{thing['id']}"
            if await self._until_acknowledged(client, "PATCH", service, path, renamed, version=1) is not None:
                self._keep(service, code, f"{code} anders")

    def _keep(self, service: str, code: str, name: str) -> None:
        self.acknowledged.setdefault(service, {})[code] = name
        self.count += 1

    async def _until_acknowledged(
        self, client: httpx.AsyncClient, method: str, service: str, path: str, body: Any, version: int | None = None
    ) -> dict[str, Any] | None:
        headers = {
            "Authorization": f"Bearer {self.system.issuer.token('jenv', ['coordinator'])}",
            "Idempotency-Key": f'"{uuid5(NAMESPACE_URL, method + path + json.dumps(body))}"',
        }
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        for _ in range(1200):
            try:
                answer = await client.request(method, f"{self.system.url(service)}{path}", json=body, headers=headers)
            except httpx.HTTPError as error:
                self.statuses[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            self.statuses[str(answer.status_code)] += 1
            if answer.status_code in (200, 201):
                return answer.json()  # type: ignore[no-any-return]
            if answer.status_code not in AGAIN:
                self.refused.append(f"{method} {path} {body}: {answer.status_code} {answer.text[:200]}")
                return None
            await asyncio.sleep(0.05)
        self.refused.append(f"{method} {path} {body} was never acknowledged")
        return None


@asynccontextmanager
async def writing(client: Client, writers: int = 4) -> AsyncIterator[Client]:
    """A client at work while the body does its harm; afterwards every write it had begun is acknowledged."""
    tasks = [asyncio.create_task(client.write_on(number)) for number in range(writers)]
    try:
        yield client
    finally:
        client.stopping.set()
        await asyncio.gather(*tasks)


async def has_written(client: Client, count: int) -> bool:
    return client.count >= count


# --- what the logs hold, what the views show ---------------------------------------------------------------------


async def told(system: System, service: str) -> list[dict[str, Any]]:
    """Every event of a service's log in order, straight from its feed: numbered without holes, chained, rising."""
    found: list[dict[str, Any]] = []
    chain, recorded = "", ""
    feed = FeedClient(system.settings("reporting"), service)
    try:
        while items := (await feed.after(len(found), MOST)).items:
            for item in items:
                assert item.sequence == len(found) + 1, "the log has a hole"
                chain = link(chain, item.event)
                assert item.chain == chain, f"the chain breaks at {item.sequence}"
                event = json.loads(item.event)
                assert recorded < event["time"], f"time goes back at {item.sequence}"
                recorded = event["time"]
                found.append(event)
    finally:
        await feed.close()
    assert len({event["id"] for event in found}) == len(found), "an event was told twice"
    return found


def folded(service: str, events: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The plain truth: what a log says that exists, by code, with its name. A code told twice is an error."""
    how = WRITES[service]
    codes: dict[str, str] = {}
    names: dict[str, str] = {}
    for event in events:
        if event["type"] == how.registered and event["data"].get("vocabulary", "domain") == "domain":
            code = event["data"]["code"]
            assert code not in names, f"{code} was told twice"
            codes[event["subject"]], names[code] = code, event["data"]["name"]["nl"]
        elif event["type"] == how.described:
            names[codes[event["subject"]]] = event["data"]["name"]["nl"]
    return names


async def shown(system: System, service: str, moment: str | None = None) -> dict[str, str]:
    """What reporting shows of a service's things, by code, with their names; `moment` is both asOf and knownAt."""
    asked = {} if moment is None else {"asOf": moment, "knownAt": moment}
    async with httpx.AsyncClient(timeout=15) as client:
        url = f"{system.url('reporting')}/reporting/v1/progress/{WRITES[service].shown_at}"
        answer = await client.get(url, params=asked)
    assert answer.status_code == 200, answer.text
    found = [(line["code"], line["name"]["nl"]) for line in answer.json()["lines"]]
    assert len(dict(found)) == len(found), "a line is shown twice"
    return dict(found)


async def heads(system: System) -> dict[str, dict[str, Any]]:
    """Epoch, sequence and chain of every publisher."""
    found = {}
    async with httpx.AsyncClient(headers={"Kapstok-House-Key": system.house_key}, timeout=15) as client:
        for service in progress.owners:
            answer = await client.get(f"{system.url(service)}/{service}/v1/events/head")
            assert answer.status_code == 200, answer.text
            found[service] = answer.json()
    return found


async def checkpoints(system: System) -> dict[str, dict[str, Any]]:
    """Where reporting's live rows stand, per publisher, read from its database."""
    name = system.settings("reporting").database_url.get_secret_value().rpartition("/")[2]
    connection = await system.postgres.connect(name)
    try:
        schema = await connection.fetchval("select schema from generation where live and view = 'progress'")
        return {row["owner"]: dict(row) for row in await connection.fetch(f'select * from "{schema}".checkpoint')}
    finally:
        await connection.close()


async def caught_up(system: System, seconds: float = 30) -> dict[str, dict[str, Any]]:
    """Wait until reporting's checkpoints are the publishers' heads in epoch, sequence and chain."""

    async def equal() -> dict[str, dict[str, Any]] | None:
        ends, here = await heads(system), await checkpoints(system)
        for service, head in ends.items():
            mine = here.get(service, {"epoch": "", "sequence": 0, "chain": ""})
            assert (mine["epoch"], mine["sequence"], mine["chain"]) == (
                head["epoch"],
                head["sequence"],
                head["chain"],
            ), f"reporting is not where {service} is"
        return here

    return dict(await eventually(equal, seconds))


async def verified(system: System) -> None:
    """Reporting's rows are those that a view made again from the logs has."""
    settings = system.settings("reporting")
    made = engine(settings)
    view = progress.attach("reporting", made, None, settings)
    try:
        assert (await verify(view)).first is None
    finally:
        await view.close()
        await made.dispose()


async def nothing_lost(system: System, client: Client, *, moments: int = 20, seconds: float = 30) -> str:
    """The three oracles: every 2xx is in the log once; views stand at the heads; rows and figures say what a plain
    fold of the logs says, now and at random moments. In one phrase, what was found."""
    assert client.refused == [], client.refused[:5]
    await caught_up(system, seconds)
    events = 0
    for service, acknowledged in client.acknowledged.items():
        log = await told(system, service)
        truth = folded(service, log)
        lost = {code: name for code, name in acknowledged.items() if truth.get(code) != name}
        assert not lost, f"acknowledged and not in the log: {sorted(lost.items())[:5]}"
        assert await _when_answered(system, service) == truth, "the view is not what the log says"
        events += len(log)
        chance = random.Random(len(log))
        for event in chance.sample(log, min(moments // len(client.acknowledged), len(log))):
            moment = event["time"]
            until = [one for one in log if datetime.fromisoformat(one["time"]) <= datetime.fromisoformat(moment)]
            assert await shown(system, service, moment) == folded(service, until), f"the view of {moment} is wrong"
    await verified(system)
    return f"{client.count} acknowledged; {events} in the logs and in the view, each once"


async def _when_answered(system: System, service: str) -> dict[str, str]:
    """What is shown once reporting's process has seen where its rows stand."""
    ends = await heads(system)
    position = ".".join(f"{name[0]}{head['sequence']}" for name, head in ends.items())
    async with httpx.AsyncClient(timeout=15, headers={"Kapstok-At-Least": position}) as client:

        async def there() -> bool:
            return (await client.get(f"{system.url('reporting')}/reporting/v1/progress/domains")).status_code == 200

        await eventually(there, 20)
    return await shown(system, service)


# --- what no service would write ---------------------------------------------------------------------------------


async def slip_in(system: System, service: str, *events: dict[str, Any] | str) -> int:
    """Put events in a log by SQL, numbered and chained as its owner would; the last sequence. Texts go as they are."""
    database = system.settings(service).database_url.get_secret_value().rpartition("/")[2]
    connection = await system.postgres.connect(database)
    try:
        async with connection.transaction():
            await connection.execute("select pg_advisory_xact_lock($1)", LOCK)
            last = await connection.fetchrow("select sequence, chain from outbox order by sequence desc limit 1")
            sequence, chain = (last["sequence"], last["chain"]) if last else (0, "")
            at = await connection.fetchval("select clock_timestamp()")
            rows = []
            for event in events:
                sequence, at = sequence + 1, at + timedelta(microseconds=1)
                if isinstance(event, dict):
                    event = event | {"sequence": f"{sequence:010d}", "time": written(at)}
                    text, id, kind, entity = json.dumps(event, separators=(",", ":")), *_names(event)
                else:
                    text, id, kind, entity = event, uuid4(), "nl.kapstok-programme.unreadable.v1", uuid4()
                chain = link(chain, text)
                rows.append((sequence, id, kind, entity, 1, at, text, chain))
            await connection.executemany("insert into outbox values ($1, $2, $3, $4, $5, $6, $7, $8)", rows)
        return int(sequence)
    finally:
        await connection.close()


def _names(event: dict[str, Any]) -> tuple[UUID, str, UUID]:
    return UUID(event["id"]), event["type"], UUID(event["subject"])


def an_event(service: str, fact: str, /, **data: Any) -> dict[str, Any]:
    """A CloudEvent of a service, of any type, with any data."""
    return {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": f"urn:nld:oin:00000099000000001000:systeem:kapstok-{service}",
        "type": f"nl.kapstok-{service}.{fact}",
        "subject": str(uuid4()),
        "datacontenttype": "application/json",
        "sequencetype": "Integer",
        "data": {"version": 1, "effectiveFrom": "2018-10-19", "actedBy": {"organisation": "x", "function": "y"}} | data,
    }


async def broken_event(system: System, service: str) -> tuple[str, str]:
    """An event of a known type whose data fits nothing; its id and its entity."""
    event = an_event(service, {"recommendations": "term-introduced.v1", "programme": "partner-registered.v1"}[service])
    await slip_in(system, service, event)
    return event["id"], event["subject"]
