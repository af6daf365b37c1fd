"""The reference of an API as a page: made from its contract, without any script, for people with any browser."""

from base64 import b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from shared.contract import Schema, operations

_TEMPLATES = Path(__file__).parent / "templates"
_STYLE = (_TEMPLATES / "reference.css").read_text()
POLICY = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none';"
    f" style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
)
"""Its one style is named by its digest; nothing else is loaded."""


@dataclass(frozen=True)
class Field:
    """One field of a body."""

    name: str
    required: bool
    schema: Schema


@dataclass(frozen=True)
class Operation:
    """What the page shows of one operation."""

    id: str
    method: str
    path: str
    summary: str
    description: list[str]
    scopes: list[str]
    parameters: list[Schema]
    answers: list[tuple[str, str]]
    body: Any = None
    fields: list[Field] = field(default_factory=list)
    answer: Any = None


def page(document: Schema, *, events: bool) -> str:
    """The HTML of a contract; `events` says whether the service tells any."""
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True)
    environment.filters["shape"] = shape
    groups: dict[str, list[Operation]] = {}
    for path, method, operation in operations(document):
        groups.setdefault(_group(path), []).append(_shown(document, path, method, operation))
    return environment.get_template("reference.html").render(
        document=document, groups=groups, style=_STYLE, events=events
    )


def _group(path: str) -> str:
    """The noun of a path: what stands after the version, else what the path begins with."""
    parts = path.strip("/").split("/")
    return parts[2] if len(parts) > 2 and parts[1].startswith("v") else parts[0]


def _shown(document: Schema, path: str, method: str, operation: Schema) -> Operation:
    body: Schema = next(iter(operation.get("requestBody", {}).get("content", {}).values()), {})
    schema = _resolved(document, body.get("schema", {}))
    answers = [(status, _resolved(document, one)) for status, one in operation["responses"].items()]
    done = next((one for status, one in answers if status.startswith("2")), {})
    answer: Schema = next(iter(done.get("content", {}).values()), {})
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        description=operation.get("description", "").split("\n\n"),
        scopes=[scope for one in operation.get("security", []) for scope in one["token"]],
        parameters=operation.get("parameters", []),
        answers=[(status, one["description"]) for status, one in answers],
        body=body.get("example"),
        fields=[
            Field(name, name in schema.get("required", []), one) for name, one in schema.get("properties", {}).items()
        ],
        answer=answer.get("example"),
    )


def _resolved(document: Schema, part: Schema) -> Schema:
    found: Any = part
    if "$ref" in part:
        found = document
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
    return found  # type: ignore[no-any-return]


def shape(schema: Schema) -> str:
    """A shape in a few words: `text, one of open, closed`."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(shape(one) for one in schema["anyOf"])
    kinds = schema.get("type", "anything")
    words = [kinds if isinstance(kinds, str) else " or ".join(kinds)]
    if "items" in schema:
        words.append(f"of {shape(schema['items'])}")
    if "enum" in schema:
        words.append("one of " + ", ".join(map(str, schema["enum"])))
    words += [str(schema[name]) for name in ("format", "pattern") if name in schema]
    words += [f"{name} {schema[name]}" for name in ("minimum", "maximum", "maxLength", "maxItems") if name in schema]
    return ", ".join(words)
