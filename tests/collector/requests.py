"""OTLP requests for the tests of the Collector, made of numbered spans, so that every one of them can be counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from otel_llm.backends.opik.ids import Uuid7IdGenerator
from otel_llm.otlp_json import from_otlp_json

if TYPE_CHECKING:
    from tests.fakes.opik import FakeOpik

_ids = Uuid7IdGenerator()


def request_of(first: int, count: int, *, size: int = 0, **attributes: str) -> bytes:
    """Spans of one new trace, named by their numbers; all LLM calls, all under the first; each `size` bytes larger."""
    trace = _ids.generate_trace_id()
    told = {"gen_ai.operation.name": "chat", **{key.replace("__", "."): value for key, value in attributes.items()}}
    spans = [
        {
            "traceId": f"{trace:032x}",
            "spanId": f"{number + 1:016x}",
            "parentSpanId": "" if number == first else f"{first + 1:016x}",
            "name": f"span {number}",
            "startTimeUnixNano": str(time.time_ns()),
            "endTimeUnixNano": str(time.time_ns() + 1000),
            "attributes": [_attribute(key, value) for key, value in told.items()],
        }
        for number in range(first, first + count)
    ]
    resource = {"attributes": [_attribute("service.name", "shop")]}
    document = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    request = from_otlp_json(document)
    if size:
        for span in request.resource_spans[0].scope_spans[0].spans:
            span.attributes.add(key="gen_ai.input.messages").value.string_value = "x" * size
    return request.SerializeToString()


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def names_in(opik: FakeOpik, workspace: str = "default") -> list[str]:
    """The names of all spans that are there, sorted; one that is there twice is named twice."""
    return sorted(row["name"] for row in opik.spans(workspace=workspace))


def numbered(first: int, count: int) -> list[str]:
    """The names of so many spans, sorted."""
    return sorted(f"span {number}" for number in range(first, first + count))
