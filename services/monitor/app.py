"""`uvicorn --factory services.monitor.app:create_app`."""

from functools import partial

from services.monitor.api import router
from services.monitor.known import known
from shared.service import app_factory

create_app = partial(app_factory, "monitor", router, view=known)
