"""Nothing about a person gets in: no field is made for it, no text brings it along, and what was pushed in is nowhere.

Routes, bodies and the oracle of a refusal are those of `test_wrong_input`; a new route or field is covered by being
there.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from deploy.embedded import Postgres
from deploy.stack import SERVICES
from shared.events.event import Event
from shared.forgetting import BLANKED, KEPT_UNDER
from tests.conftest import Say
from tests.examples import term
from tests.house import Builder, House, eventually
from tests.test_wrong_input import (
    ALL,
    AT_ONCE,
    CANARY,
    WRITERS,
    Doors,
    Fault,
    Place,
    Route,
    Schema,
    answer_to,
    doors_of,
    fault,
    put,
    wrong_in,
)

BSN = "123456782"
"""Passes the check of a citizen service number; invented."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    """It logs all that it can."""
    async with builder.house(log_level="DEBUG") as house:
        yield house


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def doors(house: House) -> AsyncIterator[Doors]:
    async with doors_of(house) as doors:
        yield doors


# --- no text brings it along ------------------------------------------------------------------------------------


def text_places(route: Route) -> Iterator[tuple[Place, Schema]]:
    """Where a body takes a text that may say anything, or a code or name that nine digits fit."""
    for place, schema in route.shapes.places(route.body):
        free = schema.get("type") == "string" and not {"enum", "const", "format"} & set(schema)
        if free and re.search(schema.get("pattern", ""), BSN):
            yield place, schema


def holding(doors: Doors, route: Route, place: Place, value: str, **more: Any) -> Fault:
    """A request that is right, but for what one text of it says."""
    body = put(route.shapes.body(route.body, str(place[0])), place, value) | more
    return fault(doors, route, "in a text", 400, content=json.dumps(body).encode(), names=place)


async def answers(doors: Doors, faults: list[Fault]) -> list[tuple[Fault, httpx.Response]]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one_by_one(one: Fault) -> tuple[Fault, httpx.Response]:
        async with room:
            return one, await answer_to(doors, one)

    return await asyncio.gather(*map(one_by_one, faults))


def said_of(answer: httpx.Response, place: Place) -> str:
    """What a refusal says of one place."""
    pointer = "/" + "/".join(map(str, place))
    errors = answer.json().get("errors", []) if answer.status_code == 400 else []
    return " ".join(error["detail"] for error in errors if error["pointer"] == pointer)


@pytest.mark.parametrize("service", WRITERS)
async def test_a_bsn_in_any_text_of_any_operation_is_refused_and_pointed_at(
    doors: Doors, service: str, say: Say
) -> None:
    faults = [
        holding(doors, route, place, BSN if "pattern" in schema else f"{CANARY} {BSN[:4]}.{BSN[4:6]}.{BSN[6:]}")
        for route in doors.of(service, writes=True)
        for place, schema in text_places(route)
    ]
    before = await doors.house.heads()
    for one, answer in await answers(doors, faults):
        assert wrong_in(answer, one) is None, f"{one} {one.names}: {wrong_in(answer, one)}: {answer.text}"
        assert one.names and "citizen service number" in said_of(answer, one.names), f"{one}: {answer.text}"
        assert BSN not in answer.text
    assert await doors.house.heads() == before
    say(f"{service}: a BSN is refused in {len(faults)} texts of {len({str(one.route) for one in faults})} operations")


@pytest.mark.parametrize("service", WRITERS)
async def test_contact_details_in_any_text_are_refused_until_they_are_confirmed(doors: Doors, service: str) -> None:
    mail = "Schrijf aan jan@example.org"
    places = [
        (route, place)
        for route in doors.of(service, writes=True)
        for place, schema in text_places(route)
        if "pattern" not in schema
    ]
    assert places
    for one, answer in await answers(doors, [holding(doors, *at, mail) for at in places]):
        assert one.names and "confirmed: true" in said_of(answer, one.names), f"{one}: {answer.text}"
        assert "example.org" not in answer.text
    for one, answer in await answers(doors, [holding(doors, *at, mail, confirmed=True) for at in places]):
        assert answer.status_code in (201, 400, 403, 404, 409), answer.text
        assert one.names and said_of(answer, one.names) == "", f"{one}: {answer.text}"


async def test_confirming_is_for_one_request_and_is_kept_nowhere(house: House) -> None:
    told = term(definition={"nl": "Bel 06-12345678."})
    refused = await house.send("POST", "/recommendations/v1/terms", told)
    assert refused.status_code == 400
    taken = await house.post("/recommendations/v1/terms", told | {"confirmed": True})
    assert taken["definition"]["nl"] == "Bel 06-12345678."
    assert "confirmed" not in taken
    path, reason = f"/recommendations/v1/terms/{taken['id']}/_end", {"reason": "Zie 06-12345678."}
    assert (await house.send("POST", path, reason, version=taken["version"])).status_code == 400


# --- no field is made for it ------------------------------------------------------------------------------------

OF_A_PERSON = frozenset(
    """person persoon naam name firstname lastname surname voornaam achternaam voorletters initials bsn sofi
    burgerservicenummer vnumber birth born birthday birthdate geboren geboorte geboortedatum age leeftijd gender sex
    geslacht nationality nationaliteit address adres street straat postcode zip city woonplaats residence latitude
    longitude location phone telephone telefoon mobile mobiel email mail iban passport paspoort victim slachtoffer
    suspect verdachte perpetrator dader witness getuige case zaak zaaknummer dossier parketnummer health religion
    ethnicity photo contact user username author account caller ip""".split()  # noqa: SIM905
)
"""No field, parameter or column may have one of these words in its name, but for the waivers."""


@dataclass(frozen=True)
class Waiver:
    """A word that is no person's where it stands."""

    word: str
    holders: str
    why: str

    def __str__(self) -> str:
        return f"{self.word} of {self.holders}"


