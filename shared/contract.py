"""The contract of a service: what FastAPI tells of its routes, completed to an OpenAPI 3.1 document that holds.

FastAPI knows shapes. What the door adds to every operation stands here once: who may call it, the headers that it takes
and gives, every refusal that it may answer, and an example of each body.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from shared.access import May, Permissions, scopes_of
from shared.problem_types import CATALOGUE, INVALID, ProblemType

Schema = dict[str, Any]
PROBLEM = {
    "type": "object",
    "description": "A refusal in words (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "examples": ["/programme/v1/problems/invalid"]},
        "title": {"type": "string", "examples": [INVALID.title.en]},
        "status": {"type": "integer", "minimum": 400, "maximum": 599, "examples": [400]},
        "detail": {"type": "string", "examples": ["Mend /name: This field is needed."]},
        "errors": {
            "type": "array",
            "description": "Every field that is at fault.",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {
                    "pointer": {
                        "type": "string",
                        "description": "A JSON pointer into the body, or the name of a header or query key.",
                        "examples": ["/name"],
                    },
                    "detail": {"type": "string", "examples": ["This field is needed."]},
                },
            },
        },
    },
}
REFUSALS: dict[int, list[ProblemType]] = {
    status: [type for type in CATALOGUE.values() if type.status == status]
    for status in sorted({type.status for type in CATALOGUE.values()})
}
"""The kinds of refusal that each status may mean."""
ALWAYS = (400, 406, 429, 500, 503)
DONE = {200: "What was asked for.", 201: "It was made.", 202: "It was taken in, and is worked on.", 204: "Done."}
RETRY = (409, 429, 503)
"""Answers that may say when to try again."""


def _text(description: str, example: str, **more: Any) -> Schema:
    return {"description": description, "schema": {"type": "string", "examples": [example], **more}}


API_VERSION = _text("The full version of this API.", "0.1.0")
GIVEN_ALWAYS = {
    "API-Version": API_VERSION,
    "traceresponse": _text("The trace of this request (W3C Trace Context).", "00-4bf92f35…-b7ad6b71…-00"),
    "RateLimit-Policy": _text("How many requests may come in how many seconds.", '"default";q=1200;w=60'),
    "RateLimit": _text("How many are left, and in how many seconds there are more.", '"default";r=1187;t=3'),
}
GIVEN = {
    "ETag": _text("The version of what is answered, for If-Match and If-None-Match.", '"3"'),
    "Link": _text("Addresses of the neighbouring pages (RFC 8288).", '</programme/v1/actions?cursor=…>; rel="next"'),
    "Location": _text("The address of what was made.", "/programme/v1/actions/0192f0c4-7bff-7e02-8c55-1f0a9d3e7b44"),
    "Kapstok-Receipt": _text(
        "The number of this write, when it was recorded, and the SHA-256 of the answer as it is kept.",
        'number="0192f0c4-7bff-7e02-8c55-1f0a9d3e7b44", time="2026-11-23T12:00:00.123456Z", digest=:4REjxQ4y…:',
    ),
    "Kapstok-Position": _text("How far this service's facts go with this write; send it as Kapstok-At-Least.", "p412"),
}
RETRY_AFTER = {"description": "Seconds to wait.", "schema": {"type": "integer", "examples": [1]}}


@dataclass(frozen=True)
class Taken:
    """A header that the door takes."""

    description: str
    pattern: str
    example: str
    required: bool = False


TAKEN = {
    "Idempotency-Key": Taken(
        "A text of your own for this request: repeated, it gets the same answer.",
        r'^"[!#-\[\]-~]{1,200}"$',
        '"8e03978e"',
        required=True,
    ),
    "If-Match": Taken(
        "The ETag of the version that you read; `*` for whichever stands.",
        r'^(\*|"[0-9]{1,9}")$',
        '"3"',
        required=True,
    ),
    "If-None-Match": Taken("An ETag that you have: 304 when it still stands.", r"^[ -~]*$", '"3"'),
    "Kapstok-At-Least": Taken(
        "A position that the answer must have reached; waited for up to 2 s.",
        r"^[a-z][0-9]{1,18}(\.[a-z][0-9]{1,18})*$",
        "r412.p980",
    ),
}


def complete(described: Schema, service: str, permissions: Permissions) -> Schema:
    """The document that FastAPI made, completed in place. Raises KeyError for an operation without a permission."""
    described["servers"] = [{"url": "/", "description": "Wherever this document was read."}]
    components = described.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = PROBLEM
    components["responses"] = _refusals(service)
    components["securitySchemes"] = _security(service, described["paths"], permissions)
    for path, method, operation in operations(described):
        permitted = permissions.get(operation["operationId"])
        if permitted is not None:
            _complete_operation(operation, service, path, method, permitted)
        _as_text(operation)
    _simplify(described)
    for _, _, operation in operations(described):
        _exemplify(operation, schemas)
    return described


def operations(described: Schema) -> Iterator[tuple[str, str, Schema]]:
    """Every operation, with its path and its method in lower case."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


