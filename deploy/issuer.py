"""A token issuer for a laptop and for tests: a key pair in a file, and tokens from the command line. Never outside."""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from services.permissions import PERMISSIONS

ISSUER = "http://127.0.0.1:8000"
AUDIENCE = "kapstok"
LIFE = 6 * 3600
EVERYTHING = " ".join(f"{service}:{verb}" for service in PERMISSIONS for verb in ("read", "write"))
"""Every scope; what a token may do is then what its functions may."""


@dataclass(frozen=True)
class Issuer:
    """Signs tokens with a key that it keeps in `home`."""

    home: Path
    key: ECKey

    @classmethod
    def at(cls, home: Path) -> "Issuer":
        home.mkdir(parents=True, exist_ok=True)
        private = home / "issuer-key.json"
        if not private.exists():
            key = ECKey.generate_key("P-256", {"kid": uuid4().hex, "use": "sig", "alg": "ES256"})
            private.touch(mode=0o600)
            private.write_text(json.dumps(key.as_dict(private=True)))
        key = ECKey.import_key(json.loads(private.read_text()))
        issuer = cls(home, key)
        issuer.jwks.write_text(json.dumps(KeySet([key]).as_dict(private=False)))
        issuer.make_token_keys()
        return issuer

    @property
    def jwks(self) -> Path:
        return self.home / "jwks.json"

    @property
    def token_keys(self) -> Path:
        """The private keys with which `programme` signs the tokens that it gives for API keys."""
        return self.home / "token-keys.json"

    def make_token_keys(self) -> None:
        if not self.token_keys.exists():
            key = ECKey.generate_key("P-256", {"kid": uuid4().hex, "use": "sig", "alg": "ES256"})
            self.token_keys.touch(mode=0o600)
            self.token_keys.write_text(json.dumps(KeySet([key]).as_dict(private=True)))

    def token(
        self,
        organisation: str,
        functions: Sequence[str],
        *,
        account: str | None = None,
        life: int = LIFE,
        scope: str = EVERYTHING,
    ) -> str:
        """A bearer token for an organisation's functions, valid for `life` seconds."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": account or f"local-{organisation}",
            "azp": account or f"local-{organisation}",
            "iat": now,
            "exp": now + life,
            "jti": str(uuid4()),
            "organisation": organisation,
            "functions": list(functions),
            "scope": scope,
        }
        header = {"alg": "ES256", "kid": str(self.key.kid), "typ": "at+jwt"}
        return jwt.encode(header, claims, self.key)


def main() -> None:
    """`python -m deploy.issuer politie reporter`: print a token."""
    parser = argparse.ArgumentParser(description="Print a bearer token of the local issuer.")
    parser.add_argument("organisation", help="code of the partner, such as jenv or politie")
    parser.add_argument("functions", nargs="+", help="such as coordinator, reporter, secretariat, task-force-member")
    parser.add_argument("--home", type=Path, default=Path(".local"))
    arguments = parser.parse_args()
    print(Issuer.at(arguments.home).token(arguments.organisation, arguments.functions))


if __name__ == "__main__":
    main()
