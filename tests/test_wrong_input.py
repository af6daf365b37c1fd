"""Wrong input at every door: each route of each service, as its own openapi.json tells of it, and each kind of fault.

A new route is covered by being there. The oracle is the same for all: a refusal in words, as a problem document with
the right status, without what the caller sent, with the headers that every answer has, and nothing saved.
"""

import asyncio
import base64
import json
import os
import re
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey

from deploy.issuer import AUDIENCE, ISSUER
from deploy.stack import SERVICES
from services.permissions import PERMISSIONS
from shared.cursors import Cursor, Order
from shared.gate import Function
from tests.examples import World, action, claim, issuing_body, link, text
from tests.house import House

CANARY = "Kanarie 5F1D"
"""Fits no id, code, enum or day; what the caller sends is not read back to it."""
NUMBER = 715517
"""The canary among numbers."""
AT_ONCE = 16
ALL = tuple(function.value for function in Function)
WRITERS = tuple(service for service in SERVICES if service != "reporting")

SECURITY = ("content-security-policy", "referrer-policy", "strict-transport-security", "x-frame-options")
A_CURSOR = str(Cursor(Order(), uuid4()))
GOOD_TEXTS = ("voorbeeld", "2018-10-19", "day", "programme:write", "zaak:voorbeeld", A_CURSOR)
"""One of these fits any pattern that we have; teach the next one here."""

Schema = dict[str, Any]
Place = tuple[str | int, ...]
T = TypeVar("T")


# --- what there is: the routes and the shapes of their bodies ---------------------------------------------------


@dataclass(frozen=True)
class Route:
    """One method of one address, as the openapi.json of its service tells of it."""

    service: str
    path: str
    method: str
    operation: Schema
    shapes: "Shapes"

    @property
    def writes(self) -> bool:
        return self.method in ("POST", "PATCH")

    @property
    def has_a_form_of_its_own(self) -> bool:
        """Whether a body is a file or a form, and no JSON object.

        `tests/shared/test_imports.py` and `tests/programme/test_clients.py` send the wrong ones.
        """
        content = self.operation["requestBody"]["content"] if self.writes else {}
        return self.writes and ("application/json" not in content or "text/csv" in content)

    @property
    def names_one(self) -> bool:
        return "{" in self.path

    @property
    def behind_the_door(self) -> bool:
        """Whether the rules for an API hold; health and metrics stand beside it."""
        return f"/{self.service}/v1/" in self.path

    @property
    def streams(self) -> bool:
        return "text/event-stream" in self.operation["responses"]["200"]["content"] if not self.writes else False

    @property
    def body(self) -> Schema:
        content = self.operation["requestBody"]["content"]
        return self.shapes.of(next(iter(content.values()))["schema"])

    def queries(self) -> dict[str, Schema]:
        asked = [one for one in self.operation.get("parameters", []) if one["in"] == "query"]
        return {one["name"]: self.shapes.of(one["schema"]) for one in asked}

    def at(self, id: str | None = None) -> str:
        """The address, with an id that does not exist where none is given."""
        return re.sub(r"\{(\w+)\}", lambda found: id or ("nergens" if found[1] == "code" else str(uuid4())), self.path)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Shapes:
    """The schemas of one service."""

    named: dict[str, Schema]

    def of(self, schema: Schema) -> Schema:
        """The schema itself, behind references and beside null."""
        while True:
            if "$ref" in schema:
                schema = self.named[schema["$ref"].rpartition("/")[2]]
            elif "anyOf" in schema:
                schema = next(one for one in schema["anyOf"] if one.get("type") != "null")
            elif isinstance(schema.get("type"), list):
                schema = schema | {"type": next(one for one in schema["type"] if one != "null")}
                if "enum" in schema:
                    schema = schema | {"enum": [one for one in schema["enum"] if one is not None]}
            else:
                return schema

    def good(self, schema: Schema) -> Any:
        """A value that fits, with everything in it."""
        schema = self.of(schema)
        match schema:
            case {"enum": [first, *_]}:
                return first
            case {"const": value}:
                return value
            case {"properties": fields}:
                return {name: self.good(one) for name, one in fields.items()}
            case {"patternProperties": values}:
                return {"zaaksysteem": self.good(next(iter(values.values())))}
            case {"type": "array", "items": items}:
                return [self.good(items)]
            case {"type": "string", "format": "uuid"}:
                return str(uuid4())
            case {"type": "string", "format": "date"}:
                return "2018-10-19"
            case {"type": "string", "format": "uri"}:
                return "https://ontvanger.voorbeeld.invalid/kapstok"
            case {"type": "string", "pattern": pattern}:
                return next(good for good in GOOD_TEXTS if re.search(pattern, good))
            case {"type": "string"}:
                return "Een tekst"
            case {"type": "integer"}:
                return int(schema.get("minimum", 1))
            case {"type": "boolean"}:
                return True
        raise AssertionError(f"There is no good example for {schema} yet.")

    def body(self, schema: Schema, *also: str) -> dict[str, Any]:
        """A body that fits: what must be there, and these fields."""
        wanted = [*schema.get("required", []), *also]
        return {name: self.good(schema["properties"][name]) for name in dict.fromkeys(wanted)}

    def places(self, schema: Schema, place: Place = ()) -> Iterator[tuple[Place, Schema]]:
        """Every place in a body, inside what `good` gives, and what stands there."""
        schema = self.of(schema)
        if place:
            yield place, schema
        if "properties" in schema:
            for name, one in schema["properties"].items():
                yield from self.places(one, (*place, name))
        elif "patternProperties" in schema:
            yield from self.places(next(iter(schema["patternProperties"].values())), (*place, "zaaksysteem"))
        elif schema.get("type") == "array":
            yield from self.places(schema["items"], (*place, 0))


