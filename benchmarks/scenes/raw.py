"""Raw spans: CPU from start to delivery, in two workloads, and a burst at default settings; beside the floors."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Table, good, ratios, spread
from benchmarks.scenes.scene import Options, Scene

if TYPE_CHECKING:
    from benchmarks.driver import Bench, Runs

RAW_WAYS = (
    "sdk_alone",
    "stock_http",
    "stock_http_gzip",
    "stock_grpc",
    "ours_opik",
    "ours_opik_gzip",
    "ours_opik_memory",
    "ours_opik_unredacted",
    "ours_otlp",
    "ours_otlp_memory",
    "ours_otlp_grpc",
    "ours_local",
    "opik_span",
    "opik_trace_span",
)
_TRACE_WAYS = (
    "stock_http",
    "stock_http_gzip",
    "stock_grpc",
    "ours_opik",
    "ours_opik_gzip",
    "ours_otlp",
    "opik_trace_span",
)
_BURST_WAYS = (
    "ours_opik",
    "ours_otlp",
    "ours_local",
    "stock_http",
    "stock_grpc",
    "openinference",
    "openllmetry",
    "openlit",
    "logfire",
    "langfuse",
    "opik_span",
)
_ARRIVES_NOWHERE = {"sdk_alone", "ours_local"}
_TYPICAL_US = {"sdk_alone": 25, "opik_span": 1600, "opik_trace_span": 2800}
_BURST_DRAIN_SECONDS = 60.0


_EXTRA = {"sdk_alone", "ours_opik_unredacted"}
_EXTRA_IN_TRACES = {"stock_http_gzip", "stock_grpc", "ours_otlp"}
_ONCE = ("opik_span",)
"""A burst of these takes a minute, and is the same every time."""


def _chosen(known: tuple[str, ...], options: Options) -> tuple[str, ...]:
    if options.ways:
        return tuple(way for way in known if way in options.ways)
    extra: set[str] = set() if options.extra_ways else _EXTRA | (_EXTRA_IN_TRACES if known is _TRACE_WAYS else set())
    return tuple(way for way in known if way not in extra)


def _count(way: str, options: Options) -> int:
    return options.opik_spans if way.startswith("opik_") else options.spans


def _measure(ways: tuple[str, ...], traces: bool, bench: Bench, options: Options) -> Runs:
    jobs = {
        way: {
            "scene": "raw",
            "peer": way,
            "count": _count(way, options),
            "traces": traces,
            "arrives": way not in _ARRIVES_NOWHERE,
        }
        for way in _chosen(ways, options)
    }
    return bench.rounds(jobs, options.rounds)


def cpu(runs: Runs, way: str, number: int) -> float | None:
    """CPU per span of one way in one round."""
    run = runs[way][number]
    figure: float | None = run.get("cpu")
    return figure


def _tables(workload: str, runs: Runs) -> list[Table]:
    table = Table(
        f"Raw spans of 2.8 kB, {workload}: created, kept and delivered",
        (
            "way",
            "CPU per span (us)",
            "of it creating",
            "way / stock_http",
            "spans per s",
            "arrived whole",
            "bytes per span",
        ),
        notes=[
            "`ours_*` is the whole pipeline of a configured program, redaction included, with a spool on disk but for "
            "`_memory`. `_gzip` of ours: as to a backend elsewhere than on this machine, for which rows are compressed."
        ],
    )
    for way, runs_of_way in table.got_through(runs):
        compared = ratios(runs, way, "stock_http", lambda name, number: cpu(runs, name, number))
        table.rows.append(
            (
                way,
                spread([run["cpu"] for run in runs_of_way], 1),
                spread([run["created_us"] for run in runs_of_way], 1),
                spread(compared, 2),
                spread([run["count"] / run["seconds"] for run in runs_of_way]),
                *_arrived(runs_of_way),
            )
        )
    return [table]


def _arrived(runs_of_way: list[dict[str, Any]]) -> tuple[str, str]:
    found = [run for run in runs_of_way if "arrived" in run]
    if not found:
        return "", ""
    share = statistics.median(run["arrived"]["whole"] / run["count"] for run in found)
    raw, wire = (statistics.median(run["arrived"][name] / run["count"] for run in found) for name in ("raw", "wire"))
    return f"{share:.1%}", f"{raw:,.0f}" + (f" -> {wire:,.0f}" if wire < 0.99 * raw else "")


def _seconds(ways: tuple[str, ...], options: Options) -> float:
    per_round = sum(
        1.5 + _count(way, options) * _TYPICAL_US.get(way, 170) / 1e6 * 1.3 for way in _chosen(ways, options)
    )
    return options.rounds * per_round


def _measure_burst(bench: Bench, options: Options) -> Runs:
    ways = _chosen(_BURST_WAYS, options)
    cases = {way: partial(_one_burst, bench, way, options.burst) for way in ways}
    return bench.interleaved(cases, {way: 1 if way in _ONCE else options.few for way in ways})


def _one_burst(bench: Bench, way: str, count: int) -> dict[str, Any]:
    """What arrived when the program was over, and, of ours, what the next `otel-llm ship` delivered."""
    with bench.directory() as directory:
        job = {"scene": "burst", "peer": way, "count": count, "ends_itself": True}
        run = bench.run(job, directory=directory, timeout=300)
        if "error" in run:
            return run
        if way == "ours_local":
            _, calls = bench.usage(directory)
            run["arrived_at_end"] = run["arrived_later"] = calls - 1  # the first only warmed up
            return run
        sink = bench.grpc_sink if way.endswith("_grpc") else bench.sink
        time.sleep(0.5)  # what was written to a socket at the very end
        run["arrived_at_end"] = run["arrived_later"] = sink.tell("stats")["whole"]
        if way.startswith("ours_"):
            bench.ship(way.removeprefix("ours_"), directory, sink.url, _BURST_DRAIN_SECONDS)
            run["arrived_later"] = sink.tell("stats")["whole"]
        return run


def _burst_tables(runs: Runs) -> list[Table]:
    table = Table(
        "Burst of spans as fast as they can be made, default settings, then the end of the program",
        (
            "way",
            "spans",
            "arrived whole by the end of the program",
            "after the next start",
            "making them (s)",
            "the end (s)",
        ),
    )
    for way, found in table.got_through(runs, column=2):
        at_end = [100 * run["arrived_at_end"] / run["count"] for run in found]
        later = [100 * run["arrived_later"] / run["count"] for run in found]
        table.rows.append(
            (
                way,
                f"{found[0]['count']:,}",
                f"{spread(at_end, 1)} %",
                f"{spread(later, 1)} %" if way.startswith("ours_") else "",
                spread([run["produced_seconds"] for run in found], 1),
                spread([run["exit_seconds"] for run in found], 1),
            )
        )
    return [table]


def _measure_floors(bench: Bench, options: Options) -> Runs:
    return bench.rounds({"floors": {"scene": "floors", "peer": "floors"}}, options.rounds)


PARTS = (
    ("span_us", "span created by the SDK, its attributes set, ended; nobody wants it"),
    ("protobuf_us", "a span as protobuf, built directly (upb)"),
    ("encode_spans_us", "the same by the SDK's `encode_spans`, batches of 64"),
    ("encode_spans_512_us", "the same, batches of 512"),
    ("row_dict_us", "a row for Opik as a dict"),
    ("row_json_us", "that row as JSON (orjson)"),
    ("sqlite_us", "a row appended to SQLite, write-ahead log, batches of 64"),
    ("sqlite_full_us", "the same, synced with every batch"),
    ("append_fdatasync_us", "a row appended to a plain file, synced with every batch of 64"),
    ("gzip1_us", "a row compressed, gzip level 1"),
    ("post_us", "its share of a POST of 1 MB (`http.client`)"),
)
"""Of the floors, with what each is."""


def _floor_tables(runs: Runs) -> list[Table]:
    table = Table("Floors: what the parts of a span cost at least (us of CPU per span)", ("part", "CPU"))
    found = good(runs["floors"])
    for key, what in PARTS:
        table.rows.append((what, spread([run[key] for run in found], 1)))
    if found:
        sizes = [statistics.median(run[key] for run in found) for key in ("protobuf_bytes", "row_bytes", "gzip1_bytes")]
        table.notes.append(
            "Bytes per span: {:,.0f} as protobuf, {:,.0f} as a row, {:,.0f} of that compressed.".format(*sizes)
        )
    return [table]


RAW_SCENES = (
    Scene(
        "floors", "what the parts of a span cost at least", _measure_floors, _floor_tables,
        lambda options: options.rounds * 9.0, (),
    ),
    Scene(
        "raw", "raw spans, each a trace of its own", partial(_measure, RAW_WAYS, False),
        partial(_tables, "each a trace of its own"), partial(_seconds, RAW_WAYS), RAW_WAYS,
    ),
    Scene(
        "raw-traces", "raw spans in traces of ten, the root ending last", partial(_measure, _TRACE_WAYS, True),
        partial(_tables, "in traces of ten, the root ending last"), partial(_seconds, _TRACE_WAYS), _TRACE_WAYS,
    ),
    Scene(
        "burst", "a burst of raw spans at default settings", _measure_burst, _burst_tables,
        lambda options: options.few * len(_chosen(_BURST_WAYS, options)) * 8.0 + options.burst * 0.003, _BURST_WAYS,
    ),
)  # fmt: skip
