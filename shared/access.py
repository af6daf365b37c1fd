"""Who may do what: what a route asks of its caller, held to one table of permissions."""

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request

from shared.errors import Forbidden
from shared.gate import Caller, Function, Gate


def calling(request: Request) -> Caller:
    """The caller of this request, once it was admitted."""
    return request.state.caller  # type: ignore[no-any-return]


By = Annotated[Caller, Depends(calling)]


@dataclass(frozen=True)
class May:
    """Who may use an operation: callers who act in one of these functions, or anybody at all."""

    functions: tuple[Function, ...] = ()
    public: bool = False
    house: bool = False
    """Also another service of the house, by the key that they share."""
    costly: bool = False
    """It makes much work: counted against the stricter limit too (`costly_rate_limit`)."""


PUBLIC = May(public=True)
ANYONE_KNOWN = May(tuple(Function))
"""Every caller with a function, whichever it is."""
FOLLOWERS = May(tuple(Function), house=True)

Permissions = dict[str, May]
"""By the name of the operation, which is its `operationId` in openapi.json."""


def may(*functions: Function) -> May:
    """These functions; the first that a caller has is the one that is recorded as acting."""
    return May(functions)


def costly(permitted: May) -> May:
    """The same callers, for an operation that makes much work, such as one that starts some."""
    return replace(permitted, costly=True)


async def admit(request: Request, service: str, operation: str, permitted: May) -> Function | None:
    """Let the caller of an operation pass, or refuse; the function in which it acts.

    A function is needed, and a scope of the token: `programme:read` for all that is read there, `programme:write` for
    all that is written, or just one operation, such as `programme:propose-link`. Raises Unauthenticated, Forbidden.
    """
    gate: Gate = request.app.state.service.gate
    if permitted.public or (permitted.house and gate.is_house(request)):
        return None
    caller = request.state.caller = await gate.caller(request)
    acting = next((function for function in permitted.functions if function in caller.functions), None)
    if acting is None:
        raise Forbidden(f"This takes the function {' or '.join(permitted.functions)}; the token does not have it.")
    writes = request.method not in READING
    if not opens(caller, service, operation, writes=writes):
        scopes = scopes_of(service, operation, writes=writes)
        raise Forbidden(f"This takes the scope {' or '.join(scopes)}; the token does not have it.")
    return acting


def opens(caller: Caller, service: str, operation: str, *, writes: bool) -> bool:
    """Whether everything that a caller is narrowed to opens an operation."""
    scopes = set(scopes_of(service, operation, writes=writes))
    return all(narrowed & scopes for narrowed in caller.scopes)


READING = ("GET", "HEAD", "OPTIONS")


def scopes_of(service: str, operation: str, *, writes: bool) -> tuple[str, str]:
    """The scopes that open an operation: the wide one, and its own."""
    return f"{service}:{'write' if writes else 'read'}", f"{service}:{operation.replace('_', '-')}"
