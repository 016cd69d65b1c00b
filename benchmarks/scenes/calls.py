"""What recording adds to one call: by kind of call, length of content, and state of the backend."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Table, added, added_all, good, ratios, spread
from benchmarks.scenes.scene import Options, Scene

if TYPE_CHECKING:
    from benchmarks.driver import Bench, Runs

_START_SECONDS = 3.0
"""A process until litellm is there, and its end."""


@dataclass(frozen=True)
class Kind:
    """One kind of call, in blocks of so many, in so many pairs of blocks."""

    name: str
    kind: str
    says: str
    block: int
    pairs: int
    seconds: float
    """Of one job on a quiet machine, the start of the process aside; the mean over the peers."""
    content: int = 2000
    chunks: int = 20
    more: tuple[str, ...] = ()
    """Variants of ours that only make a difference here, and the floor."""

    def job(self, options: Options) -> dict[str, Any]:
        """This kind's part of a job."""
        return {
            "name": self.name,
            "kind": self.kind,
            "content": self.content,
            "chunks": self.chunks,
            "block": max(2, round(self.block * options.scale)),
            "pairs": max(1, int(self.pairs * options.pairs)),
        }


KINDS = (
    Kind("mock", "mock", "litellm's mock answers, 2 kB", 120, 24, 20.0, more=("least",)),
    Kind("sync", "sync", "over HTTP, 2 kB", 60, 20, 20.0, more=("otel_llm_no_http", "least")),
    Kind("stream-20", "stream", "streams of 20 chunks, 2 kB", 12, 6, 4.0, more=("otel_llm_no_http",)),
    Kind("stream-500", "stream", "streams of 500 chunks, 2 kB", 2, 4, 8.0, chunks=500, more=("otel_llm_no_http",)),
    Kind("mock-64k", "mock", "mock answers, 64 kB", 24, 5, 2.8, content=64_000),
    Kind("mock-1m", "mock", "mock answers, 1 MB", 3, 3, 3.2, content=1_000_000, more=("otel_llm_uncut",)),
    Kind("async", "async", "over HTTP, 50 in flight, 2 kB", 200, 4, 8.0, more=("otel_llm_no_http",)),
)
"""In the order in which a process makes them; `async` last, because some peers keep what belongs to its event loop.

The budgets are about the first two. They have many pairs, because the pace of a rented machine changes by a half from
one second to the next.
"""
_VARIANTS = ("otel_llm_no_http", "otel_llm_uncut", "least")


def _jobs(options: Options) -> dict[str, dict[str, Any]]:
    more = _VARIANTS if "otel_llm" in options.peers else ()
    return {
        peer: {
            "scene": "calls",
            "peer": peer,
            "kinds": [kind.job(options) for kind in KINDS if peer not in _VARIANTS or peer in kind.more],
        }
        for peer in ("bare", *options.peers, *more)
    }


def _wanted(options: Options) -> dict[str, int]:
    return {peer: options.few if peer in _VARIANTS else options.rounds for peer in _jobs(options)}


def _measure(bench: Bench, options: Options) -> Runs:
    try:
        cases = {peer: partial(bench.run, job) for peer, job in _jobs(options).items()}
        return bench.interleaved(cases, _wanted(options))
    finally:
        for server in (bench.provider, bench.sink):
            server.tell("set?content=2000&chunks=20")


def of_kind(runs: Runs, name: str) -> Runs:
    """The part of the scene `calls` that one kind of call is; peers that do not make it left out."""
    found: Runs = {}
    for peer, results in runs.items():
        if any(name in run.get("kinds", ()) for run in results) or not good(results):
            found[peer] = [run if "error" in run else run["kinds"][name] for run in results]
    return found


def whole_share(results: list[dict[str, Any]]) -> float | None:
    """The share of recorded calls that arrived whole."""
    shares = [run["arrived"]["whole_recorded"] / run["arrived"]["recorded"] for run in good(results)]
    return statistics.median(shares) if shares else None


