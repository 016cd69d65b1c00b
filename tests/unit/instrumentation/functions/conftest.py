"""A configured process whose spans go into memory, and whose policy says that content is on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_llm
from otel_llm.control.running import fault_counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan


class Recorded:
    """What was recorded so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.all]

    def one(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.all if span.name == name]
        return found

    def parent_name(self, name: str) -> str | None:
        parent = self.one(name).parent
        if parent is None:
            return None
        return next(span.name for span in self.all if span.context.span_id == parent.span_id)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """A configured process, content on; no fault of ours may happen."""
    before = fault_counts()
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    otel_llm.configure(tracer_provider=provider, backend="none", content="on", handle_sigterm=False)
    yield Recorded(exporter)
    otel_llm.shutdown()
    assert fault_counts() == before
