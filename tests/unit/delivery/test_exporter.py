"""The exporter over one backend: what it counts, retries, halves, says and survives."""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from otel_llm import faults
from otel_llm.backends.otlp import OtlpBackend, OtlpOptions
from otel_llm.contracts import Batch, Delivered, Outcome, Rejected, Rejection, Retry
from otel_llm.delivery import exporter as exporter_module
from otel_llm.delivery.codec import decode
from otel_llm.delivery.exporter import DeliveryExporter
from otel_llm.ledger import Ledger
from otel_llm.otlp_json import to_otlp_json
from tests.fakes.http_server import Reply
from tests.fakes.otlp_receiver import OtlpReceiver
from tests.fakes.spans import all_spans, make_span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OK = SpanExportResult.SUCCESS
FAILURE = SpanExportResult.FAILURE


class ScriptedBackend:
    """Answers with the given outcomes in order, then takes everything; or with what a function says."""

    name = "scripted"

    def __init__(self, *outcomes: Outcome, answer: Callable[[Batch], Outcome] | None = None) -> None:
        self.batches: list[Batch] = []
        self.timeouts: list[float] = []
        self.closed = 0
        self._outcomes = list(outcomes)
        self._answer = answer or (lambda batch: Delivered(batch.span_count))

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        self.batches.append(batch)
        self.timeouts.append(timeout)
        return self._outcomes.pop(0) if self._outcomes else self._answer(batch)

    def check(self) -> Sequence[object]:
        return []

    def close(self) -> None:
        self.closed += 1


def _exporter(backend: ScriptedBackend, timeout: float = 5.0) -> DeliveryExporter:
    return DeliveryExporter(backend, Ledger(backend.name), timeout=timeout, counts_created=True)


def _spans(count: int) -> list[object]:
    return [make_span(number=n + 1) for n in range(count)]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_module, "_FIRST_PAUSE_SECONDS", 0.01)


def test_delivered_spans_are_counted() -> None:
    """SUCCESS means that the backend has taken all."""
    exporter = _exporter(ScriptedBackend())
    assert exporter.export(_spans(3)) is OK
    report = exporter.report
    assert (report.created, report.delivered, report.waiting) == (3, 3, 0)
    assert report.last_delivery is not None


def test_retry_is_tried_again_and_counted_once() -> None:
    """A backend that comes back in time loses nothing."""
    backend = ScriptedBackend(Retry("It is down. Wait."), Retry("It is down. Wait.", after=0.01))
    exporter = _exporter(backend)
    assert exporter.export(_spans(2)) is OK
    assert len(backend.batches) == 3
    assert len({batch.id for batch in backend.batches}) == 1, "the same batch, so that a resend can be told"
    assert exporter.report.delivered == 2


def test_what_is_not_taken_in_time_is_dropped_by_reason() -> None:
    """The time for one export holds, retries included, and the loss is counted."""
    exporter = _exporter(ScriptedBackend(answer=lambda _batch: Retry("Down. Wait.", "refused")), timeout=0.1)
    assert exporter.export(_spans(2)) is FAILURE
    assert exporter.report.dropped == {"refused": 2}
    assert exporter.report.waiting == 0


def test_backend_is_given_the_time_that_is_left() -> None:
    """Every send gets less time than the one before."""
    backend = ScriptedBackend(Retry("Down. Wait."), Retry("Down. Wait."))
    _exporter(backend, timeout=5.0).export(_spans(1))
    assert 5.0 >= backend.timeouts[0] > backend.timeouts[1] > backend.timeouts[2] > 0


def test_wait_that_does_not_fit_is_not_begun() -> None:
    """A server that asks for ten minutes does not hold the export; the loss is counted."""
    backend = ScriptedBackend(answer=lambda _batch: Retry("Slow down.", "throttled", after=600.0))
    exporter = _exporter(backend)
    assert exporter.export(_spans(1)) is FAILURE
    assert len(backend.batches) == 1
    assert exporter.report.dropped == {"throttled": 1}


def test_trouble_that_needs_a_person_is_not_retried() -> None:
    """A wrong key is not knocked with again and again."""
    backend = ScriptedBackend(answer=lambda _batch: Retry("Wrong key.", "unauthorized", needs_action=True))
    exporter = _exporter(backend)
    assert exporter.export(_spans(1)) is FAILURE
    assert len(backend.batches) == 1
    assert exporter.trouble == "Wrong key."


def _rejecting(bad: set[int]) -> ScriptedBackend:
    def answer(batch: Batch) -> Outcome:
        ids = {int.from_bytes(span.span_id, "big") for span in all_spans(decode(batch))}
        return Rejected("One is bad.") if ids & bad else Delivered(batch.span_count)

    return ScriptedBackend(answer=answer)


