"""Receipts: what was done, with its number; the same Idempotency-Key gives the same answer, and the same receipt.

They are kept for `receipt_days` and then taken away by night; a key may then be used anew.
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import structlog
from fastapi import Request, Response
from sqlalchemy import Column, Integer, LargeBinary, Row, Table, Text, Uuid, delete, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP, insert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from shared.calendar import written as written_moment
from shared.database import COMMON
from shared.errors import Invalid, KeyReused, NotFound

log = structlog.get_logger("kapstok.receipts")

_KEPT_HEADERS = ("content-type", "location", "etag", "kapstok-position")

receipt = Table(
    "receipt",
    COMMON,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),  # its digest: a caller may fill a key with anything
    Column("digest", Text, nullable=False),
    Column("status", Integer),
    Column("headers", JSONB),
    Column("body", LargeBinary),
    Column("at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now(), index=True),
    Column("number", Uuid, nullable=False, server_default=func.gen_random_uuid(), unique=True),
    Column("asked", Text, nullable=False, server_default=""),
    Column("shown_once", ARRAY(Text), nullable=False, server_default="{}"),
)


# --- what a receipt says ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Receipt:
    """Proof of one acknowledged write."""

    number: UUID
    at: datetime
    asked: str
    """Method and address of the request."""
    status: int
    digest: str
    """SHA-256, in base64, of the answer's body as it is kept: what was sent, less what is shown only once."""
    location: str | None
    position: str | None
    shown_once: list[str]

    @classmethod
    def of(cls, row: Row[Any]) -> "Receipt":
        return cls(
            row.number,
            row.at,
            row.asked,
            row.status,
            base64.b64encode(sha256(row.body).digest()).decode(),
            row.headers.get("location"),
            row.headers.get("kapstok-position"),
            row.shown_once,
        )

    def __str__(self) -> str:
        """As the header `Kapstok-Receipt` says it: a dictionary of structured fields (RFC 9651)."""
        return f'number="{self.number}", time="{written_moment(self.at)}", digest=:{self.digest}:'


async def receipt_of(session: AsyncSession, number: UUID, caller: str) -> Receipt:
    """A receipt of this caller. Raises NotFound, also for those of others."""
    row = (await session.execute(select(receipt).where(receipt.c.number == number))).one_or_none()
    if row is None or row.caller != caller or row.status is None:
        raise NotFound("There is no receipt of yours with this number, or it is not kept any more.")
    return Receipt.of(row)


async def sweep(engine: AsyncEngine, before: datetime) -> int:
    """Take away the receipts from before a moment, some at a time; how many there were."""
    some = select(receipt.c.number).where(receipt.c.at < before).limit(1000).scalar_subquery()
    swept = 0
    while True:
        async with engine.begin() as connection:
            gone = (await connection.execute(delete(receipt).where(receipt.c.number.in_(some)))).rowcount
        swept += gone
        if gone < 1000:
            log.info("old receipts are gone", receipts=swept)
            return swept


# --- the same key, the same answer ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """One request's key: whose, its digest, and a digest of what it asks."""

    caller: str
    key: str
    digest: str
    asked: str


_WRITTEN = re.compile(r'^"[\x21\x23-\x5b\x5d-\x7e]{1,200}"$|^[\x21\x23-\x5b\x5d-\x7e]{1,200}$')


async def key_of(request: Request, caller: str) -> Key:
    """The request's key. Raises Invalid when it is missing or not written as one."""
    written = request.headers.get("idempotency-key")
    if written is None:
        raise Invalid(
            'Send an Idempotency-Key, such as "8e03978e-40d5-43dd-bc93-6894a57f9324".', field="Idempotency-Key"
        )
    if not _WRITTEN.match(written):
        raise Invalid(
            "Write the Idempotency-Key as a quoted text of 1 to 200 visible characters.", field="Idempotency-Key"
        )
    asked = sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode() + await request.body())
    asked.update(request.headers.get("if-match", "").encode())
    return Key(caller, digest_of(written.strip('"')), asked.hexdigest(), f"{request.method} {request.url.path}")


def digest_of(key: str) -> str:
    """What a key is kept as."""
    return sha256(key.encode()).hexdigest()


async def open_receipt(session: AsyncSession, key: Key) -> Response | None:
    """Claim the key for this transaction, or give the answer that it got before.

    A second request with the same key waits here until the first has committed or failed. Raises KeyReused.
    """
    claim = (
        insert(receipt)
        .values(caller=key.caller, key=key.key, digest=key.digest)
        .on_conflict_do_nothing(index_elements=["caller", "key"])
        .returning(receipt.c.key)
    )
    if await session.scalar(claim) is not None:
        return None
    row = (await session.execute(select(receipt).where(receipt.c.caller == key.caller, receipt.c.key == key.key))).one()
    if row.digest != key.digest:
        raise KeyReused("This Idempotency-Key came with another request before; use a new key for a new request.")
    headers = {**row.headers, "kapstok-receipt": str(Receipt.of(row)), "idempotency-replayed": "true"}
    if row.shown_once:
        headers["kapstok-shown-once"] = ", ".join(f'"{pointer}"' for pointer in row.shown_once)
    return Response(row.body, row.status, headers)


async def close_receipt(session: AsyncSession, key: Key, answer: Response) -> None:
    """Keep the answer in the same transaction as what it tells of, and write the receipt on it."""
    headers = {name: value for name, value in answer.headers.items() if name in _KEPT_HEADERS}
    shown_once: Sequence[str] = session.info.get("shown_once", ())
    kept = (
        update(receipt)
        .where(receipt.c.caller == key.caller, receipt.c.key == key.key)
        .values(
            asked=key.asked,
            status=answer.status_code,
            headers=headers,
            body=_without(bytes(answer.body), shown_once),
            shown_once=[f"/{name}" for name in shown_once],
        )
        .returning(receipt)
    )
    answer.headers["kapstok-receipt"] = str(Receipt.of((await session.execute(kept)).one()))


def _without(body: bytes, fields: Sequence[str]) -> bytes:
    if not fields:
        return body
    return json.dumps(json.loads(body) | dict.fromkeys(fields), separators=(",", ":")).encode()
