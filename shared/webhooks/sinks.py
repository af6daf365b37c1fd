"""Sinks: addresses outside the house, called so that nobody can make us call inside it.

A name is resolved once, every address that it gives is checked, and the connection goes to one of those: what a name
server says a moment later does not matter. Redirects are not followed, proxies and cookies are not known, and no more
than a little of an answer is read.
"""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

import httpcore
import structlog

from shared.errors import Invalid
from shared.settings import Settings

log = structlog.get_logger("kapstok.webhooks")

MOST_READ = 16 * 1024
"""Bytes of an answer's body; nothing in it matters to us, so the rest is not waited for."""
READING_SECONDS = 1
RESOLVERS = 32
"""Names looked up at once, in threads of their own: a name server that does not answer holds up nobody else's sink."""

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]

_PUBLIC_V6 = IPv6Network("2000::/3")
_TUNNELS = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))
"""Addresses that carry an IPv4 address inside, which could be anybody's; those in ::/3 are not public at all."""
_CLOUDS_OWN = IPv4Address("168.63.129.16")
"""A public number behind which a large cloud answers its own machines."""


class InsideTheHouse(Exception):
    """A sink's name leads to an address that is not out in the world."""


def may_be_called(address: Address, *, allow_private: bool) -> bool:
    """Whether an address is out in the world; or in a private network or on this machine, where that is allowed."""
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or any(address in tunnel for tunnel in _TUNNELS)):
        return False
    if address.is_loopback:
        return allow_private
    if address.is_multicast or address.is_link_local or address.is_unspecified or address.is_reserved:
        return False
    if address == _CLOUDS_OWN:
        return False
    if address.is_global:
        return isinstance(address, IPv4Address) or address in _PUBLIC_V6
    return allow_private and address.is_private


# --- what may be given as a sink --------------------------------------------------------------------------------

_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?\.?", re.I)
_VISIBLE = re.compile(r"[\x21-\x7e]{1,1000}")


def must_be_sink(url: str, settings: Settings) -> None:
    """Refuse what can never be called. Raises Invalid.

    This spares a subscriber a wait; the guard itself is at the connection, where the address is known.
    """
    parts = _parts_of(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and settings.webhook_allow_http):
        raise _refused("Give a sink that begins with https://.")
    if parts.username is not None or parts.password is not None:
        raise _refused("Leave name and password out of the sink; each call is signed instead.")
    if "#" in url:
        raise _refused("Leave the part from # on out of the sink.")
    host = parts.hostname or ""
    with suppress(ValueError):
        if may_be_called(ip_address(host), allow_private=settings.webhook_allow_private):
            return
        raise _refused("Give a sink out in the world; this address is not.")
    if not _NAME.fullmatch(host) or ("." not in host.rstrip(".") and not settings.webhook_allow_private):
        raise _refused("Give the full name of the sink's host, such as events.example.org.")


def _parts_of(url: str) -> SplitResult:
    try:
        if not _VISIBLE.fullmatch(url) or "\\" in url:
            raise ValueError
        parts = urlsplit(url)
        if parts.port == 0 or not parts.hostname:
            raise ValueError
    except ValueError:
        raise _refused("Write the sink as an address: https://events.example.org/kapstok.") from None
    return parts


def _refused(sentence: str) -> Invalid:
    return Invalid(sentence, field="/sink")


# --- calling it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What came of one call: a status, or a sentence that says why there is none."""

    status: int | None
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None


class Guard(httpcore.AsyncNetworkBackend):
    """Connects to what a name resolves to, if every address of it may be called."""

    def __init__(self, resolve: Resolve, *, allow_private: bool) -> None:
        self._network = httpcore.AnyIOBackend()
        self._resolve = resolve
        self._allow_private = allow_private

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises InsideTheHouse, OSError for a name that is not known, and what httpcore raises."""
        addresses = await self._resolve(host, port)
        if not all(may_be_called(ip_address(one), allow_private=self._allow_private) for one in addresses):
            raise InsideTheHouse
        failed: Exception = OSError("A name without an address.")
        for address in addresses:
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                failed = error
        raise failed

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise InsideTheHouse

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Sinks:
    """Calls sinks. Whatever they do, a call ends in time and with an answer that says what happened."""

    def __init__(self, settings: Settings, resolve: Resolve | None = None) -> None:
        self._seconds = settings.webhook_timeout_seconds
        self._threads = ThreadPoolExecutor(RESOLVERS, "resolve")
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(cafile=settings.webhook_ca_file),
            max_connections=None,  # each subscription has one call at a time
            max_keepalive_connections=50,
            keepalive_expiry=5,
            network_backend=Guard(resolve or self._look_up, allow_private=settings.webhook_allow_private),
        )

    async def call(self, method: str, sink: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        started = time.monotonic()
        status, found, problem = None, {}, None
        try:
            async with (
                asyncio.timeout(self._seconds),
                self._pool.stream(method, sink, headers=list(headers.items()), content=body) as response,
            ):
                status = response.status
                found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
                await _read_a_little(response)
        except Exception as error:
            problem = self._told(error) if status is None else None
        return Answer(status, time.monotonic() - started, found, problem)

    def _told(self, error: Exception) -> str:
        """What happened, in a sentence that says nothing of how things are inside the house."""
        match error:
            case InsideTheHouse():
                return "Its name leads to an address that is not out in the world; it was not called."
            case TimeoutError() | httpcore.TimeoutException():
                return f"It did not answer within {self._seconds:g} seconds."
            case httpcore.ConnectError() if isinstance(error.__context__, ssl.SSLError):
                return "Its certificate is not to be trusted, or it does not speak TLS."
            case httpcore.ConnectError():
                return "No connection could be made."
            case OSError() | UnicodeError():
                return "Its name cannot be resolved."
            case httpcore.ProtocolError() | httpcore.NetworkError():
                return "It broke off, or did not answer in HTTP."
        log.error("a sink could not be called", exc_info=error)
        return "It could not be called."

    async def _look_up(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        )
        return [str(address[0]) for *_, address in found]

    async def close(self) -> None:
        await self._pool.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _read_a_little(response: httpcore.Response) -> None:
    """Read a short body to its end, so that the connection can be used again; of another one, let go."""
    read = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(READING_SECONDS):
            async for part in response.aiter_stream():
                read += len(part)
                if read > MOST_READ:
                    return
