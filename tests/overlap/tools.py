"""The other tools of the matrix: how a program begins each, and how to see what it got.

Nothing here fakes a tool: each is the installed package, begun the way its documentation says, with the exporter (or
the server that it sends to) replaced by one in this process.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.overlap.outcomes import MODELS, PER_MODE

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TOOLS", "Begun", "Tool", "litellm_creates", "logging_is_done"]

ALL = dict.fromkeys(MODELS, PER_MODE)


class Begun:
    """A tool at work."""

    def __init__(self, records: Callable[[], list[str]]) -> None:
        self._records = records
        """One text per record that the tool made, with the model's name somewhere in it."""

    def got(self) -> Counter[str]:
        """How many records the tool has of each mode."""
        names = {mode: model.rpartition("/")[2] for mode, model in MODELS.items()}
        return Counter(mode for text in self._records() for mode, name in names.items() if name in text)


@dataclass(frozen=True)
class Tool:
    """Another tool that records calls of language models."""

    begin: Callable[[Any, InMemorySpanExporter], Begun]
    """Takes the program's provider (None: the tool makes its own) and what that one's spans end up in."""
    distribution: str | None
    """What `otel-llm doctor` has to name; None for what litellm brings itself."""
    silent_inside_ours: bool = False
    """OpenTelemetry's own GenAI instrumentations make no span inside another one's call: the project's own rule."""
    silences_http: bool = False
    """Logfire lets no other instrumentation record inside its own, so there are no HTTP spans of ours then."""
    watches_create: bool = False
    """It wraps `create` of the `openai` package, by which newer litellm (1.110) sends no chat any more."""
    in_the_call: bool = True
    """Whether it records while the call runs; else it does afterwards, in batches, of which some lose records."""
    expected: dict[str, int] = field(default_factory=lambda: dict(ALL))
    """The records that the tool makes of one sync and one async call of each mode, when otel_llm is not there."""

    def expects(self, *, creates: bool) -> dict[str, int]:
        """The same for the litellm in question; `creates`: whether it sends chats by `create`."""
        return {} if self.watches_create and not creates else self.expected


def litellm_creates() -> bool:
    """Whether this environment's litellm sends chats by `create` of the `openai` package."""
    import inspect
    import re

    from litellm.llms.openai import openai

    return re.search(r"chat\.completions\.(with_raw_response\.)?create\(", inspect.getsource(openai)) is not None


def _spans(exporter: InMemorySpanExporter, *scopes: str) -> Begun:
    def records() -> list[str]:
        return [
            f"{span.name} {dict(span.attributes or {})}"
            for span in exporter.get_finished_spans()
            if span.instrumentation_scope is not None and span.instrumentation_scope.name.startswith(scopes)
        ]

    return Begun(records)


def _provider(shared: Any, exporter: InMemorySpanExporter) -> tuple[Any, InMemorySpanExporter]:
    """The program's provider, or one of the tool's own."""
    if shared is not None:
        return shared, exporter
    own = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(own))
    return provider, own


def _instrumentor(module: str, name: str, scope: str) -> Callable[[Any, InMemorySpanExporter], Begun]:
    def begin(shared: Any, exporter: InMemorySpanExporter) -> Begun:
        import importlib

        provider, seen = _provider(shared, exporter)
        getattr(importlib.import_module(module), name)().instrument(tracer_provider=provider)
        return _spans(seen, scope)

    return begin


def _litellm_otel(shared: Any, exporter: InMemorySpanExporter) -> Begun:
    import litellm
    from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig

    provider, seen = _provider(shared, exporter)
    config = OpenTelemetryConfig(exporter=InMemorySpanExporter())
    litellm.callbacks.append(OpenTelemetry(config=config, tracer_provider=provider))
    return _spans(seen, "litellm")


def _litellm_otel_v2(shared: Any, exporter: InMemorySpanExporter) -> Begun:
    import litellm
    from litellm.integrations.otel.logger import OpenTelemetryV2

    provider, seen = _provider(shared, exporter)
    litellm.callbacks.append(OpenTelemetryV2(tracer_provider=provider))
    return _spans(seen, "litellm")


def _langfuse_otel(shared: Any, exporter: InMemorySpanExporter) -> Begun:
    import litellm
    from litellm.integrations.langfuse.langfuse_otel import LangfuseOtelLogger
    from litellm.integrations.opentelemetry import OpenTelemetryConfig

    provider, seen = _provider(shared, exporter)
    config = OpenTelemetryConfig(exporter=InMemorySpanExporter())
    litellm.callbacks.append(LangfuseOtelLogger(config=config, tracer_provider=provider, callback_name="langfuse_otel"))
    return _spans(seen, "litellm")


