"""The contracts as files: equal to the code, valid by their own standards, and kept to what was published."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from deploy.compatibility import Documents, breaks, lessened
from deploy.contracts import PUBLISHED, ROOT, SERVICES, contracts, written
from shared.contract import operations
from tests.house import House
from tests.shared import published

CONTRACTS = dict(contracts())
OPENAPI = {service: CONTRACTS[f"{service}.openapi.json"] for service in SERVICES}
EVENTS = [path for path in CONTRACTS if path.startswith("events/")]
service_by_service = pytest.mark.parametrize("service", SERVICES)
REMAKE = "run `make contracts` and commit what it writes"


@pytest.mark.parametrize("path", CONTRACTS)
def test_the_committed_contract_is_what_the_code_says(path: str) -> None:
    assert (ROOT / path).exists() and (ROOT / path).read_text() == written(CONTRACTS[path]), REMAKE


def test_no_contract_is_left_of_what_is_gone() -> None:
    files = {str(file.relative_to(ROOT)) for file in ROOT.rglob("*.json") if PUBLISHED not in file.parents}
    assert files == set(CONTRACTS), REMAKE


# --- OpenAPI -----------------------------------------------------------------------------------------------------


@service_by_service
def test_openapi_is_valid(service: str) -> None:
    assert OPENAPI[service]["openapi"].startswith("3.1.")
    validate(OPENAPI[service])


@service_by_service
def test_every_operation_says_who_may_what_it_refuses_and_shows_an_example(service: str) -> None:
    document = OPENAPI[service]
    schemas = document["components"]["schemas"]
    lacking = []
    for path, _, operation in operations(document):
        if not path.startswith(f"/{service}/"):
            continue
        name = operation["operationId"]
        if ("security" in operation) != ("For the functions" in operation["description"]):
            lacking.append(f"{name}: who may")
        if not {"400", "429", "500", "503"} <= set(operation["responses"]):
            lacking.append(f"{name}: refusals")
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for part in [*bodies, *operation["responses"].values()]:
            for media_type, content in part.get("content", {}).items():
                if "json" not in media_type:
                    continue
                whole = content["schema"] | {"components": {"schemas": schemas}}
                problems = [one.message for one in Draft202012Validator(whole).iter_errors(content["example"])]
                lacking += [f"{name}: its example: {problem[:200]}" for problem in problems]
    assert lacking == []


@service_by_service
def test_names_are_written_as_the_rules_ask(service: str) -> None:
    """NL GOV API Design Rules: paths in kebab case, query keys and fields in camel case, no trailing slash."""
    document = OPENAPI[service]
    for path, _, operation in operations(document):
        for segment in path.strip("/").split("/"):
            assert segment.strip("_").replace("-", "").replace(".", "").islower() or segment.startswith("{"), path
        for one in operation.get("parameters", []):
            if one["in"] == "query":
                assert one["name"][0].islower() and "_" not in one["name"], f"{path} {one['name']}"
    for name, schema in document["components"]["schemas"].items():
        if name == "Granted":
            continue  # written as OAuth 2.0 writes it
        for field in schema.get("properties", {}):
            assert field[0].islower() and "_" not in field, f"{name}.{field}"


# --- events ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EVENTS)
def test_what_was_published_fits_the_schema_of_its_type(path: str) -> None:
    Draft202012Validator.check_schema(CONTRACTS[path])
    kind = path.removeprefix("events/").removesuffix(".schema.json")
    message = json.loads((published.HERE / f"{kind}.json").read_text())
    Draft202012Validator(CONTRACTS[path]).validate(message)
    for wrong in ({"sequence": "12"}, {"source": "elsewhere"}, {"data": {}}):
        assert not Draft202012Validator(CONTRACTS[path]).is_valid(message | wrong)


@pytest.mark.parametrize("service", [service for service in SERVICES if service != "reporting"])
def test_asyncapi_has_a_channel_for_every_type_at_its_own_subject(service: str) -> None:
    document = CONTRACTS[f"{service}.asyncapi.json"]
    addresses = {channel["address"] for channel in document["channels"].values()}
    of_it = [path for path in EVENTS if f"kapstok-{service}." in path]
    assert addresses == {
        f"evt.{path.removeprefix('events/').removesuffix('.schema.json')}.{{entity}}" for path in of_it
    }
    for operation in document["operations"].values():
        channel = operation["channel"]["$ref"].rpartition("/")[2]
        for message in operation["messages"]:
            name = message["$ref"].rpartition("/")[2]
            assert name in document["channels"][channel]["messages"] and name in document["components"]["messages"]


# --- what was promised -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", sorted(PUBLISHED.rglob("*.json")), ids=lambda file: file.name)
def test_what_was_published_still_holds(file: Path) -> None:
    path = str(file.relative_to(PUBLISHED))
    assert path in CONTRACTS, f"{path} was published and is gone"
    old, new = json.loads(file.read_text()), CONTRACTS[path]
    if path.endswith(".openapi.json"):
        assert breaks(old, new) == []
    elif path.startswith("events/"):
        assert list(lessened(Documents(old, new), path, old, new)) == []
    else:
        assert set(old["channels"]) <= set(new["channels"])


def _changed(*steps: Any, to: Any = None) -> dict[str, Any]:
    """Programme's contract with something else at one place, or without it."""
    document = deepcopy(OPENAPI["programme"])
    inside: Any = document
    for step in steps[:-1]:
        inside = inside[step]
    if to is None:
        del inside[steps[-1]]
    else:
        inside[steps[-1]] = to
    return document


