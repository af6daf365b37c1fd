"""Loads the fact base through the public APIs, like any client: idempotent, and with its gaps left open."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import httpx
import yaml

from deploy.issuer import Issuer

FACTS = Path(__file__).parent / "facts"
SYSTEM = "facts"
"""The name of the fact base in `externalIds`, by which a second run finds what the first one made."""

Item = dict[str, Any]
Told = Callable[[str, int, int], None]


class SeedFailed(Exception):
    """A service refused a fact; the message says which and why."""


@dataclass
class Seed:
    """One load: where the services are, who speaks, and what has been found or made so far."""

    urls: dict[str, str]
    token: Callable[[str, list[str]], str]
    """A bearer token for an organisation's functions."""
    told: Told = lambda what, done, total: None
    ids: dict[str, dict[str, str]] = field(default_factory=dict)
    """Per noun, the id of each key."""
    made: int = 0
    position: dict[str, str] = field(default_factory=dict)
    """Per service, the position of the last fact told: what the next service must have followed."""

    async def load(self, *, demonstration: bool = False, today: date | None = None) -> None:
        """The real facts, in the order in which they need each other; then, if asked, the demonstration."""
        async with httpx.AsyncClient(timeout=30) as self._client:
            await self._load_real(today or date.today())  # noqa: DTZ011  # the local day names the round
            if demonstration:
                await self._load_demonstration()

    async def _load_real(self, today: date) -> None:
        await self._each("recommendations", "terms", _read("terms"), self._term)
        await self._each("programme", "partners", _read("partners"), self._partner)
        await self._each("recommendations", "issuing-bodies", _read("issuing-bodies"), self._issuing_body)
        await self._each("recommendations", "sources", _read("sources"), self._source)
        await self._each("recommendations", "recommendations", _read("recommendations"), self._recommendation)
        await self._each("programme", "programmes", _read("programmes"), self._programme)
        await self._each("programme", "action-lines", _read("action-lines"), self._action_line)
        await self._each("programme", "actions", _read("actions"), self._action)
        await self._bring_actions_on(_read("actions"))
        await self._each("programme", "links", _read("links"), self._link)
        await self._confirm_links(_read("links"))
        await self._each("monitor", "rounds", [_round(today)], self._round)
        await self._open_round()

    async def _load_demonstration(self) -> None:
        found = yaml.safe_load((FACTS / "demonstration.yaml").read_text(encoding="utf-8"))
        await self._each("programme", "partners", found["partners"], self._partner)
        await self._each("recommendations", "issuing-bodies", found["issuingBodies"], self._issuing_body)
        await self._each("recommendations", "sources", found["sources"], self._source)
        await self._each("recommendations", "recommendations", found["recommendations"], self._recommendation)
        await self._each("programme", "programmes", found["programmes"], self._programme)
        await self._each("programme", "actions", found["actions"], self._action)
        await self._each("programme", "links", found["links"], self._link)
        await self._bring_actions_on(found["actions"])
        await self._confirm_links(found["links"])
        await self._each("monitor", "obligations", found["obligations"], self._obligation)
        await self._each("monitor", "reports", found["reports"], self._report, organisation="partner")
        for report in found["reports"]:
            await self._bring_report_on(report)
        await self._each(
            "monitor", "assessments", found["assessments"], self._assessment, functions=["task-force-member"]
        )

    # - one noun -

    async def _each(
        self,
        service: str,
        noun: str,
        items: list[Item],
        body: Callable[[Item], Item],
        *,
        organisation: str = "",
        functions: list[str] | None = None,
    ) -> None:
        """Make what is not there yet; what is there, by its key, stays as it is."""
        known = self.ids.setdefault(noun, {})
        if not known:
            known.update(await self._present(service, noun))
        for number, item in enumerate(items, start=1):
            if item["key"] not in known:
                speaker = item[organisation] if organisation else "jenv"
                acting = functions or (["reporter"] if organisation else ["coordinator"])
                answer = await self._post(
                    service,
                    f"/{noun}",
                    _frame(item) | body(item),
                    token=self.token(speaker, acting),
                    key=f"{noun}/{item['key']}",
                )
                known[item["key"]] = answer["id"]
                self.made += 1
            self.told(noun, number, len(items))

    async def _present(self, service: str, noun: str) -> dict[str, str]:
        """Keys and ids of what an earlier run made."""
        found: dict[str, str] = {}
        cursor = ""
        while True:
            query = f"?limit=500{f'&cursor={cursor}' if cursor else ''}"
            answer = await self._get(service, f"/{noun}{query}")
            for item in answer["items"]:
                if SYSTEM in item["externalIds"]:
                    found[item["externalIds"][SYSTEM]] = item["id"]
            if not answer.get("next"):
                return found
            cursor = answer["next"]

    def _id(self, noun: str, key: str) -> str:
        return self.ids[noun][key]

    def _ids(self, noun: str, keys: list[str]) -> list[str]:
        return [self._id(noun, key) for key in keys]

    def _term(self, item: Item) -> Item:
        return _pick(item, "vocabulary", "code", "name", "definition", "parent", "group")

    def _round(self, item: Item) -> Item:
        return _pick(item, "name", "opensOn", "dueOn", "closesOn")

    def _partner(self, item: Item) -> Item:
        return _pick(item, "code", "name", "aliases", "kind", "chainRoles", "domains")

    def _issuing_body(self, item: Item) -> Item:
        body = _pick(item, "name", "gradingScheme")
        return body | ({"partnerId": self._id("partners", item["partner"])} if "partner" in item else {})

    def _source(self, item: Item) -> Item:
        names = ("title", "series", "round", "publishedOn", "publishedOnPrecision", "adoptedOn")
        more = ("periodFrom", "periodTo", "followUp", "namedInColumn")
        return _pick(item, *names, *more) | {"issuingBodyId": self._id("issuing-bodies", item["issuingBody"])}

    def _recommendation(self, item: Item) -> Item:
        names = ("kind", "strength", "paragraph", "summary", "addresseesBasis", "domains", "forms", "goals", "levels")
        return _pick(item, *names, "classification") | {
            "sourceId": self._id("sources", item["source"]),
            "addressees": self._ids("partners", item.get("addressees", [])),
        }

    def _programme(self, item: Item) -> Item:
        names = ("name", "subtitle", "adoptedOn", "sentToParliamentOn", "launchedOn", "launchedOnPrecision")
        body = _pick(item, *names, "principles", "money", "monitoring") | {
            "commissioning": self._ids("partners", item.get("commissioning", [])),
            "basedOn": self._ids("sources", item.get("basedOn", [])),
        }
        if "lead" in item:
            body["leadId"] = self._id("partners", item["lead"])
        for earlier in item.get("succeeds", [])[:1]:
            body["succeedsId"] = self._id("programmes", earlier)
        return body

    def _action_line(self, item: Item) -> Item:
        return _pick(item, "name", "summary", "domains") | {"programmeId": self._id("programmes", item["programme"])}

    def _action(self, item: Item) -> Item:
        names = ("name", "summary", "leadBasis", "startsOn", "startsOnPrecision", "dueOn", "dueOnPrecision")
        more = ("domains", "forms", "goals", "classification", "datedNotes", "obligationLevel")
        body = _pick(item, *names, *more) | {
            "programmeId": self._id("programmes", item["programme"]),
            "contributors": self._ids("partners", item.get("contributors", [])),
            "leadUndecided": self._ids("partners", item.get("leadUndecided", [])),
        }
        if "lead" in item:
            body["leadId"] = self._id("partners", item["lead"])
        if "actionLine" in item:
            body["actionLineId"] = self._id("action-lines", item["actionLine"])
        return body

    def _link(self, item: Item) -> Item:
        return _pick(item, "contribution", "rationale") | {
            "actionId": self._id("actions", item["action"]),
            "recommendationId": self._id("recommendations", item["recommendation"]),
        }

    def _obligation(self, item: Item) -> Item:
        return _pick(item, "dueOn") | {
            "roundId": next(iter(self.ids["rounds"].values())),
            "partnerId": self._id("partners", item["partner"]),
        }

    def _report(self, item: Item) -> Item:
        claims = [_pick(claim, "implementation", "confidence", "statusOn", "explanation") for claim in item["claims"]]
        for claim, given in zip(claims, item["claims"], strict=True):
            claim["actionId"] = self._id("actions", given["action"])
        return {"roundId": next(iter(self.ids["rounds"].values())), "claims": claims}

    def _assessment(self, item: Item) -> Item:
        names = ("verdict", "rationale", "addressed", "owned", "funded", "dated", "measurable")
        return _pick(item, *names) | {"recommendationId": self._id("recommendations", item["recommendation"])}

    # - verbs -

    async def _confirm_links(self, links: list[Item]) -> None:
        """Links that a source states are confirmed; those that we only inferred stay proposed."""
        for item in links:
            if item["basis"] == "read":
                since = _pick(item, "effectiveFrom", "effectiveFromBasis", "effectiveFromPrecision")
                await self._move("programme", "links", item["key"], "_confirm", since, until=("confirmed",))

    async def _bring_actions_on(self, actions: list[Item]) -> None:
        """An action whose start was read is active from then, and one whose end was read is completed."""
        for item in actions:
            if "startsOn" in item:
                since = {"effectiveFrom": max(item["startsOn"], item["effectiveFrom"])}
                gone_on = ("active", "on hold", "completed", "dropped")
                await self._move("programme", "actions", item["key"], "_start", since, until=gone_on)
            if "endedOn" in item:
                since = {"effectiveFrom": item["endedOn"]}
                await self._move(
                    "programme", "actions", item["key"], "_complete", since, until=("completed", "dropped")
                )

    async def _open_round(self) -> None:
        for key in self.ids["rounds"]:
            await self._move("monitor", "rounds", key, "_open", {}, until=("open", "closed", "locked"))

    async def _bring_report_on(self, report: Item) -> None:
        """As far as the demonstration says: submitted, accepted or sent back."""
        partner = self.token(report["partner"], ["reporter"])
        steps: list[tuple[str, Item, str | None]] = [("_submit", {}, partner)]
        if report["until"] in ("accepted", "sent back"):
            steps.append(("_take-up", {}, None))
        if report["until"] == "accepted":
            steps.append(("_accept", {}, None))
        if report["until"] == "sent back":
            steps.append(("_send-back", {"reason": report["reason"]}, None))
        for verb, body, token in steps:
            await self._move("monitor", "reports", report["key"], verb, body, until=(), token=token, read_as=partner)

    async def _move(
        self,
        service: str,
        noun: str,
        key: str,
        verb: str,
        body: Item,
        *,
        until: tuple[str, ...],
        token: str | None = None,
        read_as: str | None = None,
    ) -> None:
        """Call a verb once; what an earlier run did already is left alone."""
        address = f"/{noun}/{self._id(noun, key)}"
        standing = await self._get(service, address, token=read_as)
        done: dict[str, tuple[str, ...]] = {"_submit": ("submitted", "in review", "accepted", "sent back")}
        done |= {"_take-up": ("in review", "accepted", "sent back"), "_accept": ("accepted",)}
        if standing["state"] in (*until, *done.get(verb, ()), *(("sent back",) if verb == "_send-back" else ())):
            return
        speaker = token or self.token("jenv", ["coordinator"])
        await self._post(
            service,
            f"{address}/{verb}",
            body,
            token=speaker,
            key=f"{noun}/{key}/{verb}/{standing['version']}",
            version=standing["version"],
        )
        self.made += 1

    # - HTTP -

    async def _get(self, service: str, path: str, token: str | None = None) -> Item:
        headers = {"Authorization": f"Bearer {token or self.token('jenv', ['coordinator'])}"}
        answer = await self._client.get(f"{self.urls[service]}/{service}/v1{path}", headers=headers)
        if answer.status_code != 200:
            raise SeedFailed(f"{service} does not give {path}: {answer.text[:300]}")
        return answer.json()  # type: ignore[no-any-return]

    async def _post(
        self, service: str, path: str, body: Item, *, token: str, key: str, version: int | None = None
    ) -> Item:
        """Send one command; wait for what it refers to, and try again what may pass."""
        headers = {
            "Authorization": f"Bearer {token}",
            "Idempotency-Key": f'"{uuid5(NAMESPACE_URL, key)}"',
        }
        if self.position:
            headers["Kapstok-At-Least"] = ".".join(self.position.values())
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        for attempt in range(10):
            answer = await self._client.post(f"{self.urls[service]}/{service}/v1{path}", json=body, headers=headers)
            if answer.status_code in (200, 201):
                if "kapstok-position" in answer.headers:
                    self.position[service] = answer.headers["kapstok-position"]
                return answer.json()  # type: ignore[no-any-return]
            if "retry-after" not in answer.headers:
                break
            await asyncio.sleep(min(2, 0.2 * (attempt + 1)))
        raise SeedFailed(f"{service} refuses {key}: {answer.text[:600]}")