def put(body: Any, place: Place, value: Any) -> Any:
    """The body with another value at one place."""
    body = deepcopy(body)
    inside = body
    for step in place[:-1]:
        inside = inside[step]
    inside[place[-1]] = value
    return body


@dataclass(frozen=True)
class Doors:
    """Everything that can be asked of a house."""

    house: House
    routes: list[Route]
    client: httpx.AsyncClient
    tokens: dict[tuple[str, tuple[str, ...]], str] = field(default_factory=dict)

    def of(self, service: str, *, writes: bool | None = None) -> list[Route]:
        found = [route for route in self.routes if route.service == service and writes in (None, route.writes)]
        if writes:
            found = [route for route in found if not route.has_a_form_of_its_own]
        assert found, f"{service} has no such routes"
        return found

    def token(self, organisation: str = "jenv", functions: tuple[str, ...] = ALL) -> str:
        who = (organisation, functions)
        if who not in self.tokens:
            self.tokens[who] = self.house.token(organisation, *functions)
        return self.tokens[who]

    def headers(self, route: Route) -> dict[str, str]:
        """The headers of a request that is right."""
        found = {"Authorization": f"Bearer {self.token()}"}
        if route.writes:
            found |= {"Idempotency-Key": f'"{uuid4()}"', "Content-Type": "application/json"}
            if route.names_one:
                found["If-Match"] = '"1"'
        return found


@asynccontextmanager
async def doors_of(house: House) -> AsyncIterator[Doors]:
    """The doors of a house that is furnished for it."""
    routes = []
    async with httpx.AsyncClient(timeout=20, limits=httpx.Limits(max_connections=AT_ONCE)) as client:
        for service in SERVICES:
            told = (await client.get(f"{house.url(service)}/{service}/v1/openapi.json")).json()
            shapes = Shapes(told["components"]["schemas"])
            for path, operations in told["paths"].items():
                routes += [Route(service, path, method.upper(), one, shapes) for method, one in operations.items()]
        await _furnish(house)
        yield Doors(house, routes, client)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def doors(house: House) -> AsyncIterator[Doors]:
    async with doors_of(house) as doors:
        yield doors


async def _furnish(house: House) -> None:
    """One of everything, so that a request can reach the rules behind the door."""
    world = World(house)
    for vocabulary in ("domain", "form", "goal", "level"):
        await world.term(vocabulary=vocabulary, code="voorbeeld")
    partner = await world.partner(code="jenv")
    body = await house.post("/recommendations/v1/issuing-bodies", issuing_body(partnerId=partner["id"]))
    source = await world.source(issuingBodyId=body["id"])
    recommendation = await world.recommendation(sourceId=source["id"], addressees=[partner["id"]])
    programme = await world.programme()
    may = {"functions": ["reporter"], "scopes": ["monitor:write"]}
    client = {"partnerId": partner["id"], "name": "Zaaksysteem"} | may
    system = (await house.post("/programme/v1/clients", client))["id"]
    expires = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    await house.post("/programme/v1/keys", {"client": system, "scopes": ["monitor:write"], "expiresOn": expires})
    appointed = {"account": "een-account", "partnerId": partner["id"], "function": "auditor"}
    await house.post("/programme/v1/appointments", appointed)
    await house.post("/programme/v1/action-lines", {"programmeId": programme["id"], "name": text()})
    led = await house.post("/programme/v1/actions", action(programmeId=programme["id"], leadId=partner["id"]))
    await house.post("/programme/v1/links", link(actionId=led["id"], recommendationId=recommendation["id"]))
    round = await world.open_round()
    await house.post("/monitor/v1/obligations", {"roundId": round["id"], "partnerId": partner["id"]})
    report = {"roundId": round["id"], "claims": [claim(led["id"])]}
    await house.post("/monitor/v1/reports", report, by=("jenv", "reporter"))
    verdict = {"recommendationId": recommendation["id"], "verdict": "partial", "rationale": text()}
    await house.post("/monitor/v1/assessments", verdict)
    for service in WRITERS:
        await house.post(f"/{service}/v1/subscriptions", {"sink": "https://ontvanger.voorbeeld.invalid/kapstok"})


# --- the oracle -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One wrong request, and the statuses that are a right answer to it."""

    what: str
    route: Route
    statuses: tuple[int, ...]
    path: str
    method: str
    headers: dict[str, str | bytes]
    content: bytes | None = None
    chunked: bool = False
    names: Place | None = None
    """The place that the answer points at."""
    allow: set[str] | None = None
    """The methods that it names."""

    def __str__(self) -> str:
        return f"{self.what} at {self.method} {self.path}"


def fault(doors: Doors, route: Route, what: str, *statuses: int, **other: Any) -> Fault:
    """A request that is right, but for what is named; a value of None takes a header away."""
    headers = doors.headers(route) | other.pop("headers", {})
    if route.writes and "content" not in other:
        other["content"] = json.dumps(route.shapes.body(route.body)).encode()
    plain = {"path": route.at(), "method": route.method} | other
    given = {name: value for name, value in headers.items() if value is not None}
    return Fault(what, route, statuses, headers=given, **plain)


async def answer_to(doors: Doors, one: Fault) -> httpx.Response:
    async def in_parts() -> AsyncIterator[bytes]:
        assert one.content is not None
        for start in range(0, len(one.content), 200_000):
            yield one.content[start : start + 200_000]

    return await doors.client.request(
        one.method,
        f"{doors.house.url(one.route.service)}{one.path}",
        headers=one.headers,
        content=in_parts() if one.chunked else one.content,
    )


