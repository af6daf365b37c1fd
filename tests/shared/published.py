"""Writes one message of every type that has none yet: `python -m tests.shared.published`. What stands is kept."""

from pathlib import Path

from tests.shared.facts import encoded, example, registered

HERE = Path(__file__).parent / "published"


def write_missing() -> list[str]:
    """The types that were written now; a file that is there is never touched."""
    HERE.mkdir(exist_ok=True)
    written = []
    for kind in registered():
        file = HERE / f"{kind.type}.json"
        if not file.exists():
            file.write_text(encoded(example(kind)) + "\n", encoding="utf-8")
            written.append(kind.type)
    return written


if __name__ == "__main__":
    print("\n".join(write_missing()))
