"""docs/disasters.md names a test for every fault of the list, and every test of a disaster stands in it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "disasters.md"
ROWS = 37


def mapped() -> dict[int, tuple[str, list[str]]]:
    """Row -> what is said of it, and the tests that it names."""
    section = PAGE.read_text(encoding="utf-8").partition("## The faults, row by row")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (\d+) \| [^|]+ \| (.+) \|$", section, re.MULTILINE)
    assert len(found) == len({number for number, _ in found})
    return {int(number): (text, re.findall(r"`([\w/]+\.py(?:::\w+)?)`", text)) for number, text in found}


def functions_of(path: Path) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """The test functions of a module by name."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return {node.name: node for node in functions if node.name.startswith("test_")}


def rows_told_by(test: ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    """The rows that a test counts for: the first number in a call that takes or is given its `verdict`."""
    found = set()
    for call in (node for node in ast.walk(test) if isinstance(node, ast.Call)):
        named = [call.func, *call.args[:2]]
        if any(isinstance(name, ast.Name) and name.id == "verdict" for name in named):
            numbers = [one.value for one in call.args if isinstance(one, ast.Constant) and isinstance(one.value, int)]
            found.update(numbers[:1])
    return found


def test_every_fault_is_there_and_has_a_test() -> None:
    """Rows 1 to 37, each with at least one test."""
    rows = mapped()
    assert sorted(rows) == list(range(1, ROWS + 1))
    assert [number for number, (_, tests) in rows.items() if not tests] == []


@pytest.mark.parametrize("number", range(1, ROWS + 1))
def test_every_test_that_is_named_exists(number: int) -> None:
    """The files and functions of a row are there, and are tests."""
    for name in mapped()[number][1]:
        path, _, function = name.partition("::")
        assert (TESTS / path).is_file(), name
        assert "def test_" in (TESTS / path).read_text() or "TestCase" in (TESTS / path).read_text(), name
        assert not function or function in functions_of(TESTS / path), name


def test_every_disaster_is_in_the_map() -> None:
    """A test that counts for a row is named at that row, itself or its whole file."""
    rows = mapped()
    missing = []
    for path in sorted(TESTS.rglob("test_*.py")):
        for name, test in functions_of(path).items():
            place = str(path.relative_to(TESTS))
            for row in rows_told_by(test):
                if not {place, f"{place}::{name}"} & set(rows[row][1]):
                    missing.append((row, f"{place}::{name}"))
    assert missing == []
    assert (
        sum(
            bool(rows_told_by(test))
            for path in (TESTS / "crash").glob("test_*.py")
            for test in functions_of(path).values()
        )
        > 40
    )
