"""What a caller says of the form in which it wants its answer: Accept, and If-None-Match."""

from collections.abc import Sequence


def preferred(accept: str, offers: Sequence[str]) -> str | None:
    """The offer that `Accept` likes best, the first of equals; None when it takes none of them.

    Of the ranges that match an offer the most precise one counts (RFC 9110, 12.5.1).
    """
    if not accept.strip():
        return offers[0]
    ranges = [_range(part) for part in accept.split(",")]
    best, most = None, 0.0
    for offer in offers:
        matching = [(precision, quality) for name, precision, quality in ranges if _covers(name, offer)]
        quality = max(matching)[1] if matching else 0.0
        if quality > most:
            best, most = offer, quality
    return best


def _range(part: str) -> tuple[str, int, float]:
    """A media range, how precise it is, and how much it is liked."""
    name, *parameters = [piece.strip().lower() for piece in part.split(";")]
    quality = 1.0
    for parameter in parameters:
        if parameter.startswith("q="):
            quality = _quality(parameter[2:])
    return name, 0 if name == "*/*" else 1 if name.endswith("/*") else 2, quality


def _quality(written: str) -> float:
    try:
        found = float(written)
    except ValueError:
        return 0.0
    return found if 0 <= found <= 1 else 0.0


def _covers(name: str, offer: str) -> bool:
    return name in ("*/*", offer) or (name.endswith("/*") and offer.startswith(name[:-1]))


def has_already(if_none_match: str, etag: str) -> bool:
    """Whether the caller holds this representation: any of its tags, weak or not, or `*` (RFC 9110, 13.1.2)."""
    held = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in held or etag.removeprefix("W/") in held
