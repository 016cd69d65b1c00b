"""Tokens, cost, calls, errors, cache hits and latency, added up by SQL over the local store.

Counting rules
* Calls, errors, cache hits, latency and time to first chunk: over logical calls (`is_call`).
* Tokens and money: over every span of a model operation that carries them, attempts included; a logical call
  that needed several attempts carries none itself, and an answer out of the response cache has no tokens.
* Unknown cost is not zero: such calls are counted apart, and a sum over nothing known is None.
* Percentiles are nearest-rank: the smallest value that at least p percent of the calls do not exceed.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otel_llm.errors import StoreError
from otel_llm.store.db import ask, snapshot
from otel_llm.store.filters import Filter
from otel_llm.store.groupings import GROUPINGS
from otel_llm.store.money import usd

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from datetime import datetime
    from decimal import Decimal
    from pathlib import Path

    from typing_extensions import Unpack

    from otel_llm.store.filters import Facts

__all__ = ["LLM_SPANS", "SUMS", "UsageReport", "UsageRow", "by_day_then_cost", "count_calls", "nearest_rank", "usage"]

_UNKNOWN_COST = (
    "cost_nano_usd IS NULL AND attempts IS NULL AND"
    " (input_tokens IS NOT NULL OR output_tokens IS NOT NULL OR (cost_status = 'unknown' AND is_error = 0))"
)
"""Something was used and its price is not known; a call that failed before anything was used is not meant."""

SUMS: dict[str, str] = {
    "calls": "sum(is_call)",
    "errors": "sum(is_call * is_error)",
    "input_tokens": "coalesce(sum(input_tokens), 0)",
    "output_tokens": "coalesce(sum(output_tokens), 0)",
    "cache_read_tokens": "coalesce(sum(cache_read_tokens), 0)",
    "cache_write_tokens": "coalesce(sum(cache_write_tokens), 0)",
    "reasoning_tokens": "coalesce(sum(reasoning_tokens), 0)",
    "cost_nano_usd": "sum(cost_nano_usd)",
    "unknown_cost_calls": f"coalesce(sum({_UNKNOWN_COST}), 0)",
    "saved_nano_usd": "coalesce(sum(saved_nano_usd), 0)",
    "cache_hits": "coalesce(sum(is_call * cache_hit), 0)",
}
"""Field of `UsageRow` -> the SQL of its number. Two groups together have the sum of both; NULL is nothing known."""

_NUMBERS: dict[str, str] = {
    **SUMS,
    "latency_p50_ms": "p50(CASE is_call WHEN 1 THEN duration_ns END) / 1e6",
    "latency_p95_ms": "p95(CASE is_call WHEN 1 THEN duration_ns END) / 1e6",
    "ttft_p50_ms": "p50(CASE is_call WHEN 1 THEN ttft_ms END)",
}
"""Those, and what can only be said about a group as a whole."""

LLM_SPANS = "spans INDEXED BY spans_usage WHERE is_llm = 1"
"""The usage index alone holds all columns that are added up. Reading it, in full if need be, beats fetching the
rows that another index points to, one by one, which SQLite would choose for a single tenant."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The numbers of one group, or of everything."""

    labels: dict[str, str | None]
    """Grouping -> label; None where the spans do not say. Empty for the totals."""
    calls: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nano_usd: int | None = None
    """Sum over all calls whose cost is known; None if there is none."""
    unknown_cost_calls: int = 0
    """Calls that used something whose price is not known; they are missing from the cost."""
    saved_nano_usd: int = 0
    cache_hits: int = 0
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    ttft_p50_ms: float | None = None
    """Time to the first chunk with content, over streams; None without any."""

    @property
    def error_rate(self) -> float | None:
        """Errors per call, 0 to 1; None without calls."""
        return self.errors / self.calls if self.calls else None

    @property
    def cache_hit_rate(self) -> float | None:
        """Answers from the response cache per call, 0 to 1; None without calls."""
        return self.cache_hits / self.calls if self.calls else None

    @property
    def cost_usd(self) -> Decimal | None:
        """The cost in USD, exact; None if no call's cost is known."""
        return None if self.cost_nano_usd is None else usd(self.cost_nano_usd)

    @property
    def saved_usd(self) -> Decimal:
        """What the response cache saved in USD, exact."""
        return usd(self.saved_nano_usd)


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The answer to one question: rows, most expensive first, and their totals."""

    group_by: tuple[str, ...]
    rows: tuple[UsageRow, ...]
    totals: UsageRow


def usage(
    store_path: Path,
    group_by: Sequence[str] = ("tenant", "model"),
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    **facts: Unpack[Facts],
) -> UsageReport:
    """Add up what the store at `store_path` holds, grouped by names from `GROUPINGS`.

    `since` (inclusive) and `until` (exclusive) are aware datetimes compared with the beginning of a span;
    of `facts` (tenant, model, provider, operation, user, session, service), each that is given must hold, and
    `model` matches the model asked for or the one that answered. Days come in order, other groups by cost.
    Raises StoreError if there is no store, it cannot be read, or a grouping does not exist.
    """
    unknown = [name for name in group_by if name not in GROUPINGS]
    if unknown:
        raise StoreError(f"Usage cannot be grouped by {unknown[0]!r}; choose from {', '.join(GROUPINGS)}.")
    chosen = Filter(since=since, until=until, **facts)
    with snapshot(store_path) as connection:
        return _report(connection, tuple(group_by), chosen)


def count_calls(store_path: Path, service: str | None = None) -> tuple[int, int | None]:
    """How many calls the store holds, of one service or of all, and when the newest began (Unix nanoseconds).

    Raises StoreError if it cannot be read.
    """
    chosen = Filter(service=service)
    sql = f"SELECT count(*), max(start_ns) FROM {LLM_SPANS} AND is_call = 1 AND {chosen.sql}"  # noqa: S608
    (line,) = ask(store_path, sql, chosen.values)
    return int(line[0]), line[1]


def _report(connection: sqlite3.Connection, group_by: tuple[str, ...], chosen: Filter) -> UsageReport:
    _add_percentiles(connection)
    rows = sorted(_rows(connection, group_by, chosen), key=by_day_then_cost)
    totals = rows[0] if not group_by and rows else next(iter(_rows(connection, (), chosen)), UsageRow({}))
    return UsageReport(group_by, tuple(rows), totals)


def _add_percentiles(connection: sqlite3.Connection) -> None:
    for name, aggregate in (("p50", _P50), ("p95", _P95)):
        connection.create_aggregate(name, 1, aggregate)  # type: ignore[arg-type]  # typeshed knows only those of int


def by_day_then_cost(row: UsageRow) -> tuple[Any, ...]:
    """The order of rows: days as they come, others most expensive first."""
    labels = tuple(label or "" for label in row.labels.values())
    return (row.labels.get("day") or "", -(row.cost_nano_usd or 0), -row.calls, labels)


def _rows(connection: sqlite3.Connection, group_by: tuple[str, ...], chosen: Filter) -> list[UsageRow]:
    labels = [f"{GROUPINGS[name]} AS g{position}" for position, name in enumerate(group_by)]
    grouped = f" GROUP BY {', '.join(f'g{position}' for position in range(len(group_by)))}" if group_by else ""
    columns = ", ".join([*labels, *(f"{sql} AS {name}" for name, sql in _NUMBERS.items())])
    # Built from the tables above only; what a user gave is bound.
    sql = f"SELECT {columns} FROM {LLM_SPANS} AND {chosen.sql}{grouped}"  # noqa: S608
    found = connection.execute(sql, chosen.values)
    return [_row(line, group_by) for line in found if line["calls"] is not None]


def _row(line: sqlite3.Row, group_by: tuple[str, ...]) -> UsageRow:
    labels = dict(zip(group_by, tuple(line), strict=False))  # the labels are the first columns
    return UsageRow(labels=labels, **{name: line[name] for name in _NUMBERS})


def nearest_rank(ordered: Sequence[float], percent: int) -> float | None:
    """The smallest of `ordered` values that at least `percent` percent of them do not exceed; None without any."""
    # Whole numbers for the rank: 0.95 * 20 is not quite 19.
    rank = -(-percent * len(ordered) // 100)
    return ordered[rank - 1] if ordered else None


class _NearestRank:
    """An SQL aggregate: the nearest-rank percentile of the values that are not NULL.

    SQLite's window functions could say the same, but they sort whole rows, labels included, on disk: over a
    million calls that took more than twice as long.
    """

    percent: int

    def __init__(self) -> None:
        self._values = array("d")

    def step(self, value: float | None) -> None:
        if value is not None:
            self._values.append(value)

    def finalize(self) -> float | None:
        return nearest_rank(sorted(self._values), self.percent)


class _P50(_NearestRank):
    percent = 50


class _P95(_NearestRank):
    percent = 95
