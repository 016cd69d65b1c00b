"""Rows as Opik hands them out: sums over a trace's spans, durations, lists, pages and filters."""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.fakes.opik.answers import Refusal, coded
from tests.fakes.opik.instants import format_instant, parse_instant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.fakes.opik.fields import Kind
    from tests.fakes.opik.rows import Project, Row
    from tests.fakes.opik.store import Store

__all__ = ["Reader", "matches", "page_of"]

_COPIED = ("id", "name", "type", "trace_id", "parent_span_id", "input", "output", "model", "provider", "error_info")


class Reader:
    """The read side of one workspace."""

    def __init__(self, store: Store, workspace: str) -> None:
        self._store = store
        self._workspace = workspace

    def rows(self, kind: Kind, project: Project) -> list[dict[str, Any]]:
        """All rows of a project as Opik lists them, newest key first."""
        rows = self._store.table(kind).of_project(self._workspace, project.id)
        if kind == "span":
            return [self._span(row) for row in rows]
        spans = self._spans_by_trace(project.id)
        return [self._trace(row, spans[row.id]) for row in rows]

    def one(self, kind: Kind, row_id: str) -> dict[str, Any] | None:
        """One row by id; None when there is none."""
        row = self._store.table(kind).find(self._workspace, row_id)
        if row is None:
            return None
        return self._span(row) if kind == "span" else self._trace(row, self._spans_by_trace(row.project_id)[row.id])

    def thread(self, project: Project, thread_id: str) -> dict[str, Any] | None:
        """The conversation that the project's traces with that `thread_id` make up; None when there are none."""
        traces = [trace for trace in self.rows("trace", project) if trace.get("thread_id") == thread_id]
        if not traces:
            return None
        traces.sort(key=lambda trace: str(trace["start_time"]))
        first, last = traces[0], traces[-1]
        return _without_nulls(
            {
                "id": thread_id,
                "project_id": project.id,
                "start_time": first["start_time"],
                "end_time": max((trace["end_time"] for trace in traces if "end_time" in trace), default=None),
                "first_message": first.get("input"),
                "last_message": last.get("output"),
                "number_of_messages": 2 * len(traces),
                "total_estimated_cost": sum(trace.get("total_estimated_cost", 0) for trace in traces) or None,
                "usage": dict(_sum(trace.get("usage", {}) for trace in traces)) or None,
                "status": "active",
                "created_at": first["created_at"],
                "last_updated_at": last["last_updated_at"],
            }
        )

    def threads(self, project: Project) -> list[dict[str, Any]]:
        """All conversations of a project."""
        names = dict.fromkeys(trace.get("thread_id") for trace in self.rows("trace", project))
        found = [self.thread(project, name) for name in names if name]
        return [thread for thread in found if thread is not None]

    def _spans_by_trace(self, project_id: str) -> defaultdict[str, list[Row]]:
        grouped: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self._store.spans.of_project(self._workspace, project_id):
            grouped[row.fields["trace_id"]].append(row)
        return grouped

    def _span(self, row: Row) -> dict[str, Any]:
        fields = row.fields
        provider = fields.get("provider")
        return _without_nulls(
            {
                **self._common(row),
                "metadata": _led_by("provider", provider, fields.get("metadata")),
                "usage": fields.get("usage") or None,
                "total_estimated_cost": _cost(fields.get("total_estimated_cost")),
                "total_estimated_cost_version": fields.get("total_estimated_cost_version"),
            }
        )

    def _trace(self, row: Row, spans: Sequence[Row]) -> dict[str, Any]:
        providers = sorted({span.fields["provider"] for span in spans if span.fields.get("provider")})
        types = Counter(span.fields.get("type") for span in spans)
        costs = (span.fields.get("total_estimated_cost", Decimal(0)) for span in spans)
        return _without_nulls(
            {
                **self._common(row),
                "metadata": _led_by("providers", providers or None, row.fields.get("metadata")),
                "usage": dict(_sum(span.fields.get("usage", {}) for span in spans)) or None,
                "total_estimated_cost": _cost(sum(costs, Decimal(0))),
                "thread_id": row.fields.get("thread_id"),
                "span_count": len(spans),
                "llm_span_count": types["llm"],
                "has_tool_spans": types["tool"] > 0,
                "providers": providers,
                "visibility_mode": "default",
            }
        )

    def _common(self, row: Row) -> dict[str, Any]:
        fields, end = row.fields, row.fields.get("end_time")
        kind: Kind = "span" if "trace_id" in fields else "trace"
        scores = self._store.scores.get((self._workspace, kind, row.id), {})
        return {
            **{name: fields.get(name) for name in _COPIED},
            "project_id": row.project_id,
            "start_time": format_instant(fields["start_time"]),
            "end_time": format_instant(end) if end is not None else None,
            "duration": (end - fields["start_time"]) // 1000 / 1000 if end is not None else None,
            "tags": fields.get("tags") or None,
            "ttft": fields.get("ttft"),
            "source": fields.get("source"),
            "environment": fields.get("environment", ""),
            "feedback_scores": list(scores.values()) or None,
            "created_at": format_instant(row.created_at),
            "last_updated_at": format_instant(row.last_updated_at),
            "created_by": row.user,
            "last_updated_by": row.user,
        }


