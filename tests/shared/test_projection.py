"""Views: the deciding step, rows on two time axes, and following a log through every disorder."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain as one_after_another
from itertools import count, cycle
from typing import Any
from uuid import UUID, uuid4, uuid5
from zoneinfo import ZoneInfo

import nats
import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import event as on
from sqlalchemy import select, text

from shared.bus import EPOCH
from shared.calendar import start_of
from shared.events.event import Event, stream
from shared.events.programme import ActionAssigned, ActionDescribed, ActionPlanned, ActionRescheduled
from shared.feed import Page
from shared.outbox import link
from shared.projection import Attached, Checkpoint, Decision, Rebuilt, decide
from shared.rows import Change, Piece, tell
from shared.texts import Text
from tests.examples import term
from tests.house import House, eventually
from tests.shared.facts import Log, example
from tests.shared.plans import (
    OWNER,
    POISON,
    Due,
    Following,
    Plan,
    at_head,
    checkpoint,
    follow_anew,
    is_so,
    mended,
    plan,
    plans,
    publish,
    reschedule,
    rows,
)

ZONE = ZoneInfo("Europe/Amsterdam")


# --- the deciding step -----------------------------------------------------------------------------------------

AT = Checkpoint("e", 5, "so far")
NEXT = link("so far", "event")


@pytest.mark.parametrize(
    ("epoch", "sequence", "chain", "from_bus", "from_feed"),
    [
        ("e", 6, NEXT, Decision.APPLY, Decision.APPLY),
        ("e", 5, "so far", Decision.DROP, Decision.DROP),
        ("e", 5, "another", Decision.DROP, Decision.DROP),
        ("e", 1, NEXT, Decision.DROP, Decision.DROP),
        ("e", 0, "", Decision.DROP, Decision.DROP),
        ("e", 7, NEXT, Decision.GAP, Decision.DIVERGED),
        ("e", 999, NEXT, Decision.GAP, Decision.DIVERGED),
        ("e", 6, "another", Decision.GAP, Decision.DIVERGED),
        ("e", 6, "", Decision.GAP, Decision.DIVERGED),
        ("other", 6, NEXT, Decision.DROP, Decision.DIVERGED),
        ("other", 1, link("", "event"), Decision.DROP, Decision.DIVERGED),
        ("", 6, NEXT, Decision.DROP, Decision.DIVERGED),
    ],
)
def test_only_the_next_event_of_the_same_log_is_applied(
    epoch: str, sequence: int, chain: str, from_bus: Decision, from_feed: Decision
) -> None:
    assert decide(AT, epoch, sequence, chain, "event", from_feed=False) is from_bus
    assert decide(AT, epoch, sequence, chain, "event", from_feed=True) is from_feed


@given(
    epoch=st.sampled_from(["e", "other"]),
    sequence=st.integers(0, 10),
    chain=st.sampled_from([NEXT, "so far", "another"]),
    event=st.sampled_from(["event", "forged"]),
)
def test_the_bus_can_never_make_a_reader_throw_its_view_away(epoch: str, sequence: int, chain: str, event: str) -> None:
    assert decide(AT, epoch, sequence, chain, event, from_feed=False) is not Decision.DIVERGED


Decide = Callable[..., Decision]


def without_the_gap_check(
    at: Checkpoint, epoch: str, sequence: int, chain: str, event: str, *, from_feed: bool
) -> Decision:
    return Decision.APPLY if epoch == at.epoch and sequence > at.sequence else Decision.DROP


def without_the_duplicate_check(
    at: Checkpoint, epoch: str, sequence: int, chain: str, event: str, *, from_feed: bool
) -> Decision:
    return Decision.APPLY if epoch == at.epoch and sequence <= at.sequence + 1 else Decision.GAP


def without_the_epoch_check(
    at: Checkpoint, epoch: str, sequence: int, chain: str, event: str, *, from_feed: bool
) -> Decision:
    return decide(at, at.epoch, sequence, link(at.chain, event), event, from_feed=from_feed)


def reader(deciding: Decide) -> type[RuleBasedStateMachine]:
    """A reader with this deciding step, behind a bus that does anything, beside a feed that tells the truth."""

    class Reader(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.log: list[tuple[str, str]] = []
            self.at = Checkpoint("mine", 0, "")
            self.applied: list[str] = []

        def take(self, epoch: str, sequence: int, chain: str, event: str, *, from_feed: bool) -> None:
            decision = deciding(self.at, epoch, sequence, chain, event, from_feed=from_feed)
            assert decision is not Decision.DIVERGED, "a truthful feed was taken for another log"
            if decision is Decision.APPLY:
                self.applied.append(event)
                self.at = Checkpoint(epoch, sequence, chain)
            if decision is Decision.GAP:
                self.read_feed(1000)

        @rule(count=st.integers(1, 4))
        def owner_tells(self, count: int) -> None:
            for _ in range(count):
                event = f"fact {len(self.log) + 1}"
                self.log.append((event, link(self.log[-1][1] if self.log else "", event)))

        @rule(numbers=st.lists(st.integers(0, 60), max_size=8))
        def bus_delivers(self, numbers: list[int]) -> None:
            """Any of the log's events in any order, some twice, most not at all."""
            for number in numbers:
                if self.log:
                    event, chain = self.log[number % len(self.log)]
                    self.take("mine", number % len(self.log) + 1, chain, event, from_feed=False)

        @rule()
        def bus_delivers_the_next(self) -> None:
            if len(self.log) > self.at.sequence:
                event, chain = self.log[self.at.sequence]
                self.take("mine", self.at.sequence + 1, chain, event, from_feed=False)

        @rule(sequence=st.integers(0, 60))
        def bus_delivers_of_a_foreign_epoch(self, sequence: int) -> None:
            self.take("foreign", sequence, link("", "foreign"), "foreign", from_feed=False)

        @rule(ahead=st.integers(-2, 3))
        def bus_delivers_forged(self, ahead: int) -> None:
            if self.at.sequence < len(self.log):
                self.take("mine", self.at.sequence + ahead, self.at.chain, "forged", from_feed=False)

        @rule(limit=st.integers(1, 5))
        def read_feed(self, limit: int) -> None:
            start = self.at.sequence
            for number, (event, chain) in enumerate(self.log[start : start + limit], start + 1):
                self.take("mine", number, chain, event, from_feed=True)

        @invariant()
        def each_event_was_applied_once_and_in_order(self) -> None:
            assert self.applied == [event for event, _ in self.log[: self.at.sequence]]

        def teardown(self) -> None:
            """Silence proves nothing: in the end the head is asked, and the feed is read up to it."""
            self.read_feed(len(self.log) + 1)
            assert self.at.sequence == len(self.log)
            assert self.at.chain == (self.log[-1][1] if self.log else "")
            assert self.applied == [event for event, _ in self.log]

    return Reader


