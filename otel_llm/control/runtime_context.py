"""OpenTelemetry's context under ddtrace, completed: whatever is attached can be found again, and detached.

With `DD_TRACE_OTEL_ENABLED` ddtrace puts a context of its own in the place of OpenTelemetry's. It keeps the current
span and the baggage and nothing else, so tenants and running calls would get lost; it takes a span of OpenTelemetry's
SDK for one from another service; and it never detaches, so the program's next Datadog span would begin below a span of
ours that has ended. Here whole contexts are kept beside it. Datadog's own spans go to ddtrace as before; spans of the
SDK do not, so that what Datadog gets is what it gets without us.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import opentelemetry.context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from otel_llm.context import HEARD_SPAN_KEY

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

__all__ = ["complete_context"]

_THEIRS: Final = "ddtrace."


class _Attached(NamedTuple):
    context: Context
    heard: Span | None
    """The last span of the SDK; `context` may have one of ddtrace's as the current one."""


class _Completed:
    """A runtime context of OpenTelemetry's (`attach`, `detach`, `get_current`) around ddtrace's."""

    def __init__(self, theirs: Any) -> None:
        self._theirs = theirs
        self._attached: ContextVar[_Attached | None] = ContextVar("otel_llm.attached", default=None)

    def attach(self, context: Context) -> Token[_Attached | None]:
        span = trace.get_current_span(context)
        before = self._attached.get()
        heard = span if isinstance(span, ReadableSpan) else before.heard if before is not None else None
        if self._is_for_them(span):
            self._theirs.attach(context)
        return self._attached.set(_Attached(context, heard))

    def detach(self, token: object) -> None:
        if isinstance(token, Token):
            with contextlib.suppress(ValueError):  # another task's or thread's: that context is gone
                self._attached.reset(token)

    def get_current(self) -> Context:
        theirs: Context = self._theirs.get_current()
        attached = self._attached.get()
        if attached is None:
            return theirs
        context, heard = attached
        current = trace.get_current_span(theirs)
        around = current.get_span_context()
        if heard is not None:
            if not around.is_valid or around.trace_id != heard.get_span_context().trace_id:
                return trace.set_span_in_context(heard, context)
            context = otel_context.set_value(HEARD_SPAN_KEY, heard, context)
        return trace.set_span_in_context(current, context) if around.is_valid else context

    def _is_for_them(self, span: Span) -> bool:
        """Whether ddtrace is to make `span` its current one; not one that it has, or that is over."""
        given = span.get_span_context()
        if isinstance(span, ReadableSpan) or not given.is_valid:
            return False
        around = trace.get_current_span(self._theirs.get_current()).get_span_context()
        if (around.trace_id, around.span_id) == (given.trace_id, given.span_id):
            return False
        if type(span).__module__.startswith(_THEIRS):
            return span.is_recording()
        # What a sampler has left out of a trace of theirs is no span of theirs.
        return given.is_remote or around.trace_id != given.trace_id


def complete_context() -> bool:
    """Complete the process's context if it is ddtrace's; whether it is complete. A second call does nothing."""
    current: Any = otel_context._RUNTIME_CONTEXT  # noqa: SLF001  (there is no public way to it)
    if isinstance(current, _Completed):
        return True
    if not type(current).__module__.startswith(_THEIRS):
        return type(current).__module__.startswith("opentelemetry.")
    otel_context._RUNTIME_CONTEXT = _Completed(current)  # type: ignore[assignment]  # noqa: SLF001
    return True
