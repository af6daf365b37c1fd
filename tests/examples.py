"""One good example of everything; a test names only the field that it is about."""

from itertools import count
from typing import Any

from tests.house import House

_numbers = count(1)

Body = dict[str, Any]


def text(nl: str = "Een tekst", en: str = "A text") -> Body:
    return {"nl": nl, "en": en}


def term(**fields: Any) -> Body:
    number = next(_numbers)
    return {"vocabulary": "domain", "code": f"domein-{number}", "name": text(f"Domein {number}")} | fields


def partner(**fields: Any) -> Body:
    number = next(_numbers)
    return {"code": f"partner-{number}", "name": text(f"Partner {number}"), "kind": "ngo"} | fields


def issuing_body(**fields: Any) -> Body:
    return {"name": text("Toezichthouder", "Oversight body")} | fields


def source(**fields: Any) -> Body:
    return {"title": text("Rapport", "Report"), "publishedOn": "2018-10-19"} | fields


def recommendation(**fields: Any) -> Body:
    return {"summary": text("Leid op.", "Train."), "strength": "urge"} | fields


def programme(**fields: Any) -> Body:
    return {"name": text("Programma", "Programme")} | fields


def action(**fields: Any) -> Body:
    return {"name": text("Training", "Training")} | fields


def link(**fields: Any) -> Body:
    return {"contribution": "full", "rationale": text("Dekt het geheel.", "Covers it all.")} | fields


def round(**fields: Any) -> Body:
    days = {"opensOn": "2026-07-01", "dueOn": "2026-12-31", "closesOn": "2026-12-31"}
    return {"name": text("Tweede halfjaar", "Second half")} | days | fields


def claim(action_id: str, **fields: Any) -> Body:
    return {"actionId": action_id, "implementation": "in progress", "confidence": "on track"} | fields


class World:
    """Makes real things in a house, each with what it needs around it."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def term(self, **fields: Any) -> Body:
        return await self.house.post("/recommendations/v1/terms", term(**fields))

    async def partner(self, **fields: Any) -> Body:
        return await self.house.post("/programme/v1/partners", partner(**fields))

    async def source(self, **fields: Any) -> Body:
        if "issuingBodyId" not in fields:
            body = await self.house.post("/recommendations/v1/issuing-bodies", issuing_body())
            fields["issuingBodyId"] = body["id"]
        return await self.house.post("/recommendations/v1/sources", source(**fields))

    async def recommendation(self, **fields: Any) -> Body:
        if "sourceId" not in fields:
            fields["sourceId"] = (await self.source())["id"]
        return await self.house.post("/recommendations/v1/recommendations", recommendation(**fields))

    async def programme(self, **fields: Any) -> Body:
        return await self.house.post("/programme/v1/programmes", programme(**fields))

    async def action(self, **fields: Any) -> Body:
        if "programmeId" not in fields:
            fields["programmeId"] = (await self.programme())["id"]
        return await self.house.post("/programme/v1/actions", action(**fields))

    async def link(self, **fields: Any) -> Body:
        return await self.house.post("/programme/v1/links", link(**fields))

    async def confirmed_link(self, **fields: Any) -> Body:
        proposed = await self.link(**fields)
        return await self.verb("programme", "links", proposed, "_confirm")

    async def open_round(self, **fields: Any) -> Body:
        planned = await self.house.post("/monitor/v1/rounds", round(**fields))
        return await self.verb("monitor", "rounds", planned, "_open")

    async def verb(
        self, service: str, noun: str, thing: Body, verb: str, body: Body | None = None, **more: Any
    ) -> Body:
        """Call a verb on a thing as it was last read."""
        path = f"/{service}/v1/{noun}/{thing['id']}/{verb}"
        return await self.house.post(path, body or {}, version=thing["version"], **more)

    async def accepted_report(self, partner: Body, round: Body, claims: list[Body]) -> Body:
        """Drafted, submitted, taken up and accepted."""
        reporter = (partner["code"], "reporter")
        report = await self.house.post("/monitor/v1/reports", {"roundId": round["id"], "claims": claims}, by=reporter)
        report = await self.verb("monitor", "reports", report, "_submit", by=reporter)
        report = await self.verb("monitor", "reports", report, "_take-up")
        return await self.verb("monitor", "reports", report, "_accept")
