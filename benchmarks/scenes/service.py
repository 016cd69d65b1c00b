"""A service and its backend: delay until visible, outages, kill -9, the end of the program, memory, the local store.

What is only counted does not mind neighbours: peers run several at a time, each with a sink of its own. Where seconds
are a budget of ours, ours run alone.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.driver import CLOSED
from benchmarks.figures import Table, failure, good, spread
from benchmarks.scenes.scene import Options, Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.driver import Bench, Runs

_SPOOLED = {"otel_llm": "opik", "otel_llm_otlp": "otlp"}
"""Ours that go through a spool, with their backends."""
_START_SECONDS = 4.0


def _remote(options: Options) -> tuple[str, ...]:
    """The peers whose backend can be away."""
    return tuple(peer for peer in options.peers if peer != "otel_llm_local")


def _each(
    bench: Bench, options: Options, cases: Mapping[str, Callable[[], dict[str, Any]]], *, ours_alone: bool = False
) -> Runs:
    """Every case: ours `options.few` times, the others once; several at a time, unless ours are to be alone."""
    wanted = {name: options.few if name.split()[0] in _SPOOLED else 1 for name in cases}
    ours = {name: case for name, case in cases.items() if name.split()[0] in _SPOOLED}
    if ours_alone:
        bench.each(ours, wanted, 1)
    return bench.each(cases, wanted, options.at_once)


def _waits(options: Options, ours_seconds: float, seconds: float, times: int = 1, *, ours_alone: bool = False) -> float:
    """How long `_each` takes."""
    ours = options.few * len([peer for peer in options.peers if peer in _SPOOLED])
    others = len(_remote(options)) - ours // max(1, options.few)
    return times * (ours * ours_seconds / (1 if ours_alone else options.at_once) + others * seconds / options.at_once)


# --- until it is visible ------------------------------------------------------------------------------------------


def _measure_visible(bench: Bench, options: Options) -> Runs:
    job = {"scene": "visible", "seconds": options.visible_seconds, "rate": 20.0, "patience": 20.0}

    def case(peer: str) -> dict[str, Any]:
        with bench.own_sink() as sink:
            return bench.run({**job, "peer": peer}, sink=sink)

    return _each(bench, options, {peer: lambda peer=peer: case(peer) for peer in _remote(options)}, ours_alone=True)  # type: ignore[misc]


def _visible_tables(runs: Runs) -> list[Table]:
    table = Table(
        "From the answer of a call until the backend has it, at 20 calls/s (s)",
        ("peer", "p50", "p99", "longest", "arrived"),
    )
    for peer, results in runs.items():
        found = [run for run in good(results) if "p50" in run]
        if not found:
            table.rows.append((peer, failure(results), "", "", ""))
            continue
        delays = [spread([run[figure] for run in found], 2) for figure in ("p50", "p99", "longest")]
        table.rows.append((peer, *delays, _part(found, "arrived")))
    return [table]


def _part(found: list[dict[str, Any]], figure: str) -> str:
    return f"{spread([100 * run[figure] / run['made'] for run in found], 1)} %"


# --- outages ------------------------------------------------------------------------------------------------------


def _measure_outage(bench: Bench, options: Options) -> Runs:
    job = {"scene": "outage", "before": options.before, "away": options.away, "patience": options.outage_patience}

    def case(peer: str, mode: str) -> dict[str, Any]:
        with bench.own_sink() as sink, bench.directory() as directory:
            whole = {**job, "peer": peer, "mode": mode, "ends_itself": True}
            run = bench.run(whole, sink=sink, directory=directory, timeout=options.away + options.outage_patience + 240)
            counts = sink.tell("stats")
            return {**run, "arrived_at_end": counts["whole"], "received": counts["received"].get("span", 0)}

    cases = {
        f"{peer} {mode}": lambda p=peer, m=mode: case(p, m) for mode in ("refuse", "503") for peer in _remote(options)
    }
    return _each(bench, options, cases)


def _outage_tables(runs: Runs) -> list[Table]:
    table = Table(
        "Outage in the middle of 50 calls/s",
        (
            "peer, backend",
            "calls",
            "arrived while the program waited",
            "after the end of the program",
            "all there after (s)",
            "the end (s)",
        ),
    )
    for name, found in table.got_through(runs, column=2):
        complete = [run["complete_after"] for run in found if run["complete_after"] is not None]
        table.rows.append(
            (
                name,
                str(found[0]["made"]),
                _part(found, "arrived"),
                _part(found, "arrived_at_end"),
                spread(complete, 1) if complete else "never",
                spread([run["exit_seconds"] for run in found], 1),
            )
        )
    return [table]


def _measure_killed(bench: Bench, options: Options) -> Runs:
    job = {"before": options.before, "away": options.away_killed, "patience": min(20.0, options.patience)}

    def case(peer: str) -> dict[str, Any]:
        with bench.own_sink() as sink, bench.directory() as directory:
            run = bench.run({**job, "scene": "killed", "peer": peer}, sink=sink, directory=directory)
            if "error" in run:
                return run
            sink.tell("mode?m=ok")
            second = {**job, "scene": "again", "peer": peer, "made": run["made"], "keep": True, "ends_itself": True}
            restarted = bench.run(second, sink=sink, directory=directory, timeout=300)
            numbers = {int(number) for number in sink.tell("stats?numbers=1")["numbers"]}
            made, settled = run["made"], run["answered_a_second_before"]
            return {
                **run,
                "arrived_again": len(numbers & set(range(1, made + 1))),
                "settled_arrived": len(numbers & set(range(1, settled + 1))),
                "restart_error": restarted.get("error", ""),
            }

    return _each(bench, options, {peer: lambda peer=peer: case(peer) for peer in _remote(options)})  # type: ignore[misc]


def _killed_tables(runs: Runs) -> list[Table]:
    table = Table(
        "`kill -9` in an outage, in the middle of 50 calls/s, then the same program again",
        ("peer", "calls", "there before", "there after the restart", "of those answered a second before the kill"),
    )
    for peer, found in table.got_through(runs, column=2):
        settled = [100 * run["settled_arrived"] / run["answered_a_second_before"] for run in found]
        table.rows.append(
            (
                peer,
                str(found[0]["made"]),
                _part(found, "arrived"),
                _part(found, "arrived_again"),
                f"{spread(settled, 1)} %",
            )
        )
    return [table]


# --- the end of the program ---------------------------------------------------------------------------------------


def _measure_ending(bench: Bench, options: Options) -> Runs:
    def case(peer: str, mode: str) -> dict[str, Any]:
        with bench.own_sink() as sink, bench.directory() as directory:
            sink.tell(f"mode?m={mode}")
            job = {"scene": "ending", "peer": peer, "count": 200, "ends_itself": True}
            run = bench.run(job, sink=sink, directory=directory, exit_timeout=options.exit_patience)
            if "error" in run or peer not in _SPOOLED:
                return run
            sink.tell("mode?m=ok")
            bench.ship(_SPOOLED[peer], directory, sink.url, options.patience)
            return {**run, "arrived_later": sink.tell("stats")["whole"]}

    cases = {
        f"{peer} {mode}": lambda p=peer, m=mode: case(p, m) for peer in _remote(options) for mode in ("refuse", "hang")
    }
    return _each(bench, options, cases, ours_alone=True)


def _ending_tables(runs: Runs) -> list[Table]:
    table = Table(
        "The end of a program after 200 calls whose backend is away",
        ("peer, backend", "the end (s)", "arrived by the next start"),
    )
    for name, found in table.got_through(runs):
        late = any(run["killed"] for run in found)
        seconds = spread([run["exit_seconds"] for run in found], 1)
        later = [run for run in found if "arrived_later" in run]
        table.rows.append(
            (name, f"over {seconds}" if late else seconds, _part(later, "arrived_later") if later else "")
        )
    return [table]


# --- memory, and the local store ----------------------------------------------------------------------------------


def _measure_memory(bench: Bench, options: Options) -> Runs:
    job = {"scene": "memory", "count": options.memory_calls, "rate": options.memory_rate, "keep": True}
    chosen = [peer for peer in options.memory_peers if peer == "bare" or peer in options.peers]
    cases = {peer: partial(bench.run, {**job, "peer": peer}, sink_url=CLOSED, timeout=7200) for peer in chosen}
    return bench.each(cases, dict.fromkeys(cases, 1), 2)


def _memory_tables(runs: Runs) -> list[Table]:
    table = Table(
        "Memory over many calls with the backend down (connection refused)",
        ("peer", "calls", "calls/s", "resident before (MB)", "growth, at most (MB)"),
        notes=["`bare` is what litellm grows by itself."],
    )
    for peer, found in table.got_through(runs):
        figures = [spread([run[figure] for run in found], 1) for figure in ("rate", "before_mb", "growth_mb")]
        table.rows.append((peer, f"{found[0]['made']:,}", *figures))
    return [table]


def _measure_store(bench: Bench, options: Options) -> Runs:
    return bench.each({"ours_local": partial(_store, bench, options)}, {"ours_local": 1}, 1)


def _store(bench: Bench, options: Options) -> dict[str, Any]:
    count = options.store_spans
    with bench.directory() as directory:
        free = shutil.disk_usage(directory).free
        if free < count * 8_000:  # spans, their index, the write-ahead log, and what a machine should have left
            run: dict[str, Any] = {"error": f"{count:,} spans need {count * 8_000 / 1e9:.0f} GB of free disk"}
        else:
            job = {"scene": "store", "peer": "ours_local", "count": count, "keep": True}
            run = bench.run(job, directory=directory, timeout=7200)
        if "error" not in run:
            for name, more in (("usage", []), ("usage_by_tenant_model", ["--by", "tenant,model"])):
                run[f"{name}_seconds"], run[f"{name}_calls"] = bench.usage(directory, *more)
    return run


def _store_tables(runs: Runs) -> list[Table]:
    table = Table(
        "The local store",
        (
            "spans",
            "CPU per span (us)",
            "writing all (s)",
            "file (MB)",
            "`otel-llm usage` (s)",
            "calls it counts",
            "`--by tenant,model` (s)",
        ),
    )
    for results in runs.values():
        for run in results:
            if "error" in run:
                table.rows.append((failure([run]), *[""] * 6))
                continue
            table.rows.append(
                (
                    f"{run['spans']:,}",
                    f"{run['cpu']:.0f}",
                    f"{run['seconds']:.0f}",
                    f"{run['file_mb']:,.0f}",
                    f"{run['usage_seconds']:.1f}",
                    f"{run['usage_calls']:,}",
                    f"{run['usage_by_tenant_model_seconds']:.1f}",
                )
            )
    return [table]


SERVICE_SCENES = (
    Scene(
        "ending",
        "the end of a program whose backend is away",
        _measure_ending,
        _ending_tables,
        lambda options: _waits(options, 9.0, 20.0, 2, ours_alone=True) + options.exit_patience,
    ),
    Scene(
        "outage",
        "an outage in the middle of calls",
        _measure_outage,
        _outage_tables,
        lambda options: _waits(
            options,
            2 * options.before + options.away + 15,
            2 * options.before + options.away + options.outage_patience + 20,
            2,
        ),
    ),
    Scene(
        "killed",
        "`kill -9` in an outage, and the same program again",
        _measure_killed,
        _killed_tables,
        lambda options: _waits(
            options, options.before + options.away_killed + 20, options.before + options.away_killed + 40
        ),
    ),
    Scene(
        "memory",
        "memory over many calls with the backend down",
        _measure_memory,
        _memory_tables,
        lambda options: (len(options.memory_peers) + 1) // 2 * (options.memory_calls / options.memory_rate + 20),
        Options().memory_peers[1:],
    ),
    Scene(
        "visible",
        "from the answer of a call until the backend has it",
        _measure_visible,
        _visible_tables,
        lambda options: _waits(options, options.visible_seconds + 8, options.visible_seconds + 15, ours_alone=True),
    ),
    Scene(
        "store",
        "the local store, filled",
        _measure_store,
        _store_tables,
        lambda options: options.store_spans * 180e-6 + 20,
        (),
    ),
)
