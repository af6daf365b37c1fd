"""`make views`, `make verify`, `make rebuild` and the like: services.tend on what `make up` runs."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from services import tend
from shared import settings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".local"), help="where `make up` keeps its data")
    parser.add_argument("verb", choices=tend.VERBS)
    parser.add_argument("service", nargs="?", choices=tend.SERVICES, help="all of them when left out")
    arguments, rest = parser.parse_known_args()
    places = arguments.home / "stack.json"
    if not places.exists():
        sys.exit(f"There is no Kapstok in {arguments.home}. Start it with `make up`, or name its HOME_DIR.")
    known = json.loads(places.read_text())
    outcomes = []
    for service in [arguments.service] if arguments.service else tend.SERVICES:
        asked = tend.asked_for([arguments.verb, service, *rest])
        outcomes.append(asyncio.run(tend.run(asked, settings.of(known[service]))))
    return max(outcomes)


if __name__ == "__main__":
    raise SystemExit(main())
