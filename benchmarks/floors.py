"""How near each figure is to its floor: the parts that cannot be left out, measured in the same run, added up."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from benchmarks.figures import Table, added_all, good, median, spread
from benchmarks.scenes.calls import of_kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.driver import Runs

_INTO_OPIK = ("span_us", "row_dict_us", "row_json_us", "sqlite_us", "post_us")
_WORDS = {
    "span_us": "SDK span",
    "row_dict_us": "row",
    "row_json_us": "its JSON",
    "sqlite_us": "SQLite",
    "post_us": "POST",
    "gzip1_us": "gzip",
    "protobuf_us": "protobuf",
}


def nearness(find: Callable[[str], Runs]) -> Table:
    """Ours beside the floors, as far as both were measured."""
    table = Table("How near to the floor", ("figure", "ours", "floor", "ours / floor", "the floor is"))
    parts = _parts(find("floors"))
    if parts:
        raw, mock = find("raw"), of_kind(find("calls"), "mock")
        into_opik = (_INTO_OPIK, "us")
        spans = {
            "raw span into Opik": ("ours_opik", *into_opik),
            "raw span into Opik, compressed": ("ours_opik_gzip", (*_INTO_OPIK, "gzip1_us"), "us"),
            "raw span to OTLP, compressed": (
                "ours_otlp",
                ("span_us", "protobuf_us", "sqlite_us", "gzip1_us", "post_us"),
                "us",
            ),
            "raw span into the local store": ("ours_local", ("span_us", "row_json_us", "sqlite_us"), "us"),
        }
        for what, (way, names, unit) in spans.items():
            ours = [run["cpu"] for run in good(raw.get(way, ()))]
            _add(
                table,
                f"{what}, CPU",
                ours,
                sum(parts[name] for name in names),
                unit,
                " + ".join(_WORDS[n] for n in names),
            )
        floor = sum(parts[name] for name in _INTO_OPIK)
        words = " + ".join(_WORDS[name] for name in _INTO_OPIK)
        _add(table, "litellm call, mock, added CPU", added_all(mock, "otel_llm", "cpu"), floor, "us", words)
        caller = added_all(mock, "otel_llm", "caller_median")
        _add(table, "of it on the caller's thread", caller, parts["span_us"], "us", _WORDS["span_us"])
        _add_least(table, mock)
        for way, key, what in (
            ("ours_opik", "row_bytes", "bytes per raw span into Opik"),
            ("ours_opik_gzip", "gzip1_bytes", "bytes per raw span into Opik, compressed"),
        ):
            sizes = [run["arrived"]["wire"] / run["count"] for run in good(raw.get(way, ()))]
            _add(table, what, sizes, parts[key], "bytes", "one row per span")
    start = find("start")
    for figure, unit in (("cpu_ms", "ms"), ("rss_mb", "MB")):
        stock = median(start.get("stock_alone", ()), figure)
        ours = [run[figure] for run in good(start.get("otel_llm_alone", ()))]
        if stock:
            _add(table, f"import and start, {unit}", ours, stock, unit, "the SDK with its OTLP exporter")
    return table


def _add_least(table: Table, mock: Runs) -> None:
    """The same two, beside what the least that records a call takes in the same place, its code and data as cold."""
    for figure, what in (("cpu", "litellm call, mock, added CPU"), ("caller_median", "of it on the caller's thread")):
        least = added_all(mock, "least", figure)
        if least:
            ours = added_all(mock, "otel_llm", figure)
            _add(table, what, ours, statistics.median(least), "us", "`least`, in place")


def _parts(runs: Runs) -> dict[str, float]:
    found = good(runs.get("floors", ()))
    keys = [key for key in (found[0] if found else {}) if key.endswith(("_us", "_bytes"))]
    return {key: value for key in keys if (value := median(found, key)) is not None}


def _add(table: Table, what: str, ours: list[float], floor: float, unit: str, words: str) -> None:
    if ours:
        ratio = spread([value / floor for value in ours], 1)
        table.rows.append((what, f"{spread(ours)} {unit}", f"{floor:,.0f} {unit}", ratio, words))
