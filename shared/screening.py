"""Screening: what in a text leads to a person is found before anything is kept."""

import re
import unicodedata
from collections.abc import Collection, Iterator
from contextvars import ContextVar
from enum import Enum, StrEnum
from functools import partial
from typing import Any, Self

from pydantic import BaseModel, Field, StrictBool, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from shared.texts import Value


class Trace(StrEnum):
    """What leads to a person, in the words of a refusal."""

    BSN = "a citizen service number (BSN)"
    EMAIL = "an e-mail address"
    TELEPHONE = "a telephone number"
    IBAN = "a bank account (IBAN)"
    V_NUMBER = "a V-number"


def traces_in(text: str, known_domains: Collection[str] = ()) -> list[Trace]:
    """What in this text leads to a person; function mailboxes of known domains do not."""
    text = _plain(text)
    if not _WORTH_A_LOOK.search(text):
        return []
    found = {trace for trace, pattern in _LABELLED.items() if pattern.search(text)}
    if any(not _is_function_mailbox(match, known_domains) for match in _EMAIL.finditer(_at_and_dot(text))):
        found.add(Trace.EMAIL)
    ibans = [match[0] for match in _IBAN.finditer(text) if _is_iban(match[0])]
    for iban in ibans:
        found.add(Trace.IBAN)
        text = text.replace(iban, _GAP)
    rest, telephones = _TELEPHONE.subn(_GAP, _HARMLESS.sub(_GAP, text))
    if telephones:
        found.add(Trace.TELEPHONE)
    if any(_is_bsn(run, rest) for run in _RUN.finditer(rest)):
        found.add(Trace.BSN)
    return sorted(found, key=list(Trace).index)


# --- one notation for all ---------------------------------------------------------------------------------------

_GAP = " ¦ "
"""Stands where something harmless, or found already, was; nothing joins across it."""

_WORTH_A_LOOK = re.compile(r"@|[\[({] ?at ?[\])}]|apenstaart|(?:\d\D*){7}", re.IGNORECASE)

_LOOKALIKES = str.maketrans("＠．＋\u2212／", "@.+-/")


def _plain(text: str) -> str:
    """Digits of any script, dashes and spaces of any kind in one notation; what is not seen is taken out."""
    return text if text.isascii() else "".join(map(_plain_character, text.translate(_LOOKALIKES)))


def _plain_character(character: str) -> str:
    match unicodedata.category(character):
        case "Nd":
            return str(unicodedata.decimal(character))
        case "Pd":
            return "-"
        case "Zs":
            return " "
        case "Cf":
            return ""
    return character


# --- what passes ------------------------------------------------------------------------------------------------

_HARMLESS = re.compile(
    r"""
      \b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b                         # UUID
    | (?:https?://|\bwww\.)\S+ | (?<![\w.-])[\w-]+(?:\.[\w-]+)+/\S+           # web address
    | \b10\.\d{4,9}/\S+                                                       # DOI
    | \bECLI:[\w:.]+                                                          # decision of a court
    | \bIS[BS]N(?:-1[03])?[\s:-]*\d[\dX -]+                                   # book, journal
    | (?<!\d)(?:3[01]|[12]\d|0?[1-9])([-./ ])(?:1[0-2]|0?[1-9])\1(?:1[89]|2[01])\d\d(?!\d)    # 19-10-2018
    | (?<!\d)(?:1[89]|2[01])\d\d([-./])(?:1[0-2]|0[1-9])\2(?:3[01]|[12]\d|0[1-9])(?!\d)       # 2018-10-19
    | (?<!\d)(?:19|20)\d{7}/\d{1,2}(?:/[A-Z]+\d+)?\b                          # 201801234/1/V3: the Council of State
    | \b(?:RSIN|OIN|KvK)(?:[- ]?(?:nummer|number|nr\.?))?[\s:=#]*\d+          # number of an organisation
    | (?:€|\$|£|\bEUR|\beuro)\s*\d+(?:[., ]\d{3})*(?:,(?:\d\d|-))?(?!\d)      # amount
    | (?<![\w.,])\d{1,3}(?:[., ]\d{3})+(?:,(?:\d\d\b|-)|\s*(?:€|EUR\b|euro\b))
    | \b(?:kamerstuk(?:ken)?|vergaderjaar|handelingen|aanhangsel|staatsblad|stb|staatscourant|stcrt|tractatenblad|trb
        |kst|blg)\b[\s.-]*(?:(?:I{1,2}|nrs?|no|blz|p)\b[.\s]*|\d{1,6}(?!\d)[\s,./:()-]*)+     # paper of parliament
    """,
    re.VERBOSE | re.IGNORECASE,
)