WAIVERS = (
    Waiver("name", "term|domain", "what a word of the vocabulary is called"),
    Waiver("name", "partner", "an organisation's"),
    Waiver("name", "issuing_?body|grade", "an organisation's; a grade of wording"),
    Waiver("name", "programme|action|line", "what a plan is called"),
    Waiver("name", "round", "what a half-year is called"),
    Waiver("name", "client", "what a system is called"),
    Waiver("account", "appoint_?function", "an opaque id at the identity provider; only its digest is kept"),
    Waiver("account", "import_job", "the account that sent a file, blanked by `tend forget`"),
    Waiver("location", "receipt", "the address of what was made"),
    Waiver("account", "acted", "an opaque id beside the log, which `tend forget` erases"),
    Waiver("caller", "receipt", "the same account, erased in the same way"),
)


def words_of(field: str) -> set[str]:
    """`firstName` and `first_name` are each two words, and one."""
    parts = re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", field)
    pairs = ["".join(pair) for pair in pairwise(parts)]
    return {part.lower() for part in (*parts, *pairs)}


def not_waived(fields: set[tuple[str, str]]) -> tuple[set[tuple[str, str]], set[Waiver]]:
    """Fields (holder, name) with a word of a person in them; and the waivers that were needed."""
    found, used = set(), set()
    for holder, field in fields:
        for word in words_of(field) & OF_A_PERSON:
            waivers = {one for one in WAIVERS if one.word == word and re.search(one.holders, holder, re.IGNORECASE)}
            used |= waivers
            if not waivers:
                found.add((holder, field))
    return found, used


def fields_of(schema: Any, holder: str) -> Iterator[tuple[str, str]]:
    """Every property in a JSON schema, with the definition that it stands in."""
    if isinstance(schema, dict):
        for name, one in schema.get("properties", {}).items():
            yield holder, name
            yield from fields_of(one, holder)
        for name, one in schema.get("$defs", {}).items():
            yield from fields_of(one, name)


async def columns_of(house: House, service: str) -> set[tuple[str, str]]:
    connection = await house.postgres.connect(house.databases[service])
    try:
        rows = await connection.fetch(
            "select table_name, column_name from information_schema.columns"
            " where table_schema !~ '^pg_' and table_schema <> 'information_schema'"
        )
    finally:
        await connection.close()
    return {(row["table_name"], row["column_name"]) for row in rows}


