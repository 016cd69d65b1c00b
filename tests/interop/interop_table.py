"""The interop matrix: what each vendor and our backends got, with the vendor set up before us and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests import tables

if TYPE_CHECKING:
    from collections import Counter

    import pytest

    from tests.interop.cases import Vendor
    from tests.interop.compared import Comparison

__all__ = ["tell", "write_table"]

_HEADER: Final = (
    "| vendor | version | set up | its own spans: without us | with us | ours that it got | our backends got |",
    "|---|---|---|---:|---:|---:|---|",
)
_PROPERTY: Final = "interop_matrix"


def tell(
    record: pytest.RecordProperty,
    vendor: Vendor,
    version: str,
    order: str,
    comparison: Comparison,
    names: Counter[str],
) -> None:
    """Note the row of one test, whatever its assertions will say."""
    without = comparison.own + len(comparison.missing) - len(comparison.added)
    got = ", ".join(f"{count} {name}" for name, count in sorted(names.items()))
    cells = (vendor.name, version, order, without, comparison.own, comparison.ours, got)
    record(_PROPERTY, f"| {' | '.join(map(str, cells))} |")


def write_table(terminalreporter: Any) -> None:
    """Print the rows of all tests that ran."""
    tables.write_table(terminalreporter, "beside other vendors", _HEADER, _PROPERTY)
