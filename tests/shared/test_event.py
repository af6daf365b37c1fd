"""Events as CloudEvents: valid, the same after a journey, and readable for ever."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat

from shared.events.event import Event, stream, subject, subjects
from shared.events.monitor import RoundOpened, RoundState
from shared.events.programme import ActionRescheduled
from tests.shared import published
from tests.shared.facts import BEGAN, SOURCE, TRACEPARENT, encoded, example, registered

ALL = registered()
PUBLISHED = sorted(published.HERE.glob("*.json"))
each_type = pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.type)
each_published = pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)


def envelope(kind: type[Event], **fields: Any) -> dict[str, Any]:
    return json.loads(encoded(example(kind))) | fields  # type: ignore[no-any-return]


# --- on the wire -----------------------------------------------------------------------------------------------


@each_type
def test_every_fact_is_a_valid_cloudevent_to_another_library(kind: type[Event]) -> None:
    fact = example(kind)
    read = JSONFormat().read(None, encoded(fact))
    assert read.get_specversion() == "1.0"
    assert read.get_id() == str(fact.id)
    assert read.get_type() == kind.type
    assert read.get_subject() == str(fact.entity)
    assert read.get_time() == BEGAN
    assert read.get_datacontenttype() == "application/json"
    assert read.get_extension("traceparent") == TRACEPARENT
    assert read.get_data()["version"] == fact.version  # type: ignore[index, call-overload]


@each_type
def test_every_fact_says_who_tells_it_what_and_about_what_in_the_agreed_form(kind: type[Event]) -> None:
    found = envelope(kind)
    assert re.fullmatch(r"urn:nld:oin:\d{20}:systeem:kapstok-[a-z]+", found["source"])
    assert re.fullmatch(r"nl\.kapstok-[a-z]+\.[a-z]+(-[a-z]+)+\.v[1-9]\d*", found["type"])
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found["subject"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found["time"])
    assert found["source"].rpartition("-")[2] == found["type"].split(".")[1].removeprefix("kapstok-")
    assert (found["sequence"], found["sequencetype"]) == ("0000000412", "Integer")


@each_type
def test_the_attributes_of_every_fact_are_lower_case_letters_and_digits(kind: type[Event]) -> None:
    assert all(re.fullmatch(r"[a-z0-9]{1,20}", name) for name in envelope(kind))


@pytest.mark.parametrize(("sequence", "text"), [(1, "0000000001"), (9_999_999_999, "9999999999")])
def test_a_sequence_sorts_as_text(sequence: int, text: str) -> None:
    fact = example(RoundOpened).model_copy(update={"sequence": sequence})
    assert json.loads(encoded(fact))["sequence"] == text


def test_without_a_trace_there_is_no_traceparent() -> None:
    assert "traceparent" not in json.loads(example(RoundOpened).encode(source=SOURCE.format("monitor")))


def test_a_fact_that_was_not_recorded_cannot_be_written() -> None:
    with pytest.raises(AssertionError):
        encoded(example(RoundOpened).model_copy(update={"recorded_at": None}))


def test_the_bus_subject_follows_from_type_and_entity_and_stands_in_its_stream() -> None:
    fact = example(RoundOpened)
    found = subject(fact.type, fact.entity)
    assert found == f"evt.nl.kapstok-monitor.round-opened.v1.{fact.entity}"
    assert found.startswith(subjects("monitor").removesuffix(">"))
    assert stream("monitor") == "EVT_MONITOR"


# --- and back --------------------------------------------------------------------------------------------------


@each_type
@pytest.mark.parametrize("only_needed", [False, True], ids=["all fields", "only the needed ones"])
def test_what_was_encoded_decodes_to_the_same_fact(kind: type[Event], only_needed: bool) -> None:
    fact = example(kind, only_needed=only_needed)
    assert Event.decode(encoded(fact)) == fact
    assert Event.decode(encoded(fact).encode()) == fact


@each_type
def test_fields_that_a_reader_does_not_know_pass(kind: type[Event]) -> None:
    found = envelope(kind, fromlater="x")
    _add_everywhere(found["data"])
    assert Event.decode(json.dumps(found)) == example(kind)


def _add_everywhere(value: Any) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name != "externalIds":  # names by system: whoever is in it is no field
                _add_everywhere(inner)
        value["fromLater"] = {"deep": [1]}
    elif isinstance(value, list):
        for inner in value:
            _add_everywhere(inner)


def test_a_type_that_a_reader_does_not_know_passes() -> None:
    later = "nl.kapstok-monitor.round-opened.v2"
    assert Event.decode(json.dumps(envelope(RoundOpened, type=later))) is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        json.dumps(envelope(RoundOpened, data="text")).encode(),
        json.dumps(envelope(RoundOpened, data={})).encode(),
        json.dumps(envelope(RoundOpened, sequence="first")).encode(),
        json.dumps(envelope(RoundOpened, time="yesterday")).encode(),
        json.dumps({name: value for name, value in envelope(RoundOpened).items() if name != "subject"}).encode(),
        json.dumps({name: value for name, value in envelope(RoundOpened).items() if name != "sequence"}).encode(),
    ],
)
def test_bytes_that_are_no_fact_are_refused_as_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        Event.decode(text)


def test_a_value_that_does_not_fit_its_type_is_refused() -> None:
    data = envelope(RoundOpened)["data"] | {"state": "ajar"}
    with pytest.raises(ValueError, match="state"):
        Event.decode(json.dumps(envelope(RoundOpened, data=data)))


def test_a_fact_is_never_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        example(RoundOpened).state = RoundState.LOCKED  # type: ignore[attr-defined]


# --- what a fact may say ---------------------------------------------------------------------------------------

PERSONAL = {
    *("person", "people", "employee", "user", "account", "author", "contact", "signature", "bsn", "initials"),
    *("surname", "firstname", "lastname", "birth", "birthday", "born", "age", "gender", "sex", "nationality"),
    *("email", "mail", "phone", "telephone", "mobile", "address", "street", "postcode", "city", "iban", "ip"),
}
OF_A_PERSON = {"first_name", "last_name", "given_name", "family_name", "full_name"}


def is_personal(name: str) -> bool:
    return name in OF_A_PERSON or not PERSONAL.isdisjoint(name.split("_"))


def _names(kind: Any) -> set[str]:
    found = set()
    for name, one in kind.model_fields.items():
        found.add(name)
        for part in _models_in(one.annotation):
            found |= _names(part)
    return found


def _models_in(annotation: Any) -> list[Any]:
    if hasattr(annotation, "model_fields"):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models_in(inner)]


@each_type
def test_no_fact_has_a_field_for_a_person(kind: type[Event]) -> None:
    assert [name for name in sorted(_names(kind)) if is_personal(name)] == []


@pytest.mark.parametrize("name", ["first_name", "contact_id", "email", "user", "date_of_birth"])
def test_such_a_field_would_be_noticed(name: str) -> None:
    assert is_personal(name)


@each_type
def test_a_fact_is_named_for_what_happened(kind: type[Event]) -> None:
    word = kind.type.split(".")[2].rpartition("-")[2]
    assert word not in ("updated", "changed", "modified", "edited", "deleted", "created")
    assert kind.type.split(".")[2].replace("-", "") == kind.__name__.lower()


def test_a_type_is_declared_once() -> None:
    with pytest.raises(TypeError, match="declared twice"):
        type("Again", (Event,), {"__module__": ActionRescheduled.__module__}, type="action-rescheduled.v1")
    assert Event.registry[ActionRescheduled.type] is ActionRescheduled


# --- published once, readable for ever -------------------------------------------------------------------------


@each_type
def test_every_type_has_a_message_among_those_published(kind: type[Event]) -> None:
    missing = "run `python -m tests.shared.published` and commit what it writes"
    assert (published.HERE / f"{kind.type}.json").exists(), missing


@each_published
def test_every_message_ever_published_still_decodes(file: Path) -> None:
    fact = Event.decode(file.read_bytes())
    assert fact is not None, "a type that was published is never taken away"
    assert fact.type == file.stem


@each_published
def test_a_published_message_is_still_what_would_be_stored_but_for_added_fields(file: Path) -> None:
    message = json.loads(file.read_text())
    fact = Event.decode(file.read_text())
    assert fact is not None
    stored = fact.encode(source=message["source"], traceparent=message.get("traceparent"))
    assert _missing(message, json.loads(stored), "") == []
    if message == json.loads(stored):
        assert stored + "\n" == file.read_text(), "no field was added, so not one byte may differ"


def _missing(old: Any, new: Any, place: str) -> list[str]:
    """Where the new message no longer says what the old one said."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [at for name in old for at in _missing(old[name], new.get(name), f"{place}/{name}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [at for number, (a, b) in pairs for at in _missing(a, b, f"{place}/{number}")]
    return [] if old == new else [place]