async def test_no_field_parameter_event_or_column_is_made_for_a_person(doors: Doors, say: Say) -> None:
    fields: set[tuple[str, str]] = set()
    for route in doors.routes:
        fields |= {(str(route), one["name"]) for one in route.operation.get("parameters", [])}
        for name, schema in route.shapes.named.items():
            fields |= set(fields_of(schema, name))
    for kind in Event.registry.values():
        fields |= set(fields_of(kind.model_json_schema(by_alias=True), kind.__name__))
    for service in SERVICES:
        fields |= await columns_of(doors.house, service)
    found, used = not_waived(fields)
    say(f"{len(fields)} fields, parameters and columns, none for a person; {len(used)} waivers")
    assert not found
    assert used == set(WAIVERS), "a waiver that is not needed any more"


@pytest.mark.parametrize(
    "field", ["bsn", "victimName", "date_of_birth", "birthDate", "eMail", "caseNumber", "homeAddress"]
)
def test_a_field_for_a_person_would_be_found(field: str) -> None:
    assert not_waived({("PlanAction", field)})[0] or field == "victimName"
    assert not_waived({("Victim", field)})[0]


TEXTS = {
    "account": "an opaque id at the identity provider, of which only a digest is kept",
    "aliases": "other names of an organisation",
    "clientId": "what an identity provider calls a system",
    "definition": "of a word of the vocabulary",
    "document": "the title of a paper",
    "explanation": "of a claim about an action",
    "followUp": "what a paper says will follow",
    "group": "of words of the vocabulary",
    "monitoring": "how a programme says it is watched",
    "name": "of an organisation, a plan, a word, a half-year",
    "note": "on the role of an organisation",
    "notes": "what to keep in mind of a fact",
    "paragraph": "of a paper",
    "period": "as a paper writes it",
    "periodFrom": "as a paper writes it",
    "periodTo": "as a paper writes it",
    "principles": "of a programme",
    "rationale": "of a link, of a verdict",
    "reason": "of a decision",
    "reference": "of a paper",
    "subject": "the entity that a filter is about",
    "subtitle": "of a programme",
    "summary": "of a recommendation, of an action",
    "text": "of a dated note",
    "title": "of a paper",
    "type": "of facts, in a filter",
    "types": "of facts",
    "url": "of a paper",
    "what": "money is for",
    "zaaksysteem": "what another system calls it",
}
"""The only texts that may say anything, each with what it is for. Whoever adds one says so here, and in the help for
those who fill it in that it is about policy and never about a person."""


async def test_each_text_that_may_say_anything_is_listed_with_what_it_is_for(doors: Doors) -> None:
    found = set()
    for route in doors.routes:
        for place, schema in text_places(route) if route.writes and not route.has_a_form_of_its_own else ():
            named = [str(step) for step in place if isinstance(step, str) and step not in ("nl", "en")]
            if schema.get("pattern", "").startswith("^[a-z0-9]") is False:
                found.add(named[-1])
    assert found - set(TEXTS) == set() and set(TEXTS) - found == set()


async def test_every_column_that_holds_an_account_is_emptied_when_it_is_forgotten(house: House) -> None:
    emptied = {(column.table.name, column.name) for column in (*KEPT_UNDER, *BLANKED)}
    for service in SERVICES:
        holding = {one for one in await columns_of(house, service) if words_of(one[1]) & {"account", "caller", "sub"}}
        assert holding == emptied, f"{service}: name it in shared/forgetting.py"


# --- what was pushed in is nowhere ------------------------------------------------------------------------------

JUDGED = ("Accept", "Authorization", "Content-Type", "If-Match", "Kapstok-At-Least")
"""Headers by which a request may be refused, so each is pushed at alone; the others all at once."""
PASSED_OVER = (
    *("Accept-Language", "Baggage", "Cookie", "Idempotency-Key", "If-None-Match", "Kapstok-House-Key", "Last-Event-ID"),
    *("Origin", "Referer", "Traceparent", "Tracestate", "User-Agent", "X-Forwarded-For", "X-Request-Id"),
)


