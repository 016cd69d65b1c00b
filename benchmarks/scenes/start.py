"""What arrives at all, and what it costs to start."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Table, spread
from benchmarks.scenes.scene import Options, Scene

if TYPE_CHECKING:
    from benchmarks.driver import Bench, Runs

_ALONE = ("otel_llm_alone", "stock_alone")
_CALLS = 10
BY_DESIGN = {
    ("langfuse_sdk", "stream"): "`@observe` records what the function returned, which is the stream object",
    ("openlit", "unrecorded"): "cannot be switched off again",
}
"""What a peer leaves out, or does all the same, as its own documentation or code says."""


def _measure_payload(bench: Bench, options: Options) -> Runs:
    """Two at a time: nothing is timed."""

    def case(peer: str) -> dict[str, Any]:
        job = {"scene": "payload", "peer": peer, "block": _CALLS, "content": 2000}
        with bench.own_sink() as sink:
            return bench.run(job, sink=sink, timeout=180)

    peers = (*options.peers, *(("otel_llm_no_http",) if "otel_llm" in options.peers else ()))
    return bench.each({peer: partial(case, peer) for peer in peers}, dict.fromkeys(peers, 1), 2)


def _payload_tables(runs: Runs) -> list[Table]:
    kinds = ("mock", "sync", "stream", "async")
    columns = ("peer", *kinds, "spans per call over HTTP", "sent to", "connections elsewhere")
    table = Table(f"What arrives: whole calls of {_CALLS} of each kind, content compared word for word", columns)
    for peer, _ in table.got_through(runs):
        run = runs[peer][-1]
        cells = []
        for kind in kinds:
            found = run["kinds"][kind]
            cells.append(
                f"{found['whole_recorded']}" + (f" ({found['answers']} answers)" if found["answers"] < _CALLS else "")
            )
            if found["not_to_be_recorded"]:
                cells[-1] += f", {found['not_to_be_recorded']} unrecorded"
            reason = BY_DESIGN.get((peer, kind))
            if reason and found["whole_recorded"] < _CALLS:
                table.notes.append(f"{peer}, {kind}: {reason}.")
        if any(run["kinds"][kind]["not_to_be_recorded"] for kind in kinds) and (peer, "unrecorded") in BY_DESIGN:
            table.notes.append(f"{peer}: {BY_DESIGN[peer, 'unrecorded']}; it is compared with bare litellm.")
        over_http = run["kinds"]["sync"]
        each = f"{over_http['spans'] / max(1, over_http['whole']):.1f}"
        paths = sorted({path for kind in kinds for path in run["kinds"][kind]["paths"]})
        table.rows.append(
            (peer, *cells, each, ", ".join(paths) or "the local store", ", ".join(run["elsewhere"]) or "none")
        )
    return [table]


def _measure_start(bench: Bench, options: Options) -> Runs:
    jobs = {name: {"peer": name, "script": "start.py"} for name in (*_ALONE, "bare", *options.peers)}
    with ThreadPoolExecutor(2) as pool:  # once for nothing: files come into the page cache, byte code is written
        list(pool.map(bench.run, jobs.values()))
    cases = {name: partial(bench.run, job) for name, job in jobs.items()}
    return bench.interleaved(cases, _start_rounds(options))


def _start_rounds(options: Options) -> dict[str, int]:
    """A budget is of ours alone; the others stand beside it."""
    return {name: options.rounds if name in _ALONE else options.few for name in (*_ALONE, "bare", *options.peers)}


def _start_tables(runs: Runs) -> list[Table]:
    table = Table(
        "Import and start",
        ("peer", "CPU (ms)", "added to bare litellm (ms)", "memory (MB)", "added to bare litellm (MB)", "modules"),
        notes=[
            "`otel_llm_alone` is `import otel_llm` and `configure()`, `stock_alone` the SDK with its OTLP exporter, "
            "both without litellm; the others are litellm, the peer, and a first call."
        ],
    )
    for name, found in table.got_through(runs):
        figures = {}
        for figure in ("cpu_ms", "rss_mb"):
            both = zip(runs[name], runs["bare"], strict=False)
            more = [one[figure] - base[figure] for one, base in both if "error" not in one and "error" not in base]
            figures[figure] = "" if name in {*_ALONE, "bare"} else spread(more, 1 if figure == "rss_mb" else 0)
        table.rows.append(
            (
                name,
                spread([run["cpu_ms"] for run in found]),
                figures["cpu_ms"],
                spread([run["rss_mb"] for run in found], 1),
                figures["rss_mb"],
                spread([run["modules"] for run in found]),
            )
        )
    return [table]


START_SCENES = (
    Scene(
        "payload", "what arrives of each peer's calls, and where it is sent", _measure_payload, _payload_tables,
        lambda options: 4.0 * len(options.peers),
    ),
    Scene(
        "start", "import and start", _measure_start, _start_tables,
        lambda options: (3.5 * (options.few + 0.5) * (len(options.peers) + 1)) + 1.2 * (options.rounds + 0.5),
    ),
)  # fmt: skip
