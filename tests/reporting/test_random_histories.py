"""Histories told at random, late and in any order: every way to ask gives what a plain replay of them gives."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest

from shared.calendar import written
from tests.examples import Body, World, claim
from tests.house import House
from tests.reporting.asking import ask

START = date(2017, 1, 1)
LATEST = date(2020, 12, 31)
EVERYTHING = ("domains", "partners", "matrix")


@dataclass
class Replay:
    """What was told of one thing: which fields, holding from which day; read naively."""

    began: date
    facts: list[tuple[date, Body]] = field(default_factory=list)

    def on(self, day: date) -> Body | None:
        """The fields at the end of a day: of what held by then, the latest; of the same day, the last told."""
        if day < self.began:
            return None
        found: Body = {}
        for _, fields in sorted((fact for fact in self.facts if fact[0] <= day), key=lambda fact: fact[0]):
            found |= fields
        return found


@dataclass
class History:
    """A random programme, told through the doors, and the same in a plain form."""

    world: World
    chance: Random
    domains: list[Body] = field(default_factory=list)
    partners: list[Body] = field(default_factory=list)
    recommendations: dict[str, Replay] = field(default_factory=dict)
    actions: dict[str, Replay] = field(default_factory=dict)
    claims: dict[str, Replay] = field(default_factory=dict)
    things: dict[str, Body] = field(default_factory=dict)

    def day(self, since: date = START) -> date:
        return since + timedelta(days=self.chance.randint(0, (LATEST - since).days))

    def some(self, of: list[Body], name: str) -> list[str]:
        return [str(one[name]) for one in self.chance.sample(of, self.chance.randint(0, len(of)))]

    async def begin(self) -> None:
        since = {"effectiveFrom": str(START)}
        self.domains = [await self.world.term(**since) for _ in range(3)]
        self.partners = [await self.world.partner(**since) for _ in range(3)]
        source, programme = await self.world.source(**since), await self.world.programme(**since)
        for _ in range(4):
            began, fields = self.day(), {"domains": self.some(self.domains, "code")}
            addressees = self.some(self.partners, "id")
            told = await self.world.recommendation(
                sourceId=source["id"], effectiveFrom=str(began), addressees=addressees, **fields
            )
            self.recommendations[told["id"]] = Replay(began, [(began, fields | {"addressees": addressees})])
            self.things[told["id"]] = told
        for _ in range(4):
            began = self.day()
            placed = {"domains": self.some(self.domains, "code"), "leadId": self.chance.choice(self.partners)["id"]}
            told = await self.world.action(
                programmeId=programme["id"], effectiveFrom=str(began), dueOn="2019-06-30", **placed
            )
            begun = placed | {"state": "planned", "dueOn": "2019-06-30"}
            self.actions[told["id"]] = Replay(began, [(began, begun)])
            self.claims[told["id"]] = Replay(START)
            self.things[told["id"]] = told

    async def go_on(self, steps: int) -> None:
        round = await self.world.open_round()
        for _ in range(steps):
            step = self.chance.choice([self._classify, self._place, self._assign, self._reschedule, self._start])
            await step()
        for action in self.actions:
            for _ in range(self.chance.randint(0, 2)):
                await self._report(action, round)
        await self._link()

    async def _change(self, of: dict[str, Replay], noun: str, verb: str, body: Body, shown: Body) -> None:
        id = self.chance.choice(sorted(of))
        day = self.day(of[id].began)
        service = "recommendations" if noun == "recommendations" else "programme"
        given = body | {"effectiveFrom": str(day)}
        self.things[id] = await self.world.verb(service, noun, self.things[id], verb, given)
        of[id].facts.append((day, shown))

    async def _classify(self) -> None:
        placed = {"domains": self.some(self.domains, "code")}
        await self._change(self.recommendations, "recommendations", "_classify", placed, placed)

    async def _place(self) -> None:
        placed = {"domains": self.some(self.domains, "code")}
        await self._change(self.actions, "actions", "_classify", placed, placed)

    async def _assign(self) -> None:
        lead = {"leadId": self.chance.choice(self.partners)["id"]}
        await self._change(self.actions, "actions", "_assign", lead | {"reason": "Anders verdeeld."}, lead)

    async def _reschedule(self) -> None:
        due = {"dueOn": str(self.day())}
        await self._change(self.actions, "actions", "_reschedule", due | {"reason": "Anders gepland."}, due)

    async def _start(self) -> None:
        waiting = {id: self.actions[id] for id in self.actions if self.things[id]["state"] == "planned"}
        if waiting:
            await self._change(waiting, "actions", "_start", {}, {"state": "active"})

    async def _report(self, action: str, round: Body) -> None:
        lead = next(partner for partner in self.partners if partner["id"] == self.things[action]["leadId"])
        day, implementation = self.day(), self.chance.choice(["not started", "in progress", "most respects"])
        told = claim(action, implementation=implementation, statusOn=str(day))
        await self.world.accepted_report(lead, round, [told])
        self.claims[action].facts.append((day, {"implementation": implementation}))

    async def _link(self) -> None:
        for action, recommendation in zip(self.actions, self.recommendations, strict=True):
            both = max(self.actions[action].began, self.recommendations[recommendation].began)
            since = {"effectiveFrom": str(self.day(both))}
            link = await self.world.link(actionId=action, recommendationId=recommendation, **since)
            if self.chance.random() < 0.7:
                await self.world.verb("programme", "links", link, "_confirm", since)

    def expected(self, code: str, day: date) -> Body:
        """What a domain's lists show on a day."""
        recommendations = {id: replay.on(day) for id, replay in self.recommendations.items()}
        actions = {id: replay.on(day) for id, replay in self.actions.items()}
        shown = {id: found for id, found in actions.items() if found and code in found["domains"]}
        claims = {id: (self.claims[id].on(day) or {}).get("implementation", "no data") for id in shown}
        return {
            "recommendations": {id for id, found in recommendations.items() if found and code in found["domains"]},
            "actions": {
                id: (found["leadId"], found["state"], found["dueOn"], date.fromisoformat(found["dueOn"]) < day)
                for id, found in shown.items()
            },
            "implementation": claims,
        }


