"""What openapi.json promises holds at run time: for each operation and function, with input that fits or does not.

Schemathesis makes the requests and judges the answers: no 5xx, and no status, media type, header or shape that the
contract does not name.
"""

import asyncio
import contextlib
import os
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from deploy.contracts import SERVICES
from services.permissions import PERMISSIONS
from shared.gate import Function
from tests.conftest import Say
from tests.house import House

EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "1"))
"""For each operation and function; `make fuzz` has more."""
ENDLESS = {"progress_stream"}
"""A stream has no end to wait for; tests/reporting/test_stream.py reads it."""
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def callers(house: House) -> dict[str, dict[str, str]]:
    """Headers by which each function, one without any, and nobody calls."""
    tokens = {function.value: house.token("jenv", function.value) for function in Function}
    tokens["no function"] = house.token("jenv")
    return {name: {"Authorization": f"Bearer {token}"} for name, token in tokens.items()} | {"nobody": {}}


def tried(house: House, service: str) -> list[str]:
    """Try every operation with every caller, and with wrong input by one who may; the operation of each request."""
    schema = schemathesis.openapi.from_url(f"{house.url(service)}/{service}/v1/openapi.json")
    everyone = callers(house)
    done: list[str] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        name = operation.definition.raw["operationId"]
        if name in ENDLESS:
            continue
        for headers in everyone.values():
            done += _try(operation, GenerationMode.POSITIVE, headers, house.url(service), EXAMPLES)
        may = PERMISSIONS[service][name].functions if name in PERMISSIONS[service] else ()
        insider = everyone[may[0].value if may else "nobody"]
        done += _try(operation, GenerationMode.NEGATIVE, insider, house.url(service), 5 * EXAMPLES)
    return done


def _try(operation: Any, kind: GenerationMode, headers: dict[str, str], base: str, examples: int) -> list[str]:
    done: list[str] = []

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        verbosity=Verbosity.quiet,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=kind))
    def once(case: Any) -> None:
        case.headers.pop("Kapstok-At-Least", None)  # whatever position is made up would be waited for
        if kind is GenerationMode.POSITIVE and "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = f'"{uuid4()}"'
        (case.query or {}).pop("wait", None)  # the same
        answer = case.call(base_url=base, headers=headers)
        done.append(operation.label)
        assert answer.status_code < 500, f"{answer.status_code}: {case.as_curl_command(headers=headers)}"
        case.validate_response(answer, checks=CHECKS)

    with contextlib.suppress(Unsatisfiable):  # nothing can be wrong where nothing is taken
        once()
    return done


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")  # inside Schemathesis
@pytest.mark.parametrize("service", SERVICES)
async def test_the_contract_holds_for_every_operation_and_every_function(
    service: str, own_house: House, say: Say
) -> None:
    done = await asyncio.to_thread(tried, own_house, service)
    say(f"{service}: {len(done)} requests to {len(set(done))} operations, each by {len(Function) + 2} callers")
    assert done
