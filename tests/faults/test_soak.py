"""The short form of `make soak`: half a minute of faults at random; a failure names the seed to have them again."""

import random
from pathlib import Path

import pytest

from tests.faults.conftest import Measured, running_stack
from tests.faults.soak import OPTIONS, soak

pytestmark = pytest.mark.fault


async def test_whatever_happens_nothing_is_lost(tmp_path: Path, measured: Measured) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"SEED={seed}")
    async with running_stack(tmp_path, extra=OPTIONS) as stack:
        measured(await soak(stack, seed, seconds=25))
