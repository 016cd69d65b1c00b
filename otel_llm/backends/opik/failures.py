"""`error_info`: what went wrong in a span, as Opik shows it. All three fields are always filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.backends.opik.values import Attributes, attributes_of, text_of

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from otel_llm.backends.opik.live import LiveSpan

__all__ = ["error_info_of"]

_STATUS_ERROR: Final = 2
_NAMELESS: Final = "Error"


def error_info_of(span: Span | LiveSpan, attributes: Attributes) -> dict[str, str] | None:
    """Type, message and traceback of a failed span; None for one that did not fail.

    Failed means status ERROR or an `error.type`. An exception event alone does not: it may have been handled.
    The last exception event tells the details; Opik refuses blank types and tracebacks, so each falls back
    to the next best text.
    """
    error_type = text_of(attributes.get(semconv.ERROR_TYPE)).strip() if semconv.ERROR_TYPE in attributes else ""
    if not error_type and span.status.code != _STATUS_ERROR:
        return None
    event = _last_exception(span)
    kind = _first_text(event.get(semconv.EXCEPTION_TYPE), error_type, _refusal(attributes))
    message = _first_text(event.get(semconv.EXCEPTION_MESSAGE), span.status.message, kind)
    traceback = _first_text(event.get(semconv.EXCEPTION_STACKTRACE), message)
    return {"exception_type": kind, "message": message, "traceback": traceback}


def _refusal(attributes: Attributes) -> str:
    """`HTTP 503`, of a request that a server refused and that says nothing else; its status has two names."""
    for name in (semconv.HTTP_STATUS_CODE, semconv.OLD_HTTP_STATUS_CODE):
        status = attributes.get(name)
        if isinstance(status, int) and not isinstance(status, bool):
            return f"HTTP {status}"
    return _NAMELESS


def _last_exception(span: Span | LiveSpan) -> Attributes:
    for event in reversed(span.events):
        if event.name == semconv.EXCEPTION_EVENT:
            return attributes_of(event.attributes)
    return {}


def _first_text(*candidates: Any) -> str:
    for candidate in candidates:
        text = text_of(candidate)
        if text.strip():
            return text
    return _NAMELESS
