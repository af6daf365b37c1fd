"""The form: a workbook in which a partner fills in how far its actions are, and that comes back as its report."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from services.monitor.known import ActionKnown, PartnerKnown, partner_of
from services.monitor.rounds import Obligation, Round
from shared.database import find
from shared.errors import Invalid, NotFound
from shared.events.monitor import Confidence, Implementation, RoundState
from shared.events.programme import ActionState
from shared.kinds import Sheet
from shared.sheets import Rows

OPEN = (ActionState.PLANNED, ActionState.ACTIVE, ActionState.ON_HOLD)
SYSTEM = "form"
"""The system of a form's name in `externalIds`: the same form that comes again is about the same report."""

ROUND, FORM, SUBMIT = "Ronde / Round", "Formulier / Form", "Indienen / Submit"
YES, NO = "ja / yes", "nee / no"

COLUMNS = {
    "Maatregel / Action": "action",
    "Uitvoering / Implementation": "implementation",
    "Vertrouwen / Confidence": "confidence",
    "Stand op / As of": "statusOn",
    "Toelichting (nl) / Explanation (Dutch)": "explanation.nl",
    "Toelichting (en) / Explanation (English)": "explanation.en",
}
NAME, PART = "Naam / Name", "Rol / Part"
READ_ONLY = frozenset({NAME, PART})
HEADERS = ["Maatregel / Action", NAME, PART, *list(COLUMNS)[1:]]
WIDTHS = [18, 50, 18, 36, 28, 16, 50, 50]

IN_DUTCH: dict[Implementation | Confidence, str] = {
    Implementation.NOT_STARTED: "niet begonnen",
    Implementation.IN_PREPARATION: "in voorbereiding",
    Implementation.IN_PROGRESS: "in uitvoering",
    Implementation.SOME_RESPECTS: "op onderdelen uitgevoerd",
    Implementation.MOST_RESPECTS: "grotendeels uitgevoerd",
    Implementation.FULLY_IMPLEMENTED: "volledig uitgevoerd",
    Implementation.COULD_NOT_BE_VERIFIED: "niet vast te stellen",
    Confidence.ON_TRACK: "op koers",
    Confidence.CONSTRAINED: "onder druk",
    Confidence.OFF_TRACK: "niet op koers",
    Confidence.ACHIEVED: "bereikt",
    Confidence.NO_STATUS: "geen status",
}

HOW = (
    "Vul per maatregel in hoe ver de uitvoering is; een regel zonder uitvoering telt niet mee. Kies bij Indienen ja "
    "als het verslag klaar is. / Say for each action how far it is; a row without an implementation does not count. "
    "Choose yes at Submit when the report is ready."
)


@dataclass(frozen=True)
class Form:
    """What one partner is asked in one round."""

    round: Round
    partner: PartnerKnown
    obligation: Obligation | None
    actions: Sequence[ActionKnown]

    @property
    def name(self) -> str:
        return f"{self.round.reference}.{self.partner.code}"


async def for_partner(session: AsyncSession, organisation: str, round_id: UUID | None) -> Form:
    """The form of an organisation for a round; the open one that is due first, where none is named.

    Raises NotFound, and Conflict for a round in which nothing can be reported.
    """
    partner = await session.get_one(PartnerKnown, await partner_of(session, organisation))
    round = await _round(session, round_id)
    owed = select(Obligation).where(Obligation.round_id == round.id, Obligation.partner_id == partner.entity)
    takes_part = or_(
        ActionKnown.lead_id == partner.entity,
        ActionKnown.lead_undecided.contains([partner.entity]),
        ActionKnown.contributors.contains([partner.entity]),
    )
    actions = select(ActionKnown).where(ActionKnown.state.in_(OPEN), takes_part).order_by(ActionKnown.reference)
    return Form(round, partner, (await session.scalars(owed)).one_or_none(), list(await session.scalars(actions)))


async def _round(session: AsyncSession, round_id: UUID | None) -> Round:
    if round_id is not None:
        round = await find(session, Round, round_id)
        round.must_be_open()
        return round
    first = select(Round).where(Round.state == RoundState.OPEN).order_by(Round.due_on, Round.id).limit(1)
    found = (await session.scalars(first)).one_or_none()
    if found is None:
        raise NotFound("No round is open; there is nothing to report in now.")
    return found