QUICK = settings(max_examples=60, stateful_step_count=25, deadline=None, database=None)


def test_a_reader_ends_exactly_at_the_head_whatever_the_bus_does() -> None:
    run_state_machine_as_test(reader(decide), settings=QUICK)


@pytest.mark.parametrize("deciding", [without_the_gap_check, without_the_duplicate_check, without_the_epoch_check])
def test_a_reader_that_checks_less_is_caught(deciding: Decide) -> None:
    """The control: the same bus breaks a reader with one check taken out."""
    blunt = settings(QUICK, max_examples=200, phases=[Phase.generate], verbosity=Verbosity.quiet, print_blob=False)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(reader(deciding), settings=blunt)


# --- rows on two time axes -------------------------------------------------------------------------------------

FIELDS = ("a", "b", "c")


@dataclass(frozen=True)
class Fact:
    """What was told, when, and from which day it holds."""

    day: date
    told_at: datetime
    fields: dict[str, Any]

    @property
    def from_moment(self) -> datetime:
        """The start of its day; told on that very day, the moment of telling."""
        if self.told_at.astimezone(ZONE).date() == self.day:
            return self.told_at
        return datetime.combine(self.day, time.min, ZONE).astimezone(UTC)


Seen = dict[str, Any] | None
"""A row's fields, or None where there is no row."""