def wrong_in(answer: httpx.Response, one: Fault) -> str | None:
    """What is wrong with this refusal; None when it is as it should be."""
    if answer.status_code not in one.statuses:
        return f"{answer.status_code} instead of {one.statuses}"
    missing = [name for name in (*SECURITY, "api-version", "cache-control") if name not in answer.headers]
    if missing or answer.headers.get("x-content-type-options") != "nosniff":
        return f"headers missing: {missing}"
    if CANARY in answer.text or str(NUMBER) in answer.text or any(CANARY in value for value in answer.headers.values()):
        return "it says what the caller sent"
    if one.allow is not None and set(answer.headers.get("allow", "").split(", ")) != one.allow:
        return f"Allow: {answer.headers.get('allow')}"
    if one.method == "HEAD":
        return "a body after HEAD" if answer.content else None
    if answer.headers.get("content-type") != "application/problem+json":
        return f"written as {answer.headers.get('content-type')}"
    problem = answer.json()
    if not {"type", "title", "status", "detail"} <= set(problem) or problem["status"] != answer.status_code:
        return "no problem document"
    if len(problem["detail"]) <= 15 or " " not in problem["detail"] or not problem["title"]:
        return f"no sentence: {problem['detail']!r}"
    if answer.status_code == 401 and "www-authenticate" not in answer.headers:
        return "401 without WWW-Authenticate"
    if one.names is not None:
        pointer = "/" + "/".join(str(step) for step in one.names)
        if not any(error["pointer"].startswith(pointer) for error in problem.get("errors", [])):
            return f"it does not point at {pointer}"
    return None


def some(values: Iterable[T], turn: int, few: int) -> list[T]:
    """All of them the first time; from then on a few, each time the next ones. Routes share what reads their input."""
    every = list(values)
    return every if turn == 0 else [every[(few * turn + step) % len(every)] for step in range(min(few, len(every)))]


tried: dict[str, int] = {}
"""How many requests each claim took."""


async def all_refused(doors: Doors, claimed: str, faults: list[Fault]) -> None:
    """Send them all, some at once; every one is refused as it should be, and no log has moved."""
    assert faults, "nothing to try"
    before = await doors.house.heads()
    room = asyncio.Semaphore(AT_ONCE)

    async def one_by_one(one: Fault) -> str | None:
        async with room:
            answer = await answer_to(doors, one)
        problem = wrong_in(answer, one)
        return None if problem is None else f"{one}: {problem}: {answer.text[:300]}"

    found = [problem for problem in await asyncio.gather(*map(one_by_one, faults)) if problem]
    tried[claimed] = tried.get(claimed, 0) + len(faults)
    assert not found, f"{len(found)} of {len(faults)}:\n" + "\n".join(found[:25])
    assert await doors.house.heads() == before, "something was saved"


@pytest.fixture(scope="module", autouse=True)
def counted() -> Iterator[None]:
    yield
    print(f"\nrequests tried: {sum(tried.values())}: {tried}")


# --- who calls --------------------------------------------------------------------------------------------------


