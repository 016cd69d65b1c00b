"""The peers, each set up as its own documentation says, with default settings; imported in the peer's environment.

`set_up(job)` answers a `Peer`. Content is on for all of them, and everything a peer reports to its makers is off.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable  # noqa: TC003  (read by the dataclass)
from dataclasses import dataclass
from typing import Any

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
_FLUSH_MS = 60_000


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
    switchable: bool = True
    """False: it records whether it is to or not, and is compared with the unrecorded calls of `bare`."""
    arrivals: Callable[[int, int], dict[str, Any]] | None = None
    """What arrived of conversations of so many bytes with numbers above this, where the backend is no sink of ours."""
    provider: Any = None
    """The peer's tracer provider with its own pipeline, where it has one."""

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


def litellm_itself() -> Any:
    """litellm, quiet."""
    import litellm

    litellm.suppress_debug_info = True
    return litellm


def patched(litellm: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
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


def bare(sink: str) -> Peer:
    """litellm alone; what it "adds" is the noise of the measurement."""
    del sink
    litellm = litellm_itself()
    return Peer(litellm.completion, litellm.acompletion)


def least(sink: str) -> Peer:
    """No peer but a floor: the least that a recorder into Opik can do (`benchmarks/least.py`)."""
    from benchmarks.least import Least

    litellm = litellm_itself()
    recorder = Least(sink)
    plain = litellm.completion, litellm.acompletion
    return Peer(recorder.completion(plain[0]), plain[1], flush_backend=recorder.flush, plain=plain)


def openinference(sink: str) -> Peer:
    """OpenInference's instrumentation, with the SDK's batching and OTLP over HTTP."""
    from openinference.instrumentation.litellm import LiteLLMInstrumentor

    litellm = litellm_itself()
    plain = litellm.completion, litellm.acompletion
    provider = _otlp_provider(sink)
    LiteLLMInstrumentor().instrument(tracer_provider=provider)
    flush = lambda: provider.force_flush(_FLUSH_MS)  # noqa: E731
    return Peer(*patched(litellm), flush_backend=flush, plain=plain, provider=provider)


def litellm_otel(sink: str) -> Peer:
    """litellm's own callback `otel`."""
    os.environ |= {
        "OTEL_EXPORTER": "otlp_http",
        "OTEL_ENDPOINT": f"{sink}/v1/traces",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "otlp_http",
    }
    litellm = litellm_itself()
    litellm.callbacks = ["otel"]

    def flush() -> None:
        from opentelemetry import trace

        force = getattr(trace.get_tracer_provider(), "force_flush", None)
        if force is not None:
            force(_FLUSH_MS)
        _flush_callbacks()

    return Peer(litellm.completion, litellm.acompletion, flush_backend=flush, switch=_callback_switch(litellm))


def _flush_callbacks() -> None:
    """Flush the tracer providers that litellm's callbacks made for themselves."""
    from litellm.litellm_core_utils.litellm_logging import _in_memory_loggers

    found: list[Any] = []
    for callback in _in_memory_loggers:
        found += [getattr(callback, name, None) for name in ("tracer_provider", "_tracer_provider", "provider")]
        for entry in list(getattr(callback, "_tracer_provider_cache", {}).values()):
            found += entry if isinstance(entry, (tuple, list)) else [entry]
            found.append(getattr(entry, "provider", None) or getattr(entry, "tracer_provider", None))
        found.append(getattr(getattr(callback, "tracer", None), "span_processor", None))
    for provider in found:
        if hasattr(provider, "force_flush"):
            provider.force_flush(_FLUSH_MS)


def _opik_environment(sink: str) -> None:
    os.environ |= {
        "OPIK_URL_OVERRIDE": f"{sink}/api",
        "OPIK_WORKSPACE": "default",
        "OPIK_PROJECT_NAME": "bench",
    }


def opik_callback(sink: str) -> Peer:
    """litellm's callback `opik`, with Opik's SDK installed."""
    _opik_environment(sink)
    litellm = litellm_itself()
    litellm.callbacks = ["opik"]

    def flush() -> None:
        from opik.api_objects import opik_client

        opik_client.get_client_cached().flush()

    return Peer(litellm.completion, litellm.acompletion, flush_backend=flush, switch=_callback_switch(litellm))


def opik_track(sink: str) -> Peer:
    """Opik's `track_completion` around litellm."""
    _opik_environment(sink)
    litellm = litellm_itself()
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

    with contextlib.redirect_stdout(None):
        Traceloop.init(app_name="bench", api_endpoint=sink, api_key="x", telemetry_enabled=False)
    from opentelemetry import trace

    litellm = litellm_itself()
    provider: Any = trace.get_tracer_provider()
    flush = lambda: provider.force_flush(_FLUSH_MS)  # noqa: E731
    return Peer(*patched(litellm), flush_backend=flush, switch=_suppression_switch(), provider=provider)


def openlit(sink: str) -> Peer:
    """OpenLIT, with prices from a file instead of from GitHub. Its patches cannot be taken off again."""
    import openlit as library

    prices = os.path.join(tempfile.mkdtemp(), "prices.json")
    with open(prices, "w") as file:
        json.dump({"chat": {"gpt-4o-mini": {"promptPrice": 0.00015, "completionPrice": 0.0006}}}, file)
    library.init(otlp_endpoint=sink, application_name="bench", pricing_json=prices)
    from opentelemetry import _logs, trace

    litellm = litellm_itself()
    provider: Any = trace.get_tracer_provider()
    logs: Any = _logs.get_logger_provider()

    def flush() -> None:
        provider.force_flush(_FLUSH_MS)
        logs.force_flush(_FLUSH_MS)

    return Peer(*patched(litellm), flush_backend=flush, switchable=False, provider=provider)


def logfire(sink: str) -> Peer:
    """Logfire with its own exporter, which keeps on disk what was refused and tries again while the program runs."""
    litellm = litellm_itself()
    plain = litellm.completion, litellm.acompletion
    import logfire as library

    library.configure(
        token="pylf_v1_us_bench",
        send_to_logfire=True,
        console=False,
        service_name="bench",
        advanced=library.AdvancedOptions(base_url=sink),
    )
    library.instrument_litellm()
    from opentelemetry import trace

    flush = lambda: library.force_flush(_FLUSH_MS)  # noqa: E731
    return Peer(*patched(litellm), flush_backend=flush, plain=plain, provider=trace.get_tracer_provider())


def _langfuse_environment(sink: str) -> None:
    os.environ |= {"LANGFUSE_OTEL_HOST": sink, "LANGFUSE_HOST": sink, "LANGFUSE_BASE_URL": sink}


def langfuse_callback(sink: str) -> Peer:
    """litellm's callback `langfuse_otel`."""
    _langfuse_environment(sink)
    litellm = litellm_itself()
    litellm.callbacks = ["langfuse_otel"]
    switch = _callback_switch(litellm)
    return Peer(litellm.completion, litellm.acompletion, flush_backend=_flush_callbacks, switch=switch)


def langfuse_sdk(sink: str) -> Peer:
    """Langfuse's `@observe` around litellm, told model and usage as its documentation says."""
    _langfuse_environment(sink)
    litellm = litellm_itself()
    from langfuse import get_client, observe
    from opentelemetry import trace

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
    provider = trace.get_tracer_provider()
    return Peer(completion, acompletion, flush_backend=client.flush, plain=plain, provider=provider)


PEERS: dict[str, Callable[[str], Peer]] = {
    function.__name__: function
    for function in (
        bare,
        least,
        openinference,
        openllmetry,
        openlit,
        logfire,
        langfuse_callback,
        langfuse_sdk,
        litellm_otel,
        opik_track,
        opik_callback,
    )
}


def set_up(job: dict[str, Any]) -> Peer:
    """The peer of a job: somebody else's, or one of ours."""
    if job["peer"] in PEERS:
        return PEERS[job["peer"]](job["sink_url"])
    from benchmarks.ours import OURS

    return OURS[job["peer"]](job["sink_url"])
