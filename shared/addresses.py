"""The addresses that a service tells of in its openapi.json, with the methods that each takes."""

import re
from collections.abc import Mapping
from typing import Any

READ = frozenset({"GET", "HEAD", "OPTIONS"})


class Addresses:
    """Which methods an address takes, over every route that matches it."""

    def __init__(self) -> None:
        self._known: list[tuple[re.Pattern[str], frozenset[str]]] = []
        self._patched: set[str] = set()

    def learn(self, paths: Mapping[str, Any]) -> None:
        """From the `paths` of an openapi.json."""
        for template, operations in paths.items():
            pattern = re.compile(re.sub(r"\\\{[^/]+\\\}", "[^/]+", re.escape(template)))
            methods = {method.upper() for method in operations if method in ("get", "post", "patch")} | {"OPTIONS"}
            self._known.append((pattern, frozenset(methods | ({"HEAD"} if "GET" in methods else set()))))
            if "PATCH" in methods:
                self._patched |= {operation["operationId"] for operation in operations.values()}

    def methods(self, path: str) -> frozenset[str]:
        """What openapi.json does not tell of, such as pages and that document itself, is only read."""
        matching = [methods for pattern, methods in self._known if pattern.fullmatch(path)]
        return frozenset[str]().union(*matching) or READ

    def is_patched(self, operation: str) -> bool:
        """Whether the address of an operation also takes PATCH."""
        return operation in self._patched
