"""The peers, each set up as its own documentation says, with default settings; imported in the peer's environment.

`PEERS[name](sink)` answers a `Peer`. Everything a peer reports about itself to its makers is switched off.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable  # noqa: TC003  (read by the dataclass)
from dataclasses import dataclass, field
from typing import Any

QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OPENAI_API_KEY": "sk-bench",
    "DO_NOT_TRACK": "1",
    "LITELLM_LOG": "ERROR",
    "OTEL_SERVICE_NAME": "bench",
    "OPIK_SENTRY_ENABLE": "false",
    "OPIK_ANALYTICS_ENABLE": "false",
    "OPIK_CONSOLE_LOGGING_LEVEL": "CRITICAL",
    "TRACELOOP_TELEMETRY": "false",
    "LANGFUSE_PUBLIC_KEY": "pk-lf-bench",
    "LANGFUSE_SECRET_KEY": "sk-lf-bench",
}
_CALLBACK_LISTS = (
    "callbacks",
    "success_callback",
    "failure_callback",
    "_async_success_callback",
    "_async_failure_callback",
    "input_callback",
    "_async_input_callback",
    "service_callback",
)


def _nothing() -> None:
    return None


def _off_by_name(on: bool) -> None:
    del on


@dataclass
class Peer:
    """A way to make calls that are recorded, and to have everything delivered."""

    completion: Callable[..., Any]
    acompletion: Callable[..., Any]
    flush_backend: Callable[[], object] = _nothing
    switch: Callable[[bool], None] = _off_by_name
    """Records from now on, or not; used where `completion` itself is patched or litellm calls back."""
    plain: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    """The functions that are not recorded, where there is no switch."""
    notes: dict[str, Any] = field(default_factory=dict)

    def functions(self, *, on: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """`completion` and `acompletion`, recorded or not."""
        self.switch(on)
        if not on and self.plain is not None:
            return self.plain
        return self.completion, self.acompletion

    def flush(self) -> None:
        """Wait until litellm's own threads are done, then have the backend's buffers sent."""
        from litellm.litellm_core_utils.thread_pool_executor import executor

        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            threads, idle = len(executor._threads), executor._idle_semaphore._value  # noqa: SLF001
            if executor._work_queue.qsize() == 0 and idle >= threads:  # noqa: SLF001
                break
            time.sleep(0.005)
        self.flush_backend()

    async def aflush(self) -> None:
        """The same in a program with an event loop, whose callbacks litellm runs in a task."""
        import asyncio

        from litellm.litellm_core_utils import logging_worker

        with contextlib.suppress(Exception):
            await logging_worker.GLOBAL_LOGGING_WORKER.flush()
        await asyncio.sleep(0.05)
        await asyncio.to_thread(self.flush)


def _litellm() -> Any:
    import litellm

    litellm.suppress_debug_info = True
    return litellm


def _dynamic(litellm: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Calls of whatever `litellm.completion` is just then."""
    return (lambda **more: litellm.completion(**more)), (lambda **more: litellm.acompletion(**more))  # noqa: PLW0108


def _callback_switch(litellm: Any) -> Callable[[bool], None]:
    saved: dict[str, Any] = {}

    def switch(on: bool) -> None:
        if on and saved:
            for name, value in saved.items():
                setattr(litellm, name, value)
            saved.clear()
        elif not on and not saved:
            for name in _CALLBACK_LISTS:
                if hasattr(litellm, name):
                    saved[name] = getattr(litellm, name)
                    setattr(litellm, name, [])

    return switch


def _suppression_switch() -> Callable[[bool], None]:
    from opentelemetry import context

    key = context._SUPPRESS_INSTRUMENTATION_KEY  # noqa: SLF001
    tokens: list[Any] = []

    def switch(on: bool) -> None:
        if on and tokens:
            context.detach(tokens.pop())
        elif not on and not tokens:
            tokens.append(context.attach(context.set_value(key, True)))

    return switch


def _otlp_provider(sink: str) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{sink}/v1/traces")))
    return provider


# --- the peers -----------------------------------------------------------------------------------------------


