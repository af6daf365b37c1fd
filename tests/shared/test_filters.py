"""Filters: the same events as a plain reading of the rules would let through."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.events.programme import ActionRescheduled
from shared.outbox import Stored
from shared.webhooks.filters import Filter
from shared.webhooks.rows import Subscription

TYPES = [
    f"nl.kapstok-{service}.{fact}.v{number}" for service in ("a", "ab") for fact in ("x", "xy") for number in (1, 2)
]
SUBJECTS = [str(uuid4()) for _ in range(3)]
PARTS = sorted({part for whole in TYPES for part in (whole[:6], whole[:12], whole[:13], whole[-2:], whole[-4:], whole)})
PIECES = sorted({piece for whole in SUBJECTS for piece in (whole[:1], whole[:8], whole[-1:], whole[-12:], whole)})


def said(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these fields, at least one."""
    return st.fixed_dictionaries({}, optional=fields).filter(bool)


whole = said(type=st.sampled_from(TYPES), subject=st.sampled_from(SUBJECTS))
part = said(type=st.sampled_from(PARTS), subject=st.sampled_from(PIECES))
dialects = {"exact": whole, "prefix": part, "suffix": part}
conditions = said(**dialects)
filters = said(**dialects, any=st.lists(conditions, min_size=1, max_size=3), **{"not": conditions})


def plainly(rules: dict[str, Any], event: dict[str, str]) -> bool:
    """The reference: every word of the rules, read one by one."""
    for word, wanted in rules.items():
        if word == "any":
            if not [one for one in wanted if plainly(one, event)]:
                return False
        elif word == "not":
            if plainly(wanted, event):
                return False
        else:
            for name, value in wanted.items():
                is_so = {
                    "exact": event[name] == value,
                    "prefix": event[name][: len(value)] == value,
                    "suffix": event[name][len(event[name]) - len(value) :] == value,
                }
                if not is_so[word]:
                    return False
    return True


def stored(type: str, subject: str) -> Stored:
    return Stored(1, uuid4(), type, UUID(subject), "{}", "")


@given(
    st.lists(filters, max_size=3),
    st.lists(st.sampled_from(TYPES), max_size=3),
    st.sampled_from(TYPES),
    st.sampled_from(SUBJECTS),
)
def test_an_event_is_wanted_when_a_plain_reading_says_so(
    rules: list[dict[str, Any]], types: list[str], type: str, subject: str
) -> None:
    subscription = Subscription(types=types, filters=[Filter.model_validate(rule) for rule in rules])
    expected = (type in types or types == []) and all(
        plainly(rule, {"type": type, "subject": subject}) for rule in rules
    )
    assert subscription.wants(stored(type, subject)) == expected


@given(st.sampled_from(TYPES), st.sampled_from(SUBJECTS))
def test_without_any_filter_everything_is_wanted(type: str, subject: str) -> None:
    assert Subscription(types=[], filters=[]).wants(stored(type, subject))


@given(filters)
def test_a_filter_is_the_same_after_it_was_kept(rule: dict[str, Any]) -> None:
    kept = Filter.model_validate(rule).model_dump(mode="json", exclude_none=True)
    assert Filter.model_validate(kept) == Filter.model_validate(rule)


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"exact": {}},
        {"exact": {"type": None}},
        {"any": []},
        {"any": [{}]},
        {"any": [{"any": [{"exact": {"type": "a"}}]}]},
        {"not": {}},
        {"not": {"not": {"exact": {"type": "a"}}}},
        {"sql": "1 = 1"},
        {"exact": {"source": "a"}},
        {"exact": {"subject": "not an id"}},
        {"prefix": {"type": ""}},
        {"prefix": {"type": "A"}},
        {"prefix": {"subject": "g"}},
    ],
)
def test_a_filter_that_says_nothing_or_what_there_is_not_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Filter.model_validate(rule)


def test_the_types_of_this_test_are_written_as_real_ones_are() -> None:
    assert ActionRescheduled.type.startswith("nl.kapstok-")
