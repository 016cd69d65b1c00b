"""Tables that tests fill row by row, as properties of their reports, and that are printed when the run is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["write_table"]


def write_table(terminalreporter: Any, title: str, header: Sequence[str], row_property: str) -> None:
    """Print the rows that tests have recorded as `row_property`, sorted, each once; nothing where there are none."""
    rows = {
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == row_property
    }
    if rows:
        terminalreporter.section(title)
        for line in (*header, *sorted(rows)):
            terminalreporter.write_line(line)
