"""The tracer of whatever runs now: `configure` may come after the plugin was made, and again later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.trace import Tracer
from opentelemetry.util._decorator import _agnosticcontextmanager

from otel_llm.backends.opik.ids import Uuid7IdGenerator
from otel_llm.control.running import current_provider
from otel_llm.control.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span, TracerProvider

__all__ = ["SCOPE", "LateTracer", "WorkflowTracer"]

SCOPE: Final = "otel_llm.temporal"


class LateTracer(Tracer):
    """Begins spans on the provider that otel_llm records on; without one, on the program's global provider."""

    def __init__(self) -> None:
        self._of: TracerProvider | None = None
        self._tracer: Tracer = trace.NoOpTracer()

    def start_span(self, *args: Any, **kwargs: Any) -> Span:
        """As the tracer of the moment does."""
        return self._now().start_span(*args, **kwargs)

    @_agnosticcontextmanager
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Iterator[Span]:
        """As the tracer of the moment does."""
        with self._now().start_as_current_span(*args, **kwargs) as span:
            yield span

    def _now(self) -> Tracer:
        provider = current_provider() or trace.get_tracer_provider()
        if provider is not self._of:
            self._tracer = self._tracer_of(provider)
            self._of = provider
        return self._tracer

    def _tracer_of(self, provider: TracerProvider) -> Tracer:
        return provider.get_tracer(SCOPE, VERSION)


class WorkflowTracer(LateTracer):
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