def test_rejected_batch_is_halved_until_the_bad_span_is_found() -> None:
    """One span that the backend will never take costs itself only."""
    exporter = _exporter(_rejecting({37}))
    assert exporter.export(_spans(100)) is FAILURE
    assert exporter.report.delivered == 99
    assert exporter.report.rejected == {"invalid": 1}


def test_halving_is_bounded() -> None:
    """A backend that rejects everything is not asked a thousand times, and every span is counted."""
    backend = ScriptedBackend(answer=lambda _batch: Rejected("No.", "invalid"))
    exporter = _exporter(backend)
    exporter.export(_spans(500))
    assert len(backend.batches) < 150
    assert exporter.report.rejected == {"invalid": 500}


def test_partly_rejected_batch_is_counted_by_reason() -> None:
    """Accepted and rejected spans of one answer add up; the result is not called a success."""
    outcome = Delivered(1, (Rejection("a", "too_old"), Rejection("b", "too_old")))
    exporter = _exporter(ScriptedBackend(outcome))
    assert exporter.export(_spans(3)) is FAILURE
    assert (exporter.report.delivered, exporter.report.rejected) == (1, {"too_old": 2})


def test_span_that_cannot_be_encoded_is_counted() -> None:
    """A span without an identity is dropped by name of the cause; the others go."""
    exporter = _exporter(ScriptedBackend())
    assert exporter.export([make_span(context=None), make_span()]) is FAILURE
    assert exporter.report.dropped == {"unencodable": 1}
    assert exporter.report.delivered == 1


def test_raising_backend_does_not_reach_the_sdk() -> None:
    """A backend that breaks its promise is a fault of ours: counted, not raised, and its spans are accounted for."""

    def broken(_batch: Batch) -> Outcome:
        raise RuntimeError("bug")

    faults.reset_faults()
    exporter = _exporter(ScriptedBackend(answer=broken))
    assert exporter.export(_spans(4)) is FAILURE
    assert exporter.report.dropped == {"export_fault": 4}
    assert faults.fault_counts() == {"export": 1}
    faults.reset_faults()


def test_one_line_per_change_of_state(caplog: pytest.LogCaptureFixture) -> None:
    """A failing backend is logged when it begins to fail and when it recovers, however often it fails between."""
    backend = ScriptedBackend(*[Retry("Down. Start it.", needs_action=True)] * 5)
    exporter = _exporter(backend)
    with caplog.at_level(logging.DEBUG, logger="otel_llm.delivery.exporter"):
        for _ in range(8):
            exporter.export(_spans(1))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["The backend scripted takes no spans. Down. Start it.", "The backend scripted takes spans again."]
    assert all(record.exc_info is None for record in caplog.records)
    assert exporter.trouble is None


def test_created_is_left_to_the_pipeline_unless_asked_for() -> None:
    """Behind a SpanPipeline the exporter does not count spans as created a second time."""
    ledger = Ledger("b")
    DeliveryExporter(ScriptedBackend(), ledger).export(_spans(2))
    assert ledger.report().created == 0


def test_instrumentation_is_suppressed_while_sending() -> None:
    """Whatever the backend does over HTTP or gRPC makes no spans."""
    seen: list[bool] = []

    def answer(batch: Batch) -> Outcome:
        seen.append(is_instrumentation_enabled())
        return Delivered(batch.span_count)

    _exporter(ScriptedBackend(answer=answer)).export(_spans(1))
    assert seen == [False]
    assert is_instrumentation_enabled()


def test_shutdown_ends_a_pause_and_closes_the_backend() -> None:
    """An export that waits for its next try is ended by shutdown; its spans are counted as dropped."""
    sent = threading.Event()

    def answer(_batch: Batch) -> Outcome:
        sent.set()
        return Retry("Down. Wait.", "refused", after=50.0)

    backend = ScriptedBackend(answer=answer)
    exporter = _exporter(backend, timeout=60.0)
    thread = threading.Thread(target=exporter.export, args=(_spans(1),))
    thread.start()
    assert sent.wait(10)
    assert exporter.force_flush(1) is False
    exporter.shutdown()
    thread.join(10)
    assert not thread.is_alive()
    assert backend.closed == 1
    assert exporter.report.dropped == {"refused": 1}
    assert exporter.force_flush(1000) is True


def test_export_after_shutdown_is_counted_as_dropped() -> None:
    """Late spans are not lost in silence."""
    exporter = _exporter(ScriptedBackend())
    exporter.shutdown()
    assert exporter.export(_spans(2)) is FAILURE
    assert exporter.report.dropped == {"no_time": 2}


