"""The scenes: which jobs each is made of, and what its figures say, as rows of a table.

A row compares within one round and takes the median over the rounds; `[a, b]` behind it are the smallest and the
largest. A budget of DESIGN section 7 that a scene measures stands beside its ratio.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.driver import Bench

__all__ = ["SCENES", "Budget", "Options", "Result"]

FIRST_PEERS = ("otel_llm", "openinference", "openllmetry", "litellm_otel")
OTHER_PEERS = ("langfuse_callback", "langfuse_sdk", "openlit", "logfire", "opik_track", "opik_callback")
CLOSED = "http://127.0.0.1:9"
"""Nobody listens on the discard port: connections are refused."""


WAYS = (
    "sdk_alone",
    "stock_http",
    "stock_http_gzip",
    "ours_opik",
    "ours_opik_gzip",
    "ours_opik_memory",
    "ours_opik_pipeline",
    "ours_otlp",
    "opik_sdk",
)
"""Ways for raw spans, see `raw.py`."""


@dataclass(frozen=True)
class Options:
    """How much is measured."""

    rounds: int = 7
    peers: tuple[str, ...] = (*FIRST_PEERS, *OTHER_PEERS)
    pairs: int = 6
    block: int = 40
    spans: int = 20_000
    outage_spans: int = 100_000
    ways: tuple[str, ...] = WAYS


@dataclass(frozen=True)
class Budget:
    """A promise, what was measured of it, and whether it holds."""

    what: str
    limit: float
    measured: float
    unit: str = "x"

    @property
    def met(self) -> bool:
        """Whether the figure is within its limit."""
        return self.measured <= self.limit


@dataclass
class Result:
    """What one scene found."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)


def spread(values: list[float], digits: int = 0) -> str:
    """Median with the smallest and the largest."""
    if not values:
        return "none"
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _added(result: dict[str, Any], figure: str) -> float:
    return statistics.median(pair["on"][figure] - pair["off"][figure] for pair in result["pairs"])


