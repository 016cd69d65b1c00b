"""A span that begins, as the start stages see it: what each of them asks of it, asked once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry.trace import TraceFlags

from otel_llm import semconv
from otel_llm.context import call_that_begins

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span
    from opentelemetry.trace import SpanContext

__all__ = ["Beginning", "span_key"]

_SAMPLED: Final = TraceFlags.SAMPLED


def span_key(context: SpanContext) -> tuple[int, int]:
    """The ids of a trace and of a span in it, the first two of what a span context is a tuple of."""
    return context[:2]


class Beginning:
    """`span`, which begins in `parent_context` (None: in the current one)."""

    __slots__ = ("around", "call", "context", "key", "sampled", "scope", "span")

    def __init__(self, span: Span, parent_context: Context | None) -> None:
        self.span = span
        self.around = otel_context.get_current() if parent_context is None else parent_context
        """The context that it begins in."""
        self.context = span.get_span_context()
        self.key = span_key(self.context)
        """Its trace's id and its own."""
        self.sampled = bool(self.context[3] & _SAMPLED)
        scope = span.instrumentation_scope
        self.scope = "" if scope is None else scope.name
        """Name of the instrumentation that makes it."""
        self.call = call_that_begins(self.around) if self.scope == semconv.OWN_SCOPE else None
        """Of a call that our recorder begins, what it knows of it and puts on the span: whose it is, for one."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """What the span says from its beginning."""
        return self.call if self.call is not None else self.span.attributes or {}

    @property
    def is_call(self) -> bool:
        """Whether it is our own record of a call to a model."""
        if self.call is not None:
            return True
        return self.scope == semconv.OWN_SCOPE and self.attributes.get(semconv.OPERATION_NAME) in semconv.LLM_OPERATIONS
