"""Whether a contract still holds for who relies on an earlier one: every break of it, in words.

What a caller sends must still be taken, and what it reads must still be there. Added operations, fields and answers
break nothing; a new value in an answer's list does not either, for readers pass over what they do not know.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
Seen = frozenset[str]
"""The references followed on the way, so that a shape inside itself ends."""
AT_MOST, AT_LEAST = ("maxLength", "maxItems", "maximum"), ("minLength", "minItems", "minimum")


@dataclass(frozen=True)
class Documents:
    """Two versions of one document; references are looked up in the one that they stand in."""

    old: Schema
    new: Schema


def breaks(old: Schema, new: Schema) -> list[str]:
    """Every way in which an OpenAPI document breaks what an earlier one promised."""
    documents = Documents(old, new)
    found: list[str] = []
    for path, methods in old["paths"].items():
        for method, operation in methods.items():
            now = new["paths"].get(path, {}).get(method)
            place = f"{method.upper()} {path}"
            found += [f"{place} is gone"] if now is None else _operation(documents, place, operation, now)
    return found


def _operation(documents: Documents, place: str, old: Schema, new: Schema) -> Iterator[str]:
    if "security" in new and "security" not in old:
        yield f"{place} takes a token now"
    before, after = ({(one["in"], one["name"]): one for one in each.get("parameters", [])} for each in (old, new))
    for key, one in before.items():
        if key not in after:
            yield f"{place} no longer takes {key[1]}"
        else:
            yield from narrowed(documents, f"{place} {key[1]}", one["schema"], after[key]["schema"])
    for key, one in after.items():
        if one.get("required") and not before.get(key, {}).get("required"):
            yield f"{place} needs {key[1]} now"
    yield from _bodies(documents, place, old, new)
    for status, answer in old["responses"].items():
        if not status.startswith("2"):
            continue
        if status not in new["responses"]:
            yield f"{place} no longer answers {status}"
            continue
        for media_type, content in answer.get("content", {}).items():
            now = new["responses"][status].get("content", {}).get(media_type)
            if now is None:
                yield f"{place} no longer answers {media_type}"
            else:
                yield from lessened(documents, f"{place} → {status}", content.get("schema", {}), now.get("schema", {}))


def _bodies(documents: Documents, place: str, old: Schema, new: Schema) -> Iterator[str]:
    for media_type, content in old.get("requestBody", {}).get("content", {}).items():
        now = new.get("requestBody", {}).get("content", {}).get(media_type)
        if now is None:
            yield f"{place} no longer takes {media_type}"
        else:
            yield from narrowed(documents, f"{place} body", content.get("schema", {}), now.get("schema", {}))
    if new.get("requestBody", {}).get("required") and not old.get("requestBody", {}).get("required"):
        yield f"{place} needs a body now"


def narrowed(
    documents: Documents, place: str, old: Schema, new: Schema, seen: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Where something that was taken would now be refused."""
    old, new, seen = _followed(documents, old, new, seen)
    if old is new:
        return
    if kinds := _kinds(old) - _kinds(new):
        yield f"{place} no longer takes {', '.join(sorted(kinds))}"
    if "enum" in new and (gone := [str(one) for one in old.get("enum", ["anything"]) if one not in new["enum"]]):
        yield f"{place} no longer takes {', '.join(gone)}"
    for bound in AT_MOST:
        if bound in new and new[bound] < old.get(bound, float("inf")):
            yield f"{place} takes less: {bound} {new[bound]}"
    for bound in AT_LEAST:
        if bound in new and new[bound] > old.get(bound, float("-inf")):
            yield f"{place} takes less: {bound} {new[bound]}"
    for form in ("pattern", "format"):
        if form in new and new[form] != old.get(form):
            yield f"{place} takes another {form}"
    for name in new.get("required", []):
        if name not in old.get("required", []):
            yield f"{place} needs {name} now"
    for name, field in old.get("properties", {}).items():
        if name in new.get("properties", {}):
            yield from narrowed(documents, f"{place}/{name}", field, new["properties"][name], seen)
        elif new.get("additionalProperties") is False:
            yield f"{place} no longer takes {name}"
    if "items" in old and "items" in new:
        yield from narrowed(documents, f"{place}/items", old["items"], new["items"], seen)


def lessened(
    documents: Documents, place: str, old: Schema, new: Schema, seen: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Where something that was always there to read may now be missing or be something else."""
    old, new, seen = _followed(documents, old, new, seen)
    if old is new:
        return
    if kinds := _kinds(new) - _kinds(old):
        yield f"{place} may be {', '.join(sorted(kinds))} now"
    for name in old.get("required", []):
        if name in new.get("properties", {}) and name not in new.get("required", []):
            yield f"{place} may be without {name} now"
    for name, field in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            yield f"{place} no longer has {name}"
        else:
            yield from lessened(documents, f"{place}/{name}", field, new["properties"][name], seen)
    if "items" in old and "items" in new:
        yield from lessened(documents, f"{place}/items", old["items"], new["items"], seen)


def _followed(
    documents: Documents, old: Schema, new: Schema, seen: frozenset[str]
) -> tuple[Schema, Schema, frozenset[str]]:
    """The shapes behind references; a shape that is inside itself is looked at once."""
    name = old.get("$ref")
    if name is not None and name in seen:
        return old, old, seen
    return _resolved(documents.old, old), _resolved(documents.new, new), seen | ({name} if name else set())


def _resolved(document: Schema, schema: Schema) -> Schema:
    """The shape itself, behind references and beside null."""
    while "$ref" in schema:
        found: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = found
    branches = schema.get("anyOf", [])
    if len(branches) == 2 and {"type": "null"} in branches:
        other = _resolved(document, next(one for one in branches if one != {"type": "null"}))
        return other | {"type": sorted(_kinds(other) | {"null"})}
    return schema


def _kinds(schema: Schema) -> set[str]:
    """The types that a shape may have; `anything` where it says none."""
    if "anyOf" in schema:
        return {kind for one in schema["anyOf"] for kind in (_kinds(one) if "$ref" not in one else {one["$ref"]})}
    kind = schema.get("type", "anything" if "const" not in schema else "string")
    return set(kind) if isinstance(kind, list) else {kind}
