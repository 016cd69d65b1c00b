"""From an OpenTelemetry span to its trace in Opik's page."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otel_llm.backends.opik.address import opik_url, resolve_address
from otel_llm.backends.opik.ids import opik_trace_id

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["opik_trace_id_of", "opik_url_of"]


def opik_trace_id_of(span: Span) -> str | None:
    """The id that the span's trace has in Opik; None for a span that was never real (no provider, or suppressed).

    For a trace that began elsewhere and has no time in `tracestate`, it is the id that a batch beginning with
    this span would give.
    """
    context = span.get_span_context()
    if not context.is_valid:
        return None
    start_ns = getattr(span, "start_time", None) or time.time_ns()
    state = ",".join(f"{key}={value}" for key, value in context.trace_state.items())
    return opik_trace_id(context.trace_id.to_bytes(16, "big"), state, start_ns)


def opik_url_of(span: Span, url: str | None = None, api_key: str | None = None) -> str | None:
    """The link that opens the span's trace in the browser. `url` and `api_key` are the backend's settings.

    Raises `ConfigError` if `url` is not an address.
    """
    trace_id = opik_trace_id_of(span)
    return None if trace_id is None else opik_url(resolve_address(url, api_key).base, trace_id)
