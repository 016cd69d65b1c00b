"""The vendors of the matrix as programs use them, and the program that does the same work with each."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

import httpx
import litellm
from opentelemetry import trace

from tests.interop.cases import AFTER_US, BEFORE_US, MODEL, REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.interop.cases import Case

MESSAGES = [{"role": "user", "content": "How far is the moon?"}]
_early = trace.get_tracer("app")
"""Taken when the module is imported, as programs do: before any provider is there."""


class Tool:
    """A vendor's SDK as it stands in a program."""

    def __init__(self, sink: str) -> None:
        self.sink = sink

    def setup(self) -> None:
        """What the vendor's documentation says to do at the start."""
        raise NotImplementedError

    def span(self, name: str) -> AbstractContextManager[Any]:
        """A span by the vendor's own means."""
        return _early.start_as_current_span(name)

    def flush(self) -> None:
        """Send what there is, where the end of the process does not."""


class Sdk(Tool):
    def setup(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{self.sink}/v1/traces")))
        trace.set_tracer_provider(provider)
        HTTPXClientInstrumentor().instrument()


class AzureMonitor(Tool):
    def setup(self) -> None:
        from azure.monitor.opentelemetry import configure_azure_monitor

        os.environ["APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL"] = "true"
        os.environ["OTEL_EXPERIMENTAL_RESOURCE_DETECTORS"] = "otel"  # the others ask Azure's metadata service
        configure_azure_monitor(
            connection_string=f"InstrumentationKey=00000000-0000-0000-0000-000000000001;IngestionEndpoint={self.sink}",
            enable_live_metrics=False,
            enable_performance_counters=False,
            disable_offline_storage=True,
            sampling_ratio=1.0,
        )


class Logfire(Tool):
    def setup(self) -> None:
        import logfire

        logfire.configure(
            token="pylf_v1_local_x",
            service_name="interop",
            console=False,
            inspect_arguments=False,
            advanced=logfire.AdvancedOptions(base_url=self.sink),
        )
        logfire.instrument_httpx()

    def span(self, name: str) -> AbstractContextManager[Any]:
        import logfire

        return logfire.span(name)


class Langfuse(Tool):
    def setup(self) -> None:
        from langfuse import Langfuse as Client

        self.client = Client(public_key="pk-lf-local", secret_key="sk-lf-local", base_url=self.sink)

    def span(self, name: str) -> AbstractContextManager[Any]:
        return self.client.start_as_current_observation(name=name, as_type="span")

    def flush(self) -> None:
        self.client.flush()


class Phoenix(Tool):
    def setup(self) -> None:
        from phoenix.otel import register

        register(
            endpoint=f"{self.sink}/v1/traces",
            protocol="http/protobuf",
            project_name="interop",
            batch=True,
            auto_instrument=True,
            verbose=False,
        )


class Sentry(Tool):
    def setup(self) -> None:
        self._init(traces_sample_rate=1.0)

    def _init(self, **options: Any) -> None:
        import sentry_sdk

        sentry_sdk.init(dsn=self.sink.replace("://", "://public@") + "/1", **options)

    def span(self, name: str) -> AbstractContextManager[Any]:
        import sentry_sdk

        return sentry_sdk.start_transaction(name=name, op="task")

    def flush(self) -> None:
        import sentry_sdk

        sentry_sdk.flush(10)


class SentryOtlp(Sentry):
    def setup(self) -> None:
        from sentry_sdk.integrations.otlp import OTLPIntegration

        self._init(integrations=[OTLPIntegration()])

    def span(self, name: str) -> AbstractContextManager[Any]:
        return Tool.span(self, name)


class SentryProcessor(Sentry):
    def setup(self) -> None:
        from opentelemetry.propagate import set_global_textmap
        from opentelemetry.sdk.trace import TracerProvider
        from sentry_sdk.integrations.opentelemetry import SentryPropagator, SentrySpanProcessor

        self._init(traces_sample_rate=1.0, instrumenter="otel")
        provider = TracerProvider()
        provider.add_span_processor(SentrySpanProcessor())
        trace.set_tracer_provider(provider)
        set_global_textmap(SentryPropagator())

    def span(self, name: str) -> AbstractContextManager[Any]:
        return Tool.span(self, name)


class Ddtrace(Tool):
    def setup(self) -> None:
        import ddtrace.auto  # noqa: F401  (there already where ddtrace comes first)
        from ddtrace.trace import tracer

        self.tracer = tracer

    def span(self, name: str) -> AbstractContextManager[Any]:
        return self.tracer.trace(name)

    def flush(self) -> None:
        self.tracer.flush()


class DdtraceOtel(Ddtrace):
    def setup(self) -> None:
        os.environ["DD_TRACE_OTEL_ENABLED"] = "true"
        super().setup()


TOOLS: dict[str, Callable[[str], Tool]] = {
    "OpenTelemetry SDK": Sdk,
    "Azure Monitor": AzureMonitor,
    "Logfire": Logfire,
    "Langfuse": Langfuse,
    "Phoenix": Phoenix,
    "Sentry": Sentry,
    "Sentry, OTLP": SentryOtlp,
    "Sentry, span processor": SentryProcessor,
    "ddtrace": Ddtrace,
    "ddtrace, OpenTelemetry": DdtraceOtel,
}


class Program:
    """Sets both sides up in the order of the case, then serves one request with calls in it and one without."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.tool = TOOLS[case.vendor](case.sink)

    def run(self) -> None:
        """Everything, up to the end of the process."""
        if self.case.order == AFTER_US:
            self._begin_ours()
        self.tool.setup()
        if self.case.order == BEFORE_US:
            self._begin_ours()
        if self.case.again:
            self.tool.setup()
        with self.tool.span("request"):
            self._query("query")
            httpx.get(f"{self.case.provider}/weather")
            with _early.start_as_current_span("answer"):
                self._call()
            asyncio.run(self._call_async())
        with self.tool.span("other request"):
            self._query("other query")
        self.tool.flush()

    def _begin_ours(self) -> None:
        import otel_llm

        otel_llm.configure(
            backend="otlp",
            otlp_endpoint=self.case.receiver,
            state_dir=os.path.join(self.case.directory, "state"),
            service_name="interop",
            tenant_default="acme",
        )

    @staticmethod
    def _query(name: str) -> None:
        with _early.start_as_current_span(name, attributes={"db.system": "sqlite"}):
            pass

    def _call(self) -> None:
        litellm.completion(f"openai/{MODEL}", MESSAGES, **self._access)
        with contextlib.suppress(litellm.NotFoundError):
            litellm.completion(f"openai/{REFUSED}", MESSAGES, **self._access)

    async def _call_async(self) -> None:
        await litellm.acompletion(f"openai/{MODEL}", MESSAGES, **self._access)

    @property
    def _access(self) -> dict[str, Any]:
        return {"api_base": self.case.provider, "api_key": "sk-test", "max_retries": 0}
