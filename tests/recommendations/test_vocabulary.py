"""Terms: the words of the vocabularies, with the days they hold."""

import asyncio
from datetime import timedelta

import pytest

from shared.errors import Conflict
from tests import examples
from tests.examples import World, today
from tests.house import House

TERMS = "/recommendations/v1/terms"
RECOMMENDATIONS = "/recommendations/v1/recommendations"


def test_a_term_ends_once() -> None:
    term = examples.term_entity()
    ended = term.end("merged")
    assert (term.ended, ended.version, ended.code, ended.reason) == (True, 2, "voorbeeld", "merged")
    with pytest.raises(Conflict, match="This term has ended already"):
        term.end("again")
    assert term.version == 2


async def test_introducing_a_term_gives_its_address_and_version(house: House) -> None:
    answer = await house.send("POST", TERMS, examples.term())
    assert answer.status_code == 201
    assert answer.headers["etag"] == '"1"'
    assert answer.headers["location"] == f"{TERMS}/{answer.json()['id']}"
    read = await house.send("GET", answer.headers["location"], by=None)
    assert read.json() == answer.json()
    assert read.headers["etag"] == '"1"'


async def test_a_code_is_in_a_vocabulary_once_and_may_be_in_another(house: House) -> None:
    world = World(house)
    term = await world.term()
    await world.refused(409, "one of these already", TERMS, examples.term(code=term["code"]))
    assert (await world.term(code=term["code"], vocabulary="form"))["vocabulary"] == "form"


