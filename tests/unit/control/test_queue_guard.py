"""The batching queue counts what it cannot take."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_llm.control import queue_guard
from otel_llm.control.queue_guard import GuardedBatching
from otel_llm.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest
    from opentelemetry.sdk.trace import ReadableSpan


class GatedExporter(SpanExporter):
    """Holds every export until the gate opens, and counts spans."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.entered.set()
        self.gate.wait(30)
        self.spans += len(spans)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing to let go of."""


def guarded(exporter: SpanExporter, ledger: Ledger, *, queue_size: int, batch_size: int) -> TracerProvider:
    """A provider whose spans go through a guarded queue."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(
        GuardedBatching(exporter, ledger, queue_size=queue_size, batch_size=batch_size, delay=60_000)
    )
    return provider


def test_a_full_queue_is_counted_and_nothing_disappears() -> None:
    """While the exporter hangs, exported + dropped always add up to the spans that ended."""
    exporter, ledger = GatedExporter(), Ledger("x")
    provider = guarded(exporter, ledger, queue_size=10, batch_size=5)
    tracer = provider.get_tracer("t")
    for _ in range(5):
        tracer.start_span("first").end()
    assert exporter.entered.wait(10)
    for _ in range(30):
        tracer.start_span("more").end()
    exporter.gate.set()
    provider.force_flush()
    dropped = ledger.report().dropped["queue_full"]
    assert exporter.spans + dropped == 35
    assert exporter.spans >= 10
    provider.shutdown()


def test_it_passes_on_early_only_what_is_kept() -> None:
    """Before its time a queue exports where that keeps what it has, and never behind an export that is under way."""
    exporter, ledger, kept = GatedExporter(), Ledger("x"), [False]
    queue = GuardedBatching(exporter, ledger, queue_size=40, batch_size=20, delay=60_000, keeps=lambda: kept[0])
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    tracer = provider.get_tracer("t")
    tracer.start_span("one").end()
    queue.pass_on(now=True)
    assert not exporter.entered.is_set()
    kept[0] = True
    first = threading.Thread(target=lambda: queue.pass_on(now=True))
    first.start()
    assert exporter.entered.wait(10)
    tracer.start_span("two").end()
    queue.pass_on(now=True)  # would hang here
    exporter.gate.set()
    first.join(10)
    assert (exporter.spans, queue.queued) == (2, 0), "who exports takes all that comes meanwhile"
    provider.shutdown()


def test_it_says_whether_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """None while it is full, until a batch is taken; of one that takes none for long nobody waits for any."""
    exporter, ledger = GatedExporter(), Ledger("x")
    queue = GuardedBatching(exporter, ledger, queue_size=4, batch_size=2, delay=60_000)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    tracer = provider.get_tracer("t")
    assert queue.has_room
    for _ in range(2):
        tracer.start_span("first").end()
    assert exporter.entered.wait(10)
    for _ in range(4):
        assert queue.has_room
        tracer.start_span("more").end()
    assert not queue.has_room
    assert not queue.has_room
    with monkeypatch.context() as patch:
        patch.setattr(queue_guard, "_PATIENCE", 0.0)
        assert queue.has_room, "for what will be turned away and counted"
    exporter.gate.set()
    provider.force_flush()
    assert queue.has_room
    assert exporter.spans == 6
    queue.turn_away("queue_full")
    assert (ledger.report().dropped, queue.processed) == ({"queue_full": 1}, {"": 6, "queue_full": 1})
    provider.shutdown()
    assert queue.has_room, "after the end, too"


def test_it_is_full_of_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large spans fill it before their number does; what it takes and what it turns away agree with what it said."""
    monkeypatch.setattr(queue_guard, "_MOST_BYTES", 10_000)
    exporter, ledger = GatedExporter(), Ledger("x")
    queue = GuardedBatching(exporter, ledger, queue_size=100, batch_size=1, delay=60_000)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    tracer = provider.get_tracer("t")
    tracer.start_span("first").end()
    assert exporter.entered.wait(10)
    said = 0
    for _ in range(10):
        said += queue.has_room
        tracer.start_span("large", attributes={"text": "x" * 2_000, "texts": ["y" * 500, "z" * 500]}).end()
    assert said == queue.queued == 3, "4 kB each, and the last goes beyond"
    assert ledger.report().dropped == {"queue_full": 7}
    exporter.gate.set()
    provider.force_flush()
    assert exporter.spans == 4
    assert queue.has_room
    tracer.start_span("huge", attributes={"text": "x" * 50_000}).end()
    provider.force_flush()
    assert exporter.spans == 5, "alone it is taken"
    provider.shutdown()


def test_what_ends_after_the_end_is_counted() -> None:
    """Spans that end while the queue is shut down, or later, are dropped with that reason."""
    exporter, ledger = GatedExporter(), Ledger("x")
    exporter.gate.set()
    queue = GuardedBatching(exporter, ledger, queue_size=10, batch_size=5, delay=60_000)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    provider.get_tracer("t").start_span("in time").end()
    queue.shutdown()
    provider.get_tracer("t").start_span("late").end()
    assert exporter.spans == 1
    assert ledger.report().dropped == {"shutdown": 1}
    assert queue.queued == 0


def test_without_a_thread_spans_are_exported_as_they_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the system gives no thread, there is no queue: one line says so, and nothing is lost."""

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    exporter, ledger = GatedExporter(), Ledger("x")
    exporter.gate.set()
    provider = TracerProvider(shutdown_on_exit=False)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        queue = GuardedBatching(exporter, ledger, queue_size=10, batch_size=5, delay=60_000)
    provider.add_span_processor(queue)
    for _ in range(20):
        provider.get_tracer("t").start_span("s").end()
    assert exporter.spans == 20
    assert ledger.report().dropped == {}
    assert [record.levelname for record in caplog.records if "no thread" in record.getMessage()] == ["WARNING"]
    provider.shutdown()


def test_a_queue_that_was_full_takes_spans_again() -> None:
    """Once the exporter has caught up, spans are taken as before."""
    exporter, ledger = GatedExporter(), Ledger("x")
    exporter.gate.set()
    provider = guarded(exporter, ledger, queue_size=4, batch_size=4)
    tracer = provider.get_tracer("t")
    for _ in range(5):
        tracer.start_span("s").end()
        provider.force_flush()
    assert exporter.spans == 5
    assert ledger.report().dropped == {}
    provider.shutdown()
