"""The container files: right as files, and what the image would run really runs. No container engine is needed."""

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
import yaml

from deploy import issuer
from deploy.embedded import LOOPBACK, Postgres, end, free_port, is_free, spawn, until
from deploy.stack import ROOT, SERVICES
from services.reporting.api import router as reporting_routes
from shared.settings import PREFIX, Settings, read

COMPOSE_FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_FILE.read_text())
NATS_CONF = (ROOT / "deploy/nats/nats.conf").read_text()
NGINX_CONF = (ROOT / "deploy/front/nginx.conf").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
SECRETS = {f"{name.upper()}_PASSWORD" for name in ("postgres", *SERVICES)} | {"KAPSTOK_HOUSE_KEY"}
_VARIABLE = re.compile(r"\$\{(\w+)(:[-?])([^}]*)\}")


# --- reading the files -----------------------------------------------------------------------------------------


@dataclass
class Image:
    """What the last stage of the Dockerfile says."""

    environment: dict[str, str]
    labels: dict[str, str]
    user: str
    check: list[str]
    command: list[str]
    copied: list[str]


def _stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage: (word, rest), with continued lines joined."""
    lines = (ROOT / "deploy/Dockerfile").read_text().replace("\\\n", " ").splitlines()
    instructions = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    stages: list[list[tuple[str, str]]] = []
    for word, rest in instructions:
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest))
    return stages


def _image() -> Image:
    last = _stages()[-1]

    def only(word: str) -> str:
        found = [rest for name, rest in last if name == word]
        assert len(found) == 1, f"one {word}"
        return found[0]

    def pairs(word: str) -> dict[str, str]:
        return dict(pair.split("=", 1) for name, rest in last if name == word for pair in shlex.split(rest))

    check = only("HEALTHCHECK")
    return Image(
        environment=pairs("ENV"),
        labels=pairs("LABEL"),
        user=only("USER"),
        check=json.loads(check[check.index("CMD") + 3 :]),
        command=json.loads(only("CMD")),
        copied=[rest.split()[0] for word, rest in last if word == "COPY" and "--from" not in rest],
    )


def _filled_in(text: str, given: dict[str, str]) -> str:
    """As compose fills in variables; one that is required and not given raises KeyError."""
    return _VARIABLE.sub(
        lambda found: given[found[1]] if found[2] == ":?" else given.get(found[1]) or found[3],
        text,
    )


# --- right as files --------------------------------------------------------------------------------------------


def test_compose_file_follows_the_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_settings_in_compose_exist() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(r"KAPSTOK_\w+", COMPOSE_FILE.read_text() + EXAMPLE)) <= known


def test_every_service_has_health_check_and_restart() -> None:
    assert set(SERVICES) < set(COMPOSE["services"])
    for name, service in COMPOSE["services"].items():
        assert service["restart"] == "unless-stopped", name
        if "build" in service:
            assert _image().check and "test" not in service.get("healthcheck", {}), name
        else:
            assert service["healthcheck"]["test"][0] == "CMD", name


def test_start_waits_for_health() -> None:
    for name, service in COMPOSE["services"].items():
        waits = service.get("depends_on", {})
        assert all(how == {"condition": "service_healthy"} for how in waits.values()), name
    assert set(COMPOSE["services"]["front"]["depends_on"]) == set(SERVICES)
    for name in SERVICES:
        assert {"postgres", "nats"} <= set(COMPOSE["services"][name]["depends_on"])


def test_only_the_front_door_is_open() -> None:
    assert [name for name, service in COMPOSE["services"].items() if "ports" in service] == ["front"]
    assert COMPOSE["services"]["front"]["networks"] == ["door"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert all(COMPOSE["services"][name]["networks"] == ["inside"] for name in ("postgres", "nats"))


def test_secrets_have_no_default() -> None:
    used: dict[str, set[str]] = {}
    for name, how, _ in _VARIABLE.findall(COMPOSE_FILE.read_text()):
        used.setdefault(name, set()).add(how)
    assert {name: used[name] for name in SECRETS} == {name: {":?"} for name in SECRETS}
    explained = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert set(explained) == set(used)
    required = {name for name, how in used.items() if how == {":?"}}
    assert {name for name, value in explained.items() if not value} == required


def test_mounted_files_exist() -> None:
    for name, service in COMPOSE["services"].items():
        for mount in service.get("volumes", []):
            if isinstance(mount, str) and mount.startswith("./"):
                assert (ROOT / mount.split(":")[0]).is_file(), name


def test_images_are_plain_tags() -> None:
    stages = _stages()
    bases = [rest.split()[0] for stage in stages for word, rest in stage if word == "FROM"]
    assert len(bases) == 2 and len(set(bases)) == 1
    for image in bases + [service["image"] for service in COMPOSE["services"].values()]:
        assert re.fullmatch(r"[a-z]+:[a-z0-9.-]+", image), image
    assert not (ROOT / "deploy/Dockerfile").read_text().startswith("# syntax")


def test_image_runs_as_a_number_and_without_a_shell() -> None:
    image = _image()
    assert re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", image.user)
    assert image.command[0] == image.check[0] == "python"


def test_image_holds_the_services_and_their_libraries_only() -> None:
    installs = [rest for word, rest in _stages()[0] if word == "RUN" and "uv sync" in rest]
    assert installs == ["uv sync --frozen --no-dev"], "no extras: no embedded servers in the image"
    image = _image()
    assert image.copied == ["shared", "services"]
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert ignored[1] == "*"
    assert {"!pyproject.toml", "!uv.lock", "!shared", "!services"} == {line for line in ignored if line[:1] == "!"}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert image.labels["org.opencontainers.image.version"] == version


def test_every_api_has_its_path_at_the_front_door() -> None:
    assert NGINX_CONF.count("{") == NGINX_CONF.count("}")
    port = _image().environment["UVICORN_PORT"]
    for name in SERVICES:
        block = _location(f"/{name}/v1/")
        assert f"set $service {name};" in block and f"proxy_pass http://$service:{port};" in block
    assert "set $service reporting;" in _location("/")
    assert "listen 8080;" in NGINX_CONF


def test_event_stream_is_not_held_up() -> None:
    assert "/progress/stream" in {getattr(route, "path", "") for route in reporting_routes.routes}
    assert "proxy_buffering off;" in _location("= /reporting/v1/progress/stream")


def test_insides_stay_inside() -> None:
    assert "return 404" in _location("~ ^/(health|metrics)")
    assert 'proxy_set_header Kapstok-House-Key "";' in NGINX_CONF


def _location(path: str) -> str:
    """What stands between the braces of a location."""
    _, found, after = NGINX_CONF.partition(f"location {path} {{")
    assert found, path
    return after[: after.index("\n        }")]


# --- what the image would run, run here ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("containers")


@pytest.fixture(scope="module")
def env() -> dict[str, str]:
    """A filled-in `.env`."""
    required = {"KAPSTOK_ISSUER": issuer.ISSUER, "KAPSTOK_OIN": "00000099000000001000"}
    return {name: f"{name.lower()}-Ab_9" for name in SECRETS} | required


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL with its own settings, and no roles of ours yet."""
    server = Postgres.at(folder / "postgres-server", port=free_port())
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.data)


