"""The page for integrators: each of its commands, run as it stands."""

import asyncio
import os
import re
import sys
from pathlib import Path

from tests.examples import World, action
from tests.house import House

PAGE = Path(__file__).parent.parent / "docs" / "integrating.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


async def test_every_command_of_the_page_does_what_it_says(house: House, tmp_path: Path) -> None:
    world = World(house)
    await world.partner(code="jenv")
    partner, programme = await world.partner(code="comensha"), await world.programme()
    await house.post("/programme/v1/actions", action(programmeId=programme["id"], leadId=partner["id"]))
    await world.open_round()
    first, *commands = blocks("bash")
    assert "make -s token" in first, "where the services are, and a token, are this test's own"
    [code] = blocks("python")
    (tmp_path / "report.py").write_text(code)
    script = "\n".join(
        ["set -euo pipefail", *commands, "export KEY ROUND ACTION", f"{sys.executable} {tmp_path}/report.py"]
    )
    environment = os.environ | {
        "PROGRAMME": house.url("programme"),
        "MONITOR": house.url("monitor"),
        "REPORTING": house.url("reporting"),
        "COORDINATOR": house.token("jenv", "coordinator"),
    }
    running = await asyncio.create_subprocess_exec(
        "bash", "-c", script, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said = (await running.communicate())[0].decode()
    assert running.returncode == 0, said
    assert re.search(r"^kapstok-receipt: number=", said, re.MULTILINE), said
    assert re.search(r"^submitted number=", said, re.MULTILINE), said
