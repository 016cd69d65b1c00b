"""An OTLP request -> the rows that Opik should hold afterwards. No network, no clock, no settings but `Routing`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from otel_llm import semconv
from otel_llm.backends.opik.feedback import SPAN_SCORES, TRACE_SCORES, score_of
from otel_llm.backends.opik.memory import TraceMemory, TraceNotes
from otel_llm.backends.opik.span_rows import MappedSpan, map_span, surroundings_of
from otel_llm.backends.opik.trace_rows import gather, topmost, trace_row
from otel_llm.backends.opik.values import attributes_of
from otel_llm.contracts import Rejection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from otel_llm.backends.opik.routing import Destination, Routing
    from otel_llm.backends.opik.values import Attributes

__all__ = ["Row", "Rows", "map_request"]

_TraceKey: TypeAlias = "tuple[Destination, str]"


class Row(NamedTuple):
    """One item for Opik's batch endpoints."""

    body: dict[str, Any]
    workspace: str | None
    """A tenant's own workspace; None is the configured one."""
    span_id: str
    """The OTel span (16 hex digits) that the row was made from."""


@dataclass(slots=True)
class Rows:
    """What one request becomes. Traces are to be sent before spans, and both before scores."""

    traces: list[Row]
    spans: list[Row]
    scores: dict[str, list[Row]] = field(default_factory=lambda: {TRACE_SCORES: [], SPAN_SCORES: []})
    """Feedback, by kind."""
    rejections: list[Rejection] = field(default_factory=list)
    """Records of feedback that cannot be told to Opik."""

    def by_kind(self) -> list[tuple[str, list[Row]]]:
        """All rows, in the order in which they are to be sent."""
        return [("traces", self.traces), ("spans", self.spans), *self.scores.items()]


def map_request(request: ExportTraceServiceRequest, routing: Routing, memory: TraceMemory | None = None) -> Rows:
    """Map all spans of `request`. `memory` carries what earlier requests of the same process told."""
    memory = TraceMemory() if memory is None else memory
    rows = Rows([], [])
    mapped = _map_spans(request, routing, memory, rows)
    groups: dict[_TraceKey, list[MappedSpan]] = {}
    for span in mapped:
        if not span.joins_existing:
            groups.setdefault((span.destination, span.row["trace_id"]), []).append(span)
    rows.traces = [_trace(key, spans, memory) for key, spans in groups.items()]
    rows.spans = [Row(span.row, span.destination.workspace, span.span_id) for span in mapped]
    return rows


def _map_spans(
    request: ExportTraceServiceRequest, routing: Routing, memory: TraceMemory, rows: Rows
) -> list[MappedSpan]:
    mapped: list[MappedSpan] = []
    for resource_spans in request.resource_spans:
        resource = attributes_of(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            if scope_spans.scope.name == semconv.FEEDBACK_SCOPE:
                _map_feedback(scope_spans.spans, resource, routing, memory, rows)
                continue
            around = surroundings_of(resource, scope_spans.scope.name, scope_spans.scope.version)
            mapped += [map_span(span, around, routing, memory.millis) for span in scope_spans.spans]
    return mapped


def _map_feedback(
    spans: Iterable[Span], resource: Attributes, routing: Routing, memory: TraceMemory, rows: Rows
) -> None:
    for span in spans:
        attributes = attributes_of(span.attributes)
        destination = routing.destination(attributes, resource)
        score = score_of(span, destination.project, attributes, memory.settled)
        if isinstance(score, Rejection):
            rows.rejections.append(score)
        else:
            kind, body = score
            rows.scores[kind].append(Row(body, destination.workspace, span.span_id.hex()))


def _trace(key: _TraceKey, spans: list[MappedSpan], memory: TraceMemory) -> Row:
    notes: TraceNotes = gather(spans, memory.recall(key))
    top = topmost(spans)
    if not top.is_root:
        memory.keep(key, notes)
    return Row(trace_row(top, notes), key[0].workspace, top.span_id)