def bad_tokens(house: House) -> dict[str, str]:
    """Authorization headers that prove nothing."""
    now = int(time.time())
    key, stranger = house.issuer.key, ECKey.generate_key("P-256", {"kid": house.issuer.key.kid})
    right: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": CANARY,
        "iat": now,
        "exp": now + 600,
        "organisation": "jenv",
        "functions": list(ALL),
    }

    def signed(signer: Any = key, algorithm: str = "ES256", without: str = "", **claims: Any) -> str:
        named = {name: value for name, value in (right | claims).items() if name != without}
        header = {"alg": algorithm, "kid": str(key.kid)}
        return f"Bearer {jwt.encode(header, named, signer, algorithms=[algorithm])}"

    def plain(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    head, body, signature = signed().split(".")
    public = OctKey.import_key(json.dumps(key.as_dict(private=False)))
    return {
        "empty": "",
        "no token": "Bearer",
        "another scheme": f"Basic {plain(CANARY)}",
        "garbage": f"Bearer {CANARY}",
        "dots": "Bearer ..",
        "not JSON": "Bearer YWJj.YWJj.YWJj",
        "not ASCII": "Bearer \u00e9\u00e9.\u00e9.\u00e9",
        "very long": "Bearer " + "a" * 20_000,
        "unsigned": f"Bearer {plain({'alg': 'none'})}.{plain(right)}.",
        "signature left out": f"{head}.{body}.",
        "body exchanged": f"{head}.{plain(right | {'organisation': 'politie'})}.{signature}",
        "another key": signed(stranger),
        "public key as secret": signed(public, "HS256"),
        "expired": signed(iat=now - 900, exp=now - 300),
        "not yet valid": signed(nbf=now + 600),
        "another audience": signed(aud="another"),
        "another issuer": signed(iss="https://example.org"),
        "without exp": signed(without="exp"),
        "without sub": signed(without="sub"),
        "lives too long": signed(exp=now + 24 * 3600),
        "without an organisation": signed(without="organisation"),
        "organisation is a list": signed(organisation=["jenv"]),
        "without functions": signed(without="functions"),
        "functions is a text": signed(functions="coordinator"),
        "functions of another kind": signed(functions=[["coordinator"], {"a": 1}, 7]),
        "iat is a text": signed(iat="yesterday"),
    }


@pytest.mark.parametrize("service", WRITERS)
async def test_no_write_is_carried_out_without_a_valid_token(doors: Doors, service: str) -> None:
    tokens: dict[str, str | None] = {"no header": None, **bad_tokens(doors.house)}
    del tokens["functions of another kind"]
    always = {what: tokens.pop(what) for what in ("no header", "garbage", "unsigned", "expired", "another key")}
    faults = [
        fault(doors, route, f"token: {what}", 401, headers={"Authorization": token and token.encode("latin-1")})
        for turn, route in enumerate(doors.of(service, writes=True))
        for what, token in [*always.items(), *some(tokens.items(), turn, 3)]
    ]
    await all_refused(doors, "token", faults)


@pytest.mark.parametrize("service", WRITERS)
async def test_no_write_is_carried_out_without_the_function_for_it(doors: Doors, service: str) -> None:
    odd = bad_tokens(doors.house)["functions of another kind"]
    tokens = {
        "no function": f"Bearer {doors.token('jenv', ())}",
        "auditor": f"Bearer {doors.token('jenv', ('auditor',))}",
        "unknown function": f"Bearer {doors.token('jenv', ('emperor',))}",
        "functions of another kind": odd,
    }
    faults = [
        fault(doors, route, what, *((401, 403) if token == odd else (403,)), headers={"Authorization": token})
        for route in doors.of(service, writes=True)
        for what, token in tokens.items()
        if what != "auditor" or Function.AUDITOR not in PERMISSIONS[service][route.operation["operationId"]].functions
    ]
    await all_refused(doors, "function", faults)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_bad_token_breaks_no_read(doors: Doors, service: str) -> None:
    """A read for anyone does not look at the token; one that does refuses it, or its functions."""
    reads = [route for route in doors.of(service, writes=False) if not route.streams]
    tokens = bad_tokens(doors.house)
    answers = await asyncio.gather(
        *(
            answer_to(doors, fault(doors, route, what, headers={"Authorization": token.encode("latin-1")}))
            for turn, route in enumerate(reads)
            for what, token in some(tokens.items(), turn, 5)
        )
    )
    assert {answer.status_code for answer in answers} <= {200, 401, 403, 404}


# --- bodies -----------------------------------------------------------------------------------------------------

NO_BODIES: dict[str, bytes] = {
    "no body": b"",
    "null": b"null",
    "list": b"[]",
    "text": b'"' + CANARY.encode() + b'"',
    "number": b"12",
    "cut off": b'{"a":',
    "two documents": b"{}{}",
    "comment": b"{} // " + CANARY.encode(),
    "single quotes": b"{'a': 1}",
    "form": b"a=1&b=" + CANARY.encode(),
    "not UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "NUL": b"\x00",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "huge number": b'{"a": ' + b"9" * 5000 + b"}",
    "21 levels": b'{"a":' * 21 + b"1" + b"}" * 21,
    "100,000 levels": b"[" * 100_000 + b"]" * 100_000,
}


@pytest.mark.parametrize("service", WRITERS)
async def test_what_is_no_json_object_is_refused(doors: Doors, service: str) -> None:
    faults = [
        fault(doors, route, what, 400, content=content)
        for turn, route in enumerate(doors.of(service, writes=True))
        for what, content in some(NO_BODIES.items(), turn, 7)
    ]
    await all_refused(doors, "no body", faults)


async def test_strict_json_is_refused_with_a_sentence_that_says_why(doors: Doors) -> None:
    route = next(route for route in doors.routes if str(route) == "POST /recommendations/v1/terms")
    said = {}
    for what, content in NO_BODIES.items() | {("twice", b'{"code": "a", "code": "b"}')}:
        said[what] = (await answer_to(doors, fault(doors, route, what, content=content))).json()["detail"]
    assert "twice" in said["twice"]
    assert "does not have" in said["NaN"] and "does not have" in said["Infinity"]
    assert "nested deeper than 20" in said["21 levels"]
    assert "not JSON" in said["cut off"] and "not JSON" in said["not UTF-8"] and "not JSON" in said["huge number"]


@pytest.mark.parametrize("service", WRITERS)
async def test_a_body_with_what_must_be_there_left_out_is_refused(doors: Doors, service: str) -> None:
    faults = []
    for route in doors.of(service, writes=True):
        needed = route.body.get("required", [])
        good = route.shapes.body(route.body)
        if needed:
            faults.append(fault(doors, route, "empty object", 400, content=b"{}"))
        for name in needed:
            body = {key: value for key, value in good.items() if key != name}
            faults.append(fault(doors, route, f"no {name}", 400, content=json.dumps(body).encode(), names=(name,)))
            body = good | {name: None}
            faults.append(fault(doors, route, f"null {name}", 400, content=json.dumps(body).encode(), names=(name,)))
    await all_refused(doors, "left out", faults)


@pytest.mark.parametrize("service", WRITERS)
async def test_a_field_that_does_not_exist_or_comes_twice_is_refused(doors: Doors, service: str) -> None:
    faults = []
    for route in doors.of(service, writes=True):
        good = route.shapes.body(route.body)
        for name, pointer in {"noSuchField": "noSuchField", "id": "id", "state": "state", "<b>": "?b?"}.items():
            if name not in route.body["properties"]:
                content = json.dumps(good | {name: CANARY}).encode()
                faults.append(fault(doors, route, f"unknown {name}", 400, content=content, names=(pointer,)))
        twice = json.dumps(good | {"effectiveFrom": "2018-10-19"})[:-1] + ', "effectiveFrom": "2018-10-20"}'
        faults.append(fault(doors, route, "a field twice", 400, content=twice.encode()))
        for place, shape in route.shapes.places(route.body):
            if "properties" in shape and len(place) == 1:
                whole = route.shapes.body(route.body, str(place[0]))
                content = json.dumps(put(whole, (*place, "noSuchField"), CANARY)).encode()
                where = (*place, "noSuchField")
                faults.append(fault(doors, route, f"unknown in {place}", 400, content=content, names=where))
    await all_refused(doors, "unknown field", faults)