# --- one operation ---------------------------------------------------------------------------------------------


def _complete_operation(operation: Schema, service: str, path: str, method: str, permitted: May) -> None:
    operation["responses"].pop("422", None)  # what FastAPI would answer to wrong input; the door answers 400
    writes, names_one = method in ("post", "patch"), "{" in path
    takes_key = writes and "application/json" in _media_types(operation)
    operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
    functions = ", ".join(permitted.functions)
    who = "Anyone may; it takes no token." if permitted.public else f"For the functions: {functions}."
    operation["description"] = "\n\n".join(filter(None, [operation.get("description"), who]))
    if not permitted.public:
        wide, own = scopes_of(service, operation["operationId"], writes=writes)
        operation["security"] = [{"token": [wide]}, {"token": [own]}]
    taken = ["Kapstok-At-Least"]
    if takes_key:
        taken += ["Idempotency-Key", *(["If-Match"] if names_one else [])]
    if not writes:
        taken.append("If-None-Match")
    _take(operation, taken)
    _give(
        operation,
        ["ETag", "Link"] if not writes else ["ETag", "Kapstok-Position", "Kapstok-Receipt"] if takes_key else [],
    )
    if not writes:
        operation["responses"]["304"] = {
            "description": "What you have still stands.",
            "headers": GIVEN_ALWAYS | {"ETag": GIVEN["ETag"]},
        }
    refused = set(ALWAYS) | (set() if permitted.public else {401, 403}) | ({404} if names_one else set())
    if writes:
        refused |= {413, 415} | ({401, 403} if not takes_key else {409, 422} | ({412, 428} if names_one else set()))
    refused |= {int(status) for status in operation["responses"] if status.startswith("4")}  # what a route adds
    _refuse(operation, refused)


def _media_types(operation: Schema) -> Iterable[str]:
    found: Mapping[str, Any] = operation.get("requestBody", {}).get("content", {})
    return found.keys()


def _take(operation: Schema, names: Iterable[str]) -> None:
    there = {one["name"].lower() for one in operation.get("parameters", [])}
    for name in names:
        if name.lower() not in there:
            taken = TAKEN[name]
            operation.setdefault("parameters", []).append(
                {
                    "name": name,
                    "in": "header",
                    "required": taken.required,
                    "description": taken.description,
                    "schema": {"type": "string", "pattern": taken.pattern, "examples": [taken.example]},
                }
            )


def _give(operation: Schema, names: Iterable[str]) -> None:
    for status, response in operation["responses"].items():
        if response["description"] == "Successful Response":
            response["description"] = DONE[int(status)]
        if status.startswith("2"):
            also = [*names, *(["Location"] if status == "201" else [])]
            response["headers"] = GIVEN_ALWAYS | {name: GIVEN[name] for name in also}


def _refuse(operation: Schema, statuses: Iterable[int]) -> None:
    for status in sorted(statuses):
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}


def _refusals(service: str) -> Schema:
    """Every refusal once, for the operations to point at; each kind has a page where its `type` points."""
    return {
        str(status): {
            "description": " Or: ".join(type.meaning.en for type in types),
            "headers": GIVEN_ALWAYS | ({"Retry-After": RETRY_AFTER} if status in RETRY else {}),
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {type.slug: _example_of_refusal(type, service) for type in types},
                }
            },
        }
        for status, types in REFUSALS.items()
    }


def _example_of_refusal(type: ProblemType, service: str) -> Schema:
    told = {"type": type.uri(service), "title": type.title.en, "status": type.status, "detail": type.meaning.en}
    return {"summary": type.title.en, "value": told}