def pushed(doors: Doors, route: Route) -> Iterator[Fault]:
    """The BSN at every input of one operation; each request is right but for one thing."""
    method = "HEAD" if route.streams else route.method

    def asked(what: str, **other: Any) -> Fault:
        return fault(doors, route, what, method=method, **other)

    yield asked("headers", headers=dict.fromkeys(PASSED_OVER, f'"{BSN}"'))
    for name in JUDGED:
        yield asked(name, headers={name: f"Bearer {BSN}" if name == "Authorization" else BSN})
    for claim in ("account", "organisation"):
        who = {"organisation": "jenv", "account": None} | {claim: BSN}
        token = doors.house.issuer.token(str(who["organisation"]), ALL, account=who["account"])
        yield asked(f"token of {claim}", headers={"Authorization": f"Bearer {token}"})
    yield asked("query", path=f"{route.at()}?{BSN}=1")
    yield asked("query", path=f"{route.at()}?q={BSN}")
    for name in route.queries():
        yield asked(f"query {name}", path=f"{route.at()}?{name}={BSN}")
        yield asked(f"query {name} of a system", path=f"{route.at()}?{name}=zaaksysteem:{BSN}")
    if route.names_one:
        yield asked("path", path=re.sub(r"\{\w+\}", BSN, route.path))
    yield asked("below", path=f"{route.at()}/{BSN}")
    if route.writes:
        for body in pushed_bodies(route):
            yield asked("body", content=body)


def pushed_bodies(route: Route) -> Iterator[bytes]:
    yield BSN.encode()
    yield f'{{"reason": "{BSN}'.encode()
    if route.has_a_form_of_its_own:
        yield f"code;name\n{BSN};{BSN}\n".encode()
        yield f"grant_type=client_credentials&client_id={BSN}&client_secret={BSN}&scope={BSN}".encode()
        return
    everything = route.shapes.body(route.body, *route.body["properties"])
    numbers = everything | {BSN: 1}
    for place, schema in route.shapes.places(route.body):
        yield json.dumps(put(route.shapes.body(route.body, str(place[0])), place, BSN)).encode()
        if schema.get("type") == "object":
            yield json.dumps(put(everything, (*place, BSN), "x")).encode()
        elif schema.get("type") != "array":
            numbers = put(numbers, place, int(BSN))
    yield json.dumps(numbers).encode()


async def tables_holding(postgres: Postgres, database: str, what: str) -> list[str]:
    """Tables with these words anywhere in a row, also in bytes."""
    connection = await postgres.connect(database)
    found = []
    try:
        for table in await connection.fetch(
            "select format('%I.%I', schemaname, tablename) as name from pg_tables"
            " where schemaname not in ('pg_catalog', 'information_schema')"
        ):
            holds = "strpos(one::text, $1) > 0 or strpos(one::text, $2) > 0"
            rows = f"select exists (select from {table['name']} as one where {holds})"
            if await connection.fetchval(rows, what, what.encode().hex()):
                found.append(table["name"])
    finally:
        await connection.close()
    return found


def on_the_bus(house: House, what: str) -> bool:
    """Whether anything that the bus keeps on its disk holds these words."""
    return any(what.encode() in path.read_bytes() for path in house.nats.home.rglob("*") if path.is_file())


@pytest.mark.timeout(300)
async def test_a_bsn_pushed_at_every_input_of_every_operation_is_kept_nowhere(
    doors: Doors, capsys: pytest.CaptureFixture[str], say: Say
) -> None:
    house = doors.house
    faults = [one for route in doors.routes for one in pushed(doors, route)]
    taken = 0
    for one, answer in await answers(doors, faults):
        assert answer.status_code < 500, f"{one}: {answer.text}"
        told = f"{answer.text} {answer.headers}"
        assert BSN not in told, f"{one} {one.headers}: {told}"
        taken += answer.status_code == 201

    marker = f"kanarie-{uuid4().hex[:8]}"
    await house.post("/recommendations/v1/terms", term(code=marker), key=marker)
    await house.settled()
    await eventually(lambda: asyncio.to_thread(on_the_bus, house, marker))
    holding = await tables_holding(house.postgres, house.databases["recommendations"], marker)
    assert {"public.outbox", "public.term", "public.receipt"} <= set(holding), "the search finds what is there"
    logged = capsys.readouterr().out
    assert '"event": "answered"' in logged and '"token refused"' in logged, "and the logs are these"

    for service in SERVICES:
        assert await tables_holding(house.postgres, house.databases[service], BSN) == []
        for path in ("/health/detail", "/metrics"):
            assert BSN not in (await house.client.get(f"{house.url(service)}{path}")).text
    assert not on_the_bus(house, BSN)
    assert BSN not in logged
    say(f"a BSN pushed {len(faults)} times at {len(doors.routes)} operations ({taken} taken without it) is nowhere")
