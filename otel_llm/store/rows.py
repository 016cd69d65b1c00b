"""From OTLP spans to rows of the store: the facts that one counts by as columns, the rest as JSON.

A name of an older generation of the conventions fills the column of today's name (`semconv.OLDER_NAMES`);
the JSON keeps every attribute under the name it came with.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otel_llm import semconv
from otel_llm.contracts import Rejection
from otel_llm.store.money import nano_usd
from otel_llm.turns import in_turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

__all__ = ["Rows", "is_model_call", "rows_of"]

_LARGEST_INTEGER = 2**63 - 1
_LARGEST_COUNT = 10**12
"""No call has more tokens; beyond it the number is damage, and sums could overflow."""
_LONGEST_TEXT = 512
"""Characters of a column's text; the JSON keeps the whole."""

_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES = ("unset", "ok", "error")

_OLDER: dict[str, tuple[str, ...]] = {
    today: tuple(older for older, newer in semconv.OLDER_NAMES.items() if newer == today)
    for today in set(semconv.OLDER_NAMES.values())
}


@dataclass(slots=True)
class Rows:
    """What a batch comes to: rows by column name, resources by id, and spans that nobody could file."""

    spans: list[dict[str, Any]] = field(default_factory=list)
    resources: dict[str, str] = field(default_factory=dict)
    rejected: list[Rejection] = field(default_factory=list)


def rows_of(request: ExportTraceServiceRequest) -> Rows:
    """Turn every span of `request` into a row; a span without usable ids is rejected, the others are kept."""
    rows = Rows()
    for resource_spans in request.resource_spans:
        resource = _plain_attributes(resource_spans.resource.attributes)
        resource_json = _json(resource)
        resource_id = hashlib.sha256(resource_json.encode()).hexdigest()[:16]
        rows.resources[resource_id] = resource_json
        for scope_spans in resource_spans.scope_spans:
            around = {
                "service": _text(resource.get(semconv.SERVICE_NAME)),
                "scope": _text(scope_spans.scope.name),
                "resource_id": resource_id,
            }
            for span in in_turns(scope_spans.spans):
                if _has_ids(span):
                    rows.spans.append({**around, **_row(span)})
                else:
                    rows.rejected.append(
                        Rejection(
                            span.span_id.hex(), "invalid", "the trace id or span id is missing or not of its size"
                        )
                    )
    return rows


def _has_ids(span: Span) -> bool:
    return len(span.trace_id) == 16 and any(span.trace_id) and len(span.span_id) == 8 and any(span.span_id)


def _row(span: Span) -> dict[str, Any]:
    attributes = _plain_attributes(span.attributes)
    start, end = _nanoseconds(span.start_time_unix_nano), _nanoseconds(span.end_time_unix_nano)
    return {
        "trace_id": span.trace_id.hex(),
        "span_id": span.span_id.hex(),
        "parent_span_id": span.parent_span_id.hex() or None,
        "trace_state": span.trace_state or None,
        "name": span.name,
        "kind": _KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else _KINDS[0],
        "start_ns": start,
        "end_ns": end,
        "duration_ns": max(0, end - start),
        **_status_columns(span.status, attributes),
        **_call_columns(attributes),
        **_usage_columns(attributes),
        # Of a call that sampling left out only the facts are kept: it counts, and there is nothing to look at.
        "attributes": None if semconv.SAMPLING_LEFT_OUT in attributes else _json(attributes),
        "events": _events(span),
        "links": _links(span),
    }


def _status_columns(status: Status, attributes: Mapping[str, Any]) -> dict[str, Any]:
    error_type = _text(attributes.get(semconv.ERROR_TYPE))
    state = _STATUSES[status.code] if 0 <= status.code < len(_STATUSES) else _STATUSES[0]
    return {
        "status": state,
        "status_message": status.message or None,
        "is_error": int(state == "error" or error_type is not None),
        "error_type": error_type,
        "http_status": _count(attributes.get(semconv.HTTP_STATUS_CODE)),
    }


def is_model_call(attributes: Mapping[str, Any]) -> bool:
    """Whether a span with these attributes is a call to a model, logical or an attempt."""
    operation = attributes.get(semconv.OPERATION_NAME)
    # The program's own retrieval (`@otel_llm.trace(operation="retrieval")`) names no model, and is no call to one.
    return operation in semconv.LLM_OPERATIONS and (
        operation != semconv.OP_RETRIEVAL or semconv.REQUEST_MODEL in attributes or semconv.RESPONSE_MODEL in attributes
    )