def page_of(rows: Sequence[dict[str, Any]], page: int, size: int, sortable_by: Sequence[str]) -> dict[str, Any]:
    """One page of a list, as every list route of Opik answers."""
    content = list(rows[(page - 1) * size : page * size])
    return {
        "page": page,
        "size": len(content),
        "total": len(rows),
        "content": content,
        "sortable_by": list(sortable_by),
    }


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "contains": lambda have, want: want in have,
    "not_contains": lambda have, want: want not in have,
    "starts_with": lambda have, want: have.startswith(want),
    "ends_with": lambda have, want: have.endswith(want),
    "in": lambda have, want: have in [part.strip() for part in want.split(",")],
    "not_in": lambda have, want: have not in [part.strip() for part in want.split(",")],
}


def matches(row: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Whether a row passes one search filter: {"field", "operator", "key"?, "value"}."""
    name, sign = str(condition["field"]), str(condition["operator"])
    wanted = str(condition.get("value", ""))
    base, _, key = name.partition(".")
    have = row.get(base)
    key = condition.get("key") or key
    if key and isinstance(have, dict):
        have = have.get(key)
    if sign in {"is_empty", "is_not_empty"}:
        return (not have and have != 0) == (sign == "is_empty")
    if sign not in _COMPARISONS:
        raise Refusal(coded(400, f"Invalid operator '{sign}' for field '{name}'"))
    if name == "source" and wanted == "sdk" and have is None:
        return sign == "="  # rows of an unknown source count as the SDK's
    if have is None:
        return sign.startswith(("!", "not_"))
    return _COMPARISONS[sign](*_alike(have, wanted))


def _alike(have: Any, wanted: str) -> tuple[Any, Any]:
    """Both sides as numbers, as times or as text, whichever the row's value is."""
    if isinstance(have, (int, float)) and not isinstance(have, bool):
        return have, float(wanted)
    if isinstance(have, str):
        try:
            return parse_instant(have), parse_instant(wanted)
        except ValueError:
            return have, wanted
    return (have, wanted) if isinstance(have, list) else (str(have), wanted)


def _led_by(key: str, value: Any, metadata: Any) -> Any:
    """Metadata with the provider put first, as the server does on reading."""
    if value is None:
        return metadata
    if metadata is None or isinstance(metadata, dict):
        return {key: value, **(metadata or {})}
    return metadata


def _sum(usages: Any) -> Counter[str]:
    total: Counter[str] = Counter()
    for usage in usages:
        for name, count in usage.items():
            total[name] += count
    return total


def _cost(cost: Decimal | None) -> float | None:
    return float(cost) if cost else None


def _without_nulls(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}
