"""Everything that an overview shows of the calls one asks for, out of one reading of the usage index.

`usage` reads the index once for each grouping. Here the finest groups are read once, with all their times, and put
together for the totals and for every table (those by user or session apart); the numbers are the same.
"""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from otel_llm.store.db import snapshot
from otel_llm.store.filters import nanoseconds, within_sqlite
from otel_llm.store.groupings import GROUPINGS
from otel_llm.store.usage import LLM_SPANS, SUMS, UsageRow, by_day_then_cost, nearest_rank

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from otel_llm.store.filters import Filter

__all__ = ["Bucket", "Overview", "overview"]

_SECOND: Final = 1_000_000_000
_MOST_BUCKETS: Final = 60
_WIDTHS: Final = tuple(
    seconds * _SECOND
    for seconds in (60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400)
)
"""Widths of a bucket, in nanoseconds, that a person can read off a clock or a calendar."""

_MANY: Final = frozenset({"user", "session"})
"""Groupings with about as many groups as there are calls: put together with others, each call is a group of its own."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What was begun from `start_ns` (inclusive) to `end_ns` (exclusive)."""

    start_ns: int
    """Unix nanoseconds, like `end_ns`."""
    end_ns: int
    calls: int
    errors: int
    cost_nano_usd: int | None
    """None where no call's cost is known."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The totals, one table for each grouping, and the course of time; all of one moment of the store."""

    totals: UsageRow
    tables: dict[str, tuple[UsageRow, ...]]
    """Grouping -> its rows, most expensive first."""
    timeline: tuple[Bucket, ...]
    """In order, without gaps; empty without calls."""
    newest_ns: int | None
    """When the newest call of the whole store began, whatever was asked for; None for an empty store."""


def overview(path: Path, chosen: Filter, groupings: Sequence[str], *, seconds: float | None = None) -> Overview:
    """Add up the calls that `chosen` chooses, for the totals and for each of `groupings` (names from `GROUPINGS`).

    Raises StoreError if the store cannot be read, or not within `seconds`.
    """
    names = tuple(dict.fromkeys(groupings))
    with snapshot(path, seconds=seconds) as connection:
        connection.create_aggregate("times", 2, _Times)  # type: ignore[arg-type]  # typeshed knows only those of int
        total, tables = _Group(), {name: _Groups() for name in names}
        together = tuple(name for name in names if name not in _MANY)
        for line in _finest(connection, together, chosen):
            sums, durations, firsts = _parts(line)
            total.add(sums, durations, firsts)
            for name in together:
                tables[name].of(line[name]).add(sums, durations, firsts)
        for name in (name for name in names if name in _MANY):
            for line in _finest(connection, (name,), chosen):
                tables[name].of(line[name]).add(*_parts(line))
        newest = connection.execute(
            f"SELECT start_ns FROM {LLM_SPANS} AND is_call = 1 ORDER BY start_ns DESC LIMIT 1"  # noqa: S608
        ).fetchone()
        return Overview(
            total.row({}),
            {name: tables[name].rows(name) for name in names},
            tuple(_timeline(connection, chosen)) if total.counted else (),
            None if newest is None else int(newest[0]),
        )


def _finest(connection: sqlite3.Connection, names: tuple[str, ...], chosen: Filter) -> Iterable[sqlite3.Row]:
    labels = [f"{GROUPINGS[name]} AS {name}" for name in names]
    grouped = f" GROUP BY {', '.join(str(place + 1) for place in range(len(names)))}" if names else ""
    sums = [f"{sql} AS sum_{name}" for name, sql in SUMS.items()]
    times = "times(CASE is_call WHEN 1 THEN duration_ns END, CASE is_call WHEN 1 THEN ttft_ms END) AS times"
    # Built from the tables of usage only; what a user gave is bound.
    sql = f"SELECT {', '.join([*labels, *sums, times])} FROM {LLM_SPANS} AND {chosen.sql}{grouped}"  # noqa: S608
    return (line for line in connection.execute(sql, chosen.values) if line["sum_calls"] is not None)


# --- putting groups together --------------------------------------------------------------------------------


class _Times:
    """An SQL aggregate: durations and times to the first chunk of a group, as bytes that `_parts` takes apart."""

    def __init__(self) -> None:
        self._durations, self._firsts = array("d"), array("d")

    def step(self, duration: float | None, first: float | None) -> None:
        if duration is not None:
            self._durations.append(duration)
        if first is not None:
            self._firsts.append(first)

    def finalize(self) -> bytes:
        # In order: what is put together out of runs is sorted faster.
        durations, firsts = (array("d", sorted(values)) for values in (self._durations, self._firsts))
        return array("q", [len(durations)]).tobytes() + durations.tobytes() + firsts.tobytes()