def _as_text(operation: Schema) -> None:
    """An event stream as the text that it is: the shape of one event in it is a word of OpenAPI 3.2."""
    for response in operation["responses"].values():
        for content in response.get("content", {}).values():
            if content.pop("itemSchema", None):
                content["schema"] = {"type": "string", "description": "Server-sent events."}


def _security(service: str, paths: Schema, permissions: Permissions) -> Schema:
    """Bearer tokens of any issuer; every scope that opens something here is named."""
    scopes: dict[str, str] = {}
    for methods in paths.values():
        for method, operation in methods.items():
            permitted = permissions.get(operation["operationId"])
            if permitted is not None and not permitted.public:
                writes = method in ("post", "patch")
                wide, own = scopes_of(service, operation["operationId"], writes=writes)
                scopes[wide] = f"All that is {'written' if writes else 'read'} at {service} and is not public."
                scopes[own] = f"Only {operation['operationId'].replace('_', ' ')}."
    return {
        "token": {
            "type": "oauth2",
            "description": "A bearer token of the issuer, or one that was given for an API key.",
            "flows": {"clientCredentials": {"tokenUrl": "/programme/v1/token", "scopes": dict(sorted(scopes.items()))}},
        }
    }


# --- shapes ----------------------------------------------------------------------------------------------------


def _simplify(node: Any) -> None:
    """Take out titles that only repeat a name, and write `null` as one of the types (JSON Schema 2020-12)."""
    if isinstance(node, list):
        for one in node:
            _simplify(one)
        return
    if not isinstance(node, dict):
        return
    if isinstance(node.get("title"), str) and ("type" in node or "anyOf" in node or "$ref" in node):
        del node["title"]
    branches = node.get("anyOf")
    if isinstance(branches, list) and len(branches) == 2 and {"type": "null"} in branches:
        [other] = [one for one in branches if one != {"type": "null"}]
        if isinstance(other.get("type"), str):
            del node["anyOf"]
            own = {"type": [other["type"], "null"]} | ({"enum": [*other["enum"], None]} if "enum" in other else {})
            node.update(other | node | own)
    for one in node.values():
        _simplify(one)


# --- examples --------------------------------------------------------------------------------------------------

FITTING = ("voorbeeld", "2018-10-19", "day", "programme:write", "zaaksysteem:Z-2018-114")
"""One of these fits any pattern that texts are held to here."""
AN_ID = "0192f0c4-7bff-7e02-8c55-1f0a9d3e7b44"


def example_of(schema: Schema, schemas: Schema) -> Any:
    """A value that fits a schema, with everything in it. Raises LookupError for a shape that it has none for."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "examples" in schema:
        return schema["examples"][0]
    if "anyOf" in schema:
        return example_of(next(one for one in schema["anyOf"] if one.get("type") != "null"), schemas)
    if "allOf" in schema:
        return example_of(schema["allOf"][0], schemas)
    kind = schema.get("type")
    match schema | {"type": kind[0] if isinstance(kind, list) else kind}:
        case {"enum": [first, *_]}:
            return first
        case {"const": value}:
            return value
        case {"properties": fields}:
            return {name: example_of(one, schemas) for name, one in fields.items()}
        case {"patternProperties": values}:
            return {"zaaksysteem": example_of(next(iter(values.values())), schemas)}
        case {"additionalProperties": dict(values)}:
            return {"voorbeeld": example_of(values, schemas)}
        case {"type": "array", "items": items}:
            return [example_of(items, schemas)]
        case {"type": "string", "format": "uuid"}:
            return AN_ID
        case {"type": "string", "format": "date"}:
            return "2018-10-19"
        case {"type": "string", "format": "date-time"}:
            return "2018-10-19T09:30:00.123456Z"
        case {"type": "string", "pattern": pattern}:
            return next(text for text in FITTING if re.search(pattern, text))
        case {"type": "string"}:
            return "Een voorbeeld"
        case {"type": "integer"}:
            return int(schema.get("minimum", 1))
        case {"type": "number"}:
            return 0.5
        case {"type": "boolean"}:
            return True
        case {"type": "object"} | {"type": None}:
            return {}
    raise LookupError(f"There is no example for {schema} yet.")


def _exemplify(operation: Schema, schemas: Schema) -> None:
    """An example of the body and of each answer that has a shape."""
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for part in [*bodies, *operation["responses"].values()]:
        for media_type, content in part.get("content", {}).items():
            if "json" in media_type and "schema" in content and "example" not in content:
                content["example"] = example_of(content["schema"], schemas)