_FUNCTION_MAILBOX = re.compile(
    r"(?:"
    r"aanmelding|aanmeldingen|administratie|avg|bestuur|communicatie|contact|directie|fg|"
    r"helpdesk|info|klachten|klantenservice|loket|mail|media|melden|melding|meldingen|"
    r"meldpunt|office|pers|persvoorlichting|post|postbus|press|privacy|receptie|redactie|"
    r"registratie|secretariaat|security|servicedesk|support|voorlichting|woo"
    r")(?![^\W_])",
    re.IGNORECASE,
)


def _is_function_mailbox(match: re.Match[str], known_domains: Collection[str]) -> bool:
    """Whether it is read by whoever has the duty: `meldpunt@` or `info-zuid@` at a known domain."""
    domain = match["domain"].lower()
    known = any(domain == one or domain.endswith(f".{one}") for one in known_domains)
    return known and _FUNCTION_MAILBOX.match(match["name"]) is not None


# --- what does not ----------------------------------------------------------------------------------------------

_LABELLED = {
    Trace.BSN: re.compile(
        r"(?:bsn|burger ?service ?nummer|citizen service number|sofi(?: ?-?nummer)?)"
        r"(?: ?-?(?:nummer|number|nr))?(?: (?:is|was))?[\W_]{0,5}(?:\d{8,9}|\d{4}\.\d\d\.\d{3})(?!\d)",
        re.IGNORECASE,
    ),
    Trace.V_NUMBER: re.compile(
        r"(?:\bv[- ]?(?:nummer|number|nr)|vreemdelingen-?nummer)(?: (?:is|was))?[\W_]{0,5}\d(?:[ .-]?\d){6,11}(?!\d)"
        r"|(?<![\d.])\d{3}\.\d{3}\.\d{4}(?![\d.])",
        re.IGNORECASE,
    ),
}

_EMAIL = re.compile(
    r"(?<![\w.+'%&-])(?P<name>[\w.+'%&-]+) ?@ ?(?P<domain>[^\W_][\w-]*(?:\.[\w-]+)*\.[^\W\d_]{2,})", re.IGNORECASE
)


def _at_and_dot(text: str) -> str:
    """`jan [at] voorbeeld (punt) nl`, written as what it means."""
    text = re.sub(r" ?[\[({] ?(?:at|apenstaart(?:je)?) ?[\])}] ?| apenstaart(?:je)? ", "@", text, flags=re.IGNORECASE)
    return re.sub(r" ?[\[({] ?(?:dot|punt) ?[\])}] ?", ".", text, flags=re.IGNORECASE)


_TELEPHONE = re.compile(
    r"""
    (?<![\w+]) (?<!\d[-.])
    (?:
        \(?\+[1-9]\d{0,2}(?:[ .\-/()]{0,4}\d){7,12}                           # +31 (0)6 12345678
      | 00[1-9]\d{0,2}(?:[ .\-/()]{0,4}\d){8,12}                              # 0031 6 12345678
      | \(?06\)?(?:[ .\-/]{0,3}\d){8}
      | \(?0(?:1[035]|2[0346]|3[03568]|4[0356]|5[0358]|7\d|8[2-8]|91)\)?(?:[ .\-/]{0,3}\d){7}
      | \(?0[1-5]\d\d\)?(?:[ .\-/]{0,3}\d){6}
    )
    (?!\d) (?![-.]\d)
    """,
    re.VERBOSE,
)
"""Emergency and service numbers (112, 14 020, 0800-7000, 0900-8844) have other lengths or beginnings."""

