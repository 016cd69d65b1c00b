"""Disasters are reported as a table: what was injected, and what was counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = ("created", "delivered", "duplicates", "lost")


class Verdict(Protocol):
    """Writes one row of the table."""

    def __call__(self, injected: str, *, created: int, delivered: int, duplicates: int, lost: int) -> None: ...


@pytest.fixture
def verdict(record_property: Callable[[str, object], None]) -> Verdict:
    """Records what was injected and counted; the rows come at the end of the run."""

    def say(injected: str, *, created: int, delivered: int, duplicates: int, lost: int) -> None:
        record_property("verdict", (injected, created, delivered, duplicates, lost))

    return say


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the rows of all tests that recorded one."""
    rows = [
        value
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties
        if name == "verdict"
    ]
    if rows:
        terminalreporter.section("injected and counted (spans)")
        width = max(len(row[0]) for row in rows)
        terminalreporter.write_line(f"{'injected':{width}} " + " ".join(f"{name:>10}" for name in COLUMNS))
        for injected, *numbers in rows:
            terminalreporter.write_line(f"{injected:{width}} " + " ".join(f"{number:>10}" for number in numbers))
