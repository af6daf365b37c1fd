"""Forgetting an account: what stands beside the log about who acted goes; the log and its chain stay as they are."""

from collections.abc import Mapping

from sqlalchemy import Column, delete
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.outbox import acted
from shared.receipts import receipt

KEPT_UNDER: tuple[Column[str], ...] = (acted.c.account, receipt.c.caller)
"""Every column that holds an account. A test walks the databases for one that is not in here."""


async def forget(engine: AsyncEngine, account: str) -> Mapping[str, int]:
    """Remove all rows of an account, in one transaction; how many, per table. Its keys may be used anew."""
    async with engine.begin() as connection:
        return {
            str(column.table): (await connection.execute(delete(column.table).where(column == account))).rowcount
            for column in KEPT_UNDER
        }
