"""The fault table: each fault test states its counts, which docs/collector.md must have; printed after a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.fakes.opik import FakeOpik

_GUIDE: Final = Path(__file__).parents[2] / "docs/collector.md"
_HEADER: Final = (
    "| fault | created | acknowledged | delivered | rejected | duplicates | lost |",
    "|---|---:|---:|---:|---:|---:|---:|",
)
_PROPERTY: Final = "fault_table"


class FaultTable:
    """Takes the row of one test."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def row(
        self,
        fault: str,
        opik: FakeOpik,
        *,
        created: int,
        acknowledged: int | None = None,
        rejected: int = 0,
        workspaces: Sequence[str] = ("default",),
    ) -> None:
        """Count what became of the spans, and compare with the guide.

        Args:
            fault: What was done, as the guide has it.
            opik: Where the spans went to.
            created: How many spans a program had.
            acknowledged: How many of them were answered with 200; all of them if not told.
            rejected: How many Opik refused for good, which the Collector counted.
            workspaces: Where to look for them.
        """
        line = self.seen(
            fault, opik, created=created, acknowledged=acknowledged, rejected=rejected, workspaces=workspaces
        )
        assert line in _GUIDE.read_text().splitlines(), f"docs/collector.md does not say what was counted: {line}"

    def seen(
        self,
        fault: str,
        opik: FakeOpik,
        *,
        created: int,
        acknowledged: int | None = None,
        rejected: int = 0,
        workspaces: Sequence[str] = ("default",),
    ) -> str:
        """Count, and print at the end, what is not the same in every run; the row."""
        acknowledged = created if acknowledged is None else acknowledged
        delivered = len({row["id"] for name in workspaces for row in opik.spans(workspace=name)})
        counts = (created, acknowledged, delivered, rejected, len(opik.duplicates()))
        line = f"| {fault} | {' | '.join(map(str, counts))} | {acknowledged - delivered - rejected} |"
        self._record(_PROPERTY, line)
        return line


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the rows of all fault tests that ran."""
    tables.write_table(terminalreporter, "what became of spans behind the Collector", _HEADER, _PROPERTY)
