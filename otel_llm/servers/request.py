"""One request on the server's side: the trace and baggage that came with it, its identity, and its span.

Where another instrumentation (opentelemetry-instrumentation-fastapi, -asgi, -wsgi, -flask, -django) has begun a span
for the request, that span is joined and stamped, and none is made here. Source: the conventions for HTTP server spans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from otel_llm import semconv
from otel_llm.context import Identity, OpikPlace, identity_in, with_identity, with_opik_place
from otel_llm.faults import guarded
from otel_llm.instrumentation.failures import error_text, error_type
from otel_llm.instrumentation.functions.tracing import active
from otel_llm.instrumentation.scope import Scope
from otel_llm.propagators import propagate

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.trace import Span, SpanKind

__all__ = ["Served", "paths_of"]

_SERVER_ERROR: Final = 500


def paths_of(given: str | Iterable[str]) -> frozenset[str]:
    """The paths that are meant; a text is one path, and not its letters, of which `/` would be one."""
    return frozenset((given,) if isinstance(given, str) else given)


class Served:
    """A request that is being served. Its context is current between `enter` and `leave`, which may alternate."""

    def __init__(self, span: Span, context: otel_context.Context, *, owns_span: bool) -> None:
        self.span = span
        self._context = context
        self._owns_span = owns_span
        self._scope: Scope | None = None
        self._status: int | None = None
        self._ended = False

    @classmethod
    def begin(
        cls,
        name: str,
        carrier: Mapping[str, str],
        identity: Identity,
        attributes: Mapping[str, Any],
        kind: SpanKind = trace.SpanKind.SERVER,
    ) -> Served | None:
        """Begin to serve what came with the headers `carrier`; None where nothing is recorded. Never raises."""
        return guarded("beginning a request", cls._begin, name, carrier, identity, attributes, kind)

    @classmethod
    def _begin(
        cls, name: str, carrier: Mapping[str, str], identity: Identity, attributes: Mapping[str, Any], kind: SpanKind
    ) -> Served | None:
        tracing = active()
        if tracing is None:
            return None
        outer = trace.get_current_span()
        around = outer.get_span_context()
        joins = around.is_valid and not around.is_remote and not _is_of_another_kind(outer)
        context = otel_context.get_current() if around.is_valid else propagate.extract(dict(carrier))
        identity = identity.over(identity_in(context))
        context = _with_opik_place(with_identity(identity, context), carrier)
        if joins:
            _stamp(outer, identity)
            return cls(outer, context, owns_span=False)
        known = {key: value for key, value in attributes.items() if value is not None}
        span = tracing.tracer.start_span(
            name, context, kind, known, record_exception=False, set_status_on_exception=False
        )
        return cls(span, trace.set_span_in_context(span, context), owns_span=True)

    def enter(self) -> None:
        """Make the request's context current."""
        guarded("entering a request", self._enter)

    def leave(self) -> None:
        """Give back the context that was current before."""
        guarded("leaving a request", self._leave)

    def answered(self, status: int) -> None:
        """The answer's HTTP status is known."""
        self._status = status

    def end(self, error: BaseException | None = None, *, route: str | None = None, method: str = "") -> None:
        """The request is done with; `route` is the template that it matched, if the framework told."""
        self.leave()
        if self._owns_span and not self._ended:
            self._ended = True
            guarded("describing a request", self._describe, error, route, method)
            guarded("ending a request", self.span.end)

    def _enter(self) -> None:
        self._scope = Scope(self._context)

    def _leave(self) -> None:
        scope, self._scope = self._scope, None
        if scope is None:
            return
        current = otel_context.get_current()
        if not self._owns_span and trace.get_current_span(current) is not self.span:
            return  # whoever began the span we joined has put the context back that was before both of us
        self._context = current
        scope.leave()

    def _describe(self, error: BaseException | None, route: str | None, method: str) -> None:
        if route:
            self.span.update_name(f"{method} {route}".strip())
            self.span.set_attribute(semconv.HTTP_ROUTE, route)
        if self._status is not None:
            self.span.set_attribute(semconv.HTTP_STATUS_CODE, self._status)
        if error is not None:
            self.span.set_attribute(semconv.ERROR_TYPE, error_type(error))
            self.span.set_status(trace.Status(trace.StatusCode.ERROR, error_text(error)))
            self.span.record_exception(error)
        elif self._status is not None and self._status >= _SERVER_ERROR:
            self.span.set_attribute(semconv.ERROR_TYPE, str(self._status))
            self.span.set_status(trace.Status(trace.StatusCode.ERROR))


def _with_opik_place(context: otel_context.Context, carrier: Mapping[str, str]) -> otel_context.Context:
    """`context` with what Opik's own SDK says of the caller, whose headers have an underscore (WSGI knows no such)."""
    trace_id = carrier.get("opik_trace_id") or carrier.get("opik-trace-id")
    if not trace_id:
        return context
    from otel_llm.backends.opik.ids import uuid7_or_none  # noqa: PLC0415  (only where somebody uses it)

    place, span_id = uuid7_or_none(trace_id), carrier.get("opik_parent_span_id") or carrier.get("opik-parent-span-id")
    return context if place is None else with_opik_place(OpikPlace(place, uuid7_or_none(span_id)), context)


def _is_of_another_kind(span: Span) -> bool:
    """Whether no processor will ever see it (ddtrace's): a span that we joined would be missing in our backends."""
    return span.is_recording() and not isinstance(span, ReadableSpan)


def _stamp(span: Span, identity: Identity) -> None:
    """Tell a span that began before the identity was known."""
    named = (
        (semconv.TENANT_ID, identity.tenant),
        (semconv.USER_ID, identity.user),
        (semconv.SESSION_ID, identity.session),
    )
    for key, value in named:
        if value is not None and span.is_recording():
            span.set_attribute(key, value)