UNWANTED = ("\x00", "\x1b[2J", "\x7f", "\ud800", "\udc00", "\u202e", "\u2066")
"""NUL, an escape, delete, halves of surrogate pairs, and what turns the reading direction around."""
NO_DAYS = (
    "0001-01-01",
    "1899-12-31",
    "2201-01-01",
    "9999-12-31",
    "10000-01-01",
    "-2018-01-01",
    1767225600,
    "1767225600",
    "1767225600.5",
    1e300,
    "2018-02-30",
    "2018-1-1",
    "2018",
    "19-10-2018",
    "2018-10-19T12:00:00Z",
    "\u0662\u0660\u0661\u0668-10-19",
    "",
)


def wrong_values(shapes: Shapes, schema: Schema) -> Iterator[Any]:
    """What does not fit where this schema stands."""
    yield [[CANARY]]
    match schema:
        case {"enum": _}:
            yield from (CANARY, NUMBER, "", {"a": CANARY}, True, *(f"{CANARY}{bad}" for bad in UNWANTED))
        case {"type": "object"}:
            yield from (CANARY, NUMBER, True, [])
            if "patternProperties" in schema:
                yield from ({"Not A Name": "x"}, {"": "x"}, {"a\x00": "x"}, {"\ud800": "x"}, {"a" * 61: "x"})
                yield {f"system-{number}": "x" for number in range(11)}
        case {"type": "array", "items": items}:
            yield from (CANARY, NUMBER, {"a": CANARY}, True, [None])
            if "maxItems" in schema:
                yield [shapes.good(items)] * (schema["maxItems"] + 1)
            if "minItems" in schema:
                yield []
        case {"type": "string", "format": "date"}:
            yield from (CANARY, True, {"a": CANARY}, *NO_DAYS, *(f"2018-10-19{bad}" for bad in UNWANTED))
        case {"type": "string", "format": "uuid"}:
            yield from (CANARY, NUMBER, True, "", {"a": CANARY}, *(f"{uuid4()}{bad}" for bad in UNWANTED))
        case {"type": "string"}:
            yield from (NUMBER, True, 1.5, {"a": CANARY}, *(f"{CANARY}{bad}" for bad in UNWANTED))
            if "pattern" in schema:
                yield from (CANARY, "", shapes.good(schema) + "\n", "\n" + shapes.good(schema), "\u0662" * 4)
            else:
                yield from ("", " ", " \n\t ")
            if "maxLength" in schema:
                yield shapes.good(schema)[-1] * (schema["maxLength"] + 1)
        case {"type": "integer"}:
            yield from (CANARY, {"a": CANARY}, "", 1.5, 10**30, -(10**30), 1e300)
            if "minimum" in schema:
                yield int(schema["minimum"]) - 1
            if "maximum" in schema:
                yield int(schema["maximum"]) + 1
        case {"type": "boolean"}:
            yield from (CANARY, NUMBER, {"a": CANARY}, "", -1, 1e300)
        case _:
            raise AssertionError(f"There is nothing wrong known for {schema} yet.")


@pytest.mark.parametrize("service", WRITERS)
async def test_a_value_that_does_not_fit_its_field_is_refused_and_pointed_at(doors: Doors, service: str) -> None:
    """A shape that comes again, such as a citation, gets everything once and three faults, in turn, from then on."""
    faults = []
    seen: dict[str, int] = {}
    for route in doors.of(service, writes=True):
        for place, schema in route.shapes.places(route.body):
            told = {name: part for name, part in schema.items() if name not in ("title", "description", "default")}
            shape = json.dumps([len(place), told])
            turn = seen[shape] = seen.get(shape, -1) + 1
            whole = route.shapes.body(route.body, str(place[0]))
            for value in some(wrong_values(route.shapes, schema), turn, 3):
                content = json.dumps(put(whole, place, value)).encode()
                faults.append(fault(doors, route, f"{str(value)[:40]!a} at {place}", 400, content=content, names=place))
    await all_refused(doors, "value", faults)


@pytest.mark.parametrize("service", WRITERS)
async def test_the_good_bodies_that_these_faults_start_from_are_good(doors: Doors, service: str) -> None:
    """Otherwise the tests above would show nothing: no field of theirs is refused for how it is written."""
    for route in doors.of(service, writes=True):
        for name in [None, *route.body["properties"]]:
            body = route.shapes.body(route.body, *([name] if name else []))
            answer = await answer_to(doors, fault(doors, route, "good", content=json.dumps(body).encode()))
            assert answer.status_code < 500, f"{route} {body}: {answer.text}"
            if answer.status_code == 400:
                said = answer.json()["detail"]
                assert not said.startswith("Mend ") or "nothing undecided" in said, f"{route} {body}: {said}"
            if route.names_one:
                assert answer.status_code in (400, 404), f"{route} {body}: {answer.text}"


@pytest.mark.parametrize("service", WRITERS)
async def test_a_body_that_is_too_large_is_refused_however_it_is_sent(doors: Doors, service: str) -> None:
    large = b'{"reason": "' + b"a" * (1 << 20) + b'"}'
    faults = [
        fault(doors, route, f"{len(large)} bytes", 413, content=large, chunked=chunked)
        for route in doors.of(service, writes=True)
        for chunked in (False, True)
    ]
    await all_refused(doors, "too large", faults)


