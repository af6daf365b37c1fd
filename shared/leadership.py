"""Leadership: of several replicas, one does what only one may do, for as long as it holds a lock of the database."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


@contextlib.asynccontextmanager
async def leadership(engine: AsyncEngine, lock: int) -> AsyncIterator[AsyncConnection]:
    """Wait for the lock and hold it. PostgreSQL lets it go when the connection that is given ends: use that one, and
    notice."""
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        # Another process holds the lock: nothing in this one can say when it lets go.
        while not await connection.scalar(text("select pg_try_advisory_lock(:lock)"), {"lock": lock}):  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        try:
            yield connection
        finally:
            with contextlib.suppress(Exception):
                await connection.scalar(text("select pg_advisory_unlock(:lock)"), {"lock": lock})
