"""The SDK's queue sleeps while nothing waits; a queue that is built otherwise, or works otherwise, stays as it is."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk import resources
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm import faults
from otel_llm.control import gevent_forks, sdk_queue
from otel_llm.control.gevent_forks import ForkableProvider
from otel_llm.control.sdk_queue import doze

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_queue_goes_on_as_it_was() -> None:
    """Without gevent the SDK's queue exports what it is given, and is still one of its kind."""
    exporter = InMemorySpanExporter()
    processor = BatchSpanProcessor(exporter)
    kind = type(processor._batch_processor)
    doze(processor)
    assert isinstance(processor._batch_processor, kind)
    provider = TracerProvider()
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("a").end()
    provider.shutdown()
    assert [span.name for span in exporter.get_finished_spans()] == ["a"]


def test_a_queue_sleeps_while_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker neither looks nor exports until it is told, in a forked child too; then its delay begins."""
    monkeypatch.setattr(sdk_queue, "_LONGEST_SLEEP_SECONDS", 3600.0)
    exporter = InMemorySpanExporter()
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=1)
    wake = doze(processor)
    looks = 0
    export = processor._batch_processor._export

    def look(*args: Any) -> None:
        nonlocal looks
        looks += 1
        export(*args)

    processor._batch_processor._export = look
    time.sleep(0.1)  # the SDK's own worker would have looked a hundred times
    assert looks <= 1
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("t").start_span("a").end()
    wake()
    assert eventually(exporter.get_finished_spans)
    child = os.fork()
    if child == 0:
        looks = 0
        time.sleep(0.1)
        asleep = looks <= 1
        provider.get_tracer("t").start_span("b").end()
        wake()
        os._exit(0 if asleep and eventually(lambda: len(exporter.get_finished_spans()) == 2) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    provider.shutdown()


def eventually(condition: Callable[[], object]) -> bool:
    """Whether it came true within ten seconds."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return bool(condition())


@pytest.mark.parametrize("processor", [object(), SimpleSpanProcessor(InMemorySpanExporter())])
def test_what_has_no_queue_is_left_alone(processor: Any) -> None:
    """Whatever a release of the SDK, or a program, has in its place stays as it is."""
    before = dict(getattr(processor, "__dict__", {}))
    doze(processor)
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
            self._worker_thread = self._queue = None
            self._worker_awaken = threading.Event()

        def emit(self, _: object) -> None: ...

    processor = SimpleNamespace(_batch_processor=Odd())
    before = faults.fault_counts()
    doze(processor)
    assert type(processor._batch_processor) is Odd
    assert faults.fault_counts() != before


def test_a_provider_of_another_sdk_handles_forks_as_that_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the SDK has no such list of detectors, its own way is taken."""
    provider = ForkableProvider(shutdown_on_exit=False)
    monkeypatch.delattr(resources, "_build_resource_detectors")
    seen: list[bool] = []
    monkeypatch.setattr(TracerProvider, "_handle_fork", lambda _: seen.append(True), raising=False)
    monkeypatch.setattr(gevent_forks, "threads_are_greenlets", lambda: True)
    provider._handle_fork()
    assert seen == [True]
