"""Numbers of many rounds: what is compared is compared within one round, then the median is taken."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.driver import Runs

Run = "dict[str, Any]"


@dataclass
class Table:
    """A table of the report."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What stands below it."""

    def got_through(self, runs: Runs, *, column: int = 1) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Each name with its runs that got through; one without any gets a row that says why, in that column."""
        for name, results in runs.items():
            found = good(results)
            if found:
                yield name, found
            else:
                after = len(self.columns) - column - 1
                self.rows.append((name, *[""] * (column - 1), failure(results), *[""] * after))


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median with the smallest and the largest."""
    if not values:
        return "none"
    low, middle, high = min(values), statistics.median(values), max(values)
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def good(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs that got through."""
    return [result for result in results if "error" not in result]


def median(results: Sequence[dict[str, Any]], figure: str) -> float | None:
    """The median of one figure over the runs that have it."""
    found = [result[figure] for result in good(results) if result.get(figure) is not None]
    return statistics.median(found) if found else None


def ratios(runs: Runs, one: str, other: str, figure: Callable[[str, int], float | None]) -> list[float]:
    """`one` over `other`, round by round; `figure(name, round)` is None where there is nothing to compare."""
    found = []
    for number in range(min(len(runs.get(one, ())), len(runs.get(other, ())))):
        above, below = figure(one, number), figure(other, number)
        if above is not None and below is not None and below > 0:
            found.append(above / below)
    return found


def failure(results: Sequence[dict[str, Any]]) -> str:
    """Why nothing got through, in a few words for a table."""
    words = next((result["error"] for result in results if "error" in result), "not run")
    last = words.strip().splitlines()[-1] if words.strip() else "no word"
    return f"failed: {last[:120]}".replace("|", "/")


def added(runs: Runs, peer: str, number: int, figure: str) -> float | None:
    """What recording added in one round: the median over its pairs of blocks.

    Where a peer cannot be switched off, its recorded blocks are compared with the unrecorded ones of bare litellm.
    """
    if number >= len(runs.get(peer, ())) or "error" in runs[peer][number]:
        return None
    run = runs[peer][number]
    if run["switchable"]:
        return float(statistics.median(pair["on"][figure] - pair["off"][figure] for pair in run["pairs"]))
    if number >= len(runs.get("bare", ())) or "error" in runs["bare"][number]:
        return None
    recorded = statistics.median(pair[side][figure] for pair in run["pairs"] for side in ("on", "off"))
    plain = statistics.median(pair["off"][figure] for pair in runs["bare"][number]["pairs"])
    return float(recorded - plain)


def added_all(runs: Runs, peer: str, figure: str) -> list[float]:
    """`added` of every round that has it."""
    found = [added(runs, peer, number, figure) for number in range(len(runs.get(peer, ())))]
    return [value for value in found if value is not None]
