"""`uvicorn --factory services.programme.app:create_app`."""

from functools import partial

from services.endings import ENDINGS
from services.permissions import PROGRAMME
from services.programme.api import counter, router
from services.programme.kinds import KINDS
from services.programme.known import known, roster
from shared.service import app_factory

create_app = partial(
    app_factory,
    "programme",
    router,
    counter,
    permissions=PROGRAMME,
    view=known,
    roster=roster,
    kinds=KINDS,
    endings=ENDINGS["programme"],
)