@pytest.mark.parametrize("service", WRITERS)
async def test_a_body_of_another_media_type_is_refused(doors: Doors, service: str) -> None:
    others = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", CANARY, "")
    faults = []
    for route in doors.of(service, writes=True):
        faults.append(fault(doors, route, "no media type", 415, headers={"Content-Type": None}))
        wrong = others if route.method == "PATCH" else (*others, "application/merge-patch+json")
        faults += [fault(doors, route, f"as {other}", 415, headers={"Content-Type": other}) for other in wrong]
    await all_refused(doors, "media type", faults)


# --- addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
async def test_an_id_that_does_not_exist_is_not_found(doors: Doors, service: str) -> None:
    faults = [
        fault(doors, route, "unknown id", 404)
        for route in doors.of(service)
        if route.names_one and (route.writes or route.behind_the_door)
    ]
    await all_refused(doors, "unknown id", faults)


@pytest.mark.parametrize("service", SERVICES)
async def test_an_id_that_is_none_is_refused(doors: Doors, service: str) -> None:
    encoded = CANARY.replace(" ", "%20")
    bad = (encoded, "0X1", "%00", "%ED%A0%80", "%E2%80%AE", "A" * 3000, "..;", "%2e%2e%5c", "null%00", "'--", "{id}")
    faults = [
        fault(doors, route, "malformed id", 400, path=route.at(id))
        for turn, route in enumerate(route for route in doors.of(service) if route.names_one)
        for id in some(bad, turn, 4)
    ]
    await all_refused(doors, "malformed id", faults)


@pytest.mark.parametrize("service", SERVICES)
async def test_a_method_that_an_address_does_not_take_is_refused_with_the_ones_it_does(
    doors: Doors, service: str
) -> None:
    taken: dict[str, set[str]] = {f"/{service}/v1/openapi.json": {"GET"}}
    if service == "reporting":
        taken["/"] = {"GET"}
    for route in doors.of(service):
        taken.setdefault(route.path, set()).add(route.method)
    any_route = doors.of(service)[0]
    faults = []
    for path, methods in taken.items():
        allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        here = replace(any_route, path=path)
        for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - allowed:
            faults.append(
                fault(doors, here, f"not {method}", 405, method=method, path=here.at(), content=None, allow=allowed)
            )
    await all_refused(doors, "method", faults)


@pytest.mark.parametrize("service", SERVICES)
async def test_an_address_that_is_not_there_is_not_found_and_never_redirected(doors: Doors, service: str) -> None:
    faults = [fault(doors, route, "trailing slash", 404, path=f"{route.at()}/") for route in doors.of(service)]
    route = doors.of(service)[0]
    for path in ("//", f"/{service}", f"/{service}/v1", f"/{service}/v1/", f"/{service}/v2/terms", "/docs", "/redoc"):
        faults.append(fault(doors, route, "nothing there", 404, path=path, method="GET", content=None))
    for path in (
        f"/{service}/v1/%00",
        "/static/../api.py",
        "/static/%2e%2e/texts.py",
        "/.env",
        "/static/",
    ):
        faults.append(fault(doors, route, "nothing there", 404, path=path, method="GET", content=None))
    await all_refused(doors, "address", faults)


# --- queries ----------------------------------------------------------------------------------------------------

NO_MOMENTS = (
    CANARY,
    "0001-01-01",
    "9999-12-31",
    "1899-12-31T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00%2B14:00",
    "1767225600",
    "2018-02-30",
    "2018-12",
    "20181231",
    "2018-12-31T12:00:00",
    "2018-12-31 12:00:00",
    "2018-12-31T12:00:00-00:00",
    "2018-12-31T25:00:00Z",
    "2018-12-31T12:00:00%2B25:00",
    "2018-12-31%00",
    "\u0662\u0660\u0661\u0668-12-31",
    "2018-12-31" * 5,
    "now",
    "",
)


def wrong_queries(name: str, schema: Schema) -> Iterator[str]:
    if name in ("asOf", "knownAt"):
        yield from NO_MOMENTS
        return
    match schema:
        case {"type": "integer"}:
            yield from (CANARY, "", "1.5", "1e3", "%00", "9" * 30, "-" + "9" * 30, "0x10", "9" * 5000)
            if "minimum" in schema:
                yield str(int(schema["minimum"]) - 1)
            if "maximum" in schema:
                yield str(int(schema["maximum"]) + 1)
        case {"type": "boolean"}:
            yield from (CANARY, "", "2", "%00", "A" * 3000)
        case {"type": "string", "format": "uuid"}:
            yield from (CANARY, "", "1", "%00", "%ED%A0%80", f"{uuid4()}x", "A" * 3000)
        case {"type": "string"}:
            assert {"enum", "pattern"} & set(schema), f"{name} takes any text; say what is wrong for it here"
            yield from (f"{CANARY}!", "", "%00", "%ED%A0%80", "%E2%80%AE", "A" * 3000)
        case _:
            raise AssertionError(f"There is nothing wrong known for {schema} yet.")


@pytest.mark.parametrize("service", SERVICES)
async def test_a_query_that_does_not_fit_or_does_not_exist_is_refused(doors: Doors, service: str) -> None:
    faults = []
    seen: dict[str, int] = {}
    for route in doors.of(service):
        if not route.behind_the_door:
            continue
        for name in ("noSuchKey", "Limit", "%00"):
            faults.append(fault(doors, route, f"query {name}", 400, path=f"{route.at()}?{name}=1"))
        faults.append(fault(doors, route, "canary query", 400, path=f"{route.at()}?{CANARY.replace(' ', '%20')}=1"))
        for name, schema in route.queries().items():
            turn = seen[name] = seen.get(name, -1) + 1
            faults += [
                fault(doors, route, f"{name}={bad[:40]}", 400, path=f"{route.at()}?{name}={bad.replace(' ', '%20')}")
                for bad in some(wrong_queries(name, schema), turn, 4)
            ]
    await all_refused(doors, "query", faults)