def _litellm_langfuse(shared: Any, exporter: InMemorySpanExporter) -> Begun:
    import litellm

    server = Sink()
    os.environ.update(LANGFUSE_HOST=server.url, LANGFUSE_PUBLIC_KEY="pk-lf-x", LANGFUSE_SECRET_KEY="sk-lf-x")
    os.environ["LANGFUSE_FLUSH_INTERVAL"] = "1"
    litellm.success_callback.append("langfuse")
    litellm.failure_callback.append("langfuse")
    return Begun(server.langfuse)


def _litellm_opik(shared: Any, exporter: InMemorySpanExporter) -> Begun:
    import litellm
    from litellm.integrations.opik.opik import OpikLogger

    server = Sink()
    litellm.callbacks.append(OpikLogger(url=server.url, batch_size=1))
    return Begun(server.opik)


def _logfire(shared: Any, exporter: InMemorySpanExporter) -> Begun:
    import logfire

    seen = InMemorySpanExporter()
    logfire.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[SimpleSpanProcessor(seen)],
        inspect_arguments=False,
    )
    logfire.instrument_openai()
    return _spans(seen, "logfire.openai")


class Sink:
    """A server on loopback that takes whatever a tool sends, and keeps it."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                sink.bodies.append((self.path, body))
                self.send_response(204 if self.path.endswith("/batch") else 200)  # as Opik does
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def opik(self) -> list[str]:
        """Rows of spans that arrived by Opik's REST API."""
        import json

        rows = [json.loads(body)["spans"] for path, body in list(self.bodies) if path.endswith("/spans/batch")]
        return [json.dumps(row) for batch in rows for row in batch]

    def langfuse(self) -> list[str]:
        """Generations that arrived by Langfuse's OTLP route."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        found = []
        for path, body in list(self.bodies):
            if path.endswith("/v1/traces"):
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    found += [str(span) for scope in resource.scope_spans for span in scope.spans]
        return [text for text in found if "generation" in text]


async def logging_is_done() -> None:
    """Wait until litellm has run every callback that it has put off, in its queue and in its threads."""
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER
    from litellm.litellm_core_utils.thread_pool_executor import executor

    await asyncio.wait_for(GLOBAL_LOGGING_WORKER.flush(), 30)
    await asyncio.to_thread(executor.shutdown, wait=True)


TOOLS = {
    "openinference-litellm": Tool(
        _instrumentor(
            "openinference.instrumentation.litellm", "LiteLLMInstrumentor", "openinference.instrumentation.litellm"
        ),
        "openinference-instrumentation-litellm",
    ),
    "openinference-openai": Tool(
        _instrumentor(
            "openinference.instrumentation.openai", "OpenAIInstrumentor", "openinference.instrumentation.openai"
        ),
        "openinference-instrumentation-openai",
    ),
    "openllmetry-litellm": Tool(
        _instrumentor(
            "opentelemetry.instrumentation.litellm", "LiteLLMInstrumentor", "opentelemetry.instrumentation.litellm"
        ),
        "opentelemetry-instrumentation-litellm",
    ),
    "openllmetry-openai": Tool(
        _instrumentor(
            "opentelemetry.instrumentation.openai", "OpenAIInstrumentor", "opentelemetry.instrumentation.openai"
        ),
        "opentelemetry-instrumentation-openai",
        watches_create=True,
    ),
    "otel-genai-openai": Tool(
        _instrumentor("opentelemetry.instrumentation.genai.openai", "OpenAIInstrumentor", "opentelemetry."),
        "opentelemetry-instrumentation-genai-openai",
        silent_inside_ours=True,
        watches_create=True,
    ),
    "litellm-otel": Tool(_litellm_otel, None, in_the_call=False),
    "litellm-otel-v2": Tool(
        _litellm_otel_v2, None, in_the_call=False, expected={"plain": 1, "streamed": 1, "failed": 1}
    ),
    "litellm-langfuse": Tool(_litellm_langfuse, "langfuse", in_the_call=False),
    "litellm-langfuse_otel": Tool(_langfuse_otel, None, in_the_call=False),
    "litellm-opik": Tool(_litellm_opik, None, in_the_call=False, expected={"plain": 1, "streamed": 1}),
    "logfire-openai": Tool(_logfire, "logfire", silences_http=True),
}
"""By name, in the order of the table."""