def folded(facts: list[Fact], held: datetime, known: datetime, *, reaches_back: bool) -> Seen:
    """The plain truth: of what was known, per field the latest effective day; of the same day, what was told last."""
    first = facts[0]
    values: dict[str, Any] = {}
    won: dict[str, date] = {}
    exists = False
    for fact in facts:
        from_moment, day = fact.from_moment, fact.day
        if not reaches_back and from_moment < first.from_moment:
            from_moment, day = first.from_moment, first.day
        if fact.told_at > known or from_moment > held:
            continue
        exists = True
        for name, value in fact.fields.items():
            if name not in won or won[name] <= day:
                values[name], won[name] = value, day
    return {name: values.get(name) for name in FIELDS} if exists else None


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    """Facts of one entity, told one after another, holding from random days up to the day of telling."""
    told_at, facts = datetime(2018, 3, 24, 12, tzinfo=UTC), []
    for number in range(draw(st.integers(1, 8))):
        told_at += timedelta(hours=draw(st.sampled_from([1, 5, 11, 24, 60])), microseconds=1)
        today = told_at.astimezone(ZONE).date()
        day = today - timedelta(days=draw(st.sampled_from([0, 0, 1, 2, 3, 9])))
        names = FIELDS if number == 0 else draw(st.lists(st.sampled_from(FIELDS), min_size=1, unique=True))
        facts.append(Fact(day, told_at, {name: f"{name}{number}" for name in names}))
    return facts


def moments(facts: list[Fact]) -> list[datetime]:
    """Where anything can change, and just before it."""
    turns = {fact.from_moment for fact in facts} | {fact.told_at for fact in facts}
    turns |= {start_of(fact.day, ZONE) for fact in facts}
    return sorted(one_after_another.from_iterable((turn - timedelta(microseconds=1), turn) for turn in turns))


def said(pieces: list[Piece], held: datetime, known: datetime) -> Seen:
    here = [
        piece
        for piece in pieces
        if piece.lower <= held
        and (piece.upper is None or held < piece.upper)
        and piece.known_from <= known
        and (piece.known_to is None or known < piece.known_to)
    ]
    assert len(here) <= 1, "two pieces say something of the same moment"
    return {name: here[0].values.get(name) for name in FIELDS} if here else None


def changes(facts: list[Fact]) -> Iterator[Change]:
    for number, fact in enumerate(facts, 1):
        yield _change(None, UUID(int=1), number, fact)


def _change(row: Any, entity: UUID, version: int, fact: Fact) -> Change:
    return Change(row, entity, version, fact.told_at, fact.from_moment, fact.fields, ZONE)


@pytest.mark.parametrize("reaches_back", [False, True])
@given(facts=histories())
@settings(max_examples=150, deadline=None)
def test_the_pieces_say_what_a_plain_fold_says_at_every_moment(reaches_back: bool, facts: list[Fact]) -> None:
    current: list[Piece] = []
    everything: list[Piece] = []
    for change in changes(facts):
        current, closed = tell(current, change, reaches_back=reaches_back)
        everything += closed
        assert [piece.lower for piece in current[1:]] == [piece.upper for piece in current[:-1]], "no holes"
    everything += current
    for held in moments(facts):
        for known in moments(facts):
            expected = folded(facts, held, known, reaches_back=reaches_back)
            assert said(everything, held, known) == expected, (held, known)


def told(day: date, told_at: datetime, **fields: Any) -> Fact:
    return Fact(day, told_at, fields)


def now_at(facts: list[Fact], held: datetime) -> Seen:
    pieces: list[Piece] = []
    for change in changes(facts):
        pieces, _ = tell(pieces, change, reaches_back=False)
    return said(pieces, held, facts[-1].told_at)


def test_a_late_fact_lands_where_it_belongs_and_leaves_alone_what_a_later_day_says() -> None:
    facts = [
        told(date(2018, 1, 1), datetime(2018, 1, 1, 9, tzinfo=UTC), a="planned"),
        told(date(2018, 6, 1), datetime(2018, 6, 2, 9, tzinfo=UTC), a="done"),
        told(date(2018, 3, 1), datetime(2018, 7, 1, 9, tzinfo=UTC), a="started"),
    ]
    seen = [now_at(facts, datetime(2018, month, 15, tzinfo=UTC)) for month in (2, 4, 6)]
    assert [row and row["a"] for row in seen] == ["planned", "started", "done"]


def test_a_correction_of_what_was_told_yesterday_for_yesterday_counts() -> None:
    """Told on the day itself it held from its hour; the correction holds from that day, so it is not the older one."""
    facts = [
        told(date(2018, 1, 1), datetime(2018, 1, 1, 9, tzinfo=UTC), a="planned"),
        told(date(2018, 6, 5), datetime(2018, 6, 5, 10, tzinfo=UTC), a="done by mistake"),
        told(date(2018, 6, 5), datetime(2018, 6, 6, 9, tzinfo=UTC), a="started"),
    ]
    seen = now_at(facts, datetime(2018, 6, 6, 12, tzinfo=UTC))
    assert seen and seen["a"] == "started"