def bare(sink: str) -> Peer:
    """litellm alone."""
    del sink
    litellm = _litellm()
    return Peer(litellm.completion, litellm.acompletion)


def configure_ours(sink: str, backend: str = "opik", **more: Any) -> Any:
    """`otel_llm.configure` as a user would call it, with content on and a state directory of its own."""
    import otel_llm

    settings: dict[str, Any] = {
        "backend": backend,
        "content": "on",
        "service_name": "bench",
        "state_dir": tempfile.mkdtemp(prefix="otel-llm-bench-"),
    }
    if backend == "opik":
        settings |= {"opik_url": f"{sink}/api", "opik_project": "bench"}
    elif backend == "otlp":
        settings |= {"otlp_endpoint": sink}
    otel_llm.configure(**settings, **more)
    return otel_llm


def otel_llm(sink: str, backend: str = "opik") -> Peer:
    """This project: spool on disk, redaction, cost, delivery to Opik (or OTLP)."""
    litellm = _litellm()
    ours = configure_ours(sink, backend)
    from otel_llm.control.running import _running
    from otel_llm.instrumentation.litellm import LitellmInstrumentor

    pipeline = _running.pipeline
    assert pipeline is not None
    recorder = pipeline.recorder
    state = {"on": True}

    def switch(on: bool) -> None:
        if on and not state["on"]:
            LitellmInstrumentor().instrument(recorder=recorder)
        elif not on and state["on"]:
            LitellmInstrumentor().uninstrument()
        state["on"] = on

    def flush() -> None:
        report = ours.flush(60.0)
        assert report.waiting == 0, report

    return Peer(*_dynamic(litellm), flush_backend=flush, switch=switch)


def otel_llm_otlp(sink: str) -> Peer:
    """This project, delivering to an OTLP endpoint."""
    return otel_llm(sink, "otlp")


def openinference(sink: str) -> Peer:
    """OpenInference's instrumentation, with the SDK's batching and OTLP over HTTP."""
    from openinference.instrumentation.litellm import LiteLLMInstrumentor

    litellm = _litellm()
    plain = litellm.completion, litellm.acompletion
    provider = _otlp_provider(sink)
    LiteLLMInstrumentor().instrument(tracer_provider=provider)
    return Peer(*_dynamic(litellm), flush_backend=lambda: provider.force_flush(60_000), plain=plain)


def litellm_otel(sink: str) -> Peer:
    """litellm's own callback `otel`."""
    os.environ |= {
        "OTEL_EXPORTER": "otlp_http",
        "OTEL_ENDPOINT": f"{sink}/v1/traces",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "otlp_http",
    }
    litellm = _litellm()
    litellm.callbacks = ["otel"]

    def flush() -> None:
        from opentelemetry import trace

        force = getattr(trace.get_tracer_provider(), "force_flush", None)
        if force is not None:
            force(60_000)
        for provider in _providers_of_callbacks():
            provider.force_flush(60_000)

    return Peer(litellm.completion, litellm.acompletion, flush_backend=flush, switch=_callback_switch(litellm))


def _providers_of_callbacks() -> list[Any]:
    from litellm.litellm_core_utils.litellm_logging import _in_memory_loggers

    found = []
    for callback in _in_memory_loggers:
        for name in ("tracer_provider", "_tracer_provider", "provider"):
            provider = getattr(callback, name, None)
            if hasattr(provider, "force_flush"):
                found.append(provider)
        for entry in list(getattr(callback, "_tracer_provider_cache", {}).values()):
            found += [
                one for one in (entry if isinstance(entry, (tuple, list)) else (entry,)) if hasattr(one, "force_flush")
            ]
    return found


def _opik_environment(sink: str) -> None:
    os.environ |= {
        "OPIK_URL_OVERRIDE": f"{sink}/api",
        "OPIK_WORKSPACE": "default",
        "OPIK_PROJECT_NAME": "bench",
    }


