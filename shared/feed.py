"""The feed: a service's facts over HTTP from any sequence, straight from the outbox; and the client that reads it."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

import httpx
import msgspec

from shared.outbox import Head, Stored
from shared.settings import Settings

T = TypeVar("T", bound=msgspec.Struct)

LONGEST_WAIT = 25
MOST = 1000


class FeedUnavailable(Exception):
    """The owner does not answer, or not with a feed."""


@dataclass(frozen=True)
class Page:
    """One answer of the feed."""

    epoch: str
    head: int
    items: list["Item"]


@dataclass(frozen=True)
class Item:
    """One event of a page: its bytes as told, and which entity it is about, also where the bytes cannot be read."""

    sequence: int
    chain: str
    event: str
    entity: UUID


class Owner(Protocol):
    """Where a reader asks about a publisher's log."""

    async def head(self) -> Head:
        """Raises FeedUnavailable."""
        ...

    async def after(self, sequence: int, limit: int) -> Page:
        """Raises FeedUnavailable."""
        ...


class _Item(msgspec.Struct):
    sequence: int
    chain: str
    entity: UUID
    event: msgspec.Raw


class _Page(msgspec.Struct):
    epoch: str
    head: int
    items: list[_Item]


class _Head(msgspec.Struct):
    epoch: UUID
    sequence: int
    chain: str
    watermark: datetime


class FeedClient:
    """Reads one owner's feed. The event's bytes are kept as they came, so that the chain can be checked."""

    def __init__(self, settings: Settings, service: str) -> None:
        self._service = service
        self._client = httpx.AsyncClient(
            base_url=f"{settings.url(service)}/{service}/v1",
            timeout=httpx.Timeout(10, connect=2),
            headers={"Kapstok-House-Key": settings.house_key.get_secret_value()},
        )

    async def head(self) -> Head:
        found = await self._get("/events/head", _Head)
        return Head(found.epoch, found.sequence, found.chain, found.watermark)

    async def after(self, sequence: int, limit: int) -> Page:
        found = await self._get(f"/events?after={sequence}&limit={min(limit, MOST)}", _Page)
        items = [Item(item.sequence, item.chain, _as_told(item.event), item.entity) for item in found.items]
        return Page(found.epoch, found.head, items)

    async def _get(self, path: str, kind: type[T]) -> T:
        try:
            answer = await self._client.get(path)
            answer.raise_for_status()
            return msgspec.json.decode(answer.content, type=kind)
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise FeedUnavailable(f"The feed of {self._service} does not answer: {error!r}") from error

    async def close(self) -> None:
        await self._client.aclose()


def spliced(epoch: UUID, head: int, rows: list[Stored]) -> bytes:
    """A page of the feed, with every event spliced in as it is stored; one that is no JSON goes as a JSON string."""
    items = ",".join(
        f'{{"sequence":{row.sequence},"chain":"{row.chain}","entity":"{row.entity}","event":{_as_json(row.event)}}}'
        for row in rows
    )
    return f'{{"epoch":"{epoch}","head":{head},"items":[{items}]}}'.encode()


def _as_json(event: str) -> str:
    with suppress(msgspec.DecodeError):
        if event.startswith("{") and event.endswith("}"):
            msgspec.json.decode(event, type=msgspec.Raw)
            return event
    return msgspec.json.encode(event).decode()


def _as_told(event: msgspec.Raw) -> str:
    told = bytes(event).decode()
    return msgspec.json.decode(told, type=str) if told.startswith('"') else told
