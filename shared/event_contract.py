"""The contract of a service's events: a JSON Schema for each type, and an AsyncAPI 3.0 document over all of them.

Both are made from the event classes themselves, so that they say what is sent.
"""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from shared.events.event import MAX_BYTES, Event, stream

Schema = dict[str, Any]
_GIVEN_BY_ENVELOPE = ("entity", "id", "sequence", "recordedAt")
DIALECT = GenerateJsonSchema.schema_dialect
FORMAT = "application/schema+json;version=draft-2020-12"


def types_of(service: str) -> list[type[Event]]:
    """Every type that a service publishes, in the order of their names."""
    return [kind for _, kind in sorted(Event.registry.items()) if kind.publisher == service]


def meaning_of(kind: type[Event]) -> str:
    """What its class says of it, else its name as words."""
    said = kind.__dict__.get("__doc__")
    return " ".join(said.split()) if said else kind.type.split(".")[2].replace("-", " ").capitalize() + "."


def schema_of(kind: type[Event], source: str) -> Schema:
    """The JSON Schema (2020-12) of a whole message of one type; fields may be added, so unknown ones pass."""
    data = kind.model_json_schema(by_alias=True, mode="serialization")
    definitions = data.pop("$defs", {})
    for name in _GIVEN_BY_ENVELOPE:
        data["properties"].pop(name)
    data["required"] = [name for name in data.get("required", []) if name not in _GIVEN_BY_ENVELOPE]
    for name in ("title", "description"):
        data.pop(name, None)
    text: Schema = {"type": "string"}
    return {
        "$schema": DIALECT,
        "title": kind.type,
        "description": meaning_of(kind),
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "sequence", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text | {"format": "uuid"},
            "source": {"const": source},
            "type": {"const": kind.type},
            "subject": text | {"format": "uuid", "description": "The entity that the fact is about."},
            "time": text | {"format": "date-time", "description": "When it was recorded."},
            "datacontenttype": {"const": "application/json"},
            "sequence": text | {"pattern": "^[0-9]{10,}$", "description": "The publisher's own number, without gaps."},
            "sequencetype": {"const": "Integer"},
            "traceparent": text,
            "data": data,
        },
        **({"$defs": definitions} if definitions else {}),
    }


def asyncapi(service: str, source: str, version: str) -> Schema:
    """One channel per type on the service's stream; the message is the CloudEvent, as it is stored and fed."""
    where = f"the JetStream stream {stream(service)}, the feed /{service}/v1/events, and webhooks"
    channels, messages, sends = {}, {}, {}
    for kind in types_of(service):
        name = kind.__name__
        messages[name] = {
            "name": kind.type,
            "title": name,
            "contentType": "application/cloudevents+json; charset=UTF-8",
            "payload": {"schemaFormat": FORMAT, "schema": schema_of(kind, source)},
        }
        channels[name] = {
            "address": f"evt.{kind.type}.{{entity}}",
            "parameters": {"entity": {"description": "The entity that the fact is about: the event's subject."}},
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        }
        sends[f"tell{name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"Kapstok {service}: events",
            "version": version,
            "description": (
                f"Facts that {service} tells: CloudEvents 1.0 in structured mode, {MAX_BYTES // 1024} KiB each at most,"
                f" byte for byte the same in {where}."
            ),
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": channels,
        "operations": sends,
        "components": {"messages": messages},
    }
