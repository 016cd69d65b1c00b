"""Tracers that look for their provider when a span begins: it may be set, or be another, long after they were made."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import Tracer
from opentelemetry.util._decorator import _agnosticcontextmanager

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Span, TracerProvider

__all__ = ["LateTracer"]


class LateTracer(Tracer):
    """Begins each span on the provider of that moment."""

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
        provider = self._provider()
        if provider is not self._of:
            self._tracer = self._tracer_of(provider)
            self._of = provider
        return self._tracer

    @abstractmethod
    def _provider(self) -> TracerProvider:
        """The provider of now."""

    @abstractmethod
    def _tracer_of(self, provider: TracerProvider) -> Tracer:
        """The tracer that `provider` gives for this one's scope."""
