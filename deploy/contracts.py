"""The contracts as files: OpenAPI and AsyncAPI per service and a JSON Schema per event type, made from the code.

`python -m deploy.contracts` writes them into `contracts/`; with `--publish` also as what a release promises, against
which every later change is held.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from shared.event_contract import asyncapi, schema_of, types_of
from shared.service import VERSION
from shared.settings import Settings

ROOT = Path(__file__).parent.parent / "contracts"
PUBLISHED = ROOT / "published"
SERVICES = ("recommendations", "programme", "monitor", "reporting")
NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"
"""An app is made and asked for its document; it is never started."""


def contracts() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every contract, by its path below `contracts/`."""
    settings = Settings(database_url=NOWHERE)
    for service in SERVICES:
        yield f"{service}.openapi.json", openapi(service, settings)
        source = settings.source(service)
        kinds = types_of(service)
        if kinds:
            yield f"{service}.asyncapi.json", asyncapi(service, source, VERSION)
        for kind in kinds:
            yield f"events/{kind.type}.schema.json", schema_of(kind, source)


def openapi(service: str, settings: Settings) -> dict[str, Any]:
    app = import_module(f"services.{service}.app").create_app(settings=settings)
    while not hasattr(app, "openapi"):
        app = app._app
    return app.openapi()  # type: ignore[no-any-return]


def written(contract: dict[str, Any]) -> str:
    return json.dumps(contract, ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the contracts as files.")
    parser.add_argument("--publish", action="store_true", help="also as what a release promises")
    arguments = parser.parse_args()
    shutil.rmtree(ROOT / "events", ignore_errors=True)
    for path, contract in contracts():
        for folder in (ROOT, *([PUBLISHED] if arguments.publish else [])):
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(written(contract))


if __name__ == "__main__":
    main()
