"""Runs a call with the recorder on and gives back the spans: the one place that knows how it is turned on."""

from __future__ import annotations

import gc
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_llm
from otel_llm import semconv

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from opentelemetry.sdk.trace import ReadableSpan
    from typing_extensions import Self

__all__ = ["Recorded", "Recording", "llm_spans"]


@dataclass(frozen=True)
class Recorded:
    """One call with what was recorded of it."""

    spans: list[ReadableSpan]
    error: BaseException | None
    """What the call raised."""
    answer: Any = None

    @property
    def llm_span(self) -> ReadableSpan:
        """The only span of a call to a model."""
        found = llm_spans(self.spans)
        assert len(found) == 1, [(span.name, dict(span.attributes or {})) for span in self.spans]
        return found[0]


def llm_spans(spans: list[ReadableSpan]) -> list[ReadableSpan]:
    """Spans of calls to models, the HTTP requests below them left out."""
    return [span for span in spans if (span.attributes or {}).get(semconv.OPERATION_NAME) in semconv.LLM_OPERATIONS]


def _release(error: BaseException) -> None:
    """Let go of what a failed call left half read, here and now.

    The frames in the traceback keep a broken stream open. Were it closed by the garbage collector while the next
    request holds the lock of the same connection pool, httpcore would wait for itself for ever.
    """
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
    gc.collect()


class Recording:
    """The recorder, on, with content, into memory; for as many calls as the block makes."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def __enter__(self) -> Self:
        otel_llm.configure(backend="none", content="on", tracer_provider=self._provider)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        otel_llm.shutdown()
        self._provider.shutdown()

    def of(self, call: Callable[[], Any]) -> Recorded:
        """Run `call` and collect its spans; what it raises is given back, not raised."""
        self._exporter.clear()
        answer, raised = None, None
        try:
            answer = call()
        except Exception as error:  # whatever litellm raises is what is looked at
            raised = error
            _release(error)
        return Recorded(list(self._exporter.get_finished_spans()), raised, answer)