def _call_columns(attributes: Mapping[str, Any]) -> dict[str, Any]:
    attempt = _count(attributes.get(semconv.ATTEMPT))
    is_llm = is_model_call(attributes)
    session = attributes.get(semconv.SESSION_ID, attributes.get(semconv.CONVERSATION_ID))
    return {
        "is_llm": int(is_llm),
        "is_call": int(is_llm and attempt is None),
        "operation": _text(attributes.get(semconv.OPERATION_NAME)),
        "provider": _text(_fact(attributes, semconv.PROVIDER_NAME)),
        "request_model": _text(attributes.get(semconv.REQUEST_MODEL)),
        "response_model": _text(attributes.get(semconv.RESPONSE_MODEL)),
        "tenant": _text(attributes.get(semconv.TENANT_ID)) or semconv.UNKNOWN_TENANT,
        "user": _text(attributes.get(semconv.USER_ID)),
        "session": _text(session),
        "cache_hit": _flag(attributes.get(semconv.CACHE_HIT)),
        "stream": _flag(attributes.get(semconv.REQUEST_STREAM)),
        "ttft_ms": _milliseconds(attributes.get(semconv.TIME_TO_FIRST_CHUNK)),
        "attempt": attempt,
        "attempts": _count(attributes.get(semconv.ATTEMPTS)),
    }


_TOKENS = {
    "input_tokens": semconv.USAGE_INPUT,
    "output_tokens": semconv.USAGE_OUTPUT,
    "cache_read_tokens": semconv.USAGE_CACHE_READ,
    "cache_write_tokens": semconv.USAGE_CACHE_WRITE,
    "reasoning_tokens": semconv.USAGE_REASONING,
}


def _usage_columns(attributes: Mapping[str, Any]) -> dict[str, Any]:
    hit = attributes.get(semconv.CACHE_HIT) is True
    return {
        # Nobody was billed for what came out of the response cache, whoever wrote the span.
        **{column: None if hit else _count(_fact(attributes, name)) for column, name in _TOKENS.items()},
        "cost_nano_usd": nano_usd(attributes.get(semconv.COST)),
        "cost_status": _text(attributes.get(semconv.COST_STATUS)),
        "saved_nano_usd": nano_usd(attributes.get(semconv.COST_SAVED)),
    }


def _fact(attributes: Mapping[str, Any], name: str) -> object:
    """The value under today's `name`, else under an older one, else None."""
    for spelling in (name, *_OLDER.get(name, ())):
        if spelling in attributes:
            return attributes[spelling]
    return None


# --- values that programs may have set to anything --------------------------------------------------------


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    return (value if isinstance(value, str) else str(value))[:_LONGEST_TEXT]


def _count(value: object) -> int | None:
    """A whole number from 0 on; some instrumentations send it as a double. None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not 0 <= value <= _LARGEST_COUNT or value != int(value):
        return None
    return int(value)


def _flag(value: object) -> int | None:
    return int(value) if isinstance(value, bool) else None


def _milliseconds(seconds: object) -> float | None:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds < 0:
        return None
    return round(seconds * 1000.0, 6)  # to the nanosecond: the rest is rounding noise


def _nanoseconds(moment: int) -> int:
    return min(moment, _LARGEST_INTEGER)  # OTLP's are unsigned, SQLite's are not


# --- OTLP's value types as plain data -----------------------------------------------------------------------


def _plain_attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        return value.string_value
    if kind == "double_value":
        # JSON has no NaN and no infinity, and SQLite's JSON functions refuse them.
        return value.double_value if math.isfinite(value.double_value) else str(value.double_value)
    if kind == "array_value":
        return [_plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _plain_attributes(value.kvlist_value.values)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode("ascii")
    return getattr(value, kind) if kind else None


def _events(span: Span) -> str | None:
    if not span.events:
        return None
    return _json(
        [
            {"name": e.name, "time_ns": _nanoseconds(e.time_unix_nano), "attributes": _plain_attributes(e.attributes)}
            for e in span.events
        ]
    )


def _links(span: Span) -> str | None:
    if not span.links:
        return None
    return _json(
        [
            {
                "trace_id": link.trace_id.hex(),
                "span_id": link.span_id.hex(),
                "attributes": _plain_attributes(link.attributes),
            }
            for link in span.links
        ]
    )
