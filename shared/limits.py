"""How much one client may ask: windows that slide, told on every answer in the RateLimit fields (draft-ietf-httpapi).

Counts are kept in memory, by each replica for itself; `replicas` divides what a client may ask among them.
"""

import ipaddress
import math
import time
from dataclasses import dataclass

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import TooMany, Unauthenticated, Unavailable
from shared.gate import Gate
from shared.porch import carry
from shared.problems import refusal
from shared.settings import Settings

UNCOUNTED = ("/health/", "/metrics")
"""What the platform asks, of which it would be wrong to get no answer."""


@dataclass(frozen=True)
class Policy:
    """How many requests in how many seconds, by its name in the RateLimit fields."""

    name: str
    quota: int
    seconds: int

    @property
    def item(self) -> RateLimitItemPerSecond:
        return RateLimitItemPerSecond(self.quota, self.seconds, namespace=self.name)


class Limits:
    """Counts requests per client and policy; a policy without a quota counts nothing."""

    def __init__(self, settings: Settings) -> None:
        self.default = Policy("default", _share(settings.rate_limit, settings), settings.rate_seconds)
        self.costly = Policy("costly", _share(settings.costly_rate_limit, settings), settings.rate_seconds)
        self._counter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def take(self, scope: Scope, client: str, policy: Policy) -> None:
        """Count one request, and let its answer tell what is left. Raises TooMany."""
        if not policy.quota:
            return
        passed = await self._counter.hit(policy.item, client)
        reset_at, remaining = await self._counter.get_window_stats(policy.item, client)
        seconds = max(1, math.ceil(reset_at - time.time()))
        carry(scope, "ratelimit-policy", f'"{policy.name}";q={policy.quota};w={policy.seconds}')
        carry(scope, "ratelimit", f'"{policy.name}";r={remaining if passed else 0};t={seconds}')
        if not passed:
            raise TooMany(
                f"More than {policy.quota} requests in {policy.seconds} seconds; wait {seconds} before the next.",
                policies=[policy.name],
                retry_after=seconds,
            )


def _share(quota: int, settings: Settings) -> int:
    """One replica's part of a quota; at least one, so that a small quota does not become none."""
    return max(1, quota // settings.replicas) if quota else 0


async def client_of(request: Request, gate: Gate) -> str:
    """Whose requests these are: a client's by its token, anyone else's by the address they come from."""
    if "authorization" in request.headers:
        try:
            claims = await gate.proven(request)
            return f"client:{claims.iss} {claims.client or claims.sub}"
        except (Unauthenticated, Unavailable):
            pass  # it has proven nothing; the door says so where a token is needed
    return f"address:{_network(request.client.host) if request.client else ''}"


def _network(host: str) -> str:
    """An IPv6 caller has a whole /64 of addresses to choose from: they count as one."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return host if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


class Limited:
    """Around the routes: counts every request but those of the platform and of the house itself."""

    def __init__(self, app: ASGIApp, service: str, limits: Limits, gate: Gate) -> None:
        self._app = app
        self._service = service
        self._limits = limits
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._limits.default.quota and scope["type"] == "http" and not scope["path"].startswith(UNCOUNTED):
            request = Request(scope)
            if not self._gate.is_house(request):
                try:
                    await self._limits.take(scope, await client_of(request, self._gate), self._limits.default)
                except TooMany as error:
                    await refusal(self._service, error)(scope, receive, send)
                    return
        await self._app(scope, receive, send)
