"""One trace: its spans in the order of a tree, one whole span of it, and what was said about it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from otel_llm.store.calls import WHOLE_SPANS, whole_span
from otel_llm.store.db import snapshot

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["FEEDBACK_SQL", "SPANS_SQL", "Feedback", "Trace", "TraceSpan", "read_trace"]

_COLUMNS: Final = (
    "span_id parent_span_id name kind start_ns duration_ns is_llm is_call is_error error_type tenant operation attempt"
)
_MOST_FEEDBACK: Final = 100
SPANS_SQL: Final = f"SELECT {', '.join(_COLUMNS.split())} FROM spans WHERE trace_id = ? ORDER BY start_ns, id LIMIT ?"  # noqa: S608
FEEDBACK_SQL: Final = (
    "SELECT span_id, name, value, category, reason FROM feedback WHERE trace_id = ? ORDER BY start_ns LIMIT ?"
)
"""Both read an index, as the tests see from SQLite's plan."""


@dataclass(frozen=True, slots=True)
class TraceSpan:
    """A span in its tree."""

    span_id: str
    parent_span_id: str | None
    name: str
    kind: str
    start_ns: int
    """Unix nanoseconds."""
    duration_ns: int
    is_llm: bool
    is_call: bool
    is_error: bool
    error_type: str | None
    tenant: str
    operation: str | None
    attempt: int | None
    depth: int = 0
    """0 for a root."""
    detached: bool = False
    """It has a parent, which is not stored: another service's, or not finished yet."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """One record of feedback about the trace, or about one of its spans."""

    span_id: str | None
    name: str | None
    value: float | None
    category: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Trace:
    """What the store holds of a trace."""

    spans: tuple[TraceSpan, ...]
    """Parents before their children, else in order of their beginning; not more than were asked for."""
    cut: bool
    """Whether there are more."""
    feedback: tuple[Feedback, ...]
    whole: dict[str, Any] | None
    """All columns of one span, and `attributes` (None once the size limit took them), `events`, `links`, `resource`."""


def read_trace(
    path: Path, trace_id: str, span_id: str | None = None, *, limit: int = 1000, seconds: float | None = None
) -> Trace:
    """The trace `trace_id` (32 hex digits), with the span `span_id` in full, else the first call, else the first span.

    No spans come back where the store has none of it. Raises StoreError if the store cannot be read.
    """
    with snapshot(path, seconds=seconds) as connection:
        found = [_span(line) for line in connection.execute(SPANS_SQL, (trace_id, limit + 1))]
        spans = _in_order_of_a_tree(found[:limit])
        chosen = span_id or next((span.span_id for span in spans if span.is_call), spans[0].span_id if spans else None)
        return Trace(
            tuple(spans),
            len(found) > limit,
            tuple(_feedback(connection, trace_id)),
            None if chosen is None else _whole(connection, trace_id, chosen),
        )


def _span(line: sqlite3.Row) -> TraceSpan:
    values = dict(line)
    for flag in ("is_llm", "is_call", "is_error"):
        values[flag] = bool(values[flag])
    return TraceSpan(**values)


def _in_order_of_a_tree(spans: list[TraceSpan]) -> list[TraceSpan]:
    """Every span once, also where parents form a ring, which nobody keeps a program from recording."""
    by_id = {span.span_id: span for span in spans}
    children: dict[str | None, list[TraceSpan]] = {}
    for span in spans:
        children.setdefault(span.parent_span_id if span.parent_span_id in by_id else None, []).append(span)
    ordered: list[TraceSpan] = []
    seen: set[str] = set()
    for root in (*children.get(None, []), *spans):  # the second time round only rings are left
        waiting = [(root, 0)]
        while waiting:
            span, depth = waiting.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            ordered.append(_placed(span, depth, by_id))
            waiting += [(child, depth + 1) for child in reversed(children.get(span.span_id, []))]
    return ordered


def _placed(span: TraceSpan, depth: int, by_id: dict[str, TraceSpan]) -> TraceSpan:
    return replace(span, depth=depth, detached=bool(span.parent_span_id) and span.parent_span_id not in by_id)


def _whole(connection: sqlite3.Connection, trace_id: str, span_id: str) -> dict[str, Any] | None:
    line = connection.execute(f"{WHOLE_SPANS} WHERE trace_id = ? AND span_id = ?", (trace_id, span_id)).fetchone()
    return None if line is None else whole_span(line)


def _feedback(connection: sqlite3.Connection, trace_id: str) -> Iterable[Feedback]:
    for line in connection.execute(FEEDBACK_SQL, (trace_id, _MOST_FEEDBACK)):
        yield Feedback(*line)