def workbook_of(form: Form) -> bytes:
    """The form as a workbook; only what is to be filled in can be changed."""
    import xlsxwriter  # imported here: it takes a while, and few requests ask for a form

    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
    title, bold = book.add_format({"bold": True, "font_size": 14}), book.add_format({"bold": True})
    wrap, head = book.add_format({"text_wrap": True, "valign": "top"}), book.add_format({"bold": True, "bottom": 1})
    asked = {"locked": False, "text_wrap": True, "valign": "top", "bg_color": "#fff8dc", "border": 1}
    free, day = book.add_format(asked), book.add_format(asked | {"num_format": "yyyy-mm-dd"})
    sheet, lists = book.add_worksheet("Verslag"), book.add_worksheet("Lijsten")
    sheet.protect("", {"format_columns": True, "format_rows": True})
    lists.hide()
    for place, width in enumerate(WIDTHS):
        sheet.set_column(place, place, width)
    due = form.obligation.due_on if form.obligation is not None else form.round.due_on
    sheet.write_string(0, 0, "Voortgangsverslag / Progress report", title)
    sheet.write_string(1, 0, f"{form.partner.name.in_language('nl')} - {form.round.name.in_language('nl')}", bold)
    sheet.write_string(2, 0, f"Uiterlijk / Due: {due.isoformat()}", bold)
    sheet.merge_range(3, 0, 3, len(HEADERS) - 1, HOW, wrap)
    sheet.set_row(3, 48)
    for row, (label, value) in enumerate({ROUND: form.round.reference, FORM: form.name, SUBMIT: NO}.items(), start=5):
        sheet.write_string(row, 0, label, bold)
        sheet.write_string(row, 1, value, free if label == SUBMIT else None)
    sheet.data_validation(7, 1, 7, 1, {"validate": "list", "source": [NO, YES]})
    first = 10
    for place, header in enumerate(HEADERS):
        sheet.write_string(first - 1, place, header, head)
    for row, action in enumerate(form.actions, start=first):
        leads = action.lead_id == form.partner.entity
        sheet.write_string(row, 0, action.reference, wrap)
        sheet.write_string(row, 1, action.name.in_language("nl"), wrap)
        sheet.write_string(row, 2, "trekker / lead" if leads else "partner / part", wrap)
        for place in range(3, len(HEADERS)):
            sheet.write_blank(row, place, None, day if place == 5 else free)
    last = max(first, first + len(form.actions) - 1)
    for place, kind in enumerate((Implementation, Confidence)):
        values = [f"{dutch} / {one.value}" for one, dutch in IN_DUTCH.items() if isinstance(one, kind)]
        lists.write_column(0, place, values)
        letter = "AB"[place]
        source = f"=Lijsten!${letter}$1:${letter}${len(values)}"
        sheet.data_validation(first, 3 + place, last, 3 + place, {"validate": "list", "source": source})
    sheet.freeze_panes(first, 1)
    book.close()
    return out.getvalue()


def returned(rows: Rows) -> Sheet:
    """A form that came back, as the lines of a report: those in which something is filled in. Raises Invalid."""
    said = {row[0].strip(): row[1].strip() for row in rows if len(row) > 1 and row[0].strip() in (ROUND, FORM, SUBMIT)}
    first = next((number for number, row in enumerate(rows) if row and row[0].strip() == HEADERS[0]), None)
    if first is None or set(said) != {ROUND, FORM, SUBMIT}:
        raise Invalid("This is not the form: fill in the workbook that /reports/form.xlsx gives, and leave its rows.")
    always = {"round": said[ROUND], "externalIds": f"{SYSTEM}:{said[FORM]}"}
    if said[SUBMIT] == YES:
        always["state"] = "submitted"
    headers = [header.strip() for header in rows[first]]
    asked = [place for place, header in enumerate(headers) if header in COLUMNS and place > 0]
    lines = [
        (number, [_value(headers, place, cell) for place, cell in enumerate(row)])
        for number, row in enumerate(rows[first + 1 :], start=first + 2)
        if any(place < len(row) and row[place].strip() for place in asked)
    ]
    return Sheet(headers, lines, always, COLUMNS, READ_ONLY)


def _value(headers: list[str], place: int, cell: str) -> str:
    """A choice from a list is written in Dutch and in English; the English word is the value."""
    header = COLUMNS.get(headers[place]) if place < len(headers) else None
    return cell.rpartition(" / ")[2] if header in ("implementation", "confidence") else cell
