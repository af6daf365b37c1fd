"""README and Makefile tell the truth."""

import re
from pathlib import Path

import pytest

from deploy.stack import PORTS, SERVICES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_every_make_command_in_the_readme_exists() -> None:
    named = set(re.findall(r"(?:^|`|\()make (?:-s )?([a-z][a-z-]*)", README, re.MULTILINE))
    assert {"up", "test", "rebuild"} <= named
    assert named <= TARGETS, f"not in the Makefile: {sorted(named - TARGETS)}"


def test_every_target_says_what_it_does() -> None:
    described = set(re.findall(r"^([a-z-]+):.*##", MAKEFILE, re.MULTILINE))
    assert TARGETS - described <= {"browser"}


def test_every_path_in_the_readme_exists() -> None:
    for path in re.findall(r"`((?:shared|services|deploy|tests|docs)/[^`<>{}*]*)`", README):
        assert (ROOT / path).exists(), f"README names {path}, which is not there"


def test_every_address_in_the_readme_is_a_route_on_the_port_that_it_names() -> None:
    from services.reporting.api import router

    routes = {getattr(route, "path", "") for route in router.routes}
    for port, path in re.findall(r"http://127\.0\.0\.1:(\d+)(/[^\s`|?'\\]*)", README):
        service = next(name for name, number in PORTS.items() if number == int(port))
        if service == "reporting" and path.rstrip(",") != "/":
            assert path.rstrip(",").removeprefix("/reporting/v1") in routes
    for service in SERVICES:
        assert f"`{service}` {PORTS[service]}" in README


def test_every_decision_says_what_why_and_what_it_costs() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert len(pages) >= 5
    for page in pages:
        text = page.read_text()
        for heading in ("## What", "## Why", "## What it costs"):
            assert heading in text, f"{page.name} misses {heading}"


@pytest.mark.parametrize("name", ["README.md", "Makefile", "pyproject.toml", "docker-compose.yml", ".ci/run"])
def test_the_files_of_the_house_are_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_ci_runs_the_readmes_test_command() -> None:
    assert "\nmake test\n" in README
    assert "make test" in (ROOT / ".ci" / "run").read_text()
