"""`make rebuild`: reporting's view made again from the owners' logs beside the live one, compared, then switched."""

import argparse
import asyncio
import json
import os
import sys
import time
from pathlib import Path

from services.reporting.rows import progress
from shared import settings
from shared.database import engine
from shared.feed import FeedUnavailable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".local"), help="where `make up` keeps its data")
    parser.add_argument("--force", action="store_true", help="switch also when the rows differ from the live ones")
    arguments = parser.parse_args()
    places = arguments.home / "stack.json"
    if not places.exists() and "KAPSTOK_DATABASE_URL" not in os.environ:
        sys.exit(f"There is no Kapstok in {arguments.home}. Start it with `make up`, or name its HOME_DIR.")
    if places.exists():
        os.environ.update(json.loads(places.read_text())["reporting"])
    sys.exit(asyncio.run(_rebuild(compare=not arguments.force)))


async def _rebuild(*, compare: bool) -> int:
    found = settings.read()
    database = engine(found)
    view = progress.attach("reporting", database, None, found)
    started = time.monotonic()
    try:
        await view.prepare()
        rebuilt = await view.rebuild(compare=compare)
    except (FeedUnavailable, OSError) as error:
        print(f"Not rebuilt: {error}. Is Kapstok running (`make up`)?")
        return 1
    finally:
        await view.close()
        await database.dispose()
    seconds = time.monotonic() - started
    if rebuilt.differing:
        print(f"{rebuilt.events} events read; these tables differ from the live ones: {', '.join(rebuilt.differing)}.")
        print("The live ones stay. When you know why, --force switches all the same.")
        return 2
    print(f"{rebuilt.events} events read in {seconds:.1f} s; the rows are the same, and the new ones are live.")
    return 0


if __name__ == "__main__":
    main()
