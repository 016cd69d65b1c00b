"""An event loop beside spans that are recorded, kept and sent: how much later than asked for it wakes up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import Table, spread
from benchmarks.scenes.scene import Options, Scene

if TYPE_CHECKING:
    from benchmarks.driver import Bench, Runs

_WAYS = ("sdk_alone", "stock_http", "ours_opik", "ours_otlp", "ours_local", "opik_span")
_RATES = (200, 1_000)
"""Spans a second."""


def _chosen(options: Options) -> tuple[str, ...]:
    return tuple(way for way in _WAYS if not options.ways or way in options.ways)


def _measure(bench: Bench, options: Options) -> Runs:
    jobs = {
        way: {"scene": "lateness", "peer": way, "rates": _RATES, "seconds": options.lateness_seconds}
        for way in _chosen(options)
    }
    return bench.rounds(jobs, options.few)


def _tables(runs: Runs) -> list[Table]:
    return [_table(rate, runs) for rate in _RATES]


def _table(rate: int, runs: Runs) -> Table:
    table = Table(
        f"An event loop beside {rate:,} spans of 2.8 kB a second: how much later than asked for it wakes up (ms)",
        ("way", "p99", "p99.9", "longest", "CPU per span (us)", "spans made of those asked for"),
        notes=["`sdk_alone` makes the spans and nobody wants them. The longest are Python's full garbage collections."],
    )
    for way, found in table.got_through(runs):
        each = [run["rates"][str(rate)] for run in found]
        figures = [spread([one[name] for one in each], 1) for name in ("p99", "p999", "longest")]
        made = spread([100 * one["made"] for one in each])
        table.rows.append((way, *figures, spread([one["cpu"] for one in each]), f"{made} %"))
    return table


LATENESS_SCENES = (
    Scene(
        "lateness",
        "how late an event loop wakes up beside spans",
        _measure,
        _tables,
        lambda options: options.few * len(_chosen(options)) * (2.0 + len(_RATES) * options.lateness_seconds),
        _WAYS,
    ),
)
