"""Raw spans of 2.8 kB, as model calls leave them, through a whole pipeline: ours and the SDK's own.

`producer(name, ...)` answers a function that makes one span, one that has everything delivered, and one that tells how
many spans wait for export.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

Producer = tuple[Callable[[int], None], Callable[[], object], Callable[[], int]]
_VARIANTS = 64


def span_maker(tracer: Any) -> Callable[[int], None]:
    """A function that makes one span of 2.8 kB, as a model call leaves it."""
    from opentelemetry.trace import SpanKind

    from benchmarks.conversation import SYSTEM_BYTES, answer, prose, question

    asked = []
    for number in range(_VARIANTS):
        system = {"role": "system", "parts": [{"type": "text", "content": prose(SYSTEM_BYTES, 1)}]}
        user = {"role": "user", "parts": [{"type": "text", "content": question(number)}]}
        asked.append(json.dumps([system, user]))
    answered = [
        json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": answer(n)}], "finish_reason": "stop"}])
        for n in range(_VARIANTS)
    ]
    facts = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.usage.input_tokens": 412,
        "gen_ai.usage.output_tokens": 96,
        "gen_ai.usage.cache_read.input_tokens": 256,
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 256,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.cost": 0.000119,
        "tenant.id": "tenant-7",
        "otel_llm.cache.hit": False,
    }

    def make(number: int) -> None:
        variant = number % _VARIANTS
        span = tracer.start_span("chat gpt-4o-mini", kind=SpanKind.CLIENT)
        span.set_attributes(facts)
        span.set_attribute("gen_ai.input.messages", asked[variant])
        span.set_attribute("gen_ai.output.messages", answered[variant])
        span.end()

    return make


def _ours(sink: str, backend: str, *, whole: bool, compressed: bool = False, **more: Any) -> Producer:
    """`whole`: behind the pipeline of a configured program; else exporter, spool and courier only."""
    from benchmarks.peers import configure_ours

    if compressed:  # as to a server elsewhere; to one on this machine it would not
        from otel_llm.backends.opik import json_client

        json_client.worth_compressing = lambda _base: True  # type: ignore[assignment]
    ours = configure_ours(sink, backend, instrument=(), **more)
    from otel_llm.control.running import _running

    pipeline = _running.pipeline
    assert pipeline is not None
    (channel,) = pipeline.channels
    queue = channel._queue  # type: ignore[attr-defined]  # noqa: SLF001
    provider = pipeline.provider
    if not whole:
        from opentelemetry.sdk.trace import TracerProvider

        provider = TracerProvider(shutdown_on_exit=False, id_generator=provider.id_generator)
        provider.add_span_processor(channel.processor)

    def flush() -> None:
        deadline = time.monotonic() + 120.0
        while (report := ours.flush(30.0)).waiting > 0 and time.monotonic() < deadline:
            pass
        assert report.waiting <= 0, report

    return span_maker(provider.get_tracer("bench")), flush, lambda: queue.queued


def _stock(exporter: Any) -> Producer:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    if exporter is None:
        return span_maker(provider.get_tracer("bench")), lambda: None, lambda: 0
    processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    waiting = processor._batch_processor._queue  # noqa: SLF001
    return span_maker(provider.get_tracer("bench")), lambda: provider.force_flush(120_000), lambda: len(waiting)


def _stock_http(sink: str, *, compressed: bool) -> Producer:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    compression = Compression.Gzip if compressed else Compression.NoCompression
    return _stock(OTLPSpanExporter(endpoint=f"{sink}/v1/traces", compression=compression))


def _stock_grpc(endpoint: str) -> Producer:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return _stock(OTLPSpanExporter(endpoint=endpoint, insecure=True))


def _opik_sdk(sink: str) -> Producer:
    import datetime as dt

    os.environ |= {"OPIK_URL_OVERRIDE": f"{sink}/api", "OPIK_WORKSPACE": "default", "OPIK_PROJECT_NAME": "bench"}
    import opik
    from opik import id_helpers

    from benchmarks.conversation import answer, messages

    client = opik.Opik()
    usage = {"prompt_tokens": 412, "completion_tokens": 96, "total_tokens": 508}
    facts = {"temperature": 0.2, "max_tokens": 256, "tenant": "tenant-7", "cache_hit": False}

    def make(number: int) -> None:
        variant = number % _VARIANTS
        now = dt.datetime.now(dt.timezone.utc)
        client.span(
            trace_id=id_helpers.generate_id(),
            name="chat gpt-4o-mini",
            type="llm",
            start_time=now,
            end_time=dt.datetime.now(dt.timezone.utc),
            input={"messages": messages(variant)},
            output={"choices": [{"message": {"role": "assistant", "content": answer(variant)}}]},
            metadata=facts,
            usage=usage,
            model="gpt-4o-mini",
            provider="openai",
            total_cost=0.000119,
        )

    return make, client.flush, lambda: 0


def producer(name: str, sink: str, grpc: str) -> Producer:
    """The pipeline called `name`."""
    if name == "sdk_alone":
        return _stock(None)
    if name == "stock_http":
        return _stock_http(sink, compressed=False)
    if name == "stock_http_gzip":
        return _stock_http(sink, compressed=True)
    if name == "stock_grpc":
        return _stock_grpc(grpc)
    if name == "opik_sdk":
        return _opik_sdk(sink)
    if name == "ours_opik":
        return _ours(sink, "opik", whole=False)
    if name == "ours_opik_gzip":
        return _ours(sink, "opik", whole=False, compressed=True)
    if name == "ours_opik_pipeline":
        return _ours(sink, "opik", whole=True)
    if name == "ours_opik_memory":
        return _ours(sink, "opik", whole=False, spool_mode="off")
    if name == "ours_otlp":
        return _ours(sink, "otlp", whole=False)
    raise ValueError(name)
