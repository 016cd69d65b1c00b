"""The prefork matrix: what each tree of processes created and what arrived of it; printed after a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests import tables

if TYPE_CHECKING:
    from collections import Counter

    import pytest

__all__ = ["tell", "write_table"]

_HEADER: Final = (
    "| processes | stopped by | created | arrived | lost | twice |",
    "|---|---|---:|---:|---:|---:|",
)
_PROPERTY: Final = "prefork_matrix"


def tell(
    record: pytest.RecordProperty, processes: str, stopped_by: str, created: Counter[str], arrived: Counter[str]
) -> None:
    """Note the row of one test, whatever its assertions will say."""
    lost = sum(1 for name in created if name not in arrived)
    twice = sum(count - 1 for count in arrived.values())
    counts = (sum(created.values()), sum(arrived.values()), lost, twice)
    record(_PROPERTY, f"| {processes} | {stopped_by} | {' | '.join(map(str, counts))} |")


def write_table(terminalreporter: Any) -> None:
    """Print the rows of all tests that ran."""
    tables.write_table(terminalreporter, "spans of prefork servers", _HEADER, _PROPERTY)
