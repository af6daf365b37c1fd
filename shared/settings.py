"""Everything a service reads from its environment, read once, when its app is made."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "KAPSTOK_"


def _comma_separated(value: Any) -> Any:
    """An environment variable such as `politie.nl, om.nl`."""
    return [one.strip().lower() for one in value.split(",") if one.strip()] if isinstance(value, str) else value


class Settings(BaseSettings):
    """One service's settings; each is an environment variable with the prefix `KAPSTOK_`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    database_url: SecretStr
    """`postgresql+asyncpg://user:password@host:port/name`: this service's own database."""
    pool_size: int = 13
    """Connections to the database; three of them are held by the relay, the imports and the webhooks."""
    durability: Literal["required", "waived"] = "required"
    """`required` refuses a database that may lose an acknowledged commit; tests waive it."""

    nats_url: str = "nats://127.0.0.1:4222"
    stream_replicas: int = 1
    stream_max_age_days: int = 30
    stream_max_bytes: int = 1 << 30
    stream_deny_delete: bool = True
    refill: int = 10_000
    """How many events before the head an empty stream is filled with; older ones come from the feed."""

    oin: str = Field(default="00000099000000001000", pattern=r"^\d{20}$")
    """Number of the organisation that publishes, in the `source` of events; 00000099… is for tests."""
    timezone: str = "Europe/Amsterdam"
    """Whose days count: `asOf` dates, due, late and stale."""

    issuer: str = "http://127.0.0.1:8000"
    audience: str = "kapstok"
    jwks_file: Path | None = None
    """The issuer's public keys (JWKS) in a file. Without it they are fetched."""
    jwks_url: str | None = None
    """Where the issuer's keys are fetched; without it, where the issuer's own discovery document says."""
    token_keys_file: Path | None = None
    """For `programme`: the private keys (JWKS) that sign the tokens given for API keys; the first one signs, all are
    published, so that keys are changed one after another. Without it no API key can be exchanged."""
    house_key: SecretStr = SecretStr("")
    """What the services show each other to read feeds. Empty: only bearer tokens open a feed."""

    recommendations_url: str = "http://127.0.0.1:8001"
    programme_url: str = "http://127.0.0.1:8002"
    monitor_url: str = "http://127.0.0.1:8003"
    reporting_url: str = "http://127.0.0.1:8004"

    known_domains: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)] = ()
    """Domains of organisations, such as `politie.nl,om.nl`; their function mailboxes (info@, meldpunt@) may stand in
    texts."""
    max_body: int = 1 << 20
    """Bytes; a larger request body is answered 413."""
    rate_limit: int = Field(default=1200, ge=0)
    """Requests that one client may make in `rate_seconds`; 0 for no limit. Kept answers of views are not counted."""
    costly_rate_limit: int = Field(default=60, ge=0)
    """The same for what makes much work, such as imports, subscriptions and tokens."""
    rate_seconds: int = Field(default=60, ge=1)
    replicas: int = Field(default=1, ge=1)
    """How many of this service run: each counts for itself, and lets pass its part of a limit."""
    trusted_proxies: str = ""
    """Addresses or networks, by commas, whose `X-Forwarded-For` and `-Proto` are believed; empty: nobody's."""
    cors_origins: str = ""
    """Origins of web pages, by spaces, that may read the answers, such as `https://dashboard.example.org`."""
    receipt_days: int = Field(default=30, ge=1)
    """How long a receipt, and with it the answer to a repeated Idempotency-Key, is kept at least."""
    security_contact: str = "https://example.org/kapstok/security"
    """Whom to tell of a weakness: an https, mailto or tel address, for security.txt."""
    security_expires: datetime = datetime(2027, 6, 30, tzinfo=UTC)
    """Until when that contact holds; within a year from when it was set."""
    import_max_body: int = 20 << 20
    """Bytes; a larger file is answered 413."""
    import_max_lines: int = 10_000
    import_max_unpacked: int = 200 << 20
    """Bytes that a workbook, which is a ZIP file, may have when unpacked."""
    import_days: int = 30
    """How long the result of an import is kept after it is finished."""
    log_level: str = "INFO"
    head_check_seconds: float = 1.0
    relay_poll_seconds: float = 0.5
    verify_at: str = Field(default="03:30", pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    """When, each night in the programme's time zone, views are made again from the logs and compared with the rows."""

    webhook_origin: str = Field(default="kapstok.example", pattern=r"^[A-Za-z0-9.-]{1,253}$")
    """Who calls the sinks of subscriptions: the domain name that they allow (`WebHook-Request-Origin`)."""
    webhook_rate: int = Field(default=600, ge=1)
    """Calls a minute that a sink is asked to allow; it may allow fewer."""
    webhook_timeout_seconds: float = Field(default=15, gt=0)
    """For one call of a sink, from its name to its answer."""
    webhook_first_wait_seconds: float = Field(default=5, gt=0)
    """After a first failure; doubles with each, less a part that chance takes."""
    webhook_longest_wait_seconds: float = Field(default=3600, gt=0)
    """No wait between two tries is longer, unless the sink asks for it with `Retry-After`."""
    webhook_patience_hours: float = Field(default=72, gt=0)
    """When the waits add up to this, the event becomes a dead letter."""
    webhook_poll_seconds: float = Field(default=2, gt=0)
    """How often new facts and subscriptions are looked for without being told of them."""
    webhook_subscriptions: int = Field(default=20, ge=1)
    """How many an organisation may have at once with each service."""
    webhook_attempt_days: int = Field(default=30, ge=1)
    """How long attempts are kept, and dead letters that nobody waits for any more."""
    webhook_allow_http: bool = False
    """Whether sinks may do without TLS; for tests and on one's own machine."""
    webhook_allow_private: bool = False
    """Whether sinks may stand in a private network or on this machine; link-local addresses never may."""
    webhook_ca_file: Path | None = None
    """Certificates of authorities that sinks are trusted by; those of the system without it."""

    @cached_property
    def origins(self) -> list[str]:
        return self.cors_origins.split()

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def source(self, service: str) -> str:
        """The CloudEvents `source` of a service: `urn:nld:oin:<20 digits>:systeem:kapstok-<service>`."""
        return f"urn:nld:oin:{self.oin}:systeem:kapstok-{service}"

    def url(self, service: str) -> str:
        """Where another service answers."""
        return str(getattr(self, f"{service}_url")).rstrip("/")


def read() -> Settings:
    """Read the environment; a misspelt `KAPSTOK_` name is refused instead of silently ignored."""
    return of(os.environ)


def of(environment: Mapping[str, str]) -> Settings:
    """The settings that an environment gives, as `read` does for one's own."""
    given = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    unknown = sorted(given.keys() - known)
    if unknown:
        raise ValueError(f"Unknown settings in the environment: {', '.join(unknown)}.")
    return Settings(**{known[name]: value for name, value in given.items()})  # type: ignore[arg-type]  # texts, parsed