def test_hurry_shortens_what_follows() -> None:
    """When the program ends, sends get the rest of the time only and nothing is tried twice."""
    backend = ScriptedBackend(Retry("Down. Wait."))
    exporter = _exporter(backend, timeout=60.0)
    exporter.hurry(1.5)
    assert exporter.export(_spans(1)) is FAILURE
    assert len(backend.batches) == 1
    assert backend.timeouts[0] <= 1.5


def test_hurry_goes_on_while_the_backend_takes() -> None:
    """What is stored steadily at the end of a program may take longer than a hanging backend: nothing of it is lost."""
    backend = ScriptedBackend(answer=lambda batch: time.sleep(0.02) or Delivered(batch.span_count))
    exporter = _exporter(backend, timeout=60.0)
    exporter.hurry(0.05, while_taken=30.0)
    assert [exporter.export(_spans(1)) for _ in range(8)] == [OK] * 8
    assert all(timeout <= 0.05 for timeout in backend.timeouts)


def test_hurry_ends_with_the_first_refusal() -> None:
    """A backend that does not take a batch has only what is left of the short time."""
    backend = ScriptedBackend(Delivered(1), Retry("Locked. Wait."))
    exporter = _exporter(backend, timeout=60.0)
    exporter.hurry(0.05, while_taken=30.0)
    assert exporter.export(_spans(1)) is OK
    assert exporter.export(_spans(1)) is FAILURE
    time.sleep(0.06)
    assert exporter.export(_spans(1)) is FAILURE
    assert len(backend.batches) == 2
    assert exporter.report.delivered == 1
    assert sum(exporter.report.dropped.values()) == 2


def test_hurry_waits_for_another_process_that_writes() -> None:
    """A file that another one holds is no refusal: at the end of the program, too, it is tried until there is room."""
    held = [Retry("Another process holds it.", "locked")] * 5
    backend = ScriptedBackend(*held)
    exporter = _exporter(backend)
    exporter.hurry(0.001, while_taken=30.0)
    assert exporter.export(_spans(1)) is OK
    assert len(backend.batches) == 6


def test_hurry_does_not_go_on_for_ever() -> None:
    """However steadily the backend takes, the end of the program has an end, and what is left then is counted."""
    backend = ScriptedBackend(answer=lambda batch: time.sleep(0.02) or Delivered(batch.span_count))
    exporter = _exporter(backend, timeout=60.0)
    exporter.hurry(0.01, while_taken=0.1)
    results = [exporter.export(_spans(1)) for _ in range(20)]
    assert results[0] is OK
    assert results[-1] is FAILURE
    report = exporter.report
    assert report.delivered + report.dropped["no_time"] == 20


def test_child_process_counts_its_own_and_sends_on_its_own() -> None:
    """A child forked in the middle of an export can export; the parent's counts stay the parent's."""
    entered, leave = threading.Event(), threading.Event()

    def answer(batch: Batch) -> Outcome:
        entered.set()
        leave.wait(30)
        return Delivered(batch.span_count)

    backend = ScriptedBackend(answer=answer)
    exporter = _exporter(backend, timeout=60.0)
    thread = threading.Thread(target=exporter.export, args=(_spans(2),))
    thread.start()
    assert entered.wait(10)
    child = os.fork()
    if child == 0:
        leave.set()
        result = exporter.export(_spans(5))
        os._exit(0 if result is OK and exporter.report.delivered == exporter.report.created == 5 else 1)
    leave.set()
    thread.join(10)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert exporter.report.delivered == 2


def test_through_the_sdk_to_a_real_receiver(caplog: pytest.LogCaptureFixture) -> None:
    """Spans of a program arrive over HTTP through outages, and the log holds no key."""
    with OtlpReceiver() as receiver:
        receiver.script(Reply(503), Reply(429, {"Retry-After": "0"}), Reply(close=True))
        backend = OtlpBackend(OtlpOptions(receiver.url, {"authorization": "Bearer canary-key"}))
        exporter = DeliveryExporter(backend, Ledger("otlp"), timeout=20.0, counts_created=True)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        with caplog.at_level(logging.DEBUG):
            for number in range(200):
                provider.get_tracer("t").start_span(f"work {number}", attributes={"n": number}).end()
            provider.force_flush()
            provider.shutdown()
        assert {span.name for span in receiver.spans} == {f"work {number}" for number in range(200)}
        assert receiver.requests[0].headers["authorization"] == "Bearer canary-key"
    assert exporter.report.delivered == exporter.report.created == 200
    assert "canary-key" not in caplog.text


def test_batches_are_otlp_as_the_codec_writes_it() -> None:
    """What the backend is handed decodes to the spans that were exported."""
    backend = ScriptedBackend()
    begun = time.time()
    _exporter(backend).export(_spans(2))
    (batch,) = backend.batches
    assert batch.span_count == 2
    assert batch.created_at >= begun
    assert "resourceSpans" in to_otlp_json(decode(batch))
