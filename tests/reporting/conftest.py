"""A house with the coordinator's own organisation in it, which must be known before anything is reviewed."""

import pytest_asyncio

from tests.examples import World
from tests.house import House


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(house: House) -> World:
    world = World(house)
    await world.partner(code="jenv", kind="ministry", name={"nl": "Ministerie van Justitie en Veiligheid"})
    return world
