"""The figures as Markdown, and as the generated part of docs/performance.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.budgets import rows
from benchmarks.figures import spread
from benchmarks.floors import nearness
from benchmarks.scenes import SCENES

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.budgets import Row
    from benchmarks.figures import Table
    from benchmarks.results import Results

__all__ = ["as_markdown", "failures", "put_into"]

BEGIN = "<!-- begin: python -m benchmarks -->"
END = "<!-- end: python -m benchmarks -->"
_SMALLEST = {"x": 3, "us": 0, "ms": 0, "MB": 1, "%": 1, "s": 2}
"""Digits that are shown of each unit."""


def as_markdown(results: Results) -> str:
    """What was measured where, the budgets, the floors, then every scene."""
    measured = [name for name in SCENES if results.runs(name)]
    if not measured:
        return "Nothing was measured yet.\n"
    parts = [*_where(results, measured), "", *_budget_lines(rows(results.runs))]
    near = nearness(results.runs)
    if near.rows:
        parts += ["", *_lines(near)]
    for name in measured:
        for table in SCENES[name].tables(results.runs(name)):
            parts += ["", *_lines(table), _made(results, name)]
    return "\n".join(parts) + "\n"


def failures(results: Results) -> list[str]:
    """The jobs that did not get through."""
    return [
        f"{scene} {name}"
        for scene in SCENES
        for name, runs in results.runs(scene).items()
        if any("error" in run for run in runs)
    ]


def _where(results: Results, measured: list[str]) -> list[str]:
    facts: list[dict[str, Any]] = [results.scenes[name]["machine"] for name in measured]
    places = sorted(
        {
            f"{each['cpus']} CPUs ({each['cpu']}), {each['memory_gb']} GB, Python {each['python']}, {each['system']}"
            for each in facts
        }
    )
    low, high = min(each["load"]["lowest"] for each in facts), max(each["load"]["highest"] for each in facts)
    commits = sorted({each["commit"] for each in facts if each["commit"]})
    versions: dict[str, set[str]] = {}
    for each in facts:
        for packages in each["versions"].values():
            for package, version in packages.items():
                versions.setdefault(package, set()).add(version)
    return [
        f"Made by `python -m benchmarks` between {min(each['started'] for each in facts)} and "
        f"{max(each['started'] for each in facts)} UTC, at {', '.join(commits) or 'an unknown commit'}, on "
        f"{'; '.join(places)}. Load average of the machine: {low} to {high}, the benchmark's own processes among it.",
        "",
        "Versions: "
        + ", ".join(f"{package} {' and '.join(sorted(found))}" for package, found in sorted(versions.items()))
        + ".",
    ]


def _made(results: Results, name: str) -> str:
    scene = results.scenes[name]
    facts, options = scene["machine"], scene["options"]
    cut = "" if scene["complete"] else " **Cut short.**"
    load = facts["load"]
    return (
        f"\n<sub>`--only {name}`, {options['size']}: {facts['started']} UTC, {facts['seconds'] / 60:.0f} min, "
        f"{options['rounds']} rounds, load {load['lowest']} to {load['highest']}.{cut}</sub>"
    )


def _budget_lines(budgets: list[Row]) -> list[str]:
    lines = ["| budget (DESIGN section 7) | limit | measured | met |", "|---|---|---|---|"]
    for row in budgets:
        sign = ">=" if row.at_least else "<="
        digits = _SMALLEST.get(row.unit, 0)
        met = {True: "yes", False: "**no**", None: "not measured"}[row.met]
        measured = f"{spread(row.values, digits)} {row.unit}" if row.values else ""
        limit = f"{row.limit:,.3g}" if row.limit < 1000 else f"{row.limit:,.0f}"
        lines.append(f"| {row.what} | {sign} {limit} {row.unit} | {measured} | {met} |")
    return lines


def _lines(table: Table) -> list[str]:
    head = "| " + " | ".join(table.columns) + " |"
    body = ["| " + " | ".join(row) + " |" for row in table.rows]
    notes = [f"\n{note}" for note in table.notes]
    return [f"**{table.title}**", "", head, "|" + "---|" * len(table.columns), *body, *notes]


def put_into(document: Path, text: str) -> None:
    """Replace the generated part of a document."""
    before, begin, rest = document.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        message = f"{document} has no place for the tables: it lacks the line {BEGIN if not begin else END}"
        raise ValueError(message)
    document.write_text(f"{before}{BEGIN}\n{text}{END}{after}")
