"""Batches of OTLP spans for the tests of the Opik backend."""

from __future__ import annotations

import time
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm import semconv
from otel_llm.backends.opik.ids import Uuid7IdGenerator
from otel_llm.contracts import Batch

_ids = Uuid7IdGenerator()


def trace_bytes(age_hours: float = 0.0) -> bytes:
    """A fresh UUIDv7 trace id, its time `age_hours` ago."""
    millis = int((time.time() - age_hours * 3600) * 1000)
    return millis.to_bytes(6, "big") + _ids.generate_trace_id().to_bytes(16, "big")[6:]


def batch_of(*traces: bytes, spans_each: int = 2, content: str = "", tenant: str = "") -> Batch:
    """One batch with a root and LLM children for each trace; a trace's spans begin at the trace's own time."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.add(key=semconv.SERVICE_NAME).value.string_value = "shop"
    scope = resource.scope_spans.add()
    for trace in traces:
        start = int.from_bytes(trace[:6], "big") * 1_000_000
        for number in range(1, spans_each + 1):
            span = scope.spans.add(trace_id=trace, span_id=number.to_bytes(8, "big"), name=f"span {number}")
            span.start_time_unix_nano = start + number
            span.end_time_unix_nano = start + 1_000_000_000
            if number > 1:
                span.parent_span_id = (1).to_bytes(8, "big")
                _put(span, {semconv.OPERATION_NAME: semconv.OP_CHAT, semconv.REQUEST_MODEL: "gpt-4o-mini"})
                _put(span, {semconv.INPUT_MESSAGES: content} if content else {})
            _put(span, {semconv.TENANT_ID: tenant} if tenant else {})
    return Batch(request.SerializeToString(), span_count=len(traces) * spans_each)


def merged(*batches: Batch) -> Batch:
    """One batch with the spans of all."""
    request = ExportTraceServiceRequest()
    for batch in batches:
        request.MergeFromString(batch.payload)
    return Batch(request.SerializeToString(), span_count=sum(batch.span_count for batch in batches))


def _put(span: Any, attributes: dict[str, str]) -> None:
    for key, value in attributes.items():
        span.attributes.add(key=key).value.string_value = value