def test_two_changes_by_one_event_leave_the_last_and_no_row_known_for_no_time() -> None:
    at = datetime(2018, 6, 5, 10, tzinfo=UTC)
    pieces: list[Piece] = []
    for fact in (told(date(2018, 6, 1), at, a=1), told(date(2018, 6, 1), at, a=2)):
        pieces, closed = tell(pieces, _change(None, UUID(int=1), 1, fact), reaches_back=True)
        assert all(piece.known_from == piece.known_to for piece in closed)
    assert [piece.values for piece in pieces] == [{"a": 2}]


# --- the same through PostgreSQL -------------------------------------------------------------------------------

ROW_FIELDS = {"a": "name", "b": "lead_id", "c": "due_on"}


def as_event(entity: UUID, version: int, fact: Fact) -> Event:
    """A fact about a row's fields a, b and c as something that programme tells; one event sets all or one."""
    common = {"entity": entity, "version": version, "effective_from": fact.day, "id": None}
    value = {name: _value(name, text) for name, text in fact.fields.items()}
    if len(value) == 3:
        made = {"name": value["a"], "lead_id": value["b"], "due_on": value["c"]}
        return example(ActionPlanned).model_copy(update=common | made)
    if "a" in value:
        return example(ActionDescribed).model_copy(update=common | {"name": value["a"]})
    if "b" in value:
        return example(ActionAssigned).model_copy(update=common | {"lead_id": value["b"]})
    return example(ActionRescheduled).model_copy(update=common | {"due_on": value["c"]})


def _value(name: str, text: str) -> Any:
    made = {"a": Text(nl=text), "b": uuid5(UUID(int=1), text), "c": date(2020, 1, 1) + timedelta(days=int(text[1:]))}
    return made[name]


def _one_or_all(fact: Fact) -> Fact:
    """As one event can tell it: every field, or one."""
    names = FIELDS if len(fact.fields) == 3 else sorted(fact.fields)[:1]
    return Fact(fact.day, fact.told_at, {name: fact.fields[name] for name in names})


@given(history=st.lists(histories(), min_size=1, max_size=3), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=3))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_rows_are_the_same_however_batched_and_say_what_a_plain_fold_says(
    made_view: Attached, history: list[list[Fact]], sizes: list[int]
) -> None:
    """Several entities, told through each other."""
    view = made_view
    told_by = {uuid4(): [_one_or_all(fact) for fact in facts] for facts in history}
    in_order = sorted(
        (
            (fact.told_at, number, entity, fact)
            for number, (entity, facts) in enumerate(told_by.items())
            for fact in facts
        ),
        key=lambda one: one[:2],
    )
    log, versions = Log(at=datetime(2018, 1, 1, tzinfo=UTC)), Counter[UUID]()
    recorded: dict[UUID, list[Fact]] = {entity: [] for entity in told_by}
    for told_at, number, entity, fact in in_order:
        versions[entity] += 1
        moment = told_at + timedelta(microseconds=number)
        log.tell(as_event(entity, versions[entity], fact), after=moment - log.at)
        recorded[entity].append(Fact(fact.day, moment, fact.fields))

    await follow_anew(view, log, 1)
    one_by_one = await rows(view, Plan), await rows(view, Due)
    await follow_anew(view, log, *sizes)
    in_batches = await rows(view, Plan), await rows(view, Due)
    await follow_anew(view, log)
    at_once = await rows(view, Plan), await rows(view, Due)
    assert one_by_one == in_batches == at_once

    chance = random.Random(len(in_order))
    async with view.reading() as session:
        for entity, facts in recorded.items():
            turns = moments(facts)
            for _ in range(12):
                held, known = chance.choice(turns), chance.choice(turns)
                query = select(Plan).where(Plan.entity == entity, *Plan.at(held, known))
                found = (await session.scalars(query)).one_or_none()
                expected = folded(facts, held, known, reaches_back=False)
                assert (found is None) == (expected is None), (held, known)
                if found is not None and expected is not None:
                    wanted = [None if text is None else _value(name, text) for name, text in expected.items()]
                    assert [found.name, found.lead_id, found.due_on] == [wanted[0] and wanted[0].nl, *wanted[1:]]


# --- following -------------------------------------------------------------------------------------------------


