"""The tracer of whatever runs now: `configure` may come after the plugin was made, and again later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

from otel_llm.backends.opik.ids import Uuid7IdGenerator
from otel_llm.control.late_tracer import LateTracer
from otel_llm.control.running import current_provider
from otel_llm.control.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer, TracerProvider

__all__ = ["SCOPE", "CurrentTracer", "WorkflowTracer"]

SCOPE: Final = "otel_llm.temporal"


class CurrentTracer(LateTracer):
    """Begins spans on the provider that otel_llm records on; without one, on the program's global provider."""

    def _provider(self) -> TracerProvider:
        return current_provider() or trace.get_tracer_provider()

    def _tracer_of(self, provider: TracerProvider) -> Tracer:
        return provider.get_tracer(SCOPE, VERSION)


class WorkflowTracer(CurrentTracer):
    """The same for workflow code, where ids must come from the run.

    A provider that the program made for itself has ids of its own, which it keeps. Spans of workflows then begin on a
    second one, with the same resource, sampler and processors.
    """

    def _tracer_of(self, provider: TracerProvider) -> Tracer:
        if isinstance(provider, SdkTracerProvider) and not isinstance(provider.id_generator, Uuid7IdGenerator):
            provider = SdkTracerProvider(
                sampler=provider.sampler,
                resource=provider.resource,
                shutdown_on_exit=False,
                active_span_processor=provider._active_span_processor,  # noqa: SLF001  (there is no public way to share)
                id_generator=Uuid7IdGenerator(),
            )
        return super()._tracer_of(provider)
