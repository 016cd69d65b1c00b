"""What a single call is, and single spans as plain data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from otel_llm.store.db import ask
from otel_llm.store.money import usd

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping
    from decimal import Decimal
    from pathlib import Path

__all__ = ["CALL_COLUMNS", "WHOLE_SPANS", "CallRow", "call_row", "spans", "whole_span"]


@dataclass(frozen=True, slots=True)
class CallRow:
    """One logical call; tokens and cost include those of its attempts."""

    trace_id: str
    span_id: str
    name: str
    start: datetime
    """UTC, cut to microseconds."""
    service: str | None
    tenant: str
    user: str | None
    session: str | None
    operation: str
    provider: str | None
    request_model: str | None
    response_model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_nano_usd: int | None
    """None when the cost is not known."""
    cost_status: str | None
    saved_nano_usd: int | None
    cache_hit: bool | None
    """Answered from the response cache; None where the span does not say."""
    stream: bool | None
    duration_ms: float
    ttft_ms: float | None
    attempts: int | None
    """How many attempts it took; None when one was enough."""
    is_error: bool
    error_type: str | None
    http_status: int | None
    status_message: str | None

    @property
    def cost_usd(self) -> Decimal | None:
        """The cost in USD, exact; None when it is not known."""
        return None if self.cost_nano_usd is None else usd(self.cost_nano_usd)


WHOLE_SPANS = (
    "SELECT spans.*, body.attributes, body.events, body.links, resources.attributes AS resource"
    " FROM spans LEFT JOIN span_bodies AS body USING (id) LEFT JOIN resources USING (resource_id)"
)
_ADDED_OVER_ATTEMPTS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
)
_AS_STORED = (
    "trace_id span_id name start_ns duration_ns service tenant user session operation provider request_model "
    "response_model cost_status saved_nano_usd cache_hit stream ttft_ms attempts is_error error_type http_status "
    "status_message"
)


def spans(store_path: Path, *, trace_id: str | None = None, limit: int = 1000) -> list[dict[str, Any]]:
    """Whole spans as plain data in order of their beginning: all columns, and attributes, events, links, resource.

    With `trace_id` (32 hex digits) those of one trace, else the newest `limit`. `attributes` is None once the
    size limit has taken them. Raises StoreError if the store cannot be read.
    """
    condition = "1" if trace_id is None else "trace_id = :trace_id"
    sql = f"{WHOLE_SPANS} WHERE {condition} ORDER BY start_ns DESC, id DESC LIMIT :limit"
    found = ask(store_path, sql, {"trace_id": trace_id, "limit": limit})
    return [whole_span(line) for line in reversed(found)]


def _own_or_of_attempts(column: str) -> str:
    # Only a call that took several is looked up: attempts are found by reading its whole trace, however long it is.
    return (
        f"coalesce(call.{column}, CASE WHEN call.attempts THEN (SELECT sum(attempt.{column}) FROM spans AS attempt"  # noqa: S608
        " WHERE attempt.trace_id = call.trace_id AND attempt.parent_span_id = call.span_id"
        f" AND attempt.attempt IS NOT NULL) END) AS {column}"
    )


CALL_COLUMNS = ", ".join(
    [*(f"call.{column}" for column in _AS_STORED.split()), *map(_own_or_of_attempts, _ADDED_OVER_ATTEMPTS)]
)
"""What `call_row` reads, of a table `spans AS call`."""


def call_row(line: Mapping[str, Any]) -> CallRow:
    """The call whose `CALL_COLUMNS` these are."""
    values = dict(line)
    start_ns, duration_ns = values.pop("start_ns"), values.pop("duration_ns")
    for flag in ("cache_hit", "stream", "is_error"):
        values[flag] = None if values[flag] is None else bool(values[flag])
    start = datetime.fromtimestamp(start_ns // 1_000_000_000, tz=timezone.utc)
    return CallRow(
        start=start.replace(microsecond=start_ns % 1_000_000_000 // 1000), duration_ms=duration_ns / 1e6, **values
    )


def whole_span(line: sqlite3.Row) -> dict[str, Any]:
    """The span in a line of `WHOLE_SPANS`, its JSON read."""
    span = dict(line)
    for column, empty in (("attributes", None), ("events", []), ("links", []), ("resource", {})):
        span[column] = empty if span[column] is None else json.loads(span[column])
    return span
