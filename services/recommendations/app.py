"""`uvicorn --factory services.recommendations.app:create_app`."""

from functools import partial

from services.recommendations.api import router
from services.recommendations.known import known
from shared.service import app_factory

create_app = partial(app_factory, "recommendations", router, view=known)
