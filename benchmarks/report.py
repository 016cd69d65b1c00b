"""Results as JSON, as Markdown, and as the generated part of docs/performance.md."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.scenes import Result

__all__ = ["as_markdown", "put_into", "save"]

BEGIN = "<!-- begin: python -m benchmarks -->"
END = "<!-- end: python -m benchmarks -->"


def as_markdown(results: dict[str, Result], machine: dict[str, Any]) -> str:
    """The budgets first, then a table per scene."""
    load = machine["load"]
    parts = [
        f"Made by one run of `python -m benchmarks`, {machine['finished']} UTC: {machine['cpus']} CPUs, "
        f"Python {machine['python']}, {machine['rounds']} rounds, interleaved, median [smallest, largest]. "
        f"Load average of the machine while it ran: {load['lowest']:.1f} to {load['highest']:.1f} "
        "(other programs ran too; microseconds are inflated by that, ratios within a round much less).",
        "",
        "| budget (DESIGN section 7) | limit | measured | met |",
        "|---|---|---|---|",
    ]
    for result in results.values():
        for budget in result.budgets:
            measured, limit = (f"{value:.3g} {budget.unit}" for value in (budget.measured, budget.limit))
            parts.append(f"| {budget.what} | {limit} | {measured} | {'yes' if budget.met else '**no**'} |")
    for result in results.values():
        head = "| " + " | ".join(result.columns) + " |"
        lines = ["| " + " | ".join(row) + " |" for row in result.rows]
        parts += ["", f"**{result.title}**", "", head, "|" + "---|" * len(result.columns), *lines]
    return "\n".join(parts) + "\n"


def save(path: Path, results: dict[str, Result], machine: dict[str, Any]) -> None:
    """Everything that was measured, run by run."""
    document = {
        "machine": machine,
        "scenes": {
            name: {
                "title": result.title,
                "columns": result.columns,
                "rows": result.rows,
                "budgets": [{**vars(budget), "met": budget.met} for budget in result.budgets],
                "runs": result.raw,
            }
            for name, result in results.items()
        },
    }
    path.write_text(json.dumps(document, indent=1))


def put_into(document: Path, text: str) -> None:
    """Replace the generated part of a document."""
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