def _init(server: Postgres, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """`init.sql`, run as the image's entrypoint does."""
    command = [str(server.binaries() / "bin" / "psql"), "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-q"]
    command += ["-h", LOOPBACK, "-p", str(server.port), "-U", "postgres", "-f", str(ROOT / "deploy/postgres/init.sql")]
    given = env | {"PGPASSWORD": server.password}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=given)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def databases(server: Postgres, env: dict[str, str]) -> AsyncIterator[Postgres]:
    wanted = COMPOSE["services"]["postgres"]["environment"]
    given = {name: _filled_in(value, env) for name, value in wanted.items()}
    without = _init(server, {name: value for name, value in given.items() if name != "RECOMMENDATIONS_PASSWORD"})
    assert without.returncode != 0, "a role without a password"
    done = _init(server, given)
    assert done.returncode == 0, done.stderr
    yield server


@pytest.fixture(scope="module")
def bus(folder: Path) -> Iterator[int]:
    """A nats-server with the container's configuration, but for its folder and ports; gives the port."""
    port, health = free_port(), free_port()
    store = folder / "store"
    store.mkdir()
    config = folder / "nats.conf"
    text = NATS_CONF
    for there, here in {
        '"/data"': f'"{store}"',
        "http_port: 8222": f"http: {LOOPBACK}:{health}",
        "\nport: 4222": f"\nlisten: {LOOPBACK}:{port}",
    }.items():
        assert there in text
        text = text.replace(there, here)
    config.write_text(text)
    log = folder / "logs" / "nats.log"
    process = spawn([str(Path(sys.executable).parent / "nats-server"), "-c", str(config)], log)
    until(lambda: not is_free(health), "nats-server", process, log)
    assert httpx.get(f"http://{LOOPBACK}:{health}/healthz").json() == {"status": "ok"}
    yield port
    end(process)


