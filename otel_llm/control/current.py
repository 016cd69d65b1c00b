"""`otel_llm.current()`: the span that the program's work runs in now."""

from __future__ import annotations

from opentelemetry import trace

from otel_llm.context import heard_span
from otel_llm.control.links import opik_url
from otel_llm.faults import guarded
from otel_llm.instrumentation.functions.handle import Handle

__all__ = ["CurrentSpan", "current"]


class CurrentSpan(Handle):
    """The current span, with the link that shows it."""

    __slots__ = ()

    @property
    def opik_url(self) -> str | None:
        """The link that opens the trace in Opik; None where nothing is recorded or the settings name no Opik."""
        return guarded("making a link", opik_url, self.span)

    def add_feedback(self, name: str, value: float, **more: str | None) -> bool:
        """Score this trace; see `otel_llm.add_feedback`."""
        from otel_llm.control.feedback import add_feedback  # noqa: PLC0415  (loads the SDK, which few calls need)

        return add_feedback(self, name, value, **more)


def current() -> CurrentSpan:
    """The span that is current here: of `trace`, `span`, an LLM call, or of any OpenTelemetry instrumentation.

    False where there is none. `otel_llm.current().trace_id` is what a program keeps to give feedback later.
    """
    return CurrentSpan(heard_span() or trace.get_current_span())
