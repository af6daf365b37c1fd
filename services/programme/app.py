"""`uvicorn --factory services.programme.app:create_app`."""

from functools import partial

from services.programme.api import router
from services.programme.known import known
from shared.service import app_factory

create_app = partial(app_factory, "programme", router, view=known)