async def _shown(house: House, code: str, day: date) -> Body:
    detail = await ask(house, f"domains/{code}", asOf=str(day))
    return {
        "recommendations": {item["id"] for item in detail["recommendations"]},
        "actions": {
            item["id"]: (item["leadId"], item["state"], item["dueOn"], item["overdue"]) for item in detail["actions"]
        },
        "implementation": {item["id"]: item["implementation"] for item in detail["actions"]},
    }


async def _all(house: House, as_of: str | None = None) -> dict[str, Any]:
    """Every line as answered, without the moment that was asked for."""
    found = {what: await ask(house, what, asOf=as_of) for what in EVERYTHING}
    for answer in found.values():
        del answer["asOf"]
    return found


async def _adds_up(house: House, day: str | None) -> None:
    """The overlap rule: over the lines each as often as it has lines, in the total once, and without a line apart."""
    for what, noun in (("domains", "code"), ("partners", "id")):
        answer = await ask(house, what, asOf=day)
        places: Counter[str] = Counter()
        for line in answer["lines"]:
            detail = await ask(house, f"{what}/{line[noun]}", figure="recommendations", asOf=day)
            ids = [item["id"] for item in detail["recommendations"]]
            assert len(ids) == len(set(ids)) == line["recommendations"]
            places.update(ids)
        overlap, total = answer["overlap"], answer["total"]
        assert overlap["counted"] == places.total() == sum(line["recommendations"] for line in answer["lines"])
        assert overlap["distinct"] == total["recommendations"] == len(places) + overlap["unplaced"]
        for line in [*answer["lines"], total]:
            assert sum(line["implementation"].values()) == line["recommendations"]
            assert sum(line["coverage"]["byClass"].values()) == line["recommendations"]
            assert sum(line["verdicts"].values()) == line["recommendations"]
            assert sum(line["actions"]["byState"].values()) == line["actions"]["total"]
            assert sum(line["actions"]["byConfidence"].values()) == line["actions"]["total"]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_random_history_reads_the_same_every_way(house: House, world: World, seed: int) -> None:
    history = History(world, Random(seed))
    await history.begin()
    await history.go_on(20)
    await house.settled()

    live = await _all(house)
    assert await _all(house, written(datetime.now(UTC))) == live
    view = house.running["reporting"].service.view
    assert view is not None
    assert (await view.rebuild()).differing == []
    assert await _all(house, written(datetime.now(UTC))) == live
    await house.stop("reporting")
    await house.start("reporting")
    assert await _all(house) == live

    days = [history.day() for _ in range(4)]
    for day in days:
        for domain in history.domains:
            assert await _shown(house, domain["code"], day) == history.expected(domain["code"], day), (seed, day)
    await _adds_up(house, None)
    await _adds_up(house, str(days[0]))