@pytest.mark.parametrize("service", SERVICES)
async def test_every_query_that_is_told_of_is_answered_when_it_is_filled_in_rightly(doors: Doors, service: str) -> None:
    for route in doors.of(service, writes=False):
        path = route.at()
        for name, schema in route.queries().items():
            value = "2018-12-31" if name in ("asOf", "knownAt") else route.shapes.good(schema)
            answer = await answer_to(doors, fault(doors, route, name, path=f"{path}?{name}={value}"))
            may_name_nothing = route.names_one or route.path.endswith("/form.xlsx")
            assert answer.status_code in ((200, 404) if may_name_nothing else (200,)), f"{route} {name}: {answer.text}"


@pytest.mark.parametrize("service", SERVICES)
async def test_a_position_to_wait_for_that_is_none_is_refused(doors: Doors, service: str) -> None:
    bad = (CANARY, "r", "412", "r-1", "r1,p2", "r1.", "r" + "9" * 19, "R1", "r1;p1", "r\u00b2")
    faults = [
        fault(doors, route, f"at least {one}", 400, headers={"Kapstok-At-Least": one})
        for turn, route in enumerate(route for route in doors.of(service) if route.behind_the_door)
        for one in some(bad, turn, 3)
    ]
    faults = [
        replace(one, headers={name: str(value).encode("latin-1") for name, value in one.headers.items()})
        for one in faults
    ]
    await all_refused(doors, "at least", faults)


# --- headers of a write -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", WRITERS)
async def test_a_change_without_the_version_it_was_read_at_is_refused(doors: Doors, service: str) -> None:
    bad = ("", "3", '"abc"', 'W/"3"', '"3", "4"', '"-1"', '"99999999999"', "'3'", '"3', CANARY, '"\u00b3"', '"1.5"')
    faults = []
    for turn, route in enumerate(route for route in doors.of(service, writes=True) if route.names_one):
        faults.append(fault(doors, route, "no If-Match", 428, headers={"If-Match": None}))
        faults += [
            fault(doors, route, f"If-Match {one}", 400, headers={"If-Match": one.encode("latin-1")})
            for one in some(bad, turn, 4)
        ]
    await all_refused(doors, "If-Match", faults)


@pytest.mark.parametrize("service", WRITERS)
async def test_a_write_without_a_key_to_repeat_it_by_is_refused(doors: Doors, service: str) -> None:
    bad = ("", '""', '"', '"a', 'a"b', f'"{CANARY}"', '"' + "a" * 201 + '"', "a\\b", '"\u00e9"', '"\t"')
    faults = []
    for turn, route in enumerate(doors.of(service, writes=True)):
        faults.append(fault(doors, route, "no key", 400, headers={"Idempotency-Key": None}))
        faults += [
            fault(doors, route, f"key {one}", 400, headers={"Idempotency-Key": one.encode("latin-1")})
            for one in some(bad, turn, 4)
        ]
    await all_refused(doors, "Idempotency-Key", faults)


# --- HEAD -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
async def test_head_gives_what_get_gives_without_the_body(doors: Doors, service: str) -> None:
    for route in doors.of(service, writes=False):
        if route.streams:
            continue
        got = await answer_to(doors, fault(doors, route, "GET"))
        told = await answer_to(
            doors, fault(doors, route, "HEAD", method="HEAD", path=got.request.url.raw_path.decode())
        )
        assert (told.status_code, told.content) == (got.status_code, b""), str(route)
        for name in ("content-type", "etag", "link", "api-version", *SECURITY):
            assert told.headers.get(name) == got.headers.get(name), f"{name} of {route}"


async def test_head_of_a_stream_ends_and_leaves_the_connection_free(doors: Doors) -> None:
    streams = [route for route in doors.routes if route.streams]
    assert streams
    for route in streams:
        async with httpx.AsyncClient(timeout=5, limits=httpx.Limits(max_connections=1)) as client:
            told = await client.head(f"{doors.house.url(route.service)}{route.at()}")
            assert (told.status_code, told.content) == (200, b"")
            assert (await client.get(f"{doors.house.url(route.service)}/health/live")).status_code == 200


# --- anything at all --------------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60) | st.sampled_from(
    (CANARY, "voorbeeld", "2018-10-19", "2026-11-24", "", "\u202e", "%00", "9" * 30, "a" * 5000)
)
ANY_NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
ANYTHING = st.recursive(
    st.none() | st.booleans() | ANY_NUMBER | ANY_TEXT,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(ANY_TEXT, inside, max_size=4),
    max_leaves=8,
)


@dataclass(frozen=True)
class Things:
    """Ids of what there is, by the plural word that its address has."""

    ids: dict[str, list[str]]

    def fitting(self, field: str) -> str:
        """An id for a field such as `sourceId`; any, when the name does not tell of what."""
        word = re.sub(r"(?<=[a-z])([A-Z])", r"-\1", field.removesuffix("Id")).lower()
        named = [ids[0] for noun, ids in self.ids.items() if word and noun.startswith(word)]
        return (named or [ids[0] for ids in self.ids.values()])[0]


