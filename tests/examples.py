"""One good example of everything; a test names only the field that it is about."""

from datetime import UTC, date, datetime
from itertools import count
from typing import Any, TypeVar
from uuid import uuid4
from zoneinfo import ZoneInfo

from httpx import Response

from services.monitor.reports import Report
from services.monitor.rounds import Obligation, Round
from services.programme.actions import Action
from services.programme.links import Link
from services.programme.partners import Partner
from services.recommendations.recommendations import Recommendation
from services.recommendations.vocabulary import Term
from shared.calendar import day_of
from shared.database import Entity
from shared.events.event import Basis, Precision
from shared.events.monitor import Claim, Implementation, ReportState, RoundState
from shared.events.programme import ActionState, Contribution, LinkState
from shared.events.recommendations import Classification, RegisterState, Vocabulary
from shared.texts import Text
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

    async def refused(self, status: int, words: str, path: str, body: Body | None = None, **more: Any) -> Response:
        """Ask for what a rule refuses: with this status, and a sentence that holds these words."""
        answer = await self.house.send(more.pop("method", "POST"), path, body or {}, **more)
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"], answer.text
        return answer

    async def walked(self, path: str, **more: Any) -> list[str]:
        """The ids of a whole list, page after page as `Link` leads."""
        ids: list[str] = []
        while True:
            answer = await self.house.send("GET", path, **more)
            assert answer.status_code == 200, answer.text
            ids += [item["id"] for item in answer.json()["items"]]
            following = answer.links.get("next")
            assert (following is None) == (answer.json()["next"] is None)
            if following is None:
                return ids
            path = following["url"]


def today() -> date:
    """The day it is where the programme runs."""
    return day_of(datetime.now(UTC), ZoneInfo("Europe/Amsterdam"))


# --- entities in memory, for the rules that sit on them ----------------------------------------------------------

BEGAN = date(2018, 10, 19)
E = TypeVar("E", bound=Entity)


def stands(kind: type[E], **fields: Any) -> E:
    """An entity at version 1; what no test names is empty."""
    common: dict[str, Any] = {
        "id": uuid4(),
        "reference": f"{kind.prefix}-2018-0001",
        "version": 1,
        "began_on": BEGAN,
        "effective_from": BEGAN,
        "effective_from_basis": Basis.STATED,
        "effective_from_precision": Precision.DAY,
        "external_ids": {},
    }
    return kind(**(common | fields))


def term_entity(**fields: Any) -> Term:
    given = {"vocabulary": Vocabulary.DOMAIN, "code": "voorbeeld", "name": Text(nl="Voorbeeld"), "ended": False}
    return stands(Term, **(given | fields))


def recommendation_entity(**fields: Any) -> Recommendation:
    given: dict[str, Any] = {
        "source_id": uuid4(),
        "summary": Text(nl="Leid op."),
        "domains": [],
        "forms": [],
        "goals": [],
        "levels": [],
        "classification": Classification.STATED,
        "state": RegisterState.REGISTERED,
    }
    return stands(Recommendation, **(given | fields))


def partner_entity(**fields: Any) -> Partner:
    return stands(Partner, **({"code": "politie", "name": Text(nl="Politie"), "domains": []} | fields))


def action_entity(**fields: Any) -> Action:
    given: dict[str, Any] = {
        "programme_id": uuid4(),
        "name": Text(nl="Training"),
        "lead_undecided": [],
        "contributors": [],
        "state": ActionState.PLANNED,
        "due_on_precision": Precision.DAY,
        "domains": [],
        "forms": [],
        "goals": [],
        "classification": Classification.STATED,
        "dated_notes": [],
    }
    return stands(Action, **(given | fields))


def link_entity(**fields: Any) -> Link:
    given: dict[str, Any] = {
        "action_id": uuid4(),
        "recommendation_id": uuid4(),
        "contribution": Contribution.PARTIAL,
        "rationale": Text(nl="Dekt een deel."),
        "state": LinkState.PROPOSED,
        "jointly_sufficient": False,
        "proposed_by": "politie",
    }
    return stands(Link, **(given | fields))


def round_entity(**fields: Any) -> Round:
    days = {"opens_on": date(2018, 7, 1), "due_on": date(2018, 12, 31), "closes_on": date(2018, 12, 31)}
    return stands(Round, **({"name": Text(nl="Tweede halfjaar"), "state": RoundState.PLANNED} | days | fields))


def obligation_entity(**fields: Any) -> Obligation:
    days = {"due_on": date(2018, 12, 31), "first_due_on": date(2018, 12, 31)}
    return stands(Obligation, **({"round_id": uuid4(), "partner_id": uuid4(), "waived": False} | days | fields))


def claim_made(**fields: Any) -> Claim:
    given = {"action_id": uuid4(), "implementation": Implementation.IN_PROGRESS, "status_on": BEGAN}
    return Claim(**(given | fields))


def report_entity(**fields: Any) -> Report:
    given = {"round_id": uuid4(), "partner_id": uuid4(), "claims": [claim_made()], "state": ReportState.DRAFT}
    return stands(Report, **(given | fields))
