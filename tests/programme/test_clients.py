"""Clients, keys, appointments, and tokens for keys: what they open, and that what is taken away is gone at once."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from deploy.issuer import ISSUER
from shared.roster import holder_of
from tests.house import House, eventually

TOMORROW = (date.today() + timedelta(days=2)).isoformat()  # noqa: DTZ011  # two days ahead in any time zone
LONG_AGO = "2019-01-01"
WRITES = ["programme:write", "monitor:write"]


@dataclass(frozen=True)
class Made:
    """A partner with a client and a key."""

    partner: dict[str, Any]
    client: dict[str, Any]
    key: dict[str, Any]


async def made(house: House, functions: Sequence[str] = ("coordinator",), scopes: Sequence[str] = WRITES) -> Made:
    code = f"partner-{uuid4().hex[:8]}"
    partner = await house.post("/programme/v1/partners", {"code": code, "name": {"nl": code}, "kind": "police"})
    granted = {"functions": list(functions), "scopes": list(scopes), "expiresOn": TOMORROW}
    client = await house.post("/programme/v1/clients", {"partnerId": partner["id"], "name": "Zaaksysteem", **granted})
    key = await house.post(
        "/programme/v1/keys", {"client": client["id"], "scopes": list(scopes), "expiresOn": TOMORROW}
    )
    return Made(partner, client, key)


async def exchanged(house: House, key: str, **form: str) -> httpx.Response:
    asked = {"grant_type": "client_credentials", "client_secret": key} | form
    return await house.client.post(f"{house.url('programme')}/programme/v1/token", data=asked)


async def token_for(house: House, key: str, **form: str) -> str:
    answer = await exchanged(house, key, **form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def with_token(house: House, token: str, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
    return await house.send(method, path, body, by=None, headers={"Authorization": f"Bearer {token}"}, **more)


async def adds_a_partner(house: House, token: str) -> httpx.Response:
    code = f"added-{uuid4().hex[:8]}"
    return await with_token(
        house, token, "POST", "/programme/v1/partners", {"code": code, "name": {"nl": code}, "kind": "ngo"}
    )


def a_round() -> dict[str, Any]:
    return {"name": {"nl": "Ronde"}, "opensOn": "2026-01-01", "dueOn": "2026-06-30"}


# --- keys --------------------------------------------------------------------------------------------------------


async def test_a_key_is_exchanged_for_a_token_that_every_service_takes(house: House) -> None:
    one = await made(house)
    answer = await exchanged(house, one.key["key"])
    assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store"
    granted = answer.json()
    assert (granted["token_type"], granted["expires_in"], granted["scope"]) == ("Bearer", 300, " ".join(WRITES))
    added = await adds_a_partner(house, granted["access_token"])
    assert added.status_code == 201, added.text
    planned = await with_token(house, granted["access_token"], "POST", "/monitor/v1/rounds", a_round())
    assert planned.status_code in (201, 400), "monitor knows the client by the token's own word of how far it must be"
    told = (await house.get("/programme/v1/events?limit=1000"))["items"]
    event = next(item["event"] for item in told if item["event"]["subject"] == added.json()["id"])
    assert event["data"]["actedBy"] == {"organisation": one.partner["code"], "function": "coordinator"}


async def test_a_key_is_shown_once_and_kept_nowhere(house: House) -> None:
    one = await made(house)
    asked = {"client": one.client["id"], "scopes": WRITES, "expiresOn": TOMORROW}
    key = str(uuid4())
    first = await house.send("POST", "/programme/v1/keys", asked, key=key)
    again = await house.send("POST", "/programme/v1/keys", asked, key=key)
    assert first.json() | {"key": None} == again.json() and first.json()["key"].startswith("kpk_")
    assert "key" not in await house.get(f"/programme/v1/keys/{first.json()['id']}")
    secret = first.json()["key"].rpartition("_")[2]
    connection = await house.postgres.connect(house.databases["programme"])
    try:
        tables = await connection.fetch(
            "select table_schema, table_name from information_schema.tables "
            "where table_type = 'BASE TABLE' and table_schema !~ '^(pg_|information_)'"
        )
        for schema, table in tables:
            rows = await connection.fetch(f'select t::text from "{schema}"."{table}" t')
            assert not any(secret in row[0] for row in rows), f"the key stands in {table}"
    finally:
        await connection.close()


async def test_the_last_use_of_a_key_is_noted(house: House) -> None:
    one = await made(house)
    assert (await house.get(f"/programme/v1/keys/{one.key['id']}"))["lastUsedAt"] is None
    await token_for(house, one.key["key"])
    assert (await house.get(f"/programme/v1/keys/{one.key['id']}"))["lastUsedAt"] is not None


async def test_a_token_given_for_a_key_is_narrowed_by_key_and_by_what_is_asked(house: House) -> None:
    one = await made(house, scopes=["programme:write"])
    narrow = await token_for(house, one.key["key"], scope="programme:propose-link")
    refused = await adds_a_partner(house, narrow)
    assert refused.status_code == 403 and "programme:write" in refused.json()["detail"]
    elsewhere = await with_token(house, await token_for(house, one.key["key"]), "POST", "/monitor/v1/rounds", a_round())
    assert elsewhere.status_code == 403
    beyond = await exchanged(house, one.key["key"], scope="monitor:write")
    assert beyond.status_code == 400 and beyond.json()["errors"][0]["pointer"] == "scope"


async def test_a_key_that_is_revoked_is_gone_at_once_with_the_tokens_that_were_given_for_it(house: House) -> None:
    one = await made(house)
    token = await token_for(house, one.key["key"])
    assert (await adds_a_partner(house, token)).status_code == 201
    await house.post(f"/programme/v1/keys/{one.key['id']}/_revoke", {"reason": "gelekt"}, version=1)
    assert (await exchanged(house, one.key["key"])).status_code == 401

    async def refused() -> bool:
        return (await adds_a_partner(house, token)).status_code == 401

    await eventually(refused, 2)


async def test_what_a_client_may_changes_at_once(house: House) -> None:
    one = await made(house)
    token = await token_for(house, one.key["key"])
    narrower = {"functions": ["reporter"], "scopes": WRITES, "reason": "meldt alleen"}
    await house.post(f"/programme/v1/clients/{one.client['id']}/_grant", narrower, version=1)

    async def refused() -> bool:
        return (await adds_a_partner(house, token)).status_code == 403

    await eventually(refused, 2)
    await house.post(f"/programme/v1/clients/{one.client['id']}/_revoke", {"reason": "klaar"}, version=2)

    async def gone() -> bool:
        return (await adds_a_partner(house, token)).status_code == 401

    await eventually(gone, 2)
    again = await house.send(
        "POST", "/programme/v1/keys", {"client": one.client["id"], "scopes": WRITES, "expiresOn": TOMORROW}
    )
    assert again.status_code == 409


@pytest.mark.parametrize(
    "key", ["", "kpk", "kpk_", "kpk_00000000_", "kpk_00000000_nothing", "geen sleutel", "kpk_é_ü", "\x00", "_" * 200]
)
async def test_what_is_no_key_is_refused_without_a_word_of_why(key: str, house: House) -> None:
    answer = await exchanged(house, key)
    assert answer.status_code == 401 and answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"]
    assert not key.strip("_ \x00") or key not in answer.text


async def test_a_key_with_a_changed_end_or_another_clients_id_is_refused(house: House) -> None:
    one, other = await made(house), await made(house)
    whole = one.key["key"]
    assert (await exchanged(house, whole[:-1] + ("A" if whole[-1] != "A" else "B"))).status_code == 401
    assert (await exchanged(house, whole, client_id=other.client["clientId"])).status_code == 401
    assert (await exchanged(house, whole, client_id=one.client["clientId"])).status_code == 200


async def test_the_key_may_come_as_basic(house: House) -> None:
    one = await made(house)
    shown = base64.b64encode(f"{one.client['clientId']}:{one.key['key']}".encode()).decode()
    address = f"{house.url('programme')}/programme/v1/token"
    form = {"grant_type": "client_credentials"}
    good = await house.client.post(address, data=form, headers={"Authorization": f"Basic {shown}"})
    assert good.status_code == 200, good.text
    for wrong in ("Basic", "Basic é", "Basic !!!", f"Basic {base64.b64encode(b'no-colon').decode()}"):
        answer = await house.client.post(address, data=form, headers={"Authorization": wrong.encode()})
        assert answer.status_code == 401, wrong


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"grant_type=password&username=a&password=b", "application/x-www-form-urlencoded", 400),
        (b"", "application/x-www-form-urlencoded", 400),
        (b"grant_type=client_credentials&grant_type=client_credentials", "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe", "application/x-www-form-urlencoded", 400),
        (b"grant_type=client_credentials", "application/x-www-form-urlencoded", 401),
        (b'{"grant_type": "client_credentials"}', "application/json", 415),
        (b"&".join(b"a%d=b" % number for number in range(200)), "application/x-www-form-urlencoded", 400),
    ],
)
async def test_a_token_is_asked_for_in_one_way(body: bytes, media_type: str, status: int, house: House) -> None:
    address = f"{house.url('programme')}/programme/v1/token"
    answer = await house.client.post(address, content=body, headers={"Content-Type": media_type})
    assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json", answer.text


# --- what may be registered --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"scopes": ["programme:everything"]}, "/scopes/0"),
        ({"scopes": []}, "/scopes"),
        ({"functions": ["minister"]}, "/functions/0"),
        ({"expiresOn": LONG_AGO}, "/expiresOn"),
        ({"partnerId": str(uuid4())}, "/partnerId"),
        ({"clientId": "met spatie"}, "/clientId"),
    ],
)
async def test_a_client_is_registered_with_what_there_is(change: dict[str, Any], field: str, house: House) -> None:
    one = await made(house)
    good = {"partnerId": one.partner["id"], "name": "Systeem", "functions": ["reporter"], "scopes": ["monitor:write"]}
    answer = await house.send("POST", "/programme/v1/clients", good | change)
    assert answer.status_code == 400 and [error["pointer"] for error in answer.json()["errors"]] == [field]


async def test_a_key_never_widens_what_its_client_may(house: House) -> None:
    one = await made(house, scopes=["programme:propose-link"])
    asked = {"client": one.client["id"], "expiresOn": TOMORROW}
    for scope, status in [("programme:write", 400), ("monitor:read", 400), ("programme:propose-link", 201)]:
        answer = await house.send("POST", "/programme/v1/keys", asked | {"scopes": [scope]})
        assert answer.status_code == status, answer.text


# --- the issuer's own clients and accounts -----------------------------------------------------------------------


async def test_an_issuers_client_that_is_registered_may_what_it_was_granted_and_no_more(house: House) -> None:
    one = await made(house)
    name = f"system-{uuid4().hex[:8]}"
    granted = {"functions": ["reporter"], "scopes": ["programme:write"], "clientId": name}
    await house.post("/programme/v1/clients", {"partnerId": one.partner["id"], "name": "Systeem", **granted})
    code = one.partner["code"]

    async def narrowed() -> bool:
        return (await adds_a_partner(house, house.token(code, "coordinator", account=name))).status_code == 403

    await eventually(narrowed, 2)
    other = await adds_a_partner(house, house.token("jenv", "coordinator", account=name))
    assert other.status_code == 401, "a client speaks for the organisation that it was registered for"


async def test_once_an_account_is_appointed_only_its_appointments_count(house: House) -> None:
    one, account = await made(house), f"account-{uuid4().hex}"
    code = one.partner["code"]
    token = house.token(code, "coordinator", account=account)
    assert (await adds_a_partner(house, token)).status_code == 201
    asked = {"account": account, "partnerId": one.partner["id"], "function": "reporter"}
    appointed = await house.post("/programme/v1/appointments", asked)
    assert appointed["holder"] == holder_of(ISSUER, account) and account not in json.dumps(appointed)

    async def narrowed() -> bool:
        return (await adds_a_partner(house, token)).status_code == 403

    await eventually(narrowed, 2)
    coordinator = await house.post("/programme/v1/appointments", asked | {"function": "coordinator"})

    async def widened() -> bool:
        return (await adds_a_partner(house, token)).status_code == 201

    await eventually(widened, 2)
    for appointment in (appointed, coordinator):
        ends = {"endsOn": appointment["beganOn"], "reason": "andere baan"}
        await house.post(f"/programme/v1/appointments/{appointment['id']}/_end", ends, version=1)
    assert (await adds_a_partner(house, token)).status_code == 201, "the last day is a day on which it holds"


async def test_an_appointment_that_is_over_shuts_the_account_out(house: House) -> None:
    one, account = await made(house), f"account-{uuid4().hex}"
    asked = {"account": account, "partnerId": one.partner["id"], "function": "coordinator"}
    over = {"effectiveFrom": LONG_AGO, "endsOn": "2019-12-31"}
    await house.post("/programme/v1/appointments", asked | over)
    token = house.token(one.partner["code"], "coordinator", account=account)

    async def out() -> bool:
        return (await adds_a_partner(house, token)).status_code == 401

    await eventually(out, 2)


async def test_who_is_appointed_by_two_organisations_says_for_which_one_it_acts(house: House) -> None:
    one, other, account = await made(house), await made(house), f"account-{uuid4().hex}"
    for made_one in (one, other):
        asked = {"account": account, "partnerId": made_one.partner["id"], "function": "coordinator"}
        last = await house.post("/programme/v1/appointments", asked)
    for code, status in [(one.partner["code"], 201), (other.partner["code"], 201), ("jenv", 401)]:

        async def answered(code: str = code, status: int = status) -> bool:
            return (await adds_a_partner(house, house.token(code, account=account))).status_code == status

        await eventually(answered, 2)
    early = await house.send(
        "POST", f"/programme/v1/appointments/{last['id']}/_end", {"endsOn": LONG_AGO, "reason": "x"}, version=1
    )
    assert early.status_code == 400 and early.json()["errors"][0]["pointer"] == "/endsOn"


# --- tokens that are not what they seem ----------------------------------------------------------------------------


async def test_a_house_token_with_any_claim_or_byte_changed_opens_nothing(house: House) -> None:
    one = await made(house)
    token = await token_for(house, one.key["key"])
    [signing] = json.loads(house.issuer.token_keys.read_text())["keys"]
    key = ECKey.import_key(signing)
    claims = jwt.decode(token, KeySet([key])).claims
    header = {"alg": "ES256", "kid": signing["kid"], "typ": "at+jwt"}
    forged = {
        "another key of ours": claims | {"key": str(uuid4())},
        "another client": claims | {"client_id": "CLT-1"},
        "another audience": claims | {"aud": "elsewhere"},
        "expired": claims | {"iat": claims["iat"] - 4000, "exp": claims["exp"] - 4000},
        "not yet": claims | {"nbf": claims["exp"] + 3600},
        "no subject": {name: value for name, value in claims.items() if name != "sub"},
        "no key": {name: value for name, value in claims.items() if name != "key"},
        "a key that is none": claims | {"key": "x"},
        "another organisation": claims | {"organisation": "politie"},
        "an ID token": claims | {"nonce": "1"},
        "a since that is none": claims | {"since": "far"},
        "an expiry that is none": claims | {"exp": "never"},
    }
    assert (await adds_a_partner(house, jwt.encode(header, claims, key))).status_code == 201
    for what, changed in forged.items():
        answer = await adds_a_partner(house, jwt.encode(header, changed, key))
        assert answer.status_code == 401, f"{what}: {answer.status_code} {answer.text}"
    head, body, signature = token.split(".")
    for broken in (
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}..{signature}",
        "a.b.c",
    ):
        assert (await adds_a_partner(house, broken)).status_code == 401


async def test_the_outside_issuer_cannot_sign_for_the_house_nor_the_house_for_it(house: House) -> None:
    one = await made(house)
    token = await token_for(house, one.key["key"])
    [signing] = json.loads(house.issuer.token_keys.read_text())["keys"]
    claims = jwt.decode(token, KeySet([ECKey.import_key(signing)])).claims
    by_outside = jwt.encode({"alg": "ES256", "kid": house.issuer.key.kid}, claims, house.issuer.key)
    as_outside = jwt.encode(
        {"alg": "ES256", "kid": signing["kid"]}, claims | {"iss": ISSUER}, ECKey.import_key(signing)
    )
    for forged in (by_outside, as_outside):
        assert (await adds_a_partner(house, forged)).status_code == 401


async def test_without_signing_keys_the_exchange_says_so(house: House) -> None:
    held = house.issuer.token_keys
    kept = held.read_text()
    one = await made(house)
    try:
        held.write_text("{}")
        answer = await exchanged(house, one.key["key"])
        assert answer.status_code == 503 and answer.headers["retry-after"]
        published = await house.client.get(f"{house.url('programme')}/programme/v1/jwks")
        assert published.status_code == 503
    finally:
        held.write_text(kept)


async def test_only_public_halves_are_published(house: House) -> None:
    published = await house.get("/programme/v1/jwks", by=None)
    assert published["keys"] and all("d" not in key for key in published["keys"])
