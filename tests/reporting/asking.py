"""Questions at the reporting door, asked after everything that was told has been followed."""

from typing import Any
from urllib.parse import quote, urlencode

from tests.house import House

Body = dict[str, Any]

NO_DATA = "no data"


def address(what: str, **query: Any) -> str:
    """`asOf` and the like are given as they stand in the address; what is None is left out."""
    given = urlencode({name: value for name, value in query.items() if value is not None}, quote_via=quote)
    return f"/reporting/v1/progress/{what}" + (f"?{given}" if given else "")


async def ask(house: House, what: str, **query: Any) -> Body:
    return await house.get(address(what, **query), by=None)


async def domain_line(house: House, term: Body, **query: Any) -> Body:
    await house.settled()
    return next(line for line in (await ask(house, "domains", **query))["lines"] if line["code"] == term["code"])


async def partner_line(house: House, partner: Body, **query: Any) -> Body:
    await house.settled()
    return next(line for line in (await ask(house, "partners", **query))["lines"] if line["id"] == partner["id"])


async def in_total(house: House, of: str = "domains") -> Body:
    """The grand total and the overlap."""
    await house.settled()
    answer = await ask(house, of)
    return {"total": answer["total"], "overlap": answer["overlap"]}


def references(items: list[Body]) -> list[str]:
    return sorted(item["reference"] for item in items)
