"""The prefork matrix: what each tree of processes created and what arrived of it; printed after a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

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
    rows = {
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == _PROPERTY
    }
    if rows:
        terminalreporter.section("spans of prefork servers")
        for line in (*_HEADER, *sorted(rows)):
            terminalreporter.write_line(line)
