"""What an operator does by hand, with a service's own environment: `python -m services.tend show reporting`.

show     how far the view is, what it stopped at, what is parked, the last verification
retry    try again now to take up the event at which the view stands still (it also does so by itself, each second)
park     leave that event aside with all later ones of its entity; who and why stays on record
release  take up after all what is parked: the view is made again with it
rebuild  make the view again beside the live rows, compare, and switch; `--force` switches also when they differ
verify   check log, stream and view against each other; names the first difference
forget   erase an account from beside the log and from the receipts; the log and its chain stay as they are

Ends with 0 when all is well, 1 when it could not be done, 2 when something differs or stands still.
"""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Any
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from shared import forgetting, parking, settings, verification
from shared.bus import Bus, BusUnavailable, NatsBus
from shared.calendar import written
from shared.database import engine
from shared.errors import DomainError
from shared.feed import FeedUnavailable
from shared.integrity import Broken, check_log, check_stream, check_view
from shared.projection import Attached, Projection
from shared.settings import Settings

DONE, NOT_DONE, DIFFERS = 0, 1, 2
SERVICES = ("recommendations", "programme", "monitor", "reporting")


class Tended:
    """A service's database, view and bus, in the hands of an operator; the service itself runs on meanwhile."""

    def __init__(self, name: str, given: Settings) -> None:
        made: Any = import_module(f"services.{name}.app").create_app
        view: Projection | None = made.keywords.get("view")
        self.name = name
        self.publishes: bool = made.keywords.get("publishes", True)
        self.engine = engine(given)
        self.bus: Bus = NatsBus(given, f"tend-{name}")
        self._view = view.attach(name, self.engine, None, given) if view is not None else None

    @property
    def view(self) -> Attached:
        if self._view is None:
            raise DomainError(f"{self.name} has no view: it follows nobody.")
        return self._view

    @property
    def has_view(self) -> bool:
        return self._view is not None

    async def close(self) -> None:
        if self._view is not None:
            await self._view.close()
        await self.bus.close()
        await self.engine.dispose()


async def show(tended: Tended, asked: argparse.Namespace) -> int:
    if not tended.has_view:
        print(f"{tended.name}: no view.")
        return DONE
    view, still = tended.view, False
    async with view.reading() as session:
        checkpoints = await view.checkpoints(session)
        aside = await parking.standing(session, view.view.name)
        last = await verification.last(session, view.view.name)
    for owner, feed in view.owners.items():
        at = checkpoints[owner].sequence if owner in checkpoints else 0
        try:
            behind = (await feed.head()).sequence - at
            print(f"{tended.name} follows {owner}: at {at}, {behind} behind.")
            still = still or behind > 0
        except FeedUnavailable:
            print(f"{tended.name} follows {owner}: at {at}; {owner} does not answer.")
    for one in aside:
        print(
            f"{tended.name} has parked {one.owner}'s entity {one.entity} from event {one.sequence} on ({one.error}),"
            f" by {one.parked_by} at {written(one.parked_at)}: {one.reason} Release it with --id {one.id}."
        )
    print(f"{tended.name}: {_told(last)}")
    return DIFFERS if still or (last and last.differing) else DONE


def _told(last: verification.Verified | None) -> str:
    if last is None:
        return "never verified yet."
    found = "the rows are what the logs say" if not last.differing else f"differs: {last.first}"
    return f"verified at {written(last.at)}, {last.events} events in {last.seconds:.1f} s: {found}."


async def retry(tended: Tended, asked: argparse.Namespace) -> int:
    outcome = DONE
    for owner in _owners(tended.view, asked.owner):
        try:
            taken = await parking.retry(tended.view, owner)
        except (FeedUnavailable, SQLAlchemyError, OSError):
            raise
        except Exception as error:
            outcome = DIFFERS
            print(f"{tended.name} still cannot take up the next event of {owner}: {error!r}")
            continue
        print(f"{tended.name} {'took up the next event' if taken else 'is at the head'} of {owner}.")
    return outcome


def _owners(view: Attached, asked: str | None) -> Sequence[str]:
    if asked is not None and asked not in view.owners:
        raise DomainError(f"This view follows {', '.join(view.owners)}.")
    return [asked] if asked else list(view.owners)