_FRAME = ("effectiveFrom", "effectiveFromBasis", "effectiveFromPrecision", "basis", "citations", "notes")


def _frame(item: Item) -> Item:
    """What every fact carries, and the key by which it is found again."""
    return _pick(item, *_FRAME) | {"externalIds": {SYSTEM: item["key"]}}


def _pick(item: Item, *names: str) -> Item:
    return {name: item[name] for name in names if name in item}


def _read(name: str) -> list[Item]:
    return yaml.safe_load((FACTS / f"{name}.yaml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def _round(today: date) -> Item:
    """The half-year that a day falls in, so that reports have a home."""
    half = 1 if today.month <= 6 else 2
    first, last = (
        (f"{today.year}-01-01", f"{today.year}-06-30") if half == 1 else (f"{today.year}-07-01", f"{today.year}-12-31")
    )
    return {
        "key": f"round-{today.year}-{half}",
        "name": {
            "nl": f"{'Eerste' if half == 1 else 'Tweede'} halfjaar {today.year}",
            "en": f"{'First' if half == 1 else 'Second'} half of {today.year}",
        },
        "opensOn": first,
        "dueOn": last,
        "closesOn": last,
        "effectiveFrom": first,
    }


def main() -> None:
    """`python -m deploy.seed --url http://127.0.0.1:8080`: load the facts through one front door."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="where all four services answer under their own paths")
    parser.add_argument("--home", type=Path, default=Path(".local"), help="where the local issuer keeps its key")
    parser.add_argument("--demo", action="store_true", help="add clearly marked invented reports")
    arguments = parser.parse_args()
    issuer = Issuer.at(arguments.home)
    services = ("recommendations", "programme", "monitor", "reporting")
    seed = Seed(dict.fromkeys(services, arguments.url.rstrip("/")), issuer.token)
    try:
        asyncio.run(seed.load(demonstration=arguments.demo))
    except (SeedFailed, httpx.HTTPError) as error:
        sys.exit(str(error))
    print(f"{seed.made} facts told; what was there already stayed as it was.")


if __name__ == "__main__":
    main()
