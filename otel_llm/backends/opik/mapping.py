"""An OTLP request -> the rows that Opik should hold afterwards. No network, no clock, no settings but `Routing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from otel_llm.backends.opik.memory import TraceMemory, TraceNotes
from otel_llm.backends.opik.span_rows import MappedSpan, map_span, surroundings_of
from otel_llm.backends.opik.trace_rows import gather, topmost, trace_row
from otel_llm.backends.opik.values import attributes_of

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from otel_llm.backends.opik.routing import Destination, Routing

__all__ = ["Row", "Rows", "map_request"]

_TraceKey: TypeAlias = "tuple[Destination, str]"


class Row(NamedTuple):
    """One item for Opik's batch endpoints."""

    body: dict[str, Any]
    workspace: str | None
    """A tenant's own workspace; None is the configured one."""
    span_id: str
    """The OTel span (16 hex digits) that the row was made from."""


class Rows(NamedTuple):
    """What one request becomes. Traces are to be sent before spans."""

    traces: list[Row]
    spans: list[Row]


def map_request(request: ExportTraceServiceRequest, routing: Routing, memory: TraceMemory | None = None) -> Rows:
    """Map all spans of `request`. `memory` carries what earlier requests of the same process told."""
    memory = TraceMemory() if memory is None else memory
    mapped = _map_spans(request, routing, memory)
    groups: dict[_TraceKey, list[MappedSpan]] = {}
    for span in mapped:
        if not span.joins_existing:
            groups.setdefault((span.destination, span.row["trace_id"]), []).append(span)
    traces = [_trace(key, spans, memory) for key, spans in groups.items()]
    return Rows(traces, [Row(span.row, span.destination.workspace, span.span_id) for span in mapped])


def _map_spans(request: ExportTraceServiceRequest, routing: Routing, memory: TraceMemory) -> list[MappedSpan]:
    mapped: list[MappedSpan] = []
    for resource_spans in request.resource_spans:
        resource = attributes_of(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            around = surroundings_of(resource, scope_spans.scope.name, scope_spans.scope.version)
            mapped += [map_span(span, around, routing, memory.millis) for span in scope_spans.spans]
    return mapped


def _trace(key: _TraceKey, spans: list[MappedSpan], memory: TraceMemory) -> Row:
    notes: TraceNotes = gather(spans, memory.recall(key))
    top = topmost(spans)
    if not top.is_root:
        memory.keep(key, notes)
    return Row(trace_row(top, notes), key[0].workspace, top.span_id)
