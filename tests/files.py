"""Sending files to a house, and what comes of them."""

import csv
import io
from typing import Any
from uuid import uuid4

import httpx

from shared.sheets import CSV
from tests.house import House, eventually

Result = dict[str, Any]
COORDINATOR = ("jenv", "coordinator")


def csv_of(*rows: dict[str, Any] | list[str], delimiter: str = ";") -> bytes:
    """A CSV file: of lists as they are, or of dictionaries with a head of all their keys."""
    out = io.StringIO()
    if rows and isinstance(rows[0], dict):
        heads = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(out, heads, delimiter=delimiter, restval="")
        writer.writeheader()
        writer.writerows(rows)  # type: ignore[arg-type]
    else:
        csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue().encode()


async def send(
    house: House,
    service: str,
    kind: str,
    content: bytes,
    media_type: str = CSV,
    *,
    by: tuple[str, ...] = COORDINATOR,
    key: str | None = None,
    headers: dict[str, str] | None = None,
    **query: str,
) -> httpx.Response:
    """One file, with as query what is named."""
    given = {
        "Authorization": f"Bearer {house.token(by[0], *by[1:])}",
        "Idempotency-Key": f'"{key or uuid4()}"',
        "Content-Type": media_type,
    }
    return await house.client.post(
        f"{house.url(service)}/{service}/v1/imports",
        params={"kind": kind} | query,
        content=content,
        headers=given | (headers or {}),
    )


async def finished(house: House, location: str, by: tuple[str, ...] = COORDINATOR, seconds: float = 20) -> Result:
    async def ended() -> Result | None:
        found = await house.get(f"{location}?limit=1000", by=by)
        return found if found["finishedAt"] is not None else None

    result: Result = await eventually(ended, seconds)
    return result


async def imported(house: House, service: str, kind: str, content: bytes, media_type: str = CSV, **more: Any) -> Result:
    """What came of a file that could be read."""
    answer = await send(house, service, kind, content, media_type, **more)
    assert answer.status_code == 202, answer.text
    return await finished(house, answer.headers["location"], more.get("by", COORDINATOR))


async def exported(
    house: House, service: str, kind: str, media_type: str = CSV, by: tuple[str, ...] = COORDINATOR
) -> bytes:
    answer = await house.send("GET", f"/{service}/v1/exports/{kind}", by=by, headers={"Accept": media_type})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(media_type)
    return answer.content
