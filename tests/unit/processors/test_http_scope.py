"""HTTP spans are ours only under an LLM call."""

from __future__ import annotations

from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm.context import ACTIVE_CALL_KEY
from otel_llm.processors.chain import SpanPipeline
from otel_llm.processors.http_scope import HttpScopeFilter


def test_only_requests_of_calls_are_kept() -> None:
    """A request outside of a call is dropped and counted, one inside is kept, and other scopes are not touched."""
    exporter, http = InMemorySpanExporter(), HttpScopeFilter()
    pipeline = SpanPipeline(SimpleSpanProcessor(exporter), on_start=[http.on_start], on_end=[http])
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(pipeline)
    client = provider.get_tracer("opentelemetry.instrumentation.httpx")
    client.start_span("outside").end()
    inside = otel_context.set_value(ACTIVE_CALL_KEY, object())
    client.start_span("inside", context=inside).end()
    provider.get_tracer("app").start_span("work").end()
    assert [span.name for span in exporter.get_finished_spans()] == ["inside", "work"]
    assert pipeline.dropped == {"not_llm_http": 1}