async def park(tended: Tended, asked: argparse.Namespace) -> int:
    if asked.owner is None:
        raise DomainError(f"Name the owner whose event it is: --owner {' or '.join(tended.view.owners)}.")
    [owner] = _owners(tended.view, asked.owner)
    found = await parking.park(tended.view, owner, by=asked.by, reason=asked.reason)
    print(
        f"Parked from event {found.sequence} on: {owner}'s entity {found.entity}; {found.error}. It counts as no data"
        f" until it is released: release {tended.name} --id {found.id} --by …"
    )
    return DONE


async def release(tended: Tended, asked: argparse.Namespace) -> int:
    if asked.id is None:
        raise DomainError("Name what to release: --id, as `show` gives it.")
    try:
        rebuilt = await parking.release(tended.view, asked.id, by=asked.by)
    except (DomainError, FeedUnavailable, SQLAlchemyError, OSError):
        raise
    except Exception as error:
        print(f"Not released: it still cannot be taken up. {error!r}")
        return DIFFERS
    print(f"Released; {tended.name}'s view was made again from {rebuilt.events} events, and is live.")
    return DONE


async def rebuild(tended: Tended, asked: argparse.Namespace) -> int:
    started = time.monotonic()
    rebuilt = await tended.view.rebuild(compare=not asked.force)
    if rebuilt.differing:
        print(f"{rebuilt.events} events read; these tables differ from the live ones: {', '.join(rebuilt.differing)}.")
        print("The live ones stay. When you know why, --force switches all the same.")
        return DIFFERS
    compared = "not compared" if asked.force else "the rows are the same"
    print(f"{rebuilt.events} events read in {time.monotonic() - started:.1f} s; {compared}, and the new ones are live.")
    return DONE


async def verify(tended: Tended, asked: argparse.Namespace) -> int:
    try:
        if tended.publishes:
            log = await check_log(tended.engine, tended.name)
            print(f"{tended.name}'s log: {log.events} events, no hole, the chain holds and ends with {log.chain[:12]}.")
            print(f"{tended.name}'s stream: {await _stream(tended)}")
        if tended.has_view:
            found = await check_view(tended.view)
            print(f"{tended.name}'s view: {found.events} events at {found.position} give the same rows.")
    except Broken as difference:
        print(f"DIFFERS: {difference}")
        return DIFFERS
    return DONE


async def _stream(tended: Tended) -> str:
    if isinstance(tended.bus, NatsBus):
        await tended.bus.wait_connected(5)
    found = await check_stream(tended.engine, tended.bus, tended.name)
    if found.first is None:
        return f"no message of this log, {found.foreign} foreign."
    rest = f"; {found.missing} missing, which readers take from the feed" if found.missing else ""
    rest += f"; {found.foreign} of another epoch, which readers drop" if found.foreign else ""
    return f"{found.messages} messages, {found.first} to {found.last}, each as the log says{rest}."


async def forget(tended: Tended, asked: argparse.Namespace) -> int:
    if not asked.account:
        raise DomainError("Name whom to forget: --account, the `sub` of its tokens.")
    gone = await forgetting.forget(tended.engine, asked.account)
    told = ", ".join(f"{rows} rows of {table}" for table, rows in gone.items())
    print(f"{tended.name} has forgotten this account: {told}.")
    return DONE


VERBS: dict[str, Callable[[Tended, argparse.Namespace], Awaitable[int]]] = {
    "show": show,
    "retry": retry,
    "park": park,
    "release": release,
    "rebuild": rebuild,
    "verify": verify,
    "forget": forget,
}


def asked_for(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("service", choices=SERVICES)
    parser.add_argument("--owner", help="whose events: retry and park")
    parser.add_argument("--id", type=UUID, help="what to release")
    parser.add_argument("--by", default="", help="which function decides this: park and release")
    parser.add_argument("--reason", default="", help="why: park")
    parser.add_argument("--account", help="whom: forget")
    parser.add_argument("--force", action="store_true", help="rebuild: switch also when the rows differ")
    return parser.parse_args(arguments)


async def run(asked: argparse.Namespace, given: Settings) -> int:
    """Do one verb on one service; what cannot be done is said in a sentence."""
    tended = Tended(asked.service, given)
    try:
        return await VERBS[asked.verb](tended, asked)
    except (DomainError, FeedUnavailable, BusUnavailable) as error:
        print(f"{asked.service}: not done. {error}")
    except (SQLAlchemyError, OSError, TimeoutError) as error:
        print(f"{asked.service}: not done, the database does not answer: {type(error).__name__}. Is Kapstok running?")
    finally:
        await tended.close()
    return NOT_DONE


if __name__ == "__main__":
    raise SystemExit(asyncio.run(run(asked_for(), settings.read())))
