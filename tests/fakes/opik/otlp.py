"""Opik's OTLP route: decoding, ids, trace rows from root spans, and its refusal of a root it already has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import Parse, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes.opik.answers import Refusal, coded
from tests.fakes.opik.ids import from_otel, milliseconds_of
from tests.fakes.opik.otlp_mapping import map_span, override

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tests.fakes.opik.store import Store

__all__ = ["decode", "store_spans"]


def decode(body: bytes, content_type: str) -> ExportTraceServiceRequest:
    """The request in `body`: protobuf, or canonical protobuf JSON, in which ids are base64 and not hex.

    What cannot be read is a 500, because nothing on the server maps that exception.
    """
    request = ExportTraceServiceRequest()
    try:
        if content_type.startswith("application/json"):
            text = body.decode()
            inner = json.loads(text)
            Parse(inner if isinstance(inner, str) else text, request)
        else:
            request.ParseFromString(body)
    except (DecodeError, ParseError, ValueError) as error:
        raise Refusal(
            coded(500, "There was an error processing your request. It has been logged (ID fake).")
        ) from error
    return request


def store_spans(store: Store, workspace: str, project_name: str | None, request: ExportTraceServiceRequest) -> None:
    """Store a request's spans as the server does: first a trace for every root, then all the spans.

    A root whose trace exists is a 409 and leaves the spans of the whole request unstored.
    """
    project = store.projects.ensure(workspace, project_name)
    spans = [span for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]
    integration = _integration(request)
    trace_ids = _trace_ids(store, workspace, project.id, spans)
    rows = [_row(span, trace_ids[span.trace_id], integration, project.name) for span in spans]
    for row in rows:
        store.check_id("span", row["id"])
    _clear_repeated_usage(rows)
    claimed = {override(span, "opik.trace_id") for span in spans}
    for span, row in zip(spans, rows, strict=True):
        if not span.parent_span_id and row["trace_id"] not in claimed:
            store.create_one("trace", workspace, _trace_of(row))
    store.write_batch("span", workspace, rows) if rows else None


def _integration(request: ExportTraceServiceRequest) -> str | None:
    names = (scope.scope.name for group in request.resource_spans for scope in group.scope_spans)
    return next((name for name in names if name and name != "logfire"), None)


def _trace_ids(store: Store, workspace: str, project_id: str, spans: list[Span]) -> dict[bytes, str]:
    """Opik's id of every OTel trace: the one minted when the trace was first seen, or one from its earliest start."""
    starts: dict[bytes, int] = {}
    for span in spans:
        start = span.start_time_unix_nano // 1_000_000
        starts[span.trace_id] = min(start, starts.get(span.trace_id, start))
    for raw, start in starts.items():
        store.otel_trace_ids.setdefault((workspace, project_id, raw), from_otel(raw, start))
    return {raw: store.otel_trace_ids[workspace, project_id, raw] for raw in starts}


def _row(span: Span, trace_id: str, integration: str | None, project_name: str) -> dict[str, Any]:
    claimed = override(span, "opik.trace_id")
    trace_id = claimed or trace_id
    moment = milliseconds_of(trace_id)
    if claimed:
        parent = override(span, "opik.parent_span_id")
    else:
        parent = from_otel(span.parent_span_id, moment) if span.parent_span_id else None
    return {
        "id": override(span, "opik.span_id") or from_otel(span.span_id, moment),
        "trace_id": trace_id,
        "parent_span_id": parent,
        "project_name": project_name,
        **map_span(span, integration),
    }


def _clear_repeated_usage(rows: list[dict[str, Any]]) -> None:
    """A parent that repeats the usage of a child in the same request loses it; its cost stays."""
    repeated = {row["parent_span_id"] for row in rows if row["usage"]}
    for row in rows:
        if row["id"] in repeated:
            row["usage"] = None


def _trace_of(root: dict[str, Any]) -> dict[str, Any]:
    """The trace row that a root span leaves; its tags stay behind on the span."""
    columns = ("name", "start_time", "end_time", "input", "output", "metadata", "error_info", "source", "project_name")
    thread = root.get("metadata", {}).get("thread_id")
    return {
        "id": root["trace_id"],
        **{name: root.get(name) for name in columns},
        "thread_id": str(thread) if thread is not None else None,
    }
