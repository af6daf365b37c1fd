"""The house holds its word: who imports whom, and what stands nowhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICES = [path.name for path in (ROOT / "services").iterdir() if (path / "app.py").exists()]
FILES = sorted(
    path for top in ("shared", "services") for path in (ROOT / top).rglob("*.py") if "migrations" not in path.parts[:-1]
)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in the file; relative imports are not used here."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_four_services() -> None:
    assert sorted(SERVICES) == ["monitor", "programme", "recommendations", "reporting"]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_from_the_edge_to_the_middle(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    for module in imports(path):
        if parts[0] == "shared":
            assert not module.startswith(("services", "deploy", "tests")), f"{name(path)} imports {module}"
            continue
        assert not module.startswith(("deploy", "tests")), f"{name(path)} imports {module}"
        if module.startswith("services.") and not module.startswith(("services.permissions", "services.endings")):
            assert module.split(".")[1] == parts[1], f"{name(path)} imports another service: {module}"
        own = module.removeprefix(f"services.{parts[1]}.").split(".")[0] if module.startswith("services.") else ""
        if parts[-1] != "app.py":
            assert own != "app", f"{name(path)} imports its app"
            assert own != "api", f"{name(path)} imports its api"
        if parts[-1] in ("known.py", "rows.py"):
            assert own in ("", "base", parts[1], "services"), f"a view imports more than its base: {module}"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_each_library_is_met_in_its_own_room(path: Path) -> None:
    place = name(path)
    for module in imports(path):
        library = module.split(".")[0]
        if library == "nats":
            assert place == "shared/bus.py"
        if library == "fastapi":
            rooms = ("http", "access", "gate", "oauth", "receipts", "service", "problems", "reception", "bulk")
            at_the_edge = path.name in ("api.py", "app.py") or "pages" in path.parts or path.name == "live.py"
            assert at_the_edge or place in [f"shared/{room}.py" for room in rooms], f"{place} meets FastAPI"
        if library == "httpx":
            assert place in ("shared/feed.py", "shared/issuers.py")
        if library == "httpcore":
            assert place == "shared/webhooks/sinks.py"


@pytest.mark.parametrize("path", [path for path in FILES if "services" in path.parts], ids=name)
def test_no_service_commits_or_reads_the_environment(path: Path) -> None:
    code = path.read_text()
    assert ".commit()" not in code
    assert "os.environ" not in code
    assert "datetime.now" not in code
    assert "date.today" not in code


def test_nothing_is_called_utils() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [name(path) for path in FILES if path.stem in vague] == []


def test_shared_knows_no_word_of_the_domain() -> None:
    words = re.compile(r"\b(recommendation|partner|action line|verdict|trafficking|mensenhandel)s?\b", re.IGNORECASE)
    allowed = {"recommendations_url", "programme_url"}
    for path in [*(ROOT / "shared").glob("*.py"), *(ROOT / "shared" / "webhooks").glob("*.py")]:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            found = words.search(line)
            if found and not any(word in line for word in allowed):
                raise AssertionError(f"{name(path)}:{number} speaks of {found[0]!r}")


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_the_same_shape(service: str) -> None:
    folder = ROOT / "services" / service
    for expected in ("__init__.py", "app.py", "base.py", "api.py"):
        assert (folder / expected).exists(), f"{service} misses {expected}"
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert said is not None and "\n" not in said.strip(), f"{service} says in one sentence what it owns"


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_module_says_what_it_is_about(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), f"{name(path)} has no docstring"
