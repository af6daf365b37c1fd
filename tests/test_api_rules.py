"""The rules that hold for every operation of every service, and for every kind of refusal (docs/api-rules.md)."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from deploy.stack import SERVICES
from services.permissions import RECOMMENDATIONS
from shared.access import costly
from shared.endings import Ending
from shared.errors import DomainError
from shared.gate import Function
from shared.problem_types import CATALOGUE
from shared.service import VERSION
from tests import house as houses
from tests.conftest import Say
from tests.examples import issuing_body, link, partner, source, term
from tests.house import Builder, House
from tests.test_wrong_input import Route, Shapes

HELD_BY_EVERY_ANSWER = {
    "api-version": VERSION,
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
EVERY_FUNCTION = ("jenv", *(function.value for function in Function))


async def routes_of(house: House, service: str) -> list[Route]:
    told = await house.get(f"/{service}/v1/openapi.json", by=None)
    shapes = Shapes(told["components"]["schemas"])
    return [
        Route(service, path, method.upper(), one, shapes)
        for path, operations in told["paths"].items()
        for method, one in operations.items()
    ]


async def asked(house: House, route: Route, **headers: str) -> httpx.Response:
    """The answer to a request that nothing is wrong with, but for what is named; of a stream only its beginning."""
    given = {"Authorization": f"Bearer {house.token(*EVERY_FUNCTION)}"} | headers
    if route.writes:
        given = {"Idempotency-Key": f'"{uuid4()}"', "If-Match": '"1"'} | given
    body = route.shapes.body(route.body) if route.writes else None
    url = f"{house.url(route.service)}{route.at()}"
    async with house.client.stream(route.method, url, json=body, headers=given) as answer:
        if "text/event-stream" not in answer.headers.get("content-type", ""):
            await answer.aread()
    return answer


def wrong_in(answer: httpx.Response) -> str | None:
    """Which rule for every answer is broken; None when all hold."""
    for name, value in HELD_BY_EVERY_ANSWER.items():
        if answer.headers.get(name) != value:
            return f"{name}: {answer.headers.get(name)}"
    if "cache-control" not in answer.headers or "server" in answer.headers or "set-cookie" in answer.headers:
        return f"headers: {dict(answer.headers)}"
    if answer.status_code in (204, 304) and ("content-type" in answer.headers or answer.content):
        return "a body, or a media type, without a body"
    return None if answer.status_code < 400 else _wrong_in_problem(answer)


def _wrong_in_problem(answer: httpx.Response) -> str | None:
    if answer.headers.get("content-type") != "application/problem+json":
        return f"written as {answer.headers.get('content-type')}"
    told = answer.json()
    found = [one for one in CATALOGUE.values() if told["type"].endswith(one.slug)]
    if len(found) != 1 or found[0].status != answer.status_code or told["status"] != answer.status_code:
        return f"{answer.status_code} as {told['type']}"
    if told["title"] != found[0].title.en or len(told["detail"]) < 10:
        return f"{told['title']}: {told['detail']}"
    return None


# --- every operation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", SERVICES)
async def test_every_operation_keeps_the_rules_for_every_answer(service: str, house: House, say: Say) -> None:
    wrong, tried = [], 0
    for route in await routes_of(house, service):
        answers = {
            "asked rightly": await asked(house, route),
            "without a token": await asked(house, route, Authorization=""),
            "in another form": await asked(house, route, Accept="application/x-nothing"),
            "with another method": await house.client.delete(f"{house.url(service)}{route.at()}"),
            "with OPTIONS": await house.client.options(f"{house.url(service)}{route.at()}"),
        }
        tried += len(answers)
        wrong += [f"{route} {how}: {found}" for how, answer in answers.items() if (found := wrong_in(answer))]
        if route.behind_the_door and answers["in another form"].status_code != 406:
            wrong.append(f"{route} in another form: {answers['in another form'].status_code}")
        if answers["with another method"].status_code != 405:
            wrong.append(f"{route} with another method: {answers['with another method'].status_code}")
    assert wrong == []
    say(f"{service}: {tried} answers held to the rules for every answer")


@pytest.mark.parametrize("service", SERVICES)
async def test_options_tells_the_methods_of_every_address_and_how_to_patch_it(service: str, house: House) -> None:
    taken: dict[str, set[str]] = {}
    addresses: dict[str, str] = {}
    for route in await routes_of(house, service):
        taken.setdefault(route.path, {"OPTIONS"}).update(
            {route.method} | ({"HEAD"} if route.method == "GET" else set())
        )
        addresses[route.path] = route.at()
    for path, methods in taken.items():
        answer = await house.client.options(f"{house.url(service)}{addresses[path]}")
        assert answer.status_code == 204, path
        assert set(answer.headers["allow"].split(", ")) == methods, path
        wanted = "application/merge-patch+json" if "PATCH" in methods else None
        assert answer.headers.get("accept-patch") == wanted, path
    nowhere = await house.client.options(f"{house.url(service)}/{service}/v1/nowhere")
    assert nowhere.status_code == 404


@pytest.mark.parametrize("service", SERVICES)
async def test_every_query_is_explained_in_openapi(service: str, house: House) -> None:
    bare = [
        f"{route} {one['name']}"
        for route in await routes_of(house, service)
        for one in route.operation.get("parameters", [])
        if one["in"] == "query" and not one.get("description")
    ]
    assert bare == []


WORK = re.compile(r"/(subscriptions|imports)(/|$)")
"""What is done and kept for a while: listed in the order of time, and in no other."""


@pytest.mark.parametrize("service", SERVICES)
async def test_every_list_takes_a_cursor_and_an_order_and_no_page_numbers(service: str, house: House) -> None:
    for route in await routes_of(house, service):
        queries = set(route.queries())
        assert not queries & {"page", "pageSize", "offset"}, str(route)
        if "cursor" in queries and not WORK.search(route.path):
            assert {"cursor", "limit", "sort"} <= queries, str(route)
            assert "-reference" in route.queries()["sort"]["enum"], str(route)


@pytest.mark.parametrize("service", SERVICES)
async def test_security_txt_names_whom_to_tell_and_stays_out_of_openapi(service: str, house: House) -> None:
    answer = await house.client.get(f"{house.url(service)}/.well-known/security.txt")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert fields["Contact"].startswith("https://")
    assert datetime.fromisoformat(fields["Expires"]).tzinfo is not None
    assert "security.txt" not in (await house.client.get(f"{house.url(service)}/{service}/v1/openapi.json")).text


# --- every kind of refusal --------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def worn(builder: Builder) -> AsyncIterator[House]:
    """A register in which one operation has ended, one is counted strictly, and two tables are not in order."""
    given = houses.FACTORIES["recommendations"]
    past = datetime(2020, 1, 1, tzinfo=UTC)
    houses.FACTORIES["recommendations"] = partial(
        given,
        endings={"read_issuing_body": Ending(past, past, "https://example.org/ended")},
        permissions=RECOMMENDATIONS | {"register_issuing_body": costly(RECOMMENDATIONS["register_issuing_body"])},
    )
    try:
        async with builder.house("recommendations", costly_rate_limit=1) as house:
            async with house.running["recommendations"].service.engine.begin() as connection:
                await connection.exec_driver_sql("alter table source rename column published_on to printed_on")
                await connection.exec_driver_sql("alter table recommendation rename to advice")
            yield house
    finally:
        houses.FACTORIES["recommendations"] = given


R, P = "/recommendations/v1", "/programme/v1"
Refused = Callable[[House, House], Awaitable[httpx.Response]]


async def _a_term(house: House) -> dict[str, Any]:
    return await house.post(f"{R}/terms", term())


async def _twice(house: House, worn: House) -> httpx.Response:
    body = term()
    await house.post(f"{R}/terms", body)
    return await house.send("POST", f"{R}/terms", body)


async def _not_followed(house: House, worn: House) -> httpx.Response:
    programme = await house.post(f"{P}/programmes", {"name": {"nl": "Programma"}})
    action = await house.post(f"{P}/actions", {"name": {"nl": "Actie"}, "programmeId": programme["id"]})
    return await house.send("POST", f"{P}/links", link(actionId=action["id"], recommendationId=str(uuid4())))


async def _stale(house: House, worn: House) -> httpx.Response:
    found = await _a_term(house)
    return await house.send("POST", f"{R}/terms/{found['id']}/_end", {"reason": "Op."}, version=9)


async def _without_version(house: House, worn: House) -> httpx.Response:
    found = await _a_term(house)
    return await house.send("POST", f"{R}/terms/{found['id']}/_end", {"reason": "Op."})


async def _key_again(house: House, worn: House) -> httpx.Response:
    key = str(uuid4())
    await house.post(f"{R}/terms", term(), key=key)
    return await house.send("POST", f"{R}/terms", term(), key=key)


async def _too_often(house: House, worn: House) -> httpx.Response:
    await worn.send("POST", f"{R}/issuing-bodies", issuing_body())
    return await worn.send("POST", f"{R}/issuing-bodies", issuing_body())


REFUSALS: dict[str, Refused] = {
    "invalid": lambda house, worn: house.send("POST", f"{R}/terms", {}),
    "token-needed": lambda house, worn: house.send("POST", f"{R}/terms", term(), by=None),
    "not-allowed": lambda house, worn: house.send("POST", f"{R}/terms", term(), by=("politie", "auditor")),
    "not-found": lambda house, worn: house.send("GET", f"{R}/terms/{uuid4()}"),
    "no-such-address": lambda house, worn: house.send("GET", f"{R}/nowhere"),
    "method-not-taken": lambda house, worn: house.send("DELETE", f"{R}/terms"),
    "not-acceptable": lambda house, worn: house.send("GET", f"{R}/terms", headers={"Accept": "application/xml"}),
    "conflict": _twice,
    "not-known-yet": _not_followed,
    "gone": lambda house, worn: worn.send("GET", f"{R}/issuing-bodies/{uuid4()}"),
    "stale": _stale,
    "too-large": lambda house, worn: house.send("POST", f"{R}/terms", term(definition="x" * (1 << 20))),
    "media-type-not-taken": lambda house, worn: house.send(
        "POST", f"{R}/terms", term(), headers={"Content-Type": "text/plain"}
    ),
    "key-reused": _key_again,
    "version-needed": _without_version,
    "quota-exceeded": _too_often,
    "our-fault": lambda house, worn: worn.send("GET", f"{R}/sources"),
    "unavailable": lambda house, worn: worn.send("GET", f"{R}/recommendations"),
}
"""One request a kind."""


def test_there_is_a_refusal_of_every_kind_in_the_catalogue_and_no_other() -> None:
    assert REFUSALS.keys() == CATALOGUE.keys()


def test_every_error_of_ours_has_its_kind_in_the_catalogue() -> None:
    kinds, waiting = set(), [DomainError]
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        assert CATALOGUE[error.type.slug] is error.type, error
        kinds.add(error.type.slug)
    assert CATALOGUE.keys() - kinds == {"no-such-address", "method-not-taken", "our-fault"}, "what no rule raises"


@pytest.mark.parametrize("slug", REFUSALS)
async def test_a_refusal_names_its_kind_and_keeps_the_rules(slug: str, house: House, worn: House) -> None:
    answer = await REFUSALS[slug](house, worn)
    assert answer.status_code == CATALOGUE[slug].status, answer.text
    assert answer.json()["type"] == CATALOGUE[slug].uri(answer.request.url.path.split("/")[1])
    assert wrong_in(answer) is None
    if slug != "too-large":  # refused before anything else
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", answer.headers["traceresponse"])
    leaked = re.search(r"select |sqlalchemy|asyncpg|traceback|\.py\b|printed_on", answer.text, re.IGNORECASE)
    assert leaked is None, answer.text
    needs_more = {
        "token-needed": "www-authenticate",
        "method-not-taken": "allow",
        "not-known-yet": "retry-after",
        "gone": "sunset",
        "quota-exceeded": "retry-after",
        "unavailable": "retry-after",
    }
    assert needs_more.get(slug, "api-version") in answer.headers


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("slug", CATALOGUE)
async def test_every_kind_has_a_page_for_programs_and_for_people(service: str, slug: str, house: House) -> None:
    path = f"/{service}/v1/problems/{slug}"
    told = await house.get(path, by=None)
    assert (told["slug"], told["status"]) == (slug, CATALOGUE[slug].status)
    assert told["type"] in (path, CATALOGUE[slug].registered)
    page = await house.send("GET", path, by=None, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for language in ("nl", "en"):
        assert f'lang="{language}"' in page.text
        for words in ("title", "meaning", "mend"):
            assert told[words][language].split("`")[0] in page.text
    assert wrong_in(page) is None


async def test_the_catalogue_is_listed_and_an_unknown_kind_is_not_found(house: House) -> None:
    listed = await house.get(f"{R}/problems", by=None)
    assert [one["slug"] for one in listed["items"]] == list(CATALOGUE)
    assert (await house.send("GET", f"{R}/problems/about-blank", by=None)).status_code == 404


async def test_the_kinds_of_problem_are_explained_while_the_database_is_away(worn: House) -> None:
    async with worn.running["recommendations"].service.engine.begin() as connection:
        await connection.exec_driver_sql("alter table generation rename to generation_gone")
        try:
            assert (await worn.send("GET", f"{R}/problems/unavailable", by=None)).status_code == 200
        finally:
            await connection.exec_driver_sql("alter table generation_gone rename to generation")


# --- forms, versions and conditions -----------------------------------------------------------------------------


async def test_a_body_in_another_form_is_refused_with_the_form_that_a_patch_takes(house: House) -> None:
    made = await house.post(f"{P}/partners", partner())
    path, wrong = f"{P}/partners/{made['id']}", {"Content-Type": "text/plain"}
    answer = await house.send("PATCH", path, {}, version=made["version"], headers=wrong)
    assert (answer.status_code, answer.headers["accept-patch"]) == (415, "application/merge-patch+json")
    read = await house.send("GET", path)
    assert read.headers["accept-patch"] == "application/merge-patch+json"
    assert "accept-patch" not in (await house.send("GET", f"{P}/partners")).headers


@pytest.mark.parametrize(
    "accept", ["*/*", "application/*", "application/json", "text/html, application/json;q=0.1", "a, */*;q=0.2", ""]
)
async def test_json_is_given_to_whoever_takes_it(accept: str, house: House) -> None:
    answer = await house.send("GET", f"{R}/terms", headers={"Accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


@pytest.mark.parametrize("accept", ["text/html", "application/json;q=0", "application/json;q=x, */*;q=0", "json", ";"])
async def test_who_takes_no_json_is_told_what_there_is(accept: str, house: House) -> None:
    answer = await house.send("GET", f"{R}/terms", headers={"Accept": accept})
    assert answer.status_code == 406
    assert "application/json" in answer.json()["detail"]


async def test_a_write_in_a_form_that_cannot_be_answered_is_not_carried_out(house: House) -> None:
    before = await house.heads()
    answer = await house.send("POST", f"{R}/terms", term(), headers={"Accept": "application/xml"})
    assert answer.status_code == 406
    assert await house.heads() == before


async def test_a_figure_that_is_kept_is_refused_in_another_form_too(house: House) -> None:
    path = "/reporting/v1/progress/domains"
    await house.get(path, by=None)
    assert (await house.send("GET", path, by=None, headers={"Accept": "application/xml"})).status_code == 406
    assert (await house.send("GET", path, by=None)).status_code == 200


@pytest.mark.parametrize("write", ["{tag}", "W/{tag}", '"other", {tag}', '"other",W/{tag}', "*"])
async def test_who_has_an_answer_already_is_not_sent_it_again(write: str, house: House) -> None:
    made = await house.post(f"{P}/partners", partner())
    for path in (f"{P}/partners/{made['id']}", f"{P}/partners?limit=1", "/reporting/v1/progress/domains"):
        first = await house.send("GET", path)
        held = {"If-None-Match": write.format(tag=first.headers["etag"])}
        again = await house.send("GET", path, headers=held)
        assert (again.status_code, again.content) == (304, b""), path
        assert wrong_in(again) is None
        for name in ("etag", "cache-control", "link", "api-version"):
            assert again.headers.get(name) == first.headers.get(name), f"{name} of {path}"


@pytest.mark.parametrize("write", ['"other"', "{bare}", 'W/"0"', ""])
async def test_who_has_another_answer_gets_this_one(write: str, house: House) -> None:
    path = f"{P}/partners/{(await house.post(f'{P}/partners', partner()))['id']}"
    tag = (await house.send("GET", path)).headers["etag"]
    again = await house.send("GET", path, headers={"If-None-Match": write.format(bare=tag.strip('"'))})
    assert again.status_code == 200


async def test_a_list_has_another_tag_once_something_in_it_changed(house: House) -> None:
    body = await house.post(f"{R}/issuing-bodies", issuing_body())
    path = f"{R}/sources"
    before = (await house.send("GET", path)).headers["etag"]
    await house.post(path, source(issuingBodyId=body["id"]))
    assert (await house.send("GET", path, headers={"If-None-Match": before})).status_code == 200
