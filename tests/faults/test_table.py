"""Every row of the table of faults has a test, and every test of a fault names its rows."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.faults.table import ROWS

HERE = Path(__file__).parent


def named(tree: ast.AST) -> Iterator[int]:
    """The numbers in `pytest.mark.row(...)`, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "row":
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def test_every_row_is_tested_and_no_other_is_named() -> None:
    found = {number for path in HERE.glob("test_*.py") for number in named(ast.parse(path.read_text()))}
    assert sorted(found) == sorted(ROWS) == list(range(1, 59))
