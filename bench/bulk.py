"""Files of 10,000 lines: lines a second, beside single requests, and how long another writer waits meanwhile."""

import argparse
import asyncio
import csv
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import httpx

from deploy.embedded import free_port
from deploy.stack import PORTS, Stack

TARGET = 500
"""Lines a second."""
WISH = 2000


class Sender:
    """Sends files and requests to a running stack."""

    def __init__(self, stack: Stack, client: httpx.AsyncClient) -> None:
        self._stack = stack
        self._client = client

    async def post(self, service: str, path: str, **given: Any) -> httpx.Response:
        headers = {
            "Authorization": f"Bearer {self._stack.issuer.token('jenv', ['coordinator'])}",
            "Idempotency-Key": f'"{uuid4()}"',
        } | given.pop("headers", {})
        url = f"{self._stack.url(service)}/{service}/v1/{path}"
        answer = await self._client.post(url, headers=headers, **given)
        answer.raise_for_status()
        return answer

    async def bring(self, service: str, kind: str, rows: list[dict[str, str]], query: str = "") -> float:
        """Seconds from sending a file until all of it is there."""
        started = perf_counter()
        body = _csv(rows)
        sent = await self.post(
            service, f"imports?kind={kind}{query}", content=body, headers={"Content-Type": "text/csv"}
        )
        token = {"Authorization": f"Bearer {self._stack.issuer.token('jenv', ['coordinator'])}"}
        while True:
            url = f"{self._stack.url(service)}{sent.headers['location']}"
            found = (await self._client.get(url, headers=token)).json()
            if found["finishedAt"] is not None:
                break
            await asyncio.sleep(0.05)
        if found["state"] != "done":
            raise RuntimeError(f"{kind}: {found['problem'] or found['errors'][:3]}")
        return perf_counter() - started

    async def single(self, number: int) -> float:
        """Seconds that one registration takes."""
        started = perf_counter()
        await self.post("programme", "partners", json={"code": f"one-{number}", "name": {"nl": "Een"}, "kind": "ngo"})
        return perf_counter() - started

    async def meanwhile(self, brought: "asyncio.Task[float]", first: int) -> float:
        """The longest that a single write takes while a file is being taken."""
        longest, number = 0.0, first
        while not brought.done():
            longest, number = max(longest, await self.single(number)), number + 1
            await asyncio.sleep(0.02)
        return longest


def _csv(rows: list[dict[str, str]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0], delimiter=";")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _partners(lines: int, mark: str) -> list[dict[str, str]]:
    return [
        {
            "code": f"{mark}-{number}",
            "name.nl": f"Organisatie {number}",
            "name.en": f"Organisation {number}",
            "kind": "ngo",
            "domains": "zorg; beleid",
            "externalIds": f"bench:{mark}-{number}",
        }
        for number in range(lines)
    ]


def _pairs(lines: int, actions: int) -> Iterable[tuple[int, int]]:
    return ((number // actions, number % actions) for number in range(lines))


async def measure(send: Sender, lines: int) -> dict[str, tuple[float, float]]:
    """Per file: lines a second, and the longest that another writer waited."""
    terms = [{"vocabulary": "domain", "code": code, "name.nl": code} for code in ("zorg", "beleid")]
    await send.bring("recommendations", "terms", terms)
    await send.bring("recommendations", "issuing-bodies", [{"name.nl": "Lichaam", "externalIds": "bench:body"}])
    source = {"issuingBody": "bench:body", "title.nl": "Rapport", "externalIds": "bench:source"}
    await send.bring("recommendations", "sources", [source])
    side = max(1, int(lines**0.5))
    asked = [
        {"source": "bench:source", "summary.nl": f"Aanbeveling {number}", "externalIds": f"bench:r{number}"}
        for number in range(lines // side + 1)
    ]
    await send.bring("recommendations", "recommendations", asked)
    await send.bring("programme", "programmes", [{"name.nl": "Programma", "externalIds": "bench:programme"}])
    planned = [
        {"programme": "bench:programme", "name.nl": f"Actie {number}", "externalIds": f"bench:a{number}"}
        for number in range(side)
    ]
    await send.bring("programme", "actions", planned)
    await asyncio.sleep(2)  # programme follows the terms and what is asked

    links = [
        {
            "action": f"bench:a{action}",
            "recommendation": f"bench:r{answered}",
            "contribution": "partial",
            "rationale.nl": "Deel.",
        }
        for answered, action in _pairs(lines, side)
    ]
    files = {
        "partners, whole": ("partners", _partners(lines, "whole"), ""),
        "partners, each": ("partners", _partners(lines, "each"), "&mode=each"),
        "partners, dry run": ("partners", _partners(lines, "dry"), "&dryRun=true"),
        "partners, again": ("partners", _partners(lines, "whole"), ""),
        "links, whole": ("links", links, ""),
    }
    found = {}
    for turn, (what, (kind, rows, query)) in enumerate(files.items()):
        bringing = asyncio.create_task(send.bring("programme", kind, rows, query))
        waited = await send.meanwhile(bringing, turn * 100_000)
        found[what] = (len(rows) / await bringing, waited)
    started = perf_counter()
    for number in range(200):
        await send.single(900_000 + number)
    found["one by one"] = (200 / (perf_counter() - started), 0.0)
    return found


async def _run(lines: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack.at(Path(folder), {name: free_port() for name in PORTS})
        try:
            await stack.start("recommendations", "programme")
            async with httpx.AsyncClient(timeout=120) as client:
                found = await measure(Sender(stack, client), lines)
        finally:
            stack.stop()
            stack.postgres.discard()
    for what, (speed, waited) in found.items():
        print(f"{what:<18} {speed:7.0f} lines/s   another writer waited {waited:5.2f} s at most")
    slowest = min(speed for what, (speed, _) in found.items() if what != "one by one")
    print(f"Target: at least {TARGET} lines/s ({'met' if slowest >= TARGET else 'NOT met'}); wished for: {WISH}.")
    return 0 if slowest >= TARGET else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000)
    raise SystemExit(asyncio.run(_run(parser.parse_args().lines)))