def test_nats_takes_its_configuration(folder: Path) -> None:
    store = folder / "checked"
    store.mkdir()
    config = folder / "checked.conf"
    config.write_text(NATS_CONF.replace('"/data"', f'"{store}"'))
    command = [str(Path(sys.executable).parent / "nats-server"), "-t", "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  sync_interval: always$", NATS_CONF, re.MULTILINE)
    room = int(re.findall(r"max_file_store: (\d+)GiB", NATS_CONF)[0]) << 30
    assert room >= 3 * Settings.model_fields["stream_max_bytes"].default, "each stream claims its share when made"


async def test_each_role_enters_its_own_database_only(databases: Postgres, env: dict[str, str]) -> None:
    async def enter(role: str, database: str) -> None:
        password = env[f"{role.upper()}_PASSWORD"]
        at = {"host": LOOPBACK, "port": databases.port, "user": role, "password": password, "database": database}
        await (await asyncpg.connect(**at)).close()

    for name in SERVICES:
        await enter(name, name)
        for other in {*SERVICES, "postgres"} - {name}:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await enter(name, other)


@pytest.mark.parametrize("name", SERVICES)
def test_service_takes_its_settings(name: str, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    given = _environment(name, env)
    assert given["UVICORN_APP"] == f"services.{name}.app:create_app"
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    settings = read()
    password = env[f"{name.upper()}_PASSWORD"]
    assert settings.database_url.get_secret_value() == f"postgresql+asyncpg://{name}:{password}@postgres:5432/{name}"
    for other in SERVICES:
        assert settings.url(other) == f"http://{other}:{_image().environment['UVICORN_PORT']}"


async def test_image_command_becomes_ready_by_its_own_health_check(
    databases: Postgres, bus: int, folder: Path, env: dict[str, str]
) -> None:
    """With compose's environment; only names and ports of this machine differ."""
    image = _image()
    app = folder / "app"
    for copied in image.copied:
        shutil.copytree(ROOT / copied, app / copied, ignore=shutil.ignore_patterns("__pycache__"))
    tokens = issuer.Issuer.at(folder / "issuer")
    port = free_port()
    given = _environment("programme", env) | {"PATH": os.defpath, "UVICORN_HOST": LOOPBACK, "UVICORN_PORT": str(port)}
    for there, here in {
        "@postgres:5432": f"@{LOOPBACK}:{databases.port}",
        "//nats:4222": f"//{LOOPBACK}:{bus}",
        "/run/kapstok/jwks.json": str(tokens.jwks),
    }.items():
        assert any(there in value for value in given.values())
        given = {variable: value.replace(there, here) for variable, value in given.items()}

    def check() -> int:
        command = [sys.executable, *image.check[1:]]
        return subprocess.run(command, env=given, capture_output=True, check=False).returncode

    assert check() != 0, "nothing runs yet"
    log = folder / "logs" / "programme.log"
    process = spawn([sys.executable, *image.command[1:]], log, env=given, cwd=app)
    try:
        deadline = time.monotonic() + 60
        while await asyncio.to_thread(check) != 0:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            await asyncio.sleep(0.1)
        address = f"http://{LOOPBACK}:{port}/programme/v1/events/head"
        token = {"Authorization": f"Bearer {tokens.token('jenv', ['coordinator'])}"}
        house = {"Kapstok-House-Key": env["KAPSTOK_HOUSE_KEY"]}
        assert [httpx.get(address, headers=shown).status_code for shown in (token, house, {})] == [200, 200, 401]
    finally:
        end(process)


def _environment(name: str, env: dict[str, str]) -> dict[str, str]:
    """What a container of this service is given, by image and compose."""
    given = _image().environment | COMPOSE["services"][name]["environment"]
    return {variable: _filled_in(value, env) for variable, value in given.items()}