def _good(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [result for result in results if "error" not in result]


def _paired(runs: dict[str, list[dict[str, Any]]], one: str, other: str, figure: Callable[[Any], float]) -> list[float]:
    """`one` over `other`, round by round."""
    both = zip(runs.get(one, ()), runs.get(other, ()), strict=False)
    return [figure(a) / figure(b) for a, b in both if "error" not in a and "error" not in b and figure(b) > 0]


def _calls(kind: str, content: int = 2000, *, slow: int = 1) -> Callable[[Bench, Options], Result]:
    def scene(bench: Bench, options: Options) -> Result:
        for server in (bench.provider, bench.sink):
            server.tell(f"set?content={content}")
        block = max(6, options.block // slow)
        jobs = {
            peer: {
                "scene": "calls",
                "peer": peer,
                "kind": kind,
                "content": content,
                "block": block,
                "pairs": options.pairs,
            }
            for peer in options.peers
        }
        runs = bench.rounds(jobs, options.rounds)
        title = f"One litellm call, {kind}, {content // 1000} kB of content: what recording adds (us of CPU)"
        columns = (
            "peer",
            "added, all threads",
            "added, caller",
            "ours / peer",
            "whole calls that arrived",
            "bytes per call",
        )
        result = Result(title, columns, raw=runs)
        for peer in options.peers:
            good = _good(runs[peer])
            if not good:
                result.rows.append((peer, "failed", "", "", "", ""))
                continue
            has_caller = kind != "async"
            ratios = _paired(runs, "otel_llm", peer, lambda run: _added(run, "cpu"))
            arrived = [run["arrived"]["whole"] / run["arrived"]["recorded_calls"] for run in good]
            size = [run["arrived"]["raw"] / run["arrived"]["recorded_calls"] for run in good]
            result.rows.append(
                (
                    peer,
                    spread([_added(run, "cpu") for run in good]),
                    spread([_added(run, "caller_median") for run in good]) if has_caller else "",
                    spread(ratios, 2),
                    f"{statistics.median(arrived):.0%}",
                    f"{statistics.median(size):.0f}",
                )
            )
        if kind == "mock":
            _call_budgets(result, runs, options)
        return result

    return scene


def _call_budgets(result: Result, runs: dict[str, list[dict[str, Any]]], options: Options) -> None:
    def cpu(run: Any) -> float:
        return _added(run, "cpu")

    for peer, limit, name in (
        ("openinference", 0.5, "CPU added to one call, against OpenInference"),
        ("opik_callback", 1 / 30, "CPU added to one call, against litellm's `opik` callback"),
    ):
        ratios = _paired(runs, "otel_llm", peer, cpu) if peer in options.peers else []
        if ratios:
            result.budgets.append(Budget(name, limit, statistics.median(ratios)))
    ours = [_added(run, "caller_median") for run in _good(runs["otel_llm"])]
    if ours:
        result.budgets.append(Budget("CPU added on the caller's thread, median", 150, statistics.median(ours), "us"))


def raw_spans(bench: Bench, options: Options) -> Result:
    """Raw spans, all the way into the backend."""
    jobs = {
        name: {"scene": "raw", "peer": name, "count": 1_000 if name == "opik_sdk" else options.spans}
        for name in options.ways
    }
    runs = bench.rounds(jobs, options.rounds)
    columns = ("way", "CPU per span (us)", "of it creating", "way / stock_http", "arrived", "bytes per span, wire")
    result = Result("Raw spans of 2.8 kB, each a trace of its own, created, kept and delivered", columns, raw=runs)
    for name in options.ways:
        good = _good(runs[name])
        if not good:
            result.rows.append((name, "failed", "", "", "", ""))
            continue
        count = jobs[name]["count"]
        result.rows.append(
            (
                name,
                spread([run["cpu"] for run in good]),
                spread([run["created_us"] for run in good]),
                spread(_paired(runs, name, "stock_http", lambda run: run["cpu"]), 2),
                f"{statistics.median(run['arrived']['spans'] for run in good) / count:.0%}",
                f"{statistics.median(run['arrived']['wire'] for run in good) / count:.0f}",
            )
        )
    for other, limit in (("stock_http", 0.6), ("opik_sdk", 1 / 20)):
        ratios = _paired(runs, "ours_opik", other, lambda run: run["cpu"])
        if ratios:
            result.budgets.append(
                Budget(f"CPU per raw span into Opik, against {other}", limit, statistics.median(ratios))
            )
    return result


def burst(bench: Bench, options: Options) -> Result:
    """20,000 spans as fast as they can be made, then the end of the program."""
    result = Result("Burst of 20,000 spans at default settings", ("way", "delivered", "program's end (s)"))
    for name in ("ours_opik", "stock_http"):
        arrived, ends = [], []
        for _ in range(min(3, options.rounds)):
            run = bench.run({"scene": "raw", "peer": name, "count": 20_000, "burst": True})
            if "error" in run:
                continue
            for _ in range(40):  # what the spool still holds is the next process's to deliver: give it one
                stats = bench.sink.tell("stats")
                if stats["spans"] >= 20_000:
                    break
                time.sleep(0.25)
            arrived.append(stats["spans"] / 20_000)
            ends.append(run["exit_seconds"])
            result.raw.setdefault(name, []).append({**run, "arrived": stats})
        result.rows.append((name, spread([100 * part for part in arrived]) + " %", spread(ends, 1)))
    return result


def start(bench: Bench, options: Options) -> Result:
    """Import and configuration."""
    jobs = {name: {"scene": "start", "peer": name} for name in ("otel_llm_alone", "bare", *options.peers)}
    runs = bench.rounds(jobs, min(options.rounds, 5))
    result = Result("Import and start", ("peer", "CPU (ms)", "memory (MB)", "added to bare litellm (ms)"), raw=runs)
    for name in jobs:
        good = _good(runs[name])
        bare = [run["cpu_ms"] for run in _good(runs["bare"])]
        added = [run["cpu_ms"] - base for run, base in zip(good, bare, strict=False)]
        alone = name in {"otel_llm_alone", "bare"}
        row = (spread([run["cpu_ms"] for run in good]), spread([run["rss_mb"] for run in good]))
        result.rows.append((name, *row, "" if alone else spread(added)))
    ours = _good(runs["otel_llm_alone"])
    if ours:
        cpu = statistics.median(run["cpu_ms"] for run in ours)
        result.budgets.append(Budget("`import otel_llm` and `configure()`, CPU", 150, cpu, "ms"))
        memory = statistics.median(run["rss_mb"] for run in ours)
        result.budgets.append(Budget("`import otel_llm` and `configure()`, memory", 25, memory, "MB"))
    return result


_MODES = ("ok", "refuse", "hang", "429", "503")


def latency(bench: Bench, options: Options) -> Result:
    """The caller's thread while the backend is up, and while it is not."""
    columns = ("backend", "added p50 (us of CPU)", "added p99 (us of CPU)")
    result = Result("The caller's thread, by the state of the backend", columns)
    for mode in _MODES:
        runs = []
        for _ in range(min(options.rounds, 5)):
            bench.sink.tell(f"mode?m={'ok' if mode == 'refuse' else mode}")
            job = {"scene": "latency", "peer": "otel_llm", "count": 400}
            runs.append(bench.run(job, sink_url=CLOSED if mode == "refuse" else None))
        bench.sink.tell("mode?m=ok")
        good = _good(runs)
        result.raw[mode] = runs
        result.rows.append((mode, spread([run["p50"] for run in good]), spread([run["p99"] for run in good])))
        if good:
            tail = statistics.median(run["p99"] for run in good)
            result.budgets.append(Budget(f"CPU added on the caller's thread, p99, backend `{mode}`", 1000, tail, "us"))
    return result


def outage(bench: Bench, options: Options) -> Result:
    """Memory while nothing can be delivered."""
    job = {"scene": "outage", "peer": "ours_opik_pipeline", "count": options.outage_spans}
    run = bench.run(job, sink_url=CLOSED, timeout=1200)
    title = f"Memory over {options.outage_spans:,} recorded spans with the backend down"
    result = Result(title, ("way", "growth (MB)"), raw={"ours": run})
    if "error" not in run:
        result.rows.append(("ours_opik_pipeline", f"{run['growth_mb']:.0f}"))
        result.budgets.append(Budget("memory growth with the backend down", 50, run["growth_mb"], "MB"))
    return result


def ending(bench: Bench, options: Options) -> Result:
    """The end of a program whose backend hangs or refuses."""
    result = Result("The end of a program after 200 calls (s)", ("peer", "refused", "hanging"))
    for peer in [peer for peer in options.peers if not peer.startswith("opik")]:
        cells = []
        for mode in ("refuse", "hang"):
            bench.sink.tell(f"mode?m={'hang' if mode == 'hang' else 'ok'}")
            job = {"scene": "ending", "peer": peer, "count": 200}
            run = bench.run(job, sink_url=CLOSED if mode == "refuse" else None, timeout=150)
            bench.sink.tell("mode?m=ok")
            result.raw[f"{peer} {mode}"] = run
            cells.append(f"{run['exit_seconds']:.1f}" if "error" not in run else "over 150")
            if peer == "otel_llm" and "error" not in run:
                what = f"the end of a program, backend `{mode}`"
                result.budgets.append(Budget(what, 2.0, run["exit_seconds"], "s"))
        result.rows.append((peer, *cells))
        print(f"ending {peer}: {cells}", file=sys.stderr)
    return result


SCENES: dict[str, Callable[[Bench, Options], Result]] = {
    "mock": _calls("mock"),
    "sync": _calls("sync"),
    "async": _calls("async"),
    "stream": _calls("stream", slow=4),
    "mock-64k": _calls("mock", 64_000, slow=2),
    "mock-1m": _calls("mock", 1_000_000, slow=8),
    "raw": raw_spans,
    "burst": burst,
    "start": start,
    "latency": latency,
    "outage": outage,
    "ending": ending,
}
