"""Alembic's way in: migrates over the connection that it is given."""

from importlib import import_module
from typing import Any, Literal

from alembic import context

from shared import imports, outbox, parking, projection, receipts, verification  # noqa: F401  # their tables are part of COMMON
from shared.database import COMMON, Json
from shared.webhooks import rows  # noqa: F401


def _render(kind: str, item: Any, autogen: Any) -> str | Literal[False]:
    if kind == "type" and isinstance(item, Json):
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return "postgresql.JSONB()"
    return False


def _metadata() -> list[Any]:
    service = context.config.attributes["service"]
    try:
        base = import_module(f"services.{service}.base").Base
        import_module(f"services.{service}.api")
    except (ImportError, AttributeError):
        return [COMMON]
    return [COMMON, base.metadata]


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=_metadata(),
    render_item=_render,
    compare_type=True,
)
context.run_migrations()
