"""A batch of OTLP spans -> rows for Opik: pure, the same in every process, and fixed by golden vectors.

The rules are stated in `docs/opik.md`; `tests/vectors/opik` holds them for this and every other implementation. A batch
that this process has just closed is still there as spans (`Batch.spans`), and reading them is quicker than reading
its bytes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from otel_llm import json_bytes, semconv
from otel_llm.backends.opik.feedback import score_of
from otel_llm.backends.opik.live import LiveSpans, attributes_of_span, read_span
from otel_llm.backends.opik.memory import TraceMemory
from otel_llm.backends.opik.rows import MappedSpan, Row, Rows
from otel_llm.backends.opik.span_rows import map_span
from otel_llm.backends.opik.surroundings import surroundings_of
from otel_llm.backends.opik.trace_rows import gather, row_of_lone_root, topmost, trace_row
from otel_llm.backends.opik.values import Attributes, attributes_of
from otel_llm.contracts import Rejection
from otel_llm.turns import in_turns

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import Span
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.backends.opik.routing import Destination, Routing

__all__ = ["map_request", "map_spans"]

_TraceKey: TypeAlias = "tuple[Destination, str]"
"""Where a trace's row goes, and its Opik id."""


def map_request(request: ExportTraceServiceRequest, routing: Routing, memory: TraceMemory | None = None) -> Rows:
    """Map all spans of `request`. `memory` carries what earlier requests of the same process told."""
    memory = TraceMemory() if memory is None else memory
    rows = Rows()
    mapped: list[MappedSpan] = []
    for resource_spans in request.resource_spans:
        resource = attributes_of(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            if scope_spans.scope.name == semconv.FEEDBACK_SCOPE:
                _map_feedback(scope_spans.spans, resource, routing, memory, rows)
                continue
            around = surroundings_of(resource, scope_spans.scope.name, scope_spans.scope.version)
            mapped += [
                map_span(span, attributes_of(span.attributes), around, routing, memory.millis)
                for span in in_turns(scope_spans.spans)
            ]
    return _collected(mapped, rows, memory)


def map_spans(spans: Sequence[ReadableSpan], live: LiveSpans, routing: Routing, memory: TraceMemory) -> Rows | None:
    """The same rows from finished spans; None where they have to be read from their bytes after all."""
    mapped: list[MappedSpan] = []
    for span in in_turns(spans):
        around = live.around(span.resource, span.instrumentation_scope)
        if around is None:
            return None
        mapped.append(map_span(read_span(span), attributes_of_span(span), around, routing, memory.millis))
    return _collected(mapped, Rows(), memory)


def _collected(mapped: list[MappedSpan], rows: Rows, memory: TraceMemory) -> Rows:
    groups: dict[_TraceKey, list[MappedSpan]] = {}
    for span in mapped:
        if not span.joins_existing:
            groups.setdefault((span.destination, span.trace_id), []).append(span)
    rows.traces = [_trace(key, spans, memory) for key, spans in in_turns(groups.items())]
    rows.spans = [span.row() for span in in_turns(mapped)]
    return rows


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
            text = json_bytes.write(body)
            row = Row(text, b"", body["id"], destination.project, destination.workspace, span.span_id.hex())
            rows.scores[kind].append(row)


def _trace(key: _TraceKey, spans: list[MappedSpan], memory: TraceMemory) -> Row:
    if len(spans) == 1 and spans[0].is_root and not memory.knows(key):
        top = spans[0]
        return row_of_lone_root(top)
    notes = gather(spans, memory.recall(key))
    top = spans[0] if len(spans) == 1 else topmost(spans)
    if not top.is_root:
        memory.keep(key, notes)
    return trace_row(top, notes)