def _parts(line: sqlite3.Row) -> tuple[list[int | None], array[float], array[float]]:
    packed: bytes = line["times"]
    durations, firsts = array("d"), array("d")
    end = 8 + 8 * array("q", packed[:8])[0]
    durations.frombytes(packed[8:end])
    firsts.frombytes(packed[end:])
    return [line[f"sum_{name}"] for name in SUMS], durations, firsts


class _Group:
    """The numbers of one group, growing."""

    def __init__(self) -> None:
        self.counted = False
        self._sums: list[int | None] = [None] * len(SUMS)
        self._durations, self._firsts = array("d"), array("d")

    def add(self, sums: list[int | None], durations: array[float], firsts: array[float]) -> None:
        self.counted = True
        self._sums = [
            known if more is None else more + (known or 0) for known, more in zip(self._sums, sums, strict=True)
        ]
        self._durations.extend(durations)
        self._firsts.extend(firsts)

    def row(self, labels: dict[str, str | None]) -> UsageRow:
        if not self.counted:
            return UsageRow(labels)
        durations, firsts = sorted(self._durations), sorted(self._firsts)
        p50, p95 = nearest_rank(durations, 50), nearest_rank(durations, 95)
        return UsageRow(
            labels,
            **dict(zip(SUMS, self._sums, strict=True)),  # type: ignore[arg-type]  # only the cost can be None
            latency_p50_ms=None if p50 is None else p50 / 1e6,
            latency_p95_ms=None if p95 is None else p95 / 1e6,
            ttft_p50_ms=nearest_rank(firsts, 50),
        )


class _Groups:
    """The groups of one table."""

    def __init__(self) -> None:
        self._by_label: dict[str | None, _Group] = {}

    def of(self, label: str | None) -> _Group:
        found = self._by_label.get(label)
        if found is None:
            found = self._by_label[label] = _Group()
        return found

    def rows(self, name: str) -> tuple[UsageRow, ...]:
        rows = (group.row({name: label}) for label, group in self._by_label.items())
        return tuple(sorted(rows, key=by_day_then_cost))


# --- the course of time ---------------------------------------------------------------------------------------


def _timeline(connection: sqlite3.Connection, chosen: Filter) -> Iterable[Bucket]:
    """Buckets that cover the period asked for, or where it is open, what there is (and the time until now)."""
    first, last = (_edge(connection, chosen, order) for order in ("ASC", "DESC"))
    start = first if chosen.since is None else nanoseconds(chosen.since)
    end = max(last + 1, start + 1) if chosen.until is None else nanoseconds(chosen.until)
    if chosen.since is not None and chosen.until is None:
        end = max(end, time.time_ns())
    for low, high in pairwise(_bounds(start, end)):
        yield _bucket(connection, chosen, low, high)


def _edge(connection: sqlite3.Connection, chosen: Filter, order: str) -> int:
    sql = f"SELECT start_ns FROM {LLM_SPANS} AND {chosen.sql} ORDER BY start_ns {order} LIMIT 1"  # noqa: S608
    return int(connection.execute(sql, chosen.values).fetchone()[0])


def _bounds(start: int, end: int) -> range:
    """Where buckets begin and end: at whole multiples of their width."""
    years = ((end - start) // (_MOST_BUCKETS * _SECOND) + 1) * _SECOND
    width = next((it for it in _WIDTHS if (end - start) / it <= _MOST_BUCKETS), years)
    low = start // width * width
    return range(low, -(-end // width) * width + width, width)


def _bucket(connection: sqlite3.Connection, chosen: Filter, low: int, high: int) -> Bucket:
    columns = ", ".join(SUMS[name] for name in ("calls", "errors", "cost_nano_usd"))
    # The index is in order of time, so all buckets together read it once.
    sql = (
        f"SELECT {columns} FROM {LLM_SPANS} AND start_ns BETWEEN :bucket_low AND :bucket_last"  # noqa: S608
        f" AND {chosen.sql}"
    )
    bounds = {"bucket_low": within_sqlite(low), "bucket_last": within_sqlite(high - 1)}
    calls, errors, cost = connection.execute(sql, {**chosen.values, **bounds}).fetchone()
    return Bucket(low, high, calls or 0, errors or 0, cost)
