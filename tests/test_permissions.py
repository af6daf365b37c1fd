"""Every operation with every function and every way of coming in: held to the one table of who may do what."""

import re
from dataclasses import dataclass
from uuid import uuid4

import httpx
import pytest

from services.permissions import PERMISSIONS
from shared.access import May, scopes_of
from shared.gate import Function
from shared.service import must_be_permitted
from tests.conftest import Say
from tests.house import House

NOBODY = "no function"
"""A good token of an organisation that has no function."""


@dataclass(frozen=True)
class Operation:
    """One method of one address, by its name."""

    service: str
    name: str
    method: str
    path: str

    @property
    def may(self) -> May:
        return PERMISSIONS[self.service][self.name]

    @property
    def scopes(self) -> tuple[str, str]:
        return scopes_of(self.service, self.name, writes=self.method != "GET")


async def operations(house: House, service: str) -> list[Operation]:
    paths = (await house.get(f"/{service}/v1/openapi.json", by=None))["paths"]
    return [
        Operation(service, operation["operationId"], method.upper(), path)
        for path, methods in paths.items()
        if path.startswith(f"/{service}/")
        for method, operation in methods.items()
    ]


async def asked(house: House, operation: Operation, token: str | None, **headers: str) -> httpx.Response:
    """The answer to a request for a thing that is not there, with an empty body: nothing is changed by it."""
    path = re.sub(r"\{\w+\}", lambda found: "nergens" if found[0] == "{code}" else str(uuid4()), operation.path)
    given = {"Idempotency-Key": f'"{uuid4()}"', "If-Match": '"1"'} | headers
    if token is not None:
        given["Authorization"] = f"Bearer {token}"
    body = {} if operation.method in ("POST", "PATCH") else None
    url = f"{house.url(operation.service)}{path}"
    async with house.client.stream(operation.method, url, json=body, headers=given) as answer:
        if "text/event-stream" not in answer.headers.get("content-type", ""):
            await answer.aread()
    return answer


@pytest.mark.parametrize("service", PERMISSIONS)
async def test_every_operation_is_open_to_the_functions_that_the_table_names_and_to_no_other(
    service: str, house: House, say: Say
) -> None:
    callers = {function.value: house.token("politie", function.value) for function in Function}
    callers[NOBODY] = house.token("politie")
    found = await operations(house, service)
    before = await house.heads()
    pairs, wrong = 0, []
    for operation in found:
        for caller, token in [*callers.items(), ("no token", None)]:
            answer = await asked(house, operation, token)
            may = operation.may
            if may.public or caller in may.functions:
                fits = answer.status_code not in (401, 403)
            else:
                fits = answer.status_code == (401 if token is None else 403)
            if not fits:
                wrong.append(f"{operation.name} by {caller}: {answer.status_code} {answer.text[:200]}")
            pairs += 1
    assert wrong == []
    assert await house.heads() == before, "a refusal told something"
    say(f"{service}: {len(found)} operations × {len(callers) + 1} callers = {pairs} pairs held to the table")


@pytest.mark.parametrize("service", PERMISSIONS)
async def test_every_operation_that_is_not_public_takes_its_scope(service: str, house: House) -> None:
    wrong = []
    for operation in await operations(house, service):
        if operation.may.public:
            continue
        function = operation.may.functions[0].value
        for scope in ("", "elsewhere:write", f"{service}:{'write' if operation.method == 'GET' else 'read'}"):
            answer = await asked(house, operation, house.token("politie", function, scope=scope))
            if answer.status_code != 403 or operation.scopes[0] not in answer.json()["detail"]:
                wrong.append(f"{operation.name} with the scope {scope!r}: {answer.status_code}")
        for scope in operation.scopes:
            answer = await asked(house, operation, house.token("politie", function, scope=scope))
            if answer.status_code in (401, 403):
                wrong.append(f"{operation.name} with the scope {scope!r}: {answer.status_code}")
    assert wrong == []


def test_an_operation_without_a_row_and_a_row_without_an_operation_do_not_start() -> None:
    must_be_permitted({"read_report", "live"}, {"read_report": May(public=True)})
    with pytest.raises(TypeError, match="forge_report"):
        must_be_permitted({"read_report", "forge_report"}, {"read_report": May(public=True)})
    with pytest.raises(TypeError, match="read_report"):
        must_be_permitted(set(), {"read_report": May(public=True)})
