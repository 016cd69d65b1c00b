"""Builds spans and batches for the store's tests, as the OTLP protobuf that real batches are."""

from __future__ import annotations

import itertools
import os
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otel_llm import semconv
from otel_llm.contracts import Batch

NOON = 1_793_534_400_000_000_000
"""2026-11-01T12:00:00Z in Unix nanoseconds."""
MS = 1_000_000
HOUR = 3600 * 1000 * MS

_numbers = itertools.count(1)


def any_value(value: Any) -> AnyValue:
    """`value` as OTLP's AnyValue."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, (list, tuple)):
        made = AnyValue()
        made.array_value.values.extend(any_value(item) for item in value)
        return made
    return AnyValue(string_value=value)


def key_values(attributes: dict[str, Any]) -> list[KeyValue]:
    """`attributes` as OTLP's list of pairs."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def span(attributes: dict[str, Any] | None = None, *, ms: float = 100, start: int = NOON, **fields: Any) -> Span:
    """A span with ids of its own that lasts `ms` milliseconds; `fields` go to the protobuf message."""
    number = next(_numbers)
    fields.setdefault("trace_id", os.urandom(8) + number.to_bytes(8, "big"))
    fields.setdefault("span_id", number.to_bytes(8, "big"))
    fields.setdefault("name", "a span")
    return Span(
        start_time_unix_nano=start,
        end_time_unix_nano=start + int(ms * MS),
        attributes=key_values(attributes or {}),
        kind=Span.SPAN_KIND_CLIENT,
        **fields,
    )


def call(
    tenant: str = "acme",
    model: str = "gpt-4o",
    *,
    attributes: dict[str, Any] | None = None,
    error: str | None = None,
    **fields: Any,
) -> Span:
    """A chat call as the recorder writes it; `attributes` come on top."""
    facts: dict[str, Any] = {
        semconv.OPERATION_NAME: semconv.OP_CHAT,
        semconv.PROVIDER_NAME: "openai",
        semconv.REQUEST_MODEL: model,
        semconv.TENANT_ID: tenant,
        semconv.CACHE_HIT: False,
    }
    if error:
        facts[semconv.ERROR_TYPE] = error
        fields["status"] = Status(code=Status.STATUS_CODE_ERROR, message=f"it failed: {error}")
    return span({**facts, **(attributes or {})}, name=f"chat {model}", **fields)


def used(input_tokens: int, output_tokens: int, cost: float | None) -> dict[str, Any]:
    """The attributes of a call that used tokens; a cost of None is an unknown one."""
    tokens = {semconv.USAGE_INPUT: input_tokens, semconv.USAGE_OUTPUT: output_tokens}
    if cost is None:
        return {**tokens, semconv.COST_STATUS: semconv.COST_UNKNOWN}
    return {**tokens, semconv.COST: cost, semconv.COST_STATUS: semconv.COST_PRICED}


def request_of(*spans: Span, resource: dict[str, Any] | None = None) -> ExportTraceServiceRequest:
    """One OTLP request with all `spans` under one resource and scope."""
    request = ExportTraceServiceRequest()
    resource_spans = request.resource_spans.add()
    resource_spans.resource.attributes.extend(key_values({semconv.SERVICE_NAME: "shop", **(resource or {})}))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name = "otel_llm"
    scope_spans.spans.extend(spans)
    return request


def batch_of(*spans: Span, resource: dict[str, Any] | None = None) -> Batch:
    """`spans` as the batch that a courier hands to a backend."""
    return Batch(request_of(*spans, resource=resource).SerializeToString(), len(spans))
