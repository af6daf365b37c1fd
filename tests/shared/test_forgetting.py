"""Forgetting an account: gone from beside the log and from the receipts; the log, its chain and its readers stay."""

from typing import Any

from sqlalchemy import func, select

from services import tend
from shared.integrity import check_log
from shared.outbox import acted, outbox
from shared.receipts import receipt
from tests.examples import term
from tests.house import House

PATH = "/recommendations/v1/terms"


async def run(house: House, *more: str) -> int:
    return await tend.run(tend.asked_for(["forget", "recommendations", *more]), house.settings("recommendations"))


async def kept(house: House, account: str) -> tuple[int, int]:
    """Rows beside the log, and receipts."""
    async with house.running["recommendations"].service.sessions() as session:
        told = await session.scalar(select(func.count()).where(acted.c.account == account))
        answered = await session.scalar(select(func.count()).where(receipt.c.caller == account))
        return told or 0, answered or 0


async def whole_log(house: House) -> list[Any]:
    async with house.running["recommendations"].service.sessions() as session:
        return list(await session.execute(select(outbox).order_by(outbox.c.sequence)))


async def test_a_forgotten_account_is_gone_and_the_log_still_holds_together(own_house: House, capsys: Any) -> None:
    house = own_house
    by = {"leaves": house.token("jenv", "coordinator", account="7d1f"), "stays": house.token("jenv", "coordinator")}
    for who in ("leaves", "stays", "leaves"):
        answer = await house.send("POST", PATH, term(), by=None, headers={"Authorization": f"Bearer {by[who]}"})
        assert answer.status_code == 201
    service = house.running["recommendations"].service
    log, chain = await whole_log(house), (await check_log(service.engine, "recommendations")).chain
    assert await kept(house, "7d1f") == (2, 2)
    assert await kept(house, "local-jenv") == (1, 1)

    assert await run(house, "--account", "7d1f") == tend.DONE
    assert "2 rows of acted, 2 rows of receipt" in capsys.readouterr().out
    assert await kept(house, "7d1f") == (0, 0)
    assert await kept(house, "local-jenv") == (1, 1)
    assert await whole_log(house) == log
    assert (await check_log(service.engine, "recommendations")).chain == chain
    assert all("7d1f" not in row.event for row in log), "the log never knew the account"

    assert await tend.run(tend.asked_for(["verify", "recommendations"]), house.settings("recommendations")) == tend.DONE
    await house.post(PATH, term())
    await house.settled()


async def test_forgetting_twice_does_no_harm_and_needs_a_name(own_house: House, capsys: Any) -> None:
    assert await run(own_house) == tend.NOT_DONE
    assert "--account" in capsys.readouterr().out
    for _ in range(2):
        assert await run(own_house, "--account", "nobody") == tend.DONE
    assert "0 rows of acted" in capsys.readouterr().out
