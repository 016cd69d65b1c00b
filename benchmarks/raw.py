"""Raw spans of 2.8 kB, as model calls leave them, through whole pipelines: ours, the SDK's own, other peers'.

`producer(way, sink)` answers a `Producer`. Each span has a number and its texts carry it, so that what arrives can be
told apart, and checked word for word, as with calls.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable  # noqa: TC003  (read by the dataclass)
from dataclasses import dataclass
from typing import Any

from benchmarks import conversation

_VARIANTS = 64
_FLUSH_MS = 120_000
TRACE_SPANS = 10
"""Spans of a trace in the second workload, the root, which ends last, among them."""

Make = "Callable[[int], None]"


def _nothing() -> int:
    return 0


@dataclass
class Producer:
    """One way for raw spans."""

    make: Callable[[int], None]
    """Makes span `number`, a trace of its own."""
    make_trace: Callable[[int], None]
    """Makes a trace of `TRACE_SPANS` spans, from `number` on."""
    flush: Callable[[], object]
    waiting: Callable[[], int] = _nothing
    """Spans that were made and have not left the process's memory."""
    most: int = 1024
    """Spans that may wait before the producer pauses: half of the queue, where there is one."""
    every: int = 128
    """After how many spans it looks."""


def texts() -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Messages as JSON, in the conventions' form: what stands before and behind the number, for each variant."""
    asked, answered = [], []
    system = {"role": "system", "parts": [{"type": "text", "content": conversation.system_prompt()}]}
    for variant in range(_VARIANTS):
        user = {"role": "user", "parts": [{"type": "text", "content": "QUESTION"}]}
        reply = {"role": "assistant", "parts": [{"type": "text", "content": "ANSWER"}], "finish_reason": "stop"}
        asked.append(_halves(json.dumps([system, user]), "QUESTION", conversation.question_text(variant)))
        answered.append(_halves(json.dumps([reply]), "ANSWER", conversation.answer_text(variant)))
    return asked, answered


def _halves(document: str, placeholder: str, text: str) -> tuple[str, str]:
    before, after = document.split(placeholder)
    kind = placeholder[0].lower()
    return f"{before}<{kind}", f"<{text}>{kind}\0>{after}"


