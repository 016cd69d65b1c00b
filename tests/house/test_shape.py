"""The house rules that a program can check: sizes, silence, names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import otel_llm

PACKAGE = Path(__file__).parents[2] / "otel_llm"
MODULES = sorted(PACKAGE.rglob("*.py"))


def tree_of(path: Path) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(path.read_text(), str(path))


def test_no_module_is_over_500_lines() -> None:
    """A module has at most 500 lines."""
    assert {
        str(path): len(path.read_text().splitlines()) for path in MODULES if len(path.read_text().splitlines()) > 500
    } == {}


def test_no_function_is_over_60_lines() -> None:
    """A function has at most 60 lines."""
    long = {
        f"{path}:{node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > 60
    }
    assert long == {}


def test_no_error_is_passed_over_in_silence() -> None:
    """No `except` clause has a body of nothing but `pass`."""
    silent = [
        f"{path}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and all(isinstance(step, ast.Pass) for step in node.body)
    ]
    assert silent == []


def test_our_statements_are_nobodys_spans() -> None:
    """No module calls `sqlite3.connect`: ddtrace and others replace it, and would record every statement of ours."""
    assert [str(path) for path in MODULES if "sqlite3.connect(" in path.read_text()] == []


def test_every_module_says_what_it_is() -> None:
    """Every module begins with a docstring."""
    assert [str(path) for path in MODULES if ast.get_docstring(tree_of(path)) is None] == []


def test_the_public_names_are_sorted_and_there() -> None:
    """`__all__` of the package is sorted, complete, and every name in it can be had."""
    assert otel_llm.__all__ == sorted(otel_llm.__all__)
    for name in otel_llm.__all__:
        assert getattr(otel_llm, name) is not None


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    """Asking the package for a name that it does not have fails as with any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        otel_llm.nothing  # noqa: B018


def test_attribute_names_are_spelt_in_one_place() -> None:
    """`gen_ai.*` and `otel_llm.*` attribute names stand in semconv*.py only; docstrings and comments may quote them."""
    pattern = re.compile(
        r"^(gen_ai\.[a-z_.]+|otel_llm\.(attempt|attempts|cache|cost|fallback|usage|stream|tags)[a-z_.]*)$"
    )
    allowed = {"semconv.py", "semconv_content.py"}
    offenders = []
    for path in MODULES:
        if path.name in allowed:
            continue
        tree = tree_of(path)
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        offenders += [
            f"{path}:{node.lineno} {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and pattern.match(node.value)
        ]
    assert offenders == []


def test_no_two_decisions_share_a_number() -> None:
    """A decision is cited by its number, which its title repeats."""
    decisions = sorted((PACKAGE.parent / "docs" / "decisions").glob("*.md"))
    numbers = [path.name[:4] for path in decisions]
    assert len(numbers) == len(set(numbers)), numbers
    assert [path.name for path in decisions if not path.read_text().startswith(f"# {path.name[:4]}")] == []
