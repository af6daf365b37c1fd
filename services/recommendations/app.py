"""`uvicorn --factory services.recommendations.app:create_app`."""

from functools import partial

from services.endings import ENDINGS
from services.permissions import RECOMMENDATIONS
from services.recommendations.api import router
from services.recommendations.kinds import KINDS
from services.recommendations.known import known, roster
from shared.service import app_factory

create_app = partial(
    app_factory,
    "recommendations",
    router,
    permissions=RECOMMENDATIONS,
    view=known,
    roster=roster,
    kinds=KINDS,
    endings=ENDINGS["recommendations"],
)
