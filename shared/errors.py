"""What can go wrong in the domain, said as sentences; `http.py` turns them into problem documents."""


class DomainError(Exception):
    """A refusal with a sentence that the caller can act on."""

    status = 400
    title = "The request cannot be carried out"
    retry_after: int | None = None

    def __init__(self, sentence: str, *, field: str | None = None) -> None:
        super().__init__(sentence)
        self.field = field
        """JSON pointer of the field that is at fault, such as `/leadId`."""


class Invalid(DomainError):
    """The request is understood, but a value in it cannot be right."""

    title = "The request is not valid"


class Unauthenticated(DomainError):
    status = 401
    title = "A valid token is needed"


class Forbidden(DomainError):
    status = 403
    title = "Not allowed"


class NotFound(DomainError):
    status = 404
    title = "Not found"


class Conflict(DomainError):
    """A rule refuses this in the state that things are in now."""

    status = 409
    title = "Not possible in this state"


class NotKnownYet(Conflict):
    """A reference to another service's entity that this service has not followed yet."""

    title = "Not known here yet"
    retry_after = 1


class Stale(DomainError):
    """`If-Match` names another version than the one that stands now."""

    status = 412
    title = "Changed in the meantime"


class KeyReused(DomainError):
    """The same `Idempotency-Key` came with another request."""

    status = 422
    title = "Idempotency-Key used before"


class VersionNeeded(DomainError):
    status = 428
    title = "If-Match is needed"


class TooLarge(DomainError):
    status = 413
    title = "Too large"


class Unavailable(DomainError):
    """Something we depend on does not answer; the outcome of a write may be unknown."""

    status = 503
    title = "Temporarily not available"
    retry_after = 2
