"""Forgetting an account: what stands beside the log about who acted goes; the log and its chain stay as they are."""

from collections.abc import Mapping

from sqlalchemy import Column, delete, update
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.imports import import_job
from shared.outbox import acted
from shared.receipts import receipt

KEPT_UNDER: tuple[Column[str], ...] = (acted.c.account, receipt.c.caller)
"""Every column whose rows go with their account."""
BLANKED: tuple[Column[str], ...] = (import_job.c.account,)
"""Every column that is emptied where it stands, because what the row tells of goes on. A test walks the databases for a
column that holds an account and is in neither."""


async def forget(engine: AsyncEngine, account: str) -> Mapping[str, int]:
    """Remove an account, in one transaction; from how many rows, per table. Its keys may be used anew."""
    async with engine.begin() as connection:
        gone = {
            column: (await connection.execute(delete(column.table).where(column == account))).rowcount
            for column in KEPT_UNDER
        }
        for column in BLANKED:
            blank = update(column.table).where(column == account).values({column: ""})
            gone[column] = (await connection.execute(blank)).rowcount
        return {str(column.table): count for column, count in gone.items()}
