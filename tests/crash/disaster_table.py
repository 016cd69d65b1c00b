"""The disasters: what was injected and what was counted; printed after a run, and held to docs/disasters.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["GUIDE", "Verdict", "write_table"]

GUIDE: Final = Path(__file__).parents[2] / "docs/disasters.md"
_HEADER: Final = (
    "| # | injected | created | delivered | duplicates | counted | lost |",
    "|---|---|---:|---:|---:|---:|---:|",
)
_PROPERTY: Final = "disaster"


class Verdict:
    """Takes what one test has counted.

    `row` is the number of the fault in the list that docs/disasters.md has. A span is `counted` when it is in the
    books as rejected or dropped, with a reason, and `lost` when it is neither delivered nor waiting nor counted.
    """

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def __call__(
        self,
        row: int,
        injected: str,
        *,
        created: int,
        delivered: int,
        duplicates: int = 0,
        counted: int = 0,
        lost: int = 0,
        varies: bool = False,
    ) -> None:
        """Keep a row for the table, and compare it with the guide; of a run that `varies` only its beginning."""
        begin = f"| {row} | {injected} |"
        line = f"{begin} {created} | {delivered} | {duplicates} | {counted} | {lost} |"
        self._record(_PROPERTY, [row, line])
        known = GUIDE.read_text(encoding="utf-8").splitlines()
        as_told = any(told.startswith(begin) for told in known) if varies else line in known
        assert as_told, f"docs/disasters.md does not say what was counted: {line}"


def write_table(terminalreporter: Any) -> None:
    """Print the rows of all tests that recorded one."""
    rows = {
        tuple(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == _PROPERTY
    }
    if rows:
        terminalreporter.section("disasters: what was injected and what became of the spans")
        for line in (*_HEADER, *(line for _, line in sorted(rows))):
            terminalreporter.write_line(line)
