"""Real servers on free ports: one PostgreSQL a test process, one nats-server and four services a house."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deploy.embedded import Postgres, free_port
from tests.house import UNSAFE_BUT_QUICK, Builder, House


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kapstok")


@pytest.fixture(scope="session")
def postgres(home: Path) -> Iterator[Postgres]:
    server = Postgres.at(home / "postgres-server", port=free_port(), options=UNSAFE_BUT_QUICK)
    server.start()
    yield server
    server.discard()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def builder(postgres: Postgres, home: Path) -> Builder:
    builder = Builder(postgres, home)
    await builder.prepare()
    return builder


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(builder: Builder) -> AsyncIterator[House]:
    """A running Kapstok, shared by a module's tests: each test makes what it is about."""
    async with builder.house() as house:
        yield house


@pytest_asyncio.fixture(loop_scope="session")
async def own_house(builder: Builder) -> AsyncIterator[House]:
    """A running Kapstok for one test alone, to break."""
    async with builder.house() as house:
        yield house


# --- what a test wants to have said at the end of a run ---------------------------------------------------------

Say = Callable[[str], None]
_said: list[str] = []


@pytest.fixture
def say(record_property: Callable[[str, Any], None]) -> Say:
    """A sentence for the end of the run's output, such as how many pairs were tried."""
    return lambda sentence: record_property("said", sentence)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call":
        _said.extend(str(value) for name, value in report.user_properties if name == "said")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for sentence in _said:
        terminalreporter.write_line(sentence)
