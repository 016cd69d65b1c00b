"""The usage report as a table: short units for a person at a terminal, every digit for a pipe."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO

from otel_llm.cli.tables import Column, write_line, write_table
from otel_llm.store.human import NOTHING, human_count, human_duration, human_usd
from otel_llm.store.money import decimal_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.store.usage import UsageReport, UsageRow

__all__ = ["write_usage_table"]


class _Measure(NamedTuple):
    """One column of the table: a field of `UsageRow`, and how a person wants to read it."""

    field: str
    """Also the heading for a program."""
    heading: str
    text: Callable[[Any], str]
    share: str = ""
    """Field with the share of all calls, shown behind the number."""
    optional: bool = False
    """Left out at a terminal when no row has anything to say there."""
    spare: int = 0
    """As a `Column` has it."""


_LONGEST_NAME: Final = 60
"""Characters of a name that a terminal gets: one that is longer would push all numbers off the screen."""
_MEASURES = (
    _Measure("calls", "calls", "{:,}".format),
    _Measure("errors", "errors", "{:,}".format, share="error_rate"),
    _Measure("input_tokens", "in", human_count),
    _Measure("output_tokens", "out", human_count),
    _Measure("cache_read_tokens", "cache read", human_count, optional=True, spare=4),
    _Measure("cache_write_tokens", "cache write", human_count, optional=True, spare=5),
    _Measure("reasoning_tokens", "reasoning", human_count, optional=True, spare=6),
    _Measure("cost_usd", "cost", human_usd),
    _Measure("unknown_cost_calls", "no price", "{:,}".format, optional=True, spare=2),
    _Measure("cache_hits", "hits", "{:,}".format, share="cache_hit_rate", spare=7),
    _Measure("saved_usd", "saved", human_usd, optional=True, spare=9),
    _Measure("latency_p50_ms", "p50", human_duration, spare=3),
    _Measure("latency_p95_ms", "p95", human_duration, spare=8),
    _Measure("ttft_p50_ms", "first chunk", human_duration, optional=True, spare=10),
)


def write_usage_table(out: TextIO, report: UsageReport, *, human: bool) -> None:
    """Write `report` as a table with its totals; `human` chooses short units over every digit."""
    shown = [it for it in _MEASURES if not human or not it.optional or getattr(report.totals, it.field)]
    columns = [Column(name) for name in report.group_by]
    columns += [Column(it.heading if human else it.field, numeric=True, spare=it.spare) for it in shown]
    rows = (
        [[*_labels(row, human=human), *_cells(row, shown, human=human)] for row in report.rows]
        if report.group_by
        else []
    )
    first = ["total", *[""] * (len(report.group_by) - 1)] if report.group_by else []
    write_table(out, columns, rows, totals=[*first, *_cells(report.totals, shown, human=human)])
    if human and report.totals.unknown_cost_calls:
        write_line(out, "\nSome calls used a model whose price is not known (`no price`); the cost is without them.")


def _labels(row: UsageRow, *, human: bool) -> list[str]:
    labels = [NOTHING if label is None else label for label in row.labels.values()]
    return [f"{it[:_LONGEST_NAME]}..." if human and len(it) > _LONGEST_NAME else it for it in labels]


def _cells(row: UsageRow, measures: list[_Measure], *, human: bool) -> list[str]:
    return [_human(row, measure) if human else _plain(getattr(row, measure.field)) for measure in measures]


def _human(row: UsageRow, measure: _Measure) -> str:
    value, share = getattr(row, measure.field), getattr(row, measure.share) if measure.share else None
    text = measure.text(value)
    return f"{text} ({share:.0%})" if value and share is not None else text


def _plain(value: float | Decimal | None) -> str:
    if value is None:
        return NOTHING
    return decimal_text(value) if isinstance(value, Decimal) else str(value)
