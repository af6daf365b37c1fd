"""Tokens for keys: what a partner without an identity provider exchanges its key for."""

from sqlalchemy.ext.asyncio import AsyncSession

from services.programme import clients
from services.programme.partners import Partner
from shared import outbox
from shared.errors import Invalid
from shared.oauth import Credentials, Granted, Mint


async def exchange(session: AsyncSession, shown: Credentials, mint: Mint) -> Granted:
    """A five-minute token for a key, within the scopes of the key; narrower ones where they are asked for."""
    client, key = await clients.prove(session, shown.key, shown.client_id, mint.today)
    if beyond := [scope for scope in shown.scopes if not clients.is_within(scope, key.scopes)]:
        raise Invalid(f"{len(beyond)} of these scopes are not this key's: {', '.join(key.scopes)}.", field="scope")
    scopes = shown.scopes or tuple(key.scopes)
    partner = await session.get_one(Partner, client.partner_id)
    token = mint.token(
        client_id=client.client_id,
        organisation=partner.code,
        key=key.id,
        scopes=scopes,
        since=(await outbox.end(session)).sequence,
    )
    return Granted(access_token=token, scope=" ".join(scopes))
