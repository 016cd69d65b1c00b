"""What of a written trace or span is kept, and in which form: the writable columns, typed as the server types them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tests.fakes.opik.instants import parse_instant
from tests.fakes.opik.pricing import ESTIMATE_VERSION, estimate_cost, stored_cost

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Kind", "priced", "written_fields"]

Kind: TypeAlias = Literal["trace", "span"]

_SHARED = {
    "id",
    "name",
    "start_time",
    "end_time",
    "input",
    "output",
    "metadata",
    "tags",
    "error_info",
    "ttft",
    "source",
    "environment",
}
_WRITABLE: dict[str, set[str]] = {
    "trace": _SHARED | {"thread_id"},
    "span": _SHARED | {"trace_id", "parent_span_id", "type", "model", "provider", "usage", "total_estimated_cost"},
}
_TIMES = frozenset({"start_time", "end_time"})


def written_fields(kind: Kind, item: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that `item` sets. Nulls and unknown fields vanish; times become nanoseconds, counts int32.

    A lone surrogate becomes a question mark, as it does on its way through Java.
    """
    kept = {key: value for key, value in item.items() if key in _WRITABLE[kind] and value is not None}
    return {key: _typed(key, value) for key, value in _without_surrogates(kept).items()}


def priced(fields: dict[str, Any]) -> dict[str, Any]:
    """The span's columns with the server's own estimate added where the client gave no cost."""
    if "total_estimated_cost" in fields:
        return fields
    cost = estimate_cost(fields)
    if not cost:
        return fields
    return {**fields, "total_estimated_cost": stored_cost(cost), "total_estimated_cost_version": ESTIMATE_VERSION}


def _typed(key: str, value: Any) -> Any:
    if key in _TIMES:
        return parse_instant(value)
    if key == "usage":
        return {name: int(float(count)) for name, count in value.items() if count is not None}
    if key == "tags":
        return list(dict.fromkeys(value))
    if key == "total_estimated_cost":
        return stored_cost(value)
    if key == "error_info":
        return {name: text for name, text in value.items() if text is not None}
    return value


def _without_surrogates(value: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return dict(json.loads(text.encode("utf-8", "replace")))
    return value
