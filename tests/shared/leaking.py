"""A service that fails with what it was sent in its errors: `uvicorn --factory tests.shared.leaking:create_app`."""

import asyncio
import logging
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp

from services.programme import app, partners
from services.programme.partners import Partner, RegisterPartner


async def register(session: AsyncSession, command: RegisterPartner) -> Partner:
    said = command.name.nl
    match command.code:
        case "database":
            await session.execute(text("select cast(:given as integer)"), {"given": said})
        case "library":
            logging.getLogger("library").warning("It does not like %s.", said)
        case "nobody":
            asyncio.get_running_loop().create_task(_fail(said))
            await asyncio.sleep(0)
        case "group":
            raise ExceptionGroup(f"all of {said}", [KeyError(said)])
        case "cause":
            try:
                raise KeyError(said)
            except KeyError as cause:
                raise LookupError(said) from cause
    raise ValueError(f"Cannot take {said!r}.")


async def _fail(said: Any) -> None:
    raise RuntimeError(f"Nobody waits for {said!r}.")


def create_app() -> ASGIApp:
    partners.register = register
    made: ASGIApp = app.create_app()
    return made