def _arrived(results: list[dict[str, Any]]) -> tuple[str, str]:
    """In words: calls that arrived whole, or which part of them; and bytes of each."""
    run = good(results)[-1]["arrived"]
    share = whole_share(results) or 0.0
    text = f"{share:.0%}"
    count = run["recorded"]
    if share < 0.995:
        parts = [
            word
            for word, found in (("questions", run["questions"]), ("answers", run["answers"]))
            if found < 0.995 * count
        ]
        text += f" (lacks {' and '.join(parts)})" if parts else ""
    each = max(count, run["questions"], run["whole"], 1)  # of who cannot be switched off more arrive
    raw, wire = run["raw"] / each, run["wire"] / each
    return text, f"{raw:,.0f}" + (f" -> {wire:,.0f}" if run["wire"] != run["raw"] else "")


def _tables(runs: Runs) -> list[Table]:
    return [_table(kind, of_kind(runs, kind.name)) for kind in KINDS]


def _table(kind: Kind, runs: Runs) -> Table:
    table = Table(
        f"One litellm call, {kind.says}: what recording adds (us)",
        (
            "peer",
            "CPU, all threads",
            "CPU, event loop" if kind.kind == "async" else "CPU, caller's thread",
            "wall time per call" if kind.kind != "async" else "wall time per call of 50 in flight",
            "otel_llm / peer, CPU",
            "whole calls that arrived",
            "bytes per call (on the wire)",
        ),
    )
    for peer, found in table.got_through(runs):
        compared = ratios(runs, "otel_llm", peer, lambda name, number: added(runs, name, number, "cpu"))
        figures = [spread(added_all(runs, peer, figure)) for figure in ("cpu", "caller_median", "wall")]
        if peer == "bare":
            table.rows.append(("bare (noise)", *figures, "", "", ""))
            continue
        table.rows.append((peer, *figures, spread(compared, 2), *_arrived(found)))
    plain = [pair["off"]["cpu"] for run in good(runs.get("bare", ())) for pair in run["pairs"]]
    if plain:
        table.notes.append(f"A call that nobody records takes {spread(plain)} us of CPU.")
    return table


def _seconds(options: Options) -> float:
    seconds = {kind.name: kind.seconds * max(options.pairs * options.scale, 0.1) for kind in KINDS}
    wanted = _wanted(options)
    return sum(
        wanted[peer] * (_START_SECONDS + sum(seconds[kind["name"]] + 0.2 for kind in job["kinds"]))
        for peer, job in _jobs(options).items()
    )


MODES = ("ok", "refuse", "hang", "429", "503")
_LATENCY_PEERS = ("otel_llm", "otel_llm_otlp", "openinference", "opik_callback")


def _latency_peers(options: Options) -> dict[str, int]:
    """Each with its rounds: the budget is ours, the others stand beside it."""
    return {
        peer: options.rounds if peer == "otel_llm" else options.few for peer in _LATENCY_PEERS if peer in options.peers
    }


def _measure_latency(bench: Bench, options: Options) -> Runs:
    def case(peer: str, mode: str) -> dict[str, Any]:
        try:
            return bench.run({"scene": "latency", "peer": peer, "mode": mode, "count": options.latency_calls})
        finally:
            bench.sink.tell("mode?m=ok")

    peers = _latency_peers(options)
    cases = {f"{peer} {mode}": partial(case, peer, mode) for mode in MODES for peer in peers}
    return bench.interleaved(cases, {name: peers[name.split()[0]] for name in cases})


def _latency_tables(runs: Runs) -> list[Table]:
    table = Table(
        "The caller's thread by the state of the backend: what recording adds to a mock call of 2 kB (us)",
        ("peer, backend", "CPU, p50", "CPU, p99", "wall time, p50", "wall time, p99"),
        notes=[
            "p99 is the difference of two p99: of calls made one right after the other with everything that goes on "
            "beside them, and of the same calls before anything was recorded."
        ],
    )
    figures = ("cpu_p50", "cpu_p99", "wall_p50", "wall_p99")
    for name, found in table.got_through(runs):
        table.rows.append((name, *(spread([run[figure] for run in found]) for figure in figures)))
    return [table]


CALL_SCENES = (
    Scene("calls", "what recording adds to calls, by kind of call and length of content", _measure, _tables, _seconds),
    Scene(
        "latency",
        "the caller's thread while the backend is up, refused, hanging, throttling",
        _measure_latency,
        _latency_tables,
        lambda options: (
            sum(_latency_peers(options).values()) * len(MODES) * (_START_SECONDS + options.latency_calls * 0.005)
        ),
        _LATENCY_PEERS,
    ),
)
