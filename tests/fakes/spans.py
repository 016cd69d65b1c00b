"""Finished spans made by hand, batches of them, and what a decoded request says, for tests of any room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, TraceFlags

from otel_llm.delivery.codec import encode

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

    from otel_llm.contracts import Batch

RESOURCE = Resource({"service.name": "svc"})
SCOPE = InstrumentationScope("scope", "1", "https://schemas.test/1")
TRACE_ID = 2**100 + 7


def make_span(name: Any = "chat m", number: int = 1, **fields: Any) -> ReadableSpan:
    """A sampled span with span id `number`; `fields` are further arguments of `ReadableSpan`."""
    defaults: dict[str, Any] = {
        "context": SpanContext(TRACE_ID, number, is_remote=False, trace_flags=TraceFlags(1)),
        "resource": RESOURCE,
        "instrumentation_scope": SCOPE,
        "start_time": 1_700_000_000_000_000_000,
        "end_time": 1_700_000_001_500_000_000,
    }
    return ReadableSpan(name, **{**defaults, **fields})


def make_batch(count: int = 1, *, first: int = 1, **fields: Any) -> Batch:
    """One batch of `count` spans with span ids from `first` on."""
    (batch,) = encode([make_span(number=first + n, **fields) for n in range(count)], max_bytes=2**30)
    return batch


def all_spans(request: ExportTraceServiceRequest) -> list[Any]:
    """Every span message of a request, in order."""
    return [span for group in request.resource_spans for scoped in group.scope_spans for span in scoped.spans]


def values_of(holder: Any) -> dict[str, Any]:
    """The attributes of a span, event, link, resource or scope message as plain Python values."""
    return {pair.key: plain(pair.value) for pair in holder.attributes}


def plain(value: AnyValue) -> Any:
    """An AnyValue as a plain Python value."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(entry) for entry in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
    return None if kind is None else getattr(value, kind)
