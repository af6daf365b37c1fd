"""The whole system on one machine: PostgreSQL, nats-server and the four services, started and ended in order."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deploy.embedded import LOOPBACK, Nats, Postgres, end, is_free, spawn
from deploy.issuer import Issuer
from shared import settings
from shared.settings import Settings

SERVICES = ("recommendations", "programme", "monitor", "reporting")
ROOT = Path(__file__).parent.parent
PORTS = {"recommendations": 8001, "programme": 8002, "monitor": 8003, "reporting": 8004, "postgres": 8010, "nats": 8011}


@dataclass
class Stack:
    """Everything that runs, with its data in `home`."""

    home: Path
    ports: dict[str, int]
    postgres: Postgres
    nats: Nats
    issuer: Issuer
    secret: str
    extra: dict[str, str] = field(default_factory=dict)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @classmethod
    def at(
        cls,
        home: Path,
        ports: dict[str, int],
        *,
        postgres_options: list[str] | None = None,
        extra: dict[str, str] | None = None,
    ) -> "Stack":
        home.mkdir(parents=True, exist_ok=True)
        secret = home / "secret"
        if not secret.exists():
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(24))
        return cls(
            home,
            ports,
            Postgres.at(home, port=ports["postgres"], options=postgres_options),
            Nats.at(home, port=ports["nats"]),
            Issuer.at(home),
            secret.read_text(),
            extra or {},
        )

    def url(self, service: str) -> str:
        return f"http://{LOOPBACK}:{self.ports[service]}"

    @property
    def house_key(self) -> str:
        """What opens the feeds."""
        return self.secret

    def settings(self, service: str) -> Settings:
        """What one service has read, for who acts in its place."""
        return settings.of(self.environment(service))

    def environment(self, service: str) -> dict[str, str]:
        """What one service reads."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("KAPSTOK_")}
        urls = {f"KAPSTOK_{name.upper()}_URL": self.url(name) for name in SERVICES}
        return (
            kept
            | urls
            | {
                "KAPSTOK_DATABASE_URL": self.postgres.url(service, self.secret),
                "KAPSTOK_NATS_URL": self.nats.url,
                "KAPSTOK_JWKS_FILE": str(self.issuer.jwks),
                "KAPSTOK_TOKEN_KEYS_FILE": str(self.issuer.token_keys),
                "KAPSTOK_HOUSE_KEY": self.secret,
                "KAPSTOK_RATE_LIMIT": "0",
                "KAPSTOK_COSTLY_RATE_LIMIT": "0",
                "PYTHONPATH": str(ROOT),
            }
            | self.extra
        )

    async def start_database(self) -> None:
        self.postgres.start()
        for service in SERVICES:
            await self.postgres.ensure_database(service, self.secret)

    def start_service(self, name: str, *, app: str | None = None, **more: str) -> None:
        """Start one service; `app` names another factory, `more` adds to its environment."""
        command = [
            sys.executable,
            "-m",
            "uvicorn",
            "--factory",
            app or f"services.{name}.app:create_app",
            "--host",
            LOOPBACK,
            "--port",
            str(self.ports[name]),
            "--no-server-header",
            "--no-access-log",
            "--no-proxy-headers",
            "--log-level",
            "warning",
            "--timeout-graceful-shutdown",
            "20",
        ]
        log = self.home / "logs" / f"{name}.log"
        self.processes[name] = spawn(command, log, env=self.environment(name) | more, cwd=ROOT)

    def wait_ready(self, name: str, seconds: float = 60) -> None:
        """Until the service says that it can do its job; when it ends first, with what it wrote."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url(name)}/health/ready", timeout=2).status_code == 200:
                    return
            if self.processes[name].poll() is not None:
                break
            time.sleep(0.05)
        log = self.home / "logs" / f"{name}.log"
        raise RuntimeError(f"{name} did not become ready:\n{log.read_text(errors='replace')[-3000:]}")

    async def start(self, *names: str) -> None:
        """Database and bus, then the services: all of them, or only those named."""
        await self.start_database()
        self.nats.start()
        for name in names or SERVICES:
            self.start_service(name)
        for name in names or SERVICES:
            self.wait_ready(name)

    def stop(self) -> None:
        """In reverse order; each gets the time to finish what it does."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for name in reversed(SERVICES):
            end(self.processes.get(name))
        self.nats.stop()
        self.postgres.stop()

    def ended(self) -> str | None:
        """The name of something that ended by itself."""
        running = self.processes | {"postgres": self.postgres.process, "nats": self.nats.process}
        return next((name for name, process in running.items() if process and process.poll() is not None), None)


def ports_in_use(ports: dict[str, int]) -> list[str]:
    return [f"{name} ({port})" for name, port in ports.items() if not is_free(port)]


def remember(stack: Stack) -> None:
    """Write down where everything answers, for `make rebuild` and the like."""
    places = {service: stack.environment(service) for service in SERVICES}
    wanted = {
        service: {name: value for name, value in found.items() if name.startswith("KAPSTOK_")}
        for service, found in places.items()
    }
    file = stack.home / "stack.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(wanted, indent=1))
