"""`uvicorn --factory services.reporting.app:create_app`."""

from functools import partial

from fastapi import FastAPI
from starlette.types import ASGIApp

from services.endings import ENDINGS
from services.permissions import REPORTING
from services.reporting import pages, rules
from services.reporting.api import router
from services.reporting.live import Live
from services.reporting.progress import Newest
from services.reporting.rows import progress
from shared.answers import Answers, Front
from shared.service import Service, app_factory


def front(app: FastAPI, service: Service) -> ASGIApp:
    """Kept answers in front of the routes, the live stream and the pages beside them."""
    assert service.view is not None
    app.state.answers = Answers(service.view, service.today, rules.VERSIONS, pages.POLICY)
    app.state.newest = Newest(service.view, service.today, service.settings.zone)
    app.state.live = Live(service.view, app.state.newest)
    service.closing.append(app.state.live.close)
    app.include_router(pages.router)
    app.mount("/static", pages.static)
    return Front(app, app.state.answers, pages.language_of_page)


create_app = partial(
    app_factory,
    "reporting",
    router,
    permissions=REPORTING,
    view=progress,
    publishes=False,
    front=front,
    endings=ENDINGS["reporting"],
)
