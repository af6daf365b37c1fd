"""Receipts: the same Idempotency-Key gives the same answer, also while the first is still running."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from fastapi import Request, Response
from sqlalchemy import Column, Integer, LargeBinary, Table, Text, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, insert
from sqlalchemy.ext.asyncio import AsyncSession

from shared.database import COMMON
from shared.errors import Invalid, KeyReused

_KEPT_HEADERS = ("content-type", "location", "etag", "kapstok-position")

receipt = Table(
    "receipt",
    COMMON,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("status", Integer),
    Column("headers", JSONB),
    Column("body", LargeBinary),
    Column("at", TIMESTAMP(timezone=True), nullable=False, server_default=func.now()),
)


@dataclass(frozen=True)
class Key:
    """One request's key: whose, which, and a digest of what it asks."""

    caller: str
    key: str
    digest: str


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
    return Key(caller, written.strip('"'), asked.hexdigest())


async def open_receipt(session: AsyncSession, key: Key) -> Response | None:
    """Claim the key for this transaction, or give the answer that it got before.

    A second request with the same key waits here until the first has committed or failed. Raises KeyReused.
    """
    claim = (
        insert(receipt)
        .values(caller=key.caller, key=key.key, digest=key.digest)
        .on_conflict_do_nothing()
        .returning(receipt.c.key)
    )
    if await session.scalar(claim) is not None:
        return None
    row = (await session.execute(select(receipt).where(receipt.c.caller == key.caller, receipt.c.key == key.key))).one()
    if row.digest != key.digest:
        raise KeyReused("This Idempotency-Key came with another request before; use a new key for a new request.")
    headers = {**row.headers, "idempotency-replayed": "true"}
    return Response(row.body, row.status, headers)


async def close_receipt(session: AsyncSession, key: Key, answer: Response) -> None:
    """Keep the answer in the same transaction as what it tells of."""
    headers = {name: value for name, value in answer.headers.items() if name in _KEPT_HEADERS}
    body = _without(bytes(answer.body), session.info.get("shown_once", ()))
    await session.execute(
        update(receipt)
        .where(receipt.c.caller == key.caller, receipt.c.key == key.key)
        .values(status=answer.status_code, headers=headers, body=body)
    )


def _without(body: bytes, fields: Sequence[str]) -> bytes:
    if not fields:
        return body
    return json.dumps(json.loads(body) | dict.fromkeys(fields), separators=(",", ":")).encode()