FACTS: dict[str, Any] = {
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
"""Of every raw span, beside its messages."""


def _finisher() -> Callable[[Any, int], None]:
    asked, answered = texts()
    cut = [tuple(part.split("\0")) for _, part in asked], [tuple(part.split("\0")) for _, part in answered]
    pieces = [
        (asked[n][0], *cut[0][n], answered[n][0], *cut[1][n])
        for n in range(_VARIANTS)
    ]  # fmt: skip

    def finish(span: Any, number: int) -> None:
        ask_begin, ask_text, ask_end, reply_begin, reply_text, reply_end = pieces[number % _VARIANTS]
        mark = f"{number:09d}"
        span.set_attributes(FACTS)
        span.set_attribute("gen_ai.input.messages", f"{ask_begin}{mark}{ask_text}{mark}{ask_end}")
        span.set_attribute("gen_ai.output.messages", f"{reply_begin}{mark}{reply_text}{mark}{reply_end}")
        span.end()

    return finish


def span_maker(tracer: Any) -> Callable[[int], None]:
    """A function that makes one span of 2.8 kB, as a model call leaves it."""
    from opentelemetry.trace import SpanKind

    finish, client = _finisher(), SpanKind.CLIENT

    def make(number: int) -> None:
        finish(tracer.start_span("chat gpt-4o-mini", kind=client), number)

    return make


def trace_maker(tracer: Any) -> Callable[[int], None]:
    """A function that makes a trace of `TRACE_SPANS` such spans, the root of which ends last."""
    from opentelemetry.trace import SpanKind, set_span_in_context

    finish, client = _finisher(), SpanKind.CLIENT

    def make(number: int) -> None:
        root = tracer.start_span("answer", kind=client)
        context = set_span_in_context(root)
        for child in range(1, TRACE_SPANS):
            finish(tracer.start_span("chat gpt-4o-mini", kind=client, context=context), number + child)
        finish(root, number)

    return make


def _of(provider: Any, flush: Callable[[], object], **more: Any) -> Producer:
    tracer = provider.get_tracer("bench")
    return Producer(span_maker(tracer), trace_maker(tracer), flush, **more)


def _ours(sink: str, backend: str, *, elsewhere: bool = False, **more: Any) -> Producer:
    """A configured program's whole pipeline; `elsewhere`: to a backend that does not seem to be on this machine."""
    from opentelemetry import trace

    from benchmarks import ours

    library = ours.configure(ours.seems_elsewhere(sink) if elsewhere else sink, backend, instrument=(), **more)

    def waiting() -> int:
        return sum(each.waiting for each in library.status().backends)

    return _of(trace.get_tracer_provider(), lambda: ours.flush(library), waiting=waiting, most=4096, every=1024)


def _stock(exporter: Any) -> Producer:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    if exporter is None:
        return _of(provider, lambda: None)
    processor = BatchSpanProcessor(exporter)
    provider.add_span_processor(processor)
    queue = processor._batch_processor._queue  # noqa: SLF001
    return _of(provider, lambda: provider.force_flush(_FLUSH_MS), waiting=lambda: len(queue))


def _stock_http(sink: str, *, compressed: bool) -> Producer:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    compression = Compression.Gzip if compressed else Compression.NoCompression
    return _stock(OTLPSpanExporter(endpoint=f"{sink}/v1/traces", compression=compression))


def _stock_grpc(sink: str) -> Producer:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return _stock(OTLPSpanExporter(endpoint=sink, insecure=True))


def _opik_sdk(sink: str, *, with_trace: bool) -> Producer:
    """Opik's client. In a trace of ten spans there is a row for the trace, as in any case."""
    import datetime as dt

    os.environ |= {"OPIK_URL_OVERRIDE": f"{sink}/api", "OPIK_WORKSPACE": "default", "OPIK_PROJECT_NAME": "bench"}
    import opik
    from opik import id_helpers

    client = opik.Opik()
    usage = {"prompt_tokens": 412, "completion_tokens": 96, "total_tokens": 508}
    facts = {"temperature": 0.2, "max_tokens": 256, "tenant": "tenant-7", "cache_hit": False}

    def now() -> Any:
        return dt.datetime.now(dt.timezone.utc)

    def texts_of(number: int) -> dict[str, Any]:
        reply = {"role": "assistant", "content": conversation.answer(number)}
        return {"input": {"messages": conversation.messages(number)}, "output": {"choices": [{"message": reply}]}}

    def add_span(number: int, trace_id: str, began: Any, **more: Any) -> None:
        client.span(
            trace_id=trace_id,
            name="chat gpt-4o-mini",
            type="llm",
            start_time=began,
            end_time=now(),
            metadata=facts,
            usage=usage,
            model="gpt-4o-mini",
            provider="openai",
            total_cost=0.000119,
            **texts_of(number),
            **more,
        )

    def add_trace(number: int, trace_id: str, began: Any) -> None:
        client.trace(id=trace_id, name="answer", start_time=began, end_time=now(), metadata=facts, **texts_of(number))

    def make(number: int) -> None:
        trace_id, began = id_helpers.generate_id(), now()
        add_span(number, trace_id, began)
        if with_trace:
            add_trace(number, trace_id, began)

    def make_trace(number: int) -> None:
        trace_id, root_id, began = id_helpers.generate_id(), id_helpers.generate_id(), now()
        for child in range(1, TRACE_SPANS):
            add_span(number + child, trace_id, now(), parent_span_id=root_id)
        add_span(number, trace_id, began, id=root_id)
        add_trace(number, trace_id, began)

    return Producer(make, make_trace, client.flush)


def _langfuse(sink: str) -> Producer:
    from benchmarks.peers import langfuse_sdk

    peer = langfuse_sdk(sink)
    from langfuse import get_client

    client = get_client()

    def make(number: int) -> None:
        client.start_observation(
            name="chat",
            as_type="generation",
            model="gpt-4o-mini",
            input=conversation.messages(number),
            output={"role": "assistant", "content": conversation.answer(number)},
            usage_details={"input": 412, "output": 96, "input_cached_tokens": 256},
            cost_details={"total": 0.000119},
            metadata={"tenant": "tenant-7", "cache_hit": "false"},
            model_parameters={"temperature": 0.2, "max_tokens": 256},
        ).end()

    return Producer(make, make, peer.flush_backend)


def _peer(name: str, sink: str) -> Producer:
    """The pipeline that a peer sets up, at its defaults."""
    from benchmarks.peers import PEERS

    peer = PEERS[name](sink)
    return _of(peer.provider, peer.flush_backend)


WAYS: dict[str, Callable[[str], Producer]] = {
    "sdk_alone": lambda _: _stock(None),
    "stock_http": lambda sink: _stock_http(sink, compressed=False),
    "stock_http_gzip": lambda sink: _stock_http(sink, compressed=True),
    "stock_grpc": _stock_grpc,
    "ours_opik": lambda sink: _ours(sink, "opik"),
    "ours_opik_gzip": lambda sink: _ours(sink, "opik", elsewhere=True),
    "ours_opik_memory": lambda sink: _ours(sink, "opik", spool_mode="off"),
    "ours_opik_unredacted": lambda sink: _ours(sink, "opik", redact="none"),
    "ours_otlp": lambda sink: _ours(sink, "otlp"),
    "ours_otlp_memory": lambda sink: _ours(sink, "otlp", spool_mode="off"),
    "ours_otlp_grpc": lambda sink: _ours(sink, "otlp", otlp_protocol="grpc"),
    "ours_local": lambda sink: _ours(sink, "local"),
    "opik_span": lambda sink: _opik_sdk(sink, with_trace=False),
    "opik_trace_span": lambda sink: _opik_sdk(sink, with_trace=True),
}
"""Ways for raw spans, at their own pace."""

BURSTS: dict[str, Callable[[str], Producer]] = {
    **WAYS,
    "langfuse": _langfuse,
    **{
        name: lambda sink, name=name: _peer(name, sink)  # type: ignore[misc]
        for name in ("openinference", "openllmetry", "openlit", "logfire")
    },
}
"""Ways for a burst, at the defaults of whoever's they are."""
