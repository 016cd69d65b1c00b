"""What makes the SDK's queue begin late does no harm to a queue that is built otherwise, or works otherwise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk import resources
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm import faults
from otel_llm.control import gevent_forks
from otel_llm.control.gevent_forks import ForkableProvider, begin_late


def test_a_queue_goes_on_as_it_was() -> None:
    """Without gevent the SDK's queue exports what it is given, and is still one of its kind."""
    exporter = InMemorySpanExporter()
    processor = BatchSpanProcessor(exporter)
    kind = type(processor._batch_processor)
    begin_late(processor)
    assert isinstance(processor._batch_processor, kind)
    provider = TracerProvider()
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("a").end()
    provider.shutdown()
    assert [span.name for span in exporter.get_finished_spans()] == ["a"]


@pytest.mark.parametrize("processor", [object(), SimpleSpanProcessor(InMemorySpanExporter())])
def test_what_has_no_queue_is_left_alone(processor: Any) -> None:
    """Whatever a release of the SDK, or a program, has in its place stays as it is."""
    before = dict(getattr(processor, "__dict__", {}))
    begin_late(processor)
    assert dict(getattr(processor, "__dict__", {})) == before


def test_a_queue_that_cannot_be_changed_is_a_fault_and_no_error() -> None:
    """A queue whose class cannot be exchanged works as the SDK made it; it is counted and said."""

    class Refuses(type):
        def __new__(cls, name: str, *rest: Any) -> Any:
            if name.startswith("Late"):
                message = "no"
                raise TypeError(message)
            return super().__new__(cls, name, *rest)

    class Odd(metaclass=Refuses):
        __module__ = "opentelemetry.sdk.elsewhere"

        def __init__(self) -> None:
            self._worker_thread = None

        def emit(self, _: object) -> None: ...

    processor = SimpleNamespace(_batch_processor=Odd())
    before = faults.fault_counts()
    begin_late(processor)
    assert type(processor._batch_processor) is Odd
    assert faults.fault_counts() != before


def test_a_provider_of_another_sdk_handles_forks_as_that_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SDK has no such list of detectors, its own way is taken."""
    provider = ForkableProvider(shutdown_on_exit=False)
    monkeypatch.delattr(resources, "_build_resource_detectors")
    seen: list[bool] = []
    monkeypatch.setattr(TracerProvider, "_handle_fork", lambda _: seen.append(True), raising=False)
    monkeypatch.setattr(gevent_forks, "_threads_are_greenlets", lambda: True)
    provider._handle_fork()
    assert seen == [True]
