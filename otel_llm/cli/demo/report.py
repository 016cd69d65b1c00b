"""What the demo prints: each recorded call, the totals of each tenant, and where to look next."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from otel_llm.cli.tables import Column, write_table
from otel_llm.store.human import human_duration, human_usd

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otel_llm.cli.demo.workload import Played
    from otel_llm.store.queries import CallRow

__all__ = ["as_data", "seen", "write_calls", "write_tenants"]

_CALL_COLUMNS = (
    Column("time (UTC)", spare=8),
    Column("tenant", spare=6),
    Column("user", spare=7),
    Column("what"),
    Column("model"),
    Column("operation", spare=10),
    Column("in", numeric=True),
    Column("out", numeric=True),
    Column("cached", numeric=True, spare=9),
    Column("cost USD", numeric=True),
    Column("latency", numeric=True, spare=3),
    Column("first chunk", numeric=True, spare=11),
    Column("cache hit", spare=4),
    Column("attempts", numeric=True, spare=5),
    Column("error", spare=1),
)
_TENANT_COLUMNS = (
    Column("tenant"),
    Column("calls", numeric=True),
    Column("errors", numeric=True),
    Column("cache hits", numeric=True),
    Column("in", numeric=True),
    Column("out", numeric=True),
    Column("cost USD", numeric=True),
)
_FIELDS = (
    "trace_id",
    "span_id",
    "service",
    "tenant",
    "user",
    "session",
    "operation",
    "provider",
    "request_model",
    "response_model",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_usd",
    "cost_status",
    "cache_hit",
    "stream",
    "duration_ms",
    "ttft_ms",
    "attempts",
    "is_error",
    "error_type",
    "http_status",
)


def write_calls(out: TextIO, rows: Sequence[CallRow], titles: Mapping[str, str]) -> None:
    """Write one line per call, oldest first; `titles` says for each session what was done in it."""
    write_table(out, _CALL_COLUMNS, [_call_cells(row, titles) for row in rows])


def _call_cells(row: CallRow, titles: Mapping[str, str]) -> list[str]:
    return [
        row.start.strftime("%H:%M:%S"),
        row.tenant,
        row.user or "-",
        titles.get(row.session or "", "-"),
        _model(row),
        row.operation,
        _count(row.input_tokens),
        _count(row.output_tokens),
        _count(row.cache_read_tokens),
        human_usd(row.cost_usd),
        human_duration(row.duration_ms),
        human_duration(row.ttft_ms),
        "yes" if row.cache_hit else "-",
        str(row.attempts or 1),
        _error(row) if row.is_error else "-",
    ]


def _error(row: CallRow) -> str:
    """`AuthenticationError 401`: the exception without its module, and the status where there was one."""
    kind = (row.error_type or "error").rpartition(".")[2]
    return kind if row.http_status is None or kind == str(row.http_status) else f"{kind} {row.http_status}"


def _model(row: CallRow) -> str:
    asked, answered = row.request_model or "-", row.response_model
    return asked if answered is None or answered == asked else f"{asked} > {answered}"


def _count(tokens: int | None) -> str:
    return "-" if tokens is None else str(tokens)


def write_tenants(out: TextIO, rows: Sequence[CallRow]) -> None:
    """Write the totals of each tenant, and of all."""
    tenants = sorted({row.tenant for row in rows})
    lines = [_tenant_cells(_totals(name, [row for row in rows if row.tenant == name])) for name in tenants]
    write_table(out, _TENANT_COLUMNS, lines, totals=_tenant_cells(_totals("all", rows)))


def _totals(name: str, rows: Sequence[CallRow]) -> dict[str, Any]:
    costs = [row.cost_usd for row in rows if row.cost_usd is not None]
    return {
        "tenant": name,
        "calls": len(rows),
        "errors": sum(row.is_error for row in rows),
        "cache_hits": sum(row.cache_hit is True for row in rows),
        "input_tokens": sum(row.input_tokens or 0 for row in rows),
        "output_tokens": sum(row.output_tokens or 0 for row in rows),
        "cost_usd": sum(costs, Decimal(0)) if costs else None,
    }


def _tenant_cells(totals: Mapping[str, Any]) -> list[str]:
    return [human_usd(value) if name == "cost_usd" else str(value) for name, value in totals.items()]


def as_data(rows: Sequence[CallRow], titles: Mapping[str, str]) -> dict[str, Any]:
    """The same as both tables, for `--json`."""
    tenants = sorted({row.tenant for row in rows})
    return {
        "calls": [
            {
                "time": row.start.isoformat(),
                "what": titles.get(row.session or ""),
                **{name: getattr(row, name) for name in _FIELDS},
            }
            for row in rows
        ],
        "tenants": [_totals(name, [row for row in rows if row.tenant == name]) for name in tenants],
    }


def seen(played: Sequence[Played]) -> dict[str, Any]:
    """What the provider saw, for `--json`: each request, its answer, and the usage that the client was told."""
    return {
        "provider_requests": [
            {
                "session": one.session,
                "path": request.path,
                "model": request.model,
                "status": request.status,
                "complete": request.complete,
                "input_tokens": request.usage.input_tokens if request.usage else None,
                "output_tokens": request.usage.output_tokens if request.usage else None,
                "cache_read_tokens": request.usage.cache_read_tokens if request.usage else None,
            }
            for one in played
            for request in one.requests
        ]
    }