def opik_callback(sink: str) -> Peer:
    """litellm's callback `opik`, with Opik's SDK installed."""
    _opik_environment(sink)
    litellm = _litellm()
    litellm.callbacks = ["opik"]

    def flush() -> None:
        from opik.api_objects import opik_client

        opik_client.get_client_cached().flush()

    return Peer(litellm.completion, litellm.acompletion, flush_backend=flush, switch=_callback_switch(litellm))


def opik_track(sink: str) -> Peer:
    """Opik's `track_completion` around litellm."""
    _opik_environment(sink)
    litellm = _litellm()
    plain = litellm.completion, litellm.acompletion
    import opik
    from opik.integrations.litellm import track_completion

    return Peer(
        track_completion()(litellm.completion),
        track_completion()(litellm.acompletion),
        flush_backend=opik.flush_tracker,
        plain=plain,
    )


def openllmetry(sink: str) -> Peer:
    """Traceloop's OpenLLMetry."""
    from traceloop.sdk import Traceloop

    Traceloop.init(app_name="bench", api_endpoint=sink, api_key="x", disable_batch=False, telemetry_enabled=False)
    from opentelemetry import trace

    litellm = _litellm()
    provider: Any = trace.get_tracer_provider()
    return Peer(*_dynamic(litellm), flush_backend=lambda: provider.force_flush(60_000), switch=_suppression_switch())


def openlit(sink: str) -> Peer:
    """OpenLIT. Its patches of HTTP and OpenAI clients cannot be taken off again: "off" is cheaper than with it only."""
    import openlit as library

    library.init(otlp_endpoint=sink, application_name="bench")
    from opentelemetry import trace

    litellm = _litellm()
    provider: Any = trace.get_tracer_provider()
    return Peer(*_dynamic(litellm), flush_backend=lambda: provider.force_flush(60_000), switch=_suppression_switch())


def logfire(sink: str) -> Peer:
    """Logfire, sending to an OTLP endpoint instead of its own service."""
    litellm = _litellm()
    plain = litellm.completion, litellm.acompletion
    import logfire as library
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(endpoint=f"{sink}/v1/traces")
    library.configure(
        send_to_logfire=False,
        console=False,
        service_name="bench",
        additional_span_processors=[BatchSpanProcessor(exporter)],
    )
    library.instrument_litellm()
    return Peer(*_dynamic(litellm), flush_backend=lambda: library.force_flush(60_000), plain=plain)


def _langfuse_environment(sink: str) -> None:
    os.environ |= {"LANGFUSE_OTEL_HOST": sink, "LANGFUSE_HOST": sink, "LANGFUSE_BASE_URL": sink}


def langfuse_callback(sink: str) -> Peer:
    """litellm's callback `langfuse_otel`."""
    _langfuse_environment(sink)
    litellm = _litellm()
    litellm.callbacks = ["langfuse_otel"]

    def flush() -> None:
        for provider in _providers_of_callbacks():
            provider.force_flush(60_000)

    return Peer(litellm.completion, litellm.acompletion, flush_backend=flush, switch=_callback_switch(litellm))


def langfuse_sdk(sink: str) -> Peer:
    """Langfuse's `@observe` around litellm."""
    _langfuse_environment(sink)
    litellm = _litellm()
    from langfuse import get_client, observe

    client = get_client()
    usage = {"input": 412, "output": 96}

    @observe(as_type="generation", name="chat")
    def completion(**more: Any) -> Any:
        answered = litellm.completion(**more)
        client.update_current_generation(model=more["model"], usage_details=usage)
        return answered

    @observe(as_type="generation", name="chat")
    async def acompletion(**more: Any) -> Any:
        answered = await litellm.acompletion(**more)
        client.update_current_generation(model=more["model"], usage_details=usage)
        return answered

    plain = litellm.completion, litellm.acompletion
    return Peer(completion, acompletion, flush_backend=client.flush, plain=plain)


PEERS: dict[str, Callable[[str], Peer]] = {
    function.__name__: function
    for function in (
        bare,
        otel_llm,
        otel_llm_otlp,
        openinference,
        openllmetry,
        litellm_otel,
        langfuse_callback,
        langfuse_sdk,
        openlit,
        logfire,
        opik_track,
        opik_callback,
    )
}
