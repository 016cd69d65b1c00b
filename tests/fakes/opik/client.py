"""A plain client for the fake's own tests: one request at a time, no retries, no proxies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.fakes.opik import ids

if TYPE_CHECKING:
    from tests.fakes.opik.server import FakeOpik

__all__ = ["call", "fetch", "otlp_request", "post_otlp", "post_spans", "span_item"]


def call(opik: FakeOpik, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
    """Send one request to the API."""
    return fetch(method, opik.url + path, json=body, **more)


def fetch(method: str, url: str, **more: Any) -> requests.Response:
    """Send one request, without the proxies of whoever runs the tests."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=more.pop("timeout", 10), **more)


def span_item(**columns: Any) -> dict[str, Any]:
    """A span as a REST body holds it, of a trace of its own."""
    moment = "2026-11-22T12:00:00.5Z"
    defaults = {"id": ids.new_id(), "trace_id": ids.new_id(), "project_name": "p", "name": "s", "start_time": moment}
    return defaults | columns


def post_spans(opik: FakeOpik, *items: dict[str, Any], **more: Any) -> requests.Response:
    """Write spans in one batch."""
    return call(opik, "POST", "/v1/private/spans/batch", {"spans": list(items)}, **more)


def post_otlp(opik: FakeOpik, spans: list[dict[str, Any]], project: str = "p") -> requests.Response:
    """Send spans in the short form of `otlp_request` as protobuf."""
    headers = {"Content-Type": "application/x-protobuf", "projectName": project}
    body = otlp_request(spans).SerializeToString()
    return call(opik, "POST", "/v1/private/otel/v1/traces", data=body, headers=headers)


def any_value(value: Any) -> AnyValue:
    """A Python value as OTLP holds it."""
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, list):
        return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))
    return AnyValue(string_value=value)


def otlp_request(spans: list[dict[str, Any]]) -> ExportTraceServiceRequest:
    """An export request from the short form in which the recordings keep spans."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    scope.scope.name = "otel_llm"
    for recorded in spans:
        span = scope.spans.add(
            trace_id=bytes.fromhex(recorded["trace_id"]),
            span_id=bytes.fromhex(recorded["span_id"]),
            parent_span_id=bytes.fromhex(recorded.get("parent", "")),
            name=recorded["name"],
            start_time_unix_nano=recorded["start"],
            end_time_unix_nano=recorded["end"],
        )
        for key, value in recorded["attrs"].items():
            span.attributes.add(key=key, value=any_value(value))
        if "error" in recorded:
            span.status.code = Status.STATUS_CODE_ERROR
            span.status.message = recorded["error"]
    return request
