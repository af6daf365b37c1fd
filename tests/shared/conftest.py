"""The example view of plans.py, made once a module, on a fresh log for each test."""

from collections.abc import AsyncIterator

import pytest_asyncio
from pydantic import SecretStr

from deploy.embedded import Postgres
from shared.bus import MemoryBus
from shared.database import engine
from shared.projection import Attached
from shared.settings import Settings
from tests.house import Builder
from tests.shared.facts import Log
from tests.shared.plans import OWNER, follow_anew, plans


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def made_view(builder: Builder, postgres: Postgres) -> AsyncIterator[Attached]:
    """A view of its own in reporting's database, with logs in memory in the place of its owner."""
    name = await builder.database("reporting")
    given = Settings(database_url=SecretStr(postgres.url("reporting", "kapstok", name)), head_check_seconds=0.1)
    made = engine(given)
    view = plans.attach("reporting", made, MemoryBus(), given)
    await view.close()
    view.owners = {OWNER: Log()}
    await view.prepare()
    yield view
    await made.dispose()


@pytest_asyncio.fixture(loop_scope="session")
async def view(made_view: Attached) -> Attached:
    """The same, on a fresh log."""
    await follow_anew(made_view, Log())
    return made_view
