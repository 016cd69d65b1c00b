"""A span as a program holds it while its work runs: ids to keep, facts and content to add."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.instrumentation.failures import error_text, error_type
from otel_llm.instrumentation.functions.content import input_attributes, output_attributes
from otel_llm.instrumentation.functions.tracing import active
from otel_llm.instrumentation.functions.work import plain_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

__all__ = ["Handle"]


class Handle:
    """One span. False where nothing is recorded; then everything may still be called and does nothing.

    No method raises, and what a method cannot record is counted in `otel_llm.status().faults`.
    """

    __slots__ = ("span",)

    def __init__(self, span: Span) -> None:
        self.span = span
        """OpenTelemetry's own object."""

    def __bool__(self) -> bool:
        return self.span.is_recording()

    @property
    def trace_id(self) -> str:
        """32 hex digits, as in log lines and headers; all zeros where there is no span."""
        return trace.format_trace_id(self.span.get_span_context().trace_id)

    @property
    def span_id(self) -> str:
        """16 hex digits; all zeros where there is no span."""
        return trace.format_span_id(self.span.get_span_context().span_id)

    def set(self, attributes: Mapping[str, object] | None = None, **more: object) -> None:
        """Set attributes; values of any type are made recordable, None is left out."""
        guarded(
            "setting attributes", lambda: self.span.set_attributes(plain_attributes({**(attributes or {}), **more}))
        )

    def input(self, value: Any) -> None:
        """What goes into the work, where the content policy allows it: a mapping of arguments, or any one value."""
        if self._wants_content:
            arguments = value if isinstance(value, dict) else {"input": value}
            guarded(
                "recording an input", lambda: self.span.set_attributes(input_attributes(self._operation, arguments))
            )

    def output(self, value: Any) -> None:
        """What came out of the work, where the content policy allows it."""
        if self._wants_content:
            guarded("recording an output", lambda: self.span.set_attributes(output_attributes(self._operation, value)))

    def error(self, error: BaseException) -> None:
        """An error that the work survived or handled: the span is marked with it."""
        guarded("recording an exception", self._mark, error)

    def _mark(self, error: BaseException) -> None:
        self.span.set_attribute(semconv.ERROR_TYPE, error_type(error))
        self.span.set_status(trace.Status(trace.StatusCode.ERROR, error_text(error)))
        self.span.record_exception(error)

    @property
    def _wants_content(self) -> bool:
        tracing = active()
        return tracing is not None and tracing.wants_content and self.span.is_recording()

    @property
    def _operation(self) -> str | None:
        found = getattr(self.span, "attributes", None) or {}
        operation = found.get(semconv.OPERATION_NAME)
        return operation if isinstance(operation, str) else None
