"""What a service says of itself: what the bus does not have yet, and how a view stands."""

import asyncio
import re
from typing import Any

from sqlalchemy import text

from services import tend
from tests.examples import term
from tests.faults.writing import broken_event
from tests.house import House, eventually


async def detail(house: House, service: str) -> dict[str, Any]:
    answer = await house.client.get(f"{house.url(service)}/health/detail")
    assert answer.status_code == 200
    return answer.json()  # type: ignore[no-any-return]


async def measured(house: House, service: str, name: str) -> dict[str, float]:
    """A metric's values by their labels."""
    answer = await house.client.get(f"{house.url(service)}/metrics")
    assert answer.status_code == 200
    return {
        match[1] or "": float(match[2])
        for match in re.finditer(rf"^kapstok_{name}(?:{{(.*)}})? (\S+)$", answer.text, re.MULTILINE)
    }


async def test_what_the_bus_does_not_have_is_counted_with_the_age_of_the_oldest(own_house: House) -> None:
    house = own_house
    await house.post("/recommendations/v1/terms", term())
    await house.settled()

    async def all_sent() -> bool:
        return (await detail(house, "recommendations"))["outbox"]["waiting"] == 0

    await eventually(all_sent)
    await asyncio.to_thread(house.nats.stop)
    for _ in range(3):
        await house.post("/recommendations/v1/terms", term())

    async def noticed() -> bool:
        found = (await detail(house, "recommendations"))["outbox"]
        return found["waiting"] == 3 and found["oldestWaitsSeconds"] > 0.3

    await eventually(noticed)
    assert await measured(house, "recommendations", "relay_backlog_events") == {"": 3}
    assert (await measured(house, "recommendations", "relay_backlog_seconds"))[""] > 0.3
    assert (await measured(house, "recommendations", "outbox_head_sequence"))[""] == 4

    await house.stop("recommendations")
    await house.start("recommendations")
    found = (await detail(house, "recommendations"))["outbox"]
    assert (found["published"], found["waiting"]) == (1, 3), "a process that never saw the bus knows it too"

    await asyncio.to_thread(house.nats.start)
    await eventually(all_sent)
    assert (await detail(house, "recommendations"))["outbox"]["oldestWaitsSeconds"] == 0
    assert await measured(house, "recommendations", "relay_leading") == {"": 1}


async def test_a_view_that_stands_still_is_seen_parked_and_counted(own_house: House, capsys: Any) -> None:
    """From the alarm to the end of it, with the commands that an operator has."""
    house = own_house
    await house.post("/recommendations/v1/terms", term())
    await house.settled()
    event_id, entity = await broken_event(house, "recommendations")
    views = ("programme", "monitor", "reporting")

    async def stopped() -> bool:
        standing = [(await detail(house, name))["views"].popitem()[1]["recommendations"] for name in views]
        return all(one["stoppedAt"] and one["stoppedAt"]["eventId"] == event_id for one in standing)

    await eventually(stopped)
    assert await measured(house, "reporting", "view_stopped") == {
        'owner="recommendations",view="progress"': 1,
        'owner="programme",view="progress"': 0,
        'owner="monitor",view="progress"': 0,
    }
    answer = await house.get("/reporting/v1/progress/domains", by=None)
    assert answer["position"].startswith("r1."), "everything before it is shown, and nothing after"
    later = await house.post("/recommendations/v1/terms", term())

    who = ["--owner", "recommendations", "--by", "operator", "--reason", "Broken bytes."]
    for name in views:
        assert await run(house, "show", name) == tend.DIFFERS
        assert await run(house, "retry", name, "--owner", "recommendations") == tend.DIFFERS
        assert await run(house, "park", name, *who) == tend.DONE
    await house.settled()
    assert "Parked from event 2 on" in capsys.readouterr().out

    answer = await house.get("/reporting/v1/progress/domains", by=None)
    assert answer["parked"] == 1
    assert later["code"] in {line["code"] for line in answer["lines"]}
    [parked] = (await detail(house, "reporting"))["views"]["progress"]["parked"]
    assert (parked["owner"], parked["sequence"], parked["entity"]) == ("recommendations", 2, entity)
    assert await measured(house, "reporting", "view_parked") == {'view="progress"': 1}

    assert await run(house, "release", "reporting", "--id", parked["id"], "--by", "operator") == tend.DIFFERS
    assert "still cannot be taken up" in capsys.readouterr().out
    assert (await house.get("/reporting/v1/progress/domains", by=None))["parked"] == 1


async def run(house: House, verb: str, service: str, *more: str) -> int:
    return await tend.run(tend.asked_for([verb, service, *more]), house.settings(service))


async def test_an_operator_verifies_and_health_keeps_the_result(own_house: House, capsys: Any) -> None:
    house = own_house
    for _ in range(3):
        await house.post("/recommendations/v1/terms", term())
    await house.settled()
    for service in tend.SERVICES:
        assert await run(house, "verify", service) == tend.DONE, capsys.readouterr().out
    found = (await detail(house, "reporting"))["views"]["progress"]["verified"]
    assert (found["events"], found["differing"], found["position"]) == (3, [], "r3.p0.m0")
    assert await measured(house, "reporting", "view_differing_tables") == {'view="progress"': 0}

    view = house.running["reporting"].service.view
    assert view is not None
    async with view.acting() as session:
        await session.execute(text("update term set code = 'anders' where code = (select min(code) from term)"))
    assert await run(house, "verify", "reporting") == tend.DIFFERS
    assert "DIFFERS: reporting's rows, term (entity=" in capsys.readouterr().out
    assert await run(house, "show", "reporting") == tend.DIFFERS
    assert await run(house, "rebuild", "reporting") == tend.DIFFERS
    assert await run(house, "rebuild", "reporting", "--force") == tend.DONE
    assert await run(house, "verify", "reporting") == tend.DONE
    assert await measured(house, "reporting", "view_differing_tables") == {'view="progress"': 0}


async def test_what_cannot_be_done_is_said_in_a_sentence(own_house: House, capsys: Any) -> None:
    house = own_house
    assert await run(house, "park", "reporting") == tend.NOT_DONE
    assert "Name the owner" in capsys.readouterr().out
    assert await run(house, "park", "reporting", "--owner", "nobody", "--by", "x", "--reason", "y") == tend.NOT_DONE
    assert "This view follows recommendations, programme, monitor." in capsys.readouterr().out
    assert await run(house, "park", "reporting", "--owner", "monitor", "--by", "x", "--reason", "y") == tend.NOT_DONE
    assert "nothing to park" in capsys.readouterr().out
    assert await run(house, "release", "reporting") == tend.NOT_DONE
    assert "Name what to release" in capsys.readouterr().out
    await house.stop("programme")
    assert await run(house, "show", "reporting") == tend.DONE
    assert "programme does not answer" in capsys.readouterr().out
    assert await run(house, "verify", "reporting") == tend.NOT_DONE
    assert "feed of programme does not answer" in capsys.readouterr().out