async def test_a_view_follows_from_the_feed_alone(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    log.tell(plan())
    async with Following(view) as following:
        await following.reaches(log)
        log.tell(plan())
        await following.reaches(log)
    assert len(await rows(view, Due)) == 2


async def test_a_view_follows_the_bus_without_a_gap_and_reads_no_feed(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    view._settings = view._settings.model_copy(update={"head_check_seconds": 60})
    async with Following(view) as following:
        await eventually(lambda: is_so(view.following[OWNER].head == 0))
        log.sizes = iter(())  # from here on, a look into the feed fails
        for _ in range(5):
            log.tell(plan())
        await publish(view, log, 1, 2, 3, 4, 5)
        await following.reaches(log)
    view._settings = view._settings.model_copy(update={"head_check_seconds": 0.1})


async def test_doubled_reordered_lost_and_foreign_messages_are_each_applied_once(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    chance, entities = random.Random(7), [uuid4() for _ in range(5)]
    versions = Counter[UUID](entities)
    for entity in entities:
        log.tell(plan(entity))
    async with Following(view) as following:
        for _ in range(10):
            for _ in range(5):
                entity = chance.choice(entities)
                versions[entity] += 1
                log.tell(reschedule(entity, versions[entity], due_on=date(2020, 1, chance.randint(1, 28))))
            known = len(log.events)
            await publish(view, log, *chance.choices(range(1, known + 1), k=10))
            await publish(view, log, *chance.choices(range(1, known + 1), k=3), epoch=str(uuid4()))
            await publish(view, log, *range(known - 4, known + 1), *range(known, known - 5, -1))
        await following.reaches(log)
    followed = await rows(view, Plan), await rows(view, Due)
    await follow_anew(view, log)
    assert followed == (await rows(view, Plan), await rows(view, Due))


async def test_a_poisonous_event_stops_the_view_there_and_says_so_and_it_goes_on_when_mended(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    entity = uuid4()
    log.tell(plan(entity))
    log.tell(reschedule(entity, 2))
    log.tell(reschedule(entity, 3, POISON))
    log.tell(plan())
    handler = plans._handlers[ActionRescheduled.type]
    async with Following(view) as following:

        async def stopped() -> bool:
            found = view.following[OWNER].stopped
            return found is not None and found.sequence == 3

        await eventually(stopped)
        assert (await checkpoint(view))[1] == 2, "everything before it is taken up, nothing after it"
        assert len(await rows(view, Due)) == 1
        plans._handlers[ActionRescheduled.type] = mended
        try:
            await following.reaches(log)
        finally:
            plans._handlers[ActionRescheduled.type] = handler
        assert view.following[OWNER].stopped is None
    assert len(await rows(view, Due)) == 2


async def test_when_the_owners_log_is_another_one_the_view_is_made_again(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    for _ in range(5):
        log.tell(plan())
    async with Following(view) as following:
        await following.reaches(log)
        other = Log()
        other.tell(plan())
        view.owners[OWNER] = other
        await following.reaches(other)
    assert len(await rows(view, Due)) == 1


async def test_a_log_that_went_back_untold_and_was_written_on_is_noticed(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    for _ in range(5):
        log.tell(plan())
    async with Following(view) as following:
        await following.reaches(log)
        back = Log(epoch=log.epoch, events=log.events[:3], at=log.at)
        for _ in range(4):
            back.tell(plan())
        view.owners[OWNER] = back
        await following.reaches(back)
    assert len(await rows(view, Due)) == 7


async def test_making_a_view_again_finds_the_same_rows(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    entity = uuid4()
    log.tell(plan(entity))
    log.tell(reschedule(entity, 2))
    await view.heal(OWNER)
    rebuilt = await view.rebuild()
    assert (rebuilt.events, rebuilt.differing) == (2, [])


class Busy(Log):
    """A log whose owner tells another fact each time that its feed is read."""

    async def after(self, sequence: int, limit: int) -> Page:
        page = await super().after(sequence, limit)
        self.tell(plan())
        return page


@pytest.mark.parametrize("compare", [True, False])
async def test_a_view_is_made_again_in_the_end_although_its_owner_goes_on_telling(
    view: Attached, compare: bool
) -> None:
    log = Busy(sizes=cycle([2]))
    for _ in range(5):
        log.tell(plan())
    await follow_anew(view, log)
    async with asyncio.timeout(5):
        rebuilt = await view.rebuild(compare=compare)
    assert rebuilt.differing == []
    assert len(await rows(view, Due)) >= 5


async def test_a_view_that_is_behind_its_owner_is_compared_as_far_as_it_has_come(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    entity = uuid4()
    log.tell(plan(entity))
    await view.heal(OWNER)
    log.tell(reschedule(entity, 2))
    log.tell(plan())
    assert (await view.rebuild()).differing == []
    assert (await checkpoint(view))[1] == 1
    await view.heal(OWNER)
    await at_head(view, log)


class Cut:
    """Ends a task when the database gets the statement whose turn it is."""

    def __init__(self, task: "asyncio.Task[Rebuilt]", left: int) -> None:
        self.task, self.left = task, left

    def __call__(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            self.task.cancel()


async def test_a_rebuild_that_is_cut_off_at_any_statement_leaves_rows_to_answer_with(view: Attached) -> None:
    """Also after its switch was committed, while it looks where the rows stand now."""
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    log.tell(plan())
    await view.heal(OWNER)
    for statement in count(1):
        cut = Cut(asyncio.create_task(view.rebuild(compare=False)), statement)
        on.listen(view._engine.sync_engine, "before_cursor_execute", cut)
        await asyncio.wait({cut.task})
        on.remove(view._engine.sync_engine, "before_cursor_execute", cut)
        assert len(await rows(view, Due)) == 1, f"cut off at statement {statement}"
        if cut.left > 0:
            break
    assert statement > 20, "the whole rebuild was tried"
    assert cut.task.result().differing == []


async def test_rows_that_someone_changed_are_named_and_left_for_a_person_to_see(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    log.tell(plan())
    await view.heal(OWNER)
    async with view._sessions() as session, session.begin():
        await view.enter(session)
        await session.execute(text("update due set name = 'changed'"))
    assert (await view.rebuild()).differing == ["due"]
    async with view.reading() as session:
        assert list(await session.scalars(select(Due.name))) == ["changed"]


async def test_a_view_takes_nothing_twice_from_two_followers(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    for _ in range(30):
        log.tell(plan())
    log.sizes = cycle([7])
    twin = plans.attach("reporting", view._engine, view._bus, view._settings)
    await twin.close()
    twin.owners = {OWNER: log}
    async with Following(view) as first, Following(twin):
        await first.reaches(log)
    assert len(await rows(view, Due)) == 30


# --- a real house ----------------------------------------------------------------------------------------------


async def test_old_messages_republished_doubled_and_out_of_order_change_nothing_and_new_ones_flow(house: House) -> None:
    for _ in range(12):
        await house.post("/recommendations/v1/terms", term())
    await house.settled()
    reporting = house.running["reporting"].service.view
    assert reporting is not None
    before = await _term_rows(reporting)
    client = await nats.connect(house.nats.url)
    js, name = client.jetstream(), stream("recommendations")
    last = (await js.stream_info(name)).state.last_seq
    stored = [await js.get_msg(name, seq=number) for number in range(1, last + 1)]
    again = [*stored, *stored]
    random.Random(11).shuffle(again)
    added = 0
    for number, message in enumerate(again):
        headers = {key: value for key, value in (message.headers or {}).items() if key.startswith("Kapstok-")}
        if number % 3 == 0:
            headers[EPOCH] = str(uuid4())
        await js.publish(str(message.subject), message.data or b"", headers=headers)
        if number % 6 == 0:
            await house.post("/recommendations/v1/terms", term())
            added += 1
    await house.settled()
    after = await _term_rows(reporting)
    assert after[: len(before)] == before
    assert len(after) == len(before) + added
    assert reporting.standing is not None
    await client.close()


async def _term_rows(view: Attached) -> list[Any]:
    async with view.reading() as session:
        return [tuple(row) for row in await session.execute(text("select * from term order by known, entity"))]


# --- where a reader stands -------------------------------------------------------------------------------------


async def test_whoever_asks_for_a_position_waits_until_the_view_is_there(view: Attached) -> None:
    log = view.owners[OWNER]
    assert isinstance(log, Log)
    await view._look()
    assert not await view.reach({"p": 1}, timeout=0.05)
    async with Following(view):
        waiting = asyncio.create_task(view.reach({"p": 1}, timeout=5))
        await asyncio.sleep(0.05)
        log.tell(plan())
        assert await waiting
    assert await view.reach({"p": 1, "x": 99}, timeout=0), "an owner that this view does not follow is not waited for"
