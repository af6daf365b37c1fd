"""Signatures: Standard Webhooks with ed25519 (`v1a`); the private half of a key stays here, the public one is shown."""

from base64 import b64encode

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def new_key() -> bytes:
    """The private half, as it is kept."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


def public_half(private: bytes) -> str:
    """As Standard Webhooks writes it: `whpk_` and 32 bytes in base64."""
    public = Ed25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    return f"whpk_{b64encode(public).decode()}"


def sign(private: bytes, id: str, timestamp: int, body: bytes) -> str:
    signed = f"{id}.{timestamp}.".encode() + body
    return f"v1a,{b64encode(Ed25519PrivateKey.from_private_bytes(private).sign(signed)).decode()}"