_IBAN = re.compile(r"(?<![^\W_])[A-Z]{2}\d\d(?: ?[A-Z0-9]){11,30}", re.IGNORECASE)
_IBAN_LENGTHS = {"AT": 20, "BE": 16, "BG": 22, "DE": 22, "ES": 24, "FR": 27, "GB": 22, "HU": 28, "IT": 27, "LU": 20}
_IBAN_LENGTHS |= {"NL": 18, "PL": 28, "PT": 25, "RO": 24}


def _is_iban(candidate: str) -> bool:
    """Its country's length, and ISO 7064 (mod 97) over what stands there."""
    written = candidate.replace(" ", "").upper()
    iban = written[: _IBAN_LENGTHS.get(written[:2], 0)]
    turned = iban[4:] + iban[:4]
    return len(iban) > 4 and int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


_RUN = re.compile(r"(?<![^\W_])\d+(?:(?P<between> ?[.-] ?| )\d+(?:(?P=between)\d+)*)?(?![^\W_])")
"""Digits in groups, with the same between all of them."""
_GROUPINGS = {(3, 3, 3), (4, 2, 3), (3, 2, 4), (2, 2, 2, 3), (3, 2, 2, 2), (3, 6), (1,) * 9}
"""How nine digits are written; not (5, 4) and (4, 5), which are papers of parliament and of a year."""


def _is_bsn(run: re.Match[str], text: str) -> bool:
    groups = re.split(r"\D+", run[0])
    whole = tuple(map(len, groups)) in _GROUPINGS and not re.match(r"[./-]\d", text[run.end() :])
    candidates = ["".join(groups)] if whole else []
    if run["between"] != ".":
        candidates += [group for group in groups if len(group) == 9]
    return any(map(passes_eleven_check, candidates))


def passes_eleven_check(digits: str) -> bool:
    """Whether nine digits are a BSN by their own sum; none begins with two zeros."""
    weights = (9, 8, 7, 6, 5, 4, 3, 2, -1)
    total = sum(weight * int(digit) for weight, digit in zip(weights, digits, strict=True))
    return total % 11 == 0 and not digits.startswith("00")


# --- the request's part -----------------------------------------------------------------------------------------

known_domains: ContextVar[Collection[str]] = ContextVar("known_domains", default=())
"""Whose function mailboxes pass while this request is read."""

Place = tuple[str | int, ...]


class Screened(Value):
    """What a caller sends: taken only when no text in it leads to a person, wherever in it the text stands.

    A BSN is always refused. Contact details are refused until the caller says that they are nobody's own.
    """

    confirmed: StrictBool = Field(
        default=False,
        description="E-mail addresses, telephone numbers and the like in these texts belong to an organisation, not to"
        " a person, and may be read by everyone. Without it they are refused.",
    )

    @model_validator(mode="after")
    def _leads_to_nobody(self) -> Self:
        problems = [
            InitErrorDetails(type=refusal, loc=place, input=None)
            for place, text in _texts(self)
            if (refusal := _refusal(traces_in(text, known_domains.get()), confirmed=self.confirmed))
        ]
        if problems:
            raise ValidationError.from_exception_data(type(self).__name__, problems)
        return self


def _texts(value: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Every text inside, codes and names of other systems too, and where it stands."""
    match value:
        case Enum():
            return
        case str():
            yield place, value
        case BaseModel():
            for name, field in type(value).model_fields.items():
                yield from _texts(getattr(value, name), (*place, field.alias or name))
        case dict():
            for name, one in value.items():
                yield (*place, name), f"{name}: {one}"
        case list() | tuple():
            for number, one in enumerate(value):
                yield from _texts(one, (*place, number))


def _refusal(traces: Collection[Trace], *, confirmed: bool) -> PydanticCustomError | None:
    error = partial(PydanticCustomError, "leads_to_a_person")
    if Trace.BSN in traces:
        return error(
            "This holds what reads as {what}. Take it out: nothing about a person is kept here. The number of a paper"
            " passes when it is written with its letters, such as Z123456789.",
            {"what": Trace.BSN.value},
        )
    if traces and not confirmed:
        return error(
            "This holds what reads as {what}. Take it out; or, when it is an organisation's and everyone may read it,"
            " send confirmed: true.",
            {"what": " and ".join(traces)},
        )
    return None
