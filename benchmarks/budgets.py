"""The budgets of the design, section 7, each with what was measured of it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.figures import added, added_all, good, ratios
from benchmarks.scenes.calls import MODES, of_kind, whole_share
from benchmarks.scenes.raw import cpu
from benchmarks.scenes.scene import OTEL_BASED

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.driver import Runs

Find = "Callable[[str], Runs]"

_SPOOLED = ("otel_llm", "otel_llm_otlp")


@dataclass(frozen=True)
class Row:
    """A promise, what was measured of it, and whether it holds."""

    what: str
    limit: float
    unit: str
    values: tuple[float, ...] = ()
    """Round by round; none: not measured."""
    at_least: bool = False
    worst: bool = False
    """Every round has to hold, as with counts; else the median has to."""

    @property
    def measured(self) -> float | None:
        """The figure that is held against the limit."""
        if not self.values:
            return None
        if self.worst:
            return min(self.values) if self.at_least else max(self.values)
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether it holds; None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def rows(find: Callable[[str], Runs]) -> list[Row]:
    """All budgets; `find` answers the runs of a scene, none where it was not measured."""
    return [
        *_calls(find),
        *_caller(find),
        *_raw(find),
        *_burst(find("burst")),
        *_start(find("start")),
        *_memory(find("memory")),
        *_lossless(find),
        *_ending(find("ending")),
    ]


def best_peer(runs: Runs) -> str | None:
    """Of the peers on OpenTelemetry that deliver whole calls, the one that adds the least."""
    costs = {
        peer: statistics.median(added_all(runs, peer, "cpu"))
        for peer in OTEL_BASED
        if added_all(runs, peer, "cpu") and (whole_share(runs[peer]) or 0.0) >= 0.99
    }
    return min(costs, key=lambda peer: costs[peer]) if costs else None


def _calls(find: Callable[[str], Runs]) -> list[Row]:
    made = []
    for scene, words in (("mock", "mock answer"), ("sync", "over HTTP")):
        runs = of_kind(find("calls"), scene)

        def figure(name: str, number: int, runs: Runs = runs) -> float | None:
            return added(runs, name, number, "cpu")

        best = best_peer(runs)
        compared = ratios(runs, "otel_llm", best, figure) if best else []
        against = f"against the best peer on OpenTelemetry ({best or 'none measured'})"
        made.append(Row(f"CPU added to one call, {words}, {against}", 0.5, "x", tuple(compared)))
        compared = ratios(runs, "otel_llm", "opik_callback", figure)
        what = f"CPU added to one call, {words}, against litellm's `opik` callback"
        made.append(Row(what, 1 / 30, "x", tuple(compared)))
    return made


def _caller(find: Callable[[str], Runs]) -> list[Row]:
    median = tuple(added_all(of_kind(find("calls"), "mock"), "otel_llm", "caller_median"))
    made = [Row("of it on the caller's thread, median, mock answer", 150, "us", median)]
    runs = find("latency")
    for clock, words in (("cpu", "CPU"), ("wall", "wall time")):
        by_mode = {mode: [run[f"{clock}_p99"] for run in good(runs.get(f"otel_llm {mode}", ()))] for mode in MODES}
        measured = {mode: values for mode, values in by_mode.items() if values}
        worst = max(measured, key=lambda mode: statistics.median(measured[mode])) if measured else None
        state = f", worst backend of {len(measured)}: {worst}" if worst else ""
        values = tuple(measured[worst]) if worst else ()
        made.append(Row(f"on the caller's thread, p99, {words}{state}", 1000, "us", values))
    return made


def _raw(find: Callable[[str], Runs]) -> list[Row]:
    made = []
    for scene, words in (("raw", "each a trace of its own"), ("raw-traces", "in traces of ten")):
        runs = find(scene)

        def figure(name: str, number: int, runs: Runs = runs) -> float | None:
            return cpu(runs, name, number)

        pairs = [("ours_opik", "stock_http", 0.6), ("ours_opik_gzip", "opik_trace_span", 1 / 20)]
        if scene == "raw":
            pairs.insert(1, ("ours_opik_gzip", "opik_span", 1 / 20))
        for ours, other, limit in pairs:
            what = f"CPU per raw span into Opik, {words}: `{ours}` against `{other}`"
            made.append(Row(what, limit, "x", tuple(ratios(runs, ours, other, figure))))
    return made


def _shares(results: Any, part: str, of: str) -> list[float]:
    return [100 * run[part] / run[of] for run in good(results)]


def _burst(runs: Runs) -> list[Row]:
    ours = [run for way in ("ours_opik", "ours_otlp", "ours_local") for run in runs.get(way, ())]
    made = []
    for part, words in (("arrived_at_end", "by the end of the program"), ("arrived_later", "or the next start")):
        values = tuple(_shares(ours, part, "count"))
        made.append(Row(f"burst of 20,000 spans, delivered {words}", 100, "%", values, at_least=True, worst=True))
    return made


def _start(runs: Runs) -> list[Row]:
    found = good(runs.get("otel_llm_alone", ()))
    words = "`import otel_llm` and `configure()`"
    return [
        Row(f"{words}, CPU", 150, "ms", tuple(run["cpu_ms"] for run in found)),
        Row(f"{words}, memory", 25, "MB", tuple(run["rss_mb"] for run in found)),
        Row(
            f"{words}, of litellm, opik, grpc, httpx loaded",
            0,
            "",
            tuple(len(run["guests"]) for run in found),
            worst=True,
        ),
    ]


def _memory(runs: Runs) -> list[Row]:
    values = tuple(run["growth_mb"] for run in good(runs.get("otel_llm", ())))
    return [Row("memory growth over 100,000 calls with the backend down", 50, "MB", values, worst=True)]


def _lossless(find: Callable[[str], Runs]) -> list[Row]:
    outage, killed = find("outage"), find("killed")
    made = []
    for mode, words in (("refuse", "connection refused"), ("503", "503")):
        ours = [run for peer in _SPOOLED for run in outage.get(f"{peer} {mode}", ())]
        values = tuple(_shares(ours, "arrived", "made"))
        made.append(Row(f"outage of 30 s at 50 calls/s, {words}: arrived", 100, "%", values, at_least=True, worst=True))
    ours = [run for peer in _SPOOLED for run in killed.get(peer, ())]
    for part, of, words in (
        ("arrived_again", "made", "everything"),
        ("settled_arrived", "answered_a_second_before", "of what was answered a second before it"),
    ):
        what = f"`kill -9` in an outage and the program again: arrived, {words}"
        made.append(Row(what, 100, "%", tuple(_shares(ours, part, of)), at_least=True, worst=True))
    return made


def _ending(runs: Runs) -> list[Row]:
    made = []
    for mode, words in (("refuse", "dead"), ("hang", "hanging")):
        ours = [run for peer in _SPOOLED for run in runs.get(f"{peer} {mode}", ())]
        seconds = tuple(run["exit_seconds"] for run in good(ours))
        made.append(Row(f"the end of a program, {words} backend", 2.0, "s", seconds, worst=True))
        values = tuple(_shares(ours, "arrived_later", "made"))
        what = f"the end of a program, {words} backend: arrived by the next start"
        made.append(Row(what, 100, "%", values, at_least=True, worst=True))
    return made