async def _things(doors: Doors) -> Things:
    found = {}
    for route in doors.routes:
        if not route.writes and not route.names_one and "cursor" in route.queries():
            page = await answer_to(doors, fault(doors, route, "all of them"))
            found[route.path.rpartition("/")[2]] = [item["id"] for item in page.json()["items"]]
    return Things(found)


def realistic(route: Route, body: dict[str, Any], things: Things) -> dict[str, Any]:
    """The body with ids of real things in it, so that a request reaches further."""
    for place, schema in route.shapes.places(route.body):
        if schema.get("format") == "uuid" and place[0] in body:
            body = put(body, place, things.fitting(str(next(step for step in reversed(place) if step != 0))))
    return body


def mutated(draw: st.DrawFn, route: Route, body: dict[str, Any]) -> Any:
    """A good body with a few things changed, left out or added."""
    places = [place for place, _ in route.shapes.places(route.body) if place[0] in body]
    for _ in range(draw(st.integers(0, 3))):
        how = draw(st.sampled_from(("other", "gone", "more", "again")))
        place = draw(st.sampled_from(places)) if places else ()
        inside: Any = body
        try:
            for step in place[:-1]:
                inside = inside[step]
            if how == "more" or not place:
                body[draw(ANY_TEXT)] = draw(ANYTHING)
            elif how == "gone":
                del inside[place[-1]]
            elif how == "again" and isinstance(inside[place[-1]], list):
                inside[place[-1]] = inside[place[-1]] * draw(st.integers(2, 6))
            else:
                inside[place[-1]] = draw(ANYTHING)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    return body


QUICK = settings(
    max_examples=int(os.environ.get("FUZZ", "200")),
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("service", WRITERS)
async def test_whatever_a_body_says_it_is_carried_out_whole_or_refused_in_words(doors: Doors, service: str) -> None:
    things = await _things(doors)
    routes = doors.of(service, writes=True)
    loop = asyncio.get_running_loop()

    @QUICK
    @given(st.data())
    def anything(data: st.DataObject) -> None:
        route = data.draw(st.sampled_from(routes))
        optional = [name for name in route.body["properties"] if name not in route.body.get("required", [])]
        also = data.draw(st.lists(st.sampled_from(optional), max_size=3, unique=True)) if optional else []
        good = realistic(route, route.shapes.body(route.body, *also), things)
        body = mutated(data.draw, route, deepcopy(good))
        organisation = data.draw(st.sampled_from(("jenv", "voorbeeld")))
        asyncio.run_coroutine_threadsafe(
            _carried_out_or_refused(doors, route, things, body, organisation), loop
        ).result(20)

    await asyncio.to_thread(anything)
    tried["anything"] = tried.get("anything", 0) + int(os.environ.get("FUZZ", "200"))


async def _carried_out_or_refused(doors: Doors, route: Route, things: Things, body: Any, organisation: str) -> None:
    noun = route.path.split("/")[3]
    before = await _head(doors, route.service)
    headers: dict[str, Any] = {"Authorization": f"Bearer {doors.token(organisation)}"}
    headers |= {"If-Match": "*"} if route.names_one else {}
    path = route.at(things.ids[noun][0])
    one = fault(doors, route, "anything", headers=headers, path=path, content=json.dumps(body).encode())
    answer = await answer_to(doors, one)
    if answer.status_code in (200, 201):
        place = answer.headers.get("location", path.partition("/_")[0])
        read = await doors.client.get(f"{doors.house.url(route.service)}{place}", headers=one.headers)
        assert read.status_code == 200, f"written, and not readable: {read.text}"
        assert read.json() == answer.json()
        assert read.headers["etag"] == answer.headers["etag"]
        return
    assert answer.status_code in (400, 403, 404, 409, 413), answer.text
    problem = wrong_in(answer, replace(one, statuses=(answer.status_code,)))
    assert problem is None, f"{problem}: {answer.text}"
    assert await _head(doors, route.service) == before, "refused, and yet something was saved"


async def _head(doors: Doors, service: str) -> Any:
    url = f"{doors.house.url(service)}/{service}/v1/events/head"
    return (await doors.client.get(url, headers={"Authorization": f"Bearer {doors.token()}"})).json()["sequence"]


@pytest.mark.parametrize("service", SERVICES)
async def test_whatever_a_query_says_it_is_answered_or_refused_in_words(doors: Doors, service: str) -> None:
    routes = [route for route in doors.of(service, writes=False) if route.behind_the_door and not route.streams]
    loop = asyncio.get_running_loop()

    @QUICK
    @given(st.data())
    def anything(data: st.DataObject) -> None:
        route = data.draw(st.sampled_from(routes))
        names = sorted(set(route.queries()) - {"wait"})
        asked = data.draw(st.dictionaries(st.sampled_from([*names, "noSuchKey"]), ANY_TEXT, max_size=3))
        asyncio.run_coroutine_threadsafe(_answered_or_refused(doors, route, asked), loop).result(20)

    await asyncio.to_thread(anything)
    tried["any query"] = tried.get("any query", 0) + 200


async def _answered_or_refused(doors: Doors, route: Route, asked: dict[str, str]) -> None:
    query = "&".join(f"{name}={_escaped(value)}" for name, value in asked.items())
    one = fault(doors, route, "any query", path=f"{route.at()}?{query}")
    answer = await answer_to(doors, one)
    assert answer.status_code in (200, 400, 404), answer.text
    if answer.status_code != 200:
        problem = wrong_in(answer, replace(one, statuses=(answer.status_code,)))
        assert problem is None, f"{problem}: {answer.text}"


def _escaped(value: str) -> str:
    return "".join(f"%{byte:02X}" for byte in value.encode("utf-8", "surrogatepass"))
