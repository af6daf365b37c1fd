"""Brings a service's database to its newest shape: the common tables, then the tables of its nouns."""

import asyncio
from importlib.util import find_spec
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncEngine

HERE = Path(__file__).parent
LOCK = 7_310_003
_one_at_a_time = asyncio.Lock()


def config(service: str) -> Config:
    """Alembic's configuration for one service; no ini file."""
    versions = [HERE / "versions"]
    package = find_spec(f"services.{service}")
    assert package is not None and package.submodule_search_locations
    own = Path(next(iter(package.submodule_search_locations))) / "migrations"
    if own.is_dir():
        versions.append(own)
    found = Config()
    found.set_main_option("script_location", str(HERE))
    found.set_main_option("version_locations", ";".join(str(path) for path in versions))
    found.set_main_option("path_separator", ";")
    found.attributes["service"] = service
    return found


def _upgrade(connection: Connection, service: str) -> None:
    connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
    alembic = config(service)
    alembic.attributes["connection"] = connection
    command.upgrade(alembic, "heads")


async def upgrade(engine: AsyncEngine, service: str) -> None:
    """Migrate under a lock: of several replicas one does it, the others then find it done.

    Alembic keeps its context in the module, so within a process one migrates at a time too.
    """
    async with _one_at_a_time, engine.begin() as connection:
        await connection.execute(text("set local lock_timeout to '60s'"))
        await connection.execute(text("set local statement_timeout to '10min'"))
        await connection.run_sync(_upgrade, service)
