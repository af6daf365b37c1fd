"""`uvicorn --factory services.monitor.app:create_app`."""

from functools import partial

from services.endings import ENDINGS
from services.monitor.api import router
from services.monitor.kinds import KINDS
from services.monitor.known import known, roster
from services.permissions import MONITOR
from shared.service import app_factory

create_app = partial(
    app_factory,
    "monitor",
    router,
    permissions=MONITOR,
    view=known,
    roster=roster,
    kinds=KINDS,
    endings=ENDINGS["monitor"],
)