PLAN = ("paths", "/programme/v1/actions", "post")
LIST = ("paths", "/programme/v1/actions", "get")
SCHEMAS = ("components", "schemas")
STATES = OPENAPI["programme"]["components"]["schemas"]["ActionState"]["enum"]


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (_changed(*PLAN), "is gone"),
        (_changed(*LIST, "security", to=[{"token": []}]), "takes a token now"),
        (_changed(*LIST, "parameters", 0), "no longer takes"),
        (_changed(*PLAN, "requestBody", "content", "application/json"), "no longer takes application/json"),
        (_changed(*PLAN, "responses", "201"), "no longer answers 201"),
        (_changed(*SCHEMAS, "PlanAction", "required", to=["programmeId", "name", "notes"]), "needs notes now"),
        (_changed(*SCHEMAS, "PlanAction", "properties", "notes"), "no longer takes notes"),
        (_changed(*SCHEMAS, "PlanAction", "properties", "notes", "maxLength", to=10), "takes less"),
        (_changed(*SCHEMAS, "PlanAction", "properties", "programmeId", "format", to="email"), "takes another format"),
        (_changed(*SCHEMAS, "PlanAction", "properties", "notes", "type", to="string"), "no longer takes null"),
        (_changed(*SCHEMAS, "ObligationLevel", "enum", to=["voluntary"]), "no longer takes"),
        (_changed(*SCHEMAS, "ActionOut", "properties", "state"), "no longer has state"),
        (
            _changed(*SCHEMAS, "ActionOut", "properties", "programmeId", "type", to=["string", "null"]),
            "may be null now",
        ),
        (_changed(*SCHEMAS, "ActionOut", "required", to=["id"]), "may be without"),
    ],
)
def test_a_break_is_found_and_named(after: dict[str, Any], told: str) -> None:
    assert any(told in one for one in breaks(OPENAPI["programme"], after))
    assert breaks(after, after) == []


@pytest.mark.parametrize(
    "after",
    [
        _changed(
            "paths", "/programme/v1/more", to={"get": OPENAPI["programme"]["paths"]["/programme/v1/actions"]["get"]}
        ),
        _changed(*SCHEMAS, "PlanAction", "properties", "more", to={"type": "string"}),
        _changed(*SCHEMAS, "ActionOut", "properties", "more", to={"type": "string"}),
        _changed(*SCHEMAS, "PlanAction", "properties", "notes", "maxLength", to=100_000),
        _changed(
            *SCHEMAS, "ActionState", "enum", to=["planned", "active", "on hold", "completed", "dropped", "merged", "x"]
        ),
    ],
)
def test_what_is_added_breaks_nothing(after: dict[str, Any]) -> None:
    assert breaks(OPENAPI["programme"], after) == []


# --- as pages ----------------------------------------------------------------------------------------------------


@service_by_service
async def test_the_contracts_are_served_beside_the_api(service: str, house: House) -> None:
    base = f"{house.url(service)}/{service}/v1"
    assert (await house.client.get(f"{base}/openapi.json")).json() == OPENAPI[service]
    if service != "reporting":
        assert (await house.client.get(f"{base}/asyncapi.json")).json() == CONTRACTS[f"{service}.asyncapi.json"]
        for one in (await house.client.get(f"{base}/event-types")).json()["items"]:
            assert one["meaning"]
            schema = (await house.client.get(f"{base}/event-types/{one['type']}")).json()
            assert schema == CONTRACTS[f"events/{one['type']}.schema.json"]
        assert (await house.client.get(f"{base}/event-types/nl.kapstok-{service}.nothing.v1")).status_code == 404


@service_by_service
async def test_the_reference_shows_every_operation_and_loads_nothing(service: str, house: House) -> None:
    answer = await house.client.get(f"{house.url(service)}/{service}/v1/reference")
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" not in answer.text and "http" not in answer.text.replace("http-equiv", "")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for _, _, operation in operations(OPENAPI[service]):
        assert f'id="{operation["operationId"]}"' in answer.text


async def test_a_fact_is_found_by_its_id_as_it_was_told(house: House) -> None:
    partner = {"code": "een-feit", "name": {"nl": "Een feit"}, "kind": "ngo"}
    made = await house.post("/programme/v1/partners", partner)
    page = await house.client.get(
        f"{house.url('programme')}/programme/v1/events?limit=1000", headers={"Kapstok-House-Key": house.house_key}
    )
    event = next(item["event"] for item in page.json()["items"] if item["event"]["subject"] == made["id"])
    answer = await house.send("GET", f"/programme/v1/events/{event['id']}")
    assert answer.headers["content-type"] == "application/cloudevents+json" and answer.json() == event
    assert (await house.send("GET", f"/programme/v1/events/{made['id']}")).status_code == 404
