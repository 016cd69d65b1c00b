"""From a span to the page that shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_llm.config import load
from otel_llm.instrumentation.functions.handle import Handle

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["opik_url"]


def opik_url(span: Span | Handle) -> str | None:
    """The link that opens the trace of `span` in Opik, by the settings `opik.url` and `opik.api_key`.

    `span` is one of OpenTelemetry's, or what `otel_llm.span` and `otel_llm.current` give. None for a span that was
    never recorded. The link is right before the trace has arrived: ids are a function of the span's own. Raises
    `ConfigError` when the settings cannot be understood.
    """
    from otel_llm.backends.opik.links import opik_url_of  # noqa: PLC0415  (only users of Opik need it)
    from otel_llm.control.running import current_config  # noqa: PLC0415

    settings = (current_config() or load(reads=("opik",))).opik
    return opik_url_of(span.span if isinstance(span, Handle) else span, settings.url, settings.api_key)
