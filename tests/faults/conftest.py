"""Marks each fault test with the rows it proves, and writes what a whole run found into docs/reliability.md."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deploy.embedded import free_port
from deploy.stack import PORTS, Stack
from tests.faults import report


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Everything in processes of its own, with the durable settings that `make up` uses; shared by a module."""
    async with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@contextlib.asynccontextmanager
async def running_stack(home: Path, *names: str, **options: Any) -> AsyncIterator[Stack]:
    """A stack of its own for one test: all services, or those named; `options` are those of `Stack.at`."""
    stack = Stack.at(home, {name: free_port() for name in PORTS}, **options)
    try:
        await stack.start(*names)
        yield stack
    finally:
        stack.stop()
        stack.postgres.discard()


SLACK = 1 if "FAULTS_REPORT" in os.environ else 4
"""A promise of time is held to the second in `make faults`, and with this much slack beside other work, as in CI."""

Measured = Callable[[str], None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        mark = item.get_closest_marker("row")
        if mark is not None:
            item.user_properties.append(("rows", list(mark.args)))


@pytest.fixture
def measured(record_property: Callable[[str, Any], None]) -> Measured:
    """Say in one short phrase what was seen, such as `1133 acknowledged, 1133 told, 1133 shown`."""
    return lambda phrase: record_property("measured", phrase)


_outcomes: list[report.Outcome] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    told: dict[str, Any] = dict(report.user_properties)
    if "rows" in told and (report.when == "call" or report.outcome != "passed"):
        _outcomes.append(outcome_of(report, told))


def outcome_of(found: pytest.TestReport, told: dict[str, Any]) -> report.Outcome:
    said = [str(value) for name, value in found.user_properties if name == "measured"]
    if found.skipped and isinstance(found.longrepr, tuple):
        said.append(str(found.longrepr[2]).removeprefix("Skipped: "))
    return report.Outcome(told["rows"], found.nodeid, found.outcome, "; ".join(said), found.duration)


def pytest_sessionfinish(session: pytest.Session) -> None:
    wanted = os.environ.get("FAULTS_REPORT")
    if wanted and not hasattr(session.config, "workerinput"):
        report.write_table(Path(wanted), _outcomes)
