"""The kinds of text and value that every service takes in."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.texts import Citation, Code, Day, Line, Prose, SystemName, Text


def taken(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value)


def why(kind: Any, value: Any) -> str:
    with pytest.raises(ValidationError) as refusal:
        taken(kind, value)
    return str(refusal.value.errors()[0]["type"])


@pytest.mark.parametrize("kind", [Line, Prose])
@pytest.mark.parametrize("value", ["a\x00b", "a\x1bb", "a\x7fb", "\u202eabc", "a\u2066b"])
def test_a_control_character_or_a_turn_of_direction_is_refused(kind: Any, value: str) -> None:
    assert why(kind, value) == "control_character"


@pytest.mark.parametrize("kind", [Line, Prose])
@pytest.mark.parametrize("value", ["", "   ", "\n\t", "\u00a0"])
def test_a_text_of_nothing_but_space_is_refused(kind: Any, value: str) -> None:
    assert why(kind, value) in ("string_too_short", "too_short")


def test_a_text_is_trimmed_and_its_accents_composed() -> None:
    assert taken(Line, "  cafe\u0301 ") == "caf\u00e9"


@pytest.mark.parametrize(("kind", "most"), [(Line, 300), (Prose, 4000), (Code, 80)])
def test_a_text_has_a_greatest_length(kind: Any, most: int) -> None:
    assert taken(kind, "x" * most) == "x" * most
    assert why(kind, "x" * (most + 1)) == "string_too_long"


@given(value=st.text(st.characters(blacklist_categories=("Cc", "Cs", "Cf")), max_size=300))
def test_a_taken_text_is_taken_again_unchanged(value: str) -> None:
    try:
        once = taken(Prose, value)
    except ValidationError:
        return
    assert taken(Prose, once) == once


@pytest.mark.parametrize("value", ["Zorg", "zorg--hulp", "-zorg", "zorg-", "zorg hulp", "zorg\n", "zörg", ""])
def test_a_code_is_lower_case_words_with_single_dashes(value: str) -> None:
    assert taken(Code, "zorg-en-hulpverlening-2") == "zorg-en-hulpverlening-2"
    why(Code, value)


@pytest.mark.parametrize("value", ["Zaak", "-zaak", "zaak:1", "zaak\n"])
def test_the_name_of_another_system_has_no_colon(value: str) -> None:
    assert taken(SystemName, "zaak-systeem.nl") == "zaak-systeem.nl"
    why(SystemName, value)


@pytest.mark.parametrize(
    "value", [1546300800, 1546300800.0, "1546300800", True, None, "2018-12-31T00:00:00Z", "20181231"]
)
def test_a_number_or_a_moment_is_not_taken_for_a_day(value: Any) -> None:
    why(Day, value)


@pytest.mark.parametrize("value", ["1899-12-31", "2201-01-01", "2018-02-30"])
def test_a_day_that_is_not_there_or_out_of_bounds_is_refused(value: str) -> None:
    assert taken(Day, "2018-12-31") == taken(Day, date(2018, 12, 31)) == date(2018, 12, 31)
    why(Day, value)


def test_a_text_needs_one_of_the_two_languages() -> None:
    assert why(Text, {}) == "text_empty"
    assert taken(Text, {"nl": "Zorg"}).nl == "Zorg"


@pytest.mark.parametrize(
    ("text", "nl", "en"),
    [
        (Text(nl="Zorg", en="Care"), "Zorg", "Care"),
        (Text(nl="Zorg"), "Zorg", "Zorg"),
        (Text(en="Care"), "Care", "Care"),
    ],
)
def test_a_text_is_read_in_the_language_asked_for_else_in_the_other(text: Text, nl: str, en: str) -> None:
    assert (text.in_language("nl"), text.in_language("en")) == (nl, en)


def test_a_field_that_does_not_exist_is_refused() -> None:
    assert why(Text, {"nl": "Zorg", "de": "Pflege"}) == "extra_forbidden"


@pytest.mark.parametrize("value", ["2018", "2018-12", "2018-12-31"])
def test_a_citation_is_dated_as_precisely_as_its_document(value: str) -> None:
    assert taken(Citation, {"document": "Rapport", "date": value}).date == value


@pytest.mark.parametrize("value", ["18", "2018-1", "December 2018", "2018-12-31-01", "2018-12-31\n"])
def test_a_citation_is_not_dated_in_words(value: str) -> None:
    why(Citation, {"document": "Rapport", "date": value})