async def test_of_ten_who_introduce_the_same_term_at_once_one_succeeds(house: House) -> None:
    body = examples.term()
    answers = await asyncio.gather(*(house.send("POST", TERMS, body) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_a_parent_is_a_term_of_the_same_vocabulary_that_holds(house: House) -> None:
    world = World(house)
    parent = await world.term()
    assert (await world.term(parent=parent["code"]))["parent"] == parent["code"]
    answer = await world.refused(400, "no form", TERMS, examples.term(vocabulary="form", parent=parent["code"]))
    assert answer.json()["errors"][0]["pointer"] == "/parent"
    await world.verb("recommendations", "terms", parent, "_end", {"reason": "merged"})
    await world.refused(400, "no domain", TERMS, examples.term(parent=parent["code"]))


async def test_a_term_that_ended_places_nothing_any_more(house: House) -> None:
    world = World(house)
    term, source = await world.term(), await world.source()
    await world.recommendation(sourceId=source["id"], domains=[term["code"]])
    ended = await world.verb("recommendations", "terms", term, "_end", {"reason": "merged"})
    assert (ended["ended"], ended["version"]) == (True, 2)
    body = examples.recommendation(sourceId=source["id"], domains=[term["code"]])
    await world.refused(400, "no domain in the vocabulary", RECOMMENDATIONS, body)


@pytest.mark.parametrize("function", ["issuing-body", "reporter", "secretariat", "task-force-member", "auditor"])
async def test_only_the_coordinator_keeps_the_vocabulary(house: House, function: str) -> None:
    world = World(house)
    await world.refused(403, "coordinator", TERMS, examples.term(), by=("jenv", function))
    term = await world.term()
    path = f"{TERMS}/{term['id']}/_end"
    await world.refused(403, "coordinator", path, {"reason": "merged"}, by=("jenv", function), version=1)


async def test_a_change_names_the_version_that_it_is_about(house: House) -> None:
    world = World(house)
    term = await world.term()
    path = f"{TERMS}/{term['id']}/_end"
    await world.refused(428, "If-Match", path, {"reason": "merged"})
    await world.refused(412, "at version 1 now", path, {"reason": "merged"}, version=2)
    answer = await house.send("POST", path, {"reason": "merged"}, version=1)
    assert (answer.status_code, answer.headers["etag"]) == (200, '"2"')
    await world.refused(412, "at version 2 now", path, {"reason": "merged"}, version=1)
    await world.refused(409, "ended already", path, {"reason": "merged"}, version=2)


async def test_a_term_holds_from_a_day_in_the_past_or_today_and_never_from_one_to_come(house: House) -> None:
    world = World(house)
    term = await world.term(effectiveFrom="2018-01-01", effectiveFromBasis="assumed", effectiveFromPrecision="year")
    assert (term["beganOn"], term["effectiveFrom"]) == ("2018-01-01", "2018-01-01")
    assert (term["effectiveFromBasis"], term["effectiveFromPrecision"]) == ("assumed", "year")
    assert (await world.term())["effectiveFrom"] == str(today())
    later = str(today() + timedelta(days=2))
    answer = await world.refused(400, "tell it when that day comes", TERMS, examples.term(effectiveFrom=later))
    assert answer.json()["errors"][0]["pointer"] == "/effectiveFrom"


async def test_a_term_cannot_end_before_it_began(house: House) -> None:
    world = World(house)
    term = await world.term(effectiveFrom="2018-01-01")
    path = f"{TERMS}/{term['id']}/_end"
    for day, words in {"2017-12-31": "began on 2018-01-01", str(today() + timedelta(days=2)): "that day comes"}.items():
        await world.refused(400, words, path, {"reason": "merged", "effectiveFrom": day}, version=1)
    ended = await world.verb("recommendations", "terms", term, "_end", {"reason": "m", "effectiveFrom": "2018-01-01"})
    assert ended["effectiveFrom"] == "2018-01-01"


async def test_terms_are_listed_per_vocabulary_and_by_what_another_system_calls_them(house: House) -> None:
    world = World(house)
    term = await world.term(vocabulary="level", externalIds={"zaaksysteem": "Z-1", "archief": "A-1"})
    await world.term(vocabulary="goal", externalIds={"zaaksysteem": "Z-11"})
    assert [one["vocabulary"] for one in (await house.get(f"{TERMS}?vocabulary=level"))["items"]] == ["level"]
    for called, found in {
        "zaaksysteem:Z-1": [term["id"]],
        "archief:A-1": [term["id"]],
        "archief:Z-1": [],
        "zaaksysteem:Z": [],
    }.items():
        assert await world.walked(f"{TERMS}?externalId={called}") == found
    assert await world.walked(f"{TERMS}?externalId=zaaksysteem:Z-1&vocabulary=goal") == []


async def test_a_list_is_walked_page_by_page_without_duplicates_while_others_add_to_it(house: House) -> None:
    world = World(house)
    made = [(await world.term(vocabulary="form"))["id"] for _ in range(7)]
    first = await house.send("GET", f"{TERMS}?vocabulary=form&limit=3")
    assert first.links["next"]["url"].startswith(f"{TERMS}?")
    later = (await world.term(vocabulary="form"))["id"]
    rest = await world.walked(first.links["next"]["url"])
    found = [item["id"] for item in first.json()["items"]] + rest
    assert len(found) == len(set(found))
    assert [id for id in found if id in {*made, later}] == [*made, later]
    for limit in (1, 2, 8, 500):
        assert await world.walked(f"{TERMS}?vocabulary=form&limit={limit}") == found


async def test_a_read_that_the_caller_has_already_is_answered_304(house: House) -> None:
    term = await World(house).term()
    answer = await house.send("GET", f"{TERMS}/{term['id']}", headers={"If-None-Match": '"1"'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')
    assert (await house.send("GET", f"{TERMS}/{term['id']}", headers={"If-None-Match": '"0"'})).status_code == 200


async def test_the_same_key_gives_the_same_answer_and_another_request_with_it_is_refused(house: House) -> None:
    world = World(house)
    body, key = examples.term(), "eerste-keer"
    first = await house.send("POST", TERMS, body, key=key)
    again = await house.send("POST", TERMS, body, key=key)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["kapstok-position"] == first.headers["kapstok-position"]
    await world.refused(422, "another request", TERMS, examples.term(), key=key)
    other = await house.send("POST", TERMS, examples.term(), key=key, by=("politie", "coordinator"))
    assert other.status_code == 201, "a key is the caller's own"
