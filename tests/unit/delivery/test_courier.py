"""The courier delivers what waits, once, in order, whatever backends answer, and never holds anybody up."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_llm import faults, turns
from otel_llm.contracts import Batch, Delivered, Rejected, Retry
from otel_llm.delivery import courier_lane, courier_queue
from otel_llm.delivery.courier import Courier, CourierSettings
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_sync import DiskSync
from otel_llm.delivery.spool_types import Appended, SpoolSettings
from otel_llm.turns import MOMENT_SECONDS, in_turns
from tests.crash.kit import Sink, batch_of, counts, new_ids, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from otel_llm.contracts import Outcome

REFUSED = Retry("Connection refused.", "refused")


class Rig:
    """A spool, its backends and their courier."""

    def __init__(self, directory: Path, *sinks: Sink, spool: SpoolSettings | None = None, **settings: float) -> None:
        self.sinks = sinks or (Sink(),)
        self.sink = self.sinks[0]
        self.spool = Spool(directory, spool)
        self.courier = Courier(
            self.spool,
            {sink.name: sink for sink in self.sinks},
            CourierSettings(**settings),  # type: ignore[arg-type]
        )

    def append(self, *groups: list[str]) -> None:
        for group in groups:
            self.spool.append(batch_of(group))
            self.courier.notify()

    def counts(self, backend: str = "sink") -> tuple[int, int, int, dict[str, int], dict[str, int]]:
        return counts(self.spool.report(), backend)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """A maker of rigs over one spool, shut down afterwards."""
    made: list[Rig] = []

    def build(*sinks: Sink, **settings: object) -> Rig:
        made.append(Rig(tmp_path / "spool", *sinks, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for one in made:
        for sink in one.sinks:
            if sink.hang is not None:
                sink.hang.set()
        one.courier.shutdown(1.0)


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off in milliseconds instead of seconds."""
    monkeypatch.setattr(
        "otel_llm.delivery.courier_backoff.Backoff.seconds_after",
        lambda self, retry: setattr(self, "failures", self.failures + 1) or 0.01,
    )


def test_delivers_everything_once_and_in_order(rig: Callable[..., Rig]) -> None:
    """What is appended arrives once, in the order it came, and flush says so."""
    one = rig()
    groups = [new_ids(3) for _ in range(50)]
    one.append(*groups)
    report = one.courier.flush(60.0)
    assert report.complete
    assert one.sink.ids == [i for group in groups for i in group]
    assert one.counts() == (150, 150, 0, {}, {})


def test_what_comes_soon_after_a_delivery_goes_together(rig: Callable[..., Rig]) -> None:
    """The first batch goes at once; those of the next moments wait for each other, and cost one request."""
    one = rig(pace=1.0)
    one.append(new_ids(1))
    assert wait_until(lambda: one.sink.sends == 1)
    assert wait_until(lambda: one.counts()[1] == 1)
    time.sleep(0.1)  # the lane has seen that nothing is left
    for _ in range(5):
        one.append(new_ids(1))
        time.sleep(0.02)
    assert one.sink.sends == 1
    assert wait_until(lambda: one.counts()[1] == 6)
    assert one.sink.sends == 2


class Laborious(Sink):
    """Works on three things for each batch, for a moment on each, once its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        """Take the batch."""
        self.gate.wait(10)
        for _ in in_turns(range(3)):
            end = time.perf_counter() + MOMENT_SECONDS
            while time.perf_counter() < end:
                pass
        return super().send(batch, timeout=timeout)


def test_a_request_is_made_in_turns_with_the_program_unless_somebody_waits(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the background the lane's thread rests while it works on a batch; in a flush it does not, and then again."""
    rests: list[float] = []
    monkeypatch.setattr(turns, "time", SimpleNamespace(sleep=rests.append))
    monkeypatch.setattr(courier_lane, "_BUSY_SECONDS", 0.0)
    one = rig(sink := Laborious(), pace=0.0)
    lane = one.courier._lanes[0]
    one.append(new_ids(1))
    assert wait_until(lambda: one.counts()[1] == 1)
    assert len(rests) >= 2
    rests.clear()
    sink.gate.clear()
    one.append(new_ids(1))
    flushing = threading.Thread(target=one.courier.flush, args=(10.0,))
    flushing.start()
    assert wait_until(lambda: lane._hurried)
    sink.gate.set()
    flushing.join()
    assert not rests
    assert wait_until(lambda: not lane._hurried)
    one.append(new_ids(1))
    assert wait_until(lambda: one.counts()[1] == 3)
    assert len(rests) >= 2


def test_requests_in_quick_succession_leave_no_time_for_rests(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one of a long row is made in turns with the program, the others in one go each."""
    rests: list[float] = []
    monkeypatch.setattr(turns, "time", SimpleNamespace(sleep=rests.append))
    monkeypatch.setattr(courier_lane, "_BUSY_SECONDS", 3600.0)
    one = rig(Laborious(), pace=0.0)
    one.append(new_ids(1))
    assert wait_until(lambda: one.counts()[1] == 1)
    assert rests
    rests.clear()
    one.append(new_ids(1))
    assert wait_until(lambda: one.counts()[1] == 2)
    assert not rests


def test_enough_for_a_request_waits_for_nothing(rig: Callable[..., Rig]) -> None:
    """Once a whole request's bytes have come there is no reason to wait for more."""
    one = rig(pace=600.0, request_bytes=3_000)
    one.append(new_ids(1))
    assert wait_until(lambda: one.counts()[1] == 1)
    time.sleep(0.1)
    for number in range(3):
        batch = batch_of(1, size=1_000)
        one.spool.append(batch)
        one.courier.notify(len(batch.payload))
        if number == 1:
            time.sleep(0.1)
            assert one.sink.sends == 1
    assert wait_until(lambda: one.counts()[1] == 4)


@pytest.mark.parametrize("wait", ["flush", "drain", "shutdown", "retry_now"])
def test_whoever_waits_does_not_wait_for_more_to_come(rig: Callable[..., Rig], wait: str) -> None:
    """A flush, a drain, the end of the program: what is there goes at once."""
    one = rig(pace=600.0)
    one.append(new_ids(1))
    assert wait_until(lambda: one.counts()[1] == 1)
    time.sleep(0.1)
    one.append(new_ids(2))
    ways = {
        "flush": lambda: one.courier.flush(30.0),
        "drain": lambda: one.courier.drain(30.0),
        "shutdown": lambda: one.courier.shutdown(30.0),
        "retry_now": one.courier.retry_now,
    }
    ways[wait]()
    assert wait_until(lambda: one.counts()[1] == 3)


def test_what_is_gathered_is_synced_in_time(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut costs what came within `fsync_interval`, also while the lane waits for more to send."""
    one = rig(spool=SpoolSettings(fsync_interval=0.2), pace=600.0)
    one.append(new_ids(1))
    assert wait_until(lambda: one.counts()[1] == 1)
    time.sleep(1.2)  # the first one is synced, too, and the lane is at rest
    syncs: list[float] = []
    sync = DiskSync.sync
    monkeypatch.setattr(DiskSync, "sync", lambda self: (syncs.append(time.monotonic()), sync(self)))
    one.append(new_ids(1), new_ids(1))  # the first is synced by whoever appends it, the second has to wait for its time
    assert wait_until(lambda: len(syncs) == 2, 5.0)
    assert one.sink.sends == 1


def test_what_is_gathered_wakes_nobody(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    """While the lane gathers and will be awake in time to sync, what is appended leaves it asleep."""
    one = rig(spool=SpoolSettings(fsync_interval=600.0), pace=600.0)
    one.append(new_ids(1))
    assert wait_until(lambda: one.counts()[1] == 1)
    one.append(new_ids(1))  # of which the lane knows that it is to be synced
    time.sleep(0.1)
    turns_taken: list[None] = []
    tend = Spool.tend
    monkeypatch.setattr(Spool, "tend", lambda self: (turns_taken.append(None), tend(self)))
    for _ in range(10):
        one.append(new_ids(1))
        time.sleep(0.02)
    assert not turns_taken
    assert one.courier.flush(30.0).complete
    assert one.counts()[1] == 12


@pytest.mark.parametrize("mode", ["overflow", "off"])
def test_what_a_kill_would_cost_is_not_held_back(rig: Callable[..., Rig], mode: str) -> None:
    """Batches that lie in memory go at once, each time."""
    one = rig(spool=SpoolSettings(mode=mode), pace=600.0)  # type: ignore[arg-type]
    for number in range(1, 4):
        one.append(new_ids(1))
        assert wait_until(lambda: one.counts()[1] == number)  # noqa: B023  (waited for before the next)
        time.sleep(0.05)


def test_no_thread_before_the_first_batch(rig: Callable[..., Rig]) -> None:
    """A courier that was given nothing starts nothing, not even for what others left."""
    before = threading.active_count()
    one = rig()
    assert threading.active_count() == before
    one.append(new_ids(1))
    assert threading.active_count() == before + 1


def test_many_at_once_begin_one_thread(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads would send everything twice; and of two that have begun all the same, one leaves the work alone."""
    running = rig()
    begun: list[threading.Thread] = []
    first_has_begun, go = threading.Event(), threading.Event()
    begin = threading.Thread.start

    def begin_slowly(thread: threading.Thread) -> None:
        if thread.name.startswith("otel-llm-courier"):
            begun.append(thread)
            first_has_begun.set()
            assert go.wait(10)
        begin(thread)

    with monkeypatch.context() as slow:
        slow.setattr(threading.Thread, "start", begin_slowly)
        callers = [threading.Thread(target=running.courier.notify) for _ in range(2)]
        callers[0].start()
        assert first_has_begun.wait(10)
        callers[1].start()
        callers[1].join(0.2)
        go.set()
        for caller in callers:
            caller.join(10)
    assert len(begun) == 1
    lane = running.courier._lanes[0]
    one = lane._thread
    lane._thread = None  # as if both had been asked at the very same moment
    running.courier.notify()
    assert one is not None
    one.join(10)
    assert not one.is_alive()
    ids = new_ids(20)
    running.append(*([span_id] for span_id in ids))
    assert running.courier.flush(10.0).complete
    assert running.sinks[0].ids == ids


def test_retries_until_the_backend_takes_it(rig: Callable[..., Rig], quick_backoff: None) -> None:
    """Answers that ask for a retry, and exceptions, keep the batch; it arrives when the backend is back."""
    one = rig()
    one.sink.answers = [REFUSED, Retry("busy", "throttled", after=0.01), RuntimeError("inside"), REFUSED]
    ids = new_ids(2)
    one.append(ids)
    assert wait_until(lambda: one.sink.ids)
    assert one.courier.flush(60.0).complete
    assert one.sink.ids == ids
    assert one.sink.sends == 5


def test_an_answer_that_is_no_outcome_is_a_retry(rig: Callable[..., Rig], quick_backoff: None) -> None:
    """A backend that answers nonsense loses nothing."""
    one = rig()
    one.sink.answers = ["ok", None]  # type: ignore[list-item]
    one.append(ids := new_ids(1))
    assert wait_until(lambda: one.sink.ids == ids)


def test_a_failure_shows_in_reports_and_is_logged_once(
    rig: Callable[..., Rig], quick_backoff: None, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it fails, one line says so; both reports carry the reason; recovery clears them."""
    one = rig()
    one.sink.down = Retry("The key is wrong. Set OPIK_API_KEY.", "unauthorized", needs_action=True)
    with caplog.at_level(logging.WARNING, logger="otel_llm"):
        one.append(new_ids(1))
        assert wait_until(lambda: one.sink.sends >= 5)
    assert [record.getMessage() for record in caplog.records if record.name == courier_queue.__name__] == [
        "sink does not take spans now, they stay in the spool: The key is wrong. Set OPIK_API_KEY."
    ]
    failure = one.courier.report()["sink"].failure
    assert failure is not None
    assert (failure.reason, failure.needs_action) == ("unauthorized", True)
    assert one.spool.report().backends["sink"].failure is not None
    one.sink.down = None
    assert one.courier.flush(60.0).complete
    assert one.courier.report()["sink"].failure is None
    assert one.spool.report().backends["sink"].failure is None


def test_a_fault_of_ours_is_said_once_and_delivery_goes_on(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A turn that raises again and again is one line without a traceback and a count, and nothing is lost by it."""
    faults.reset_faults()
    monkeypatch.setattr(courier_lane, "_TROUBLE_SECONDS", 0.005)
    one = rig()
    tend = one.spool.tend
    broken = threading.Event()
    broken.set()
    monkeypatch.setattr(one.spool, "tend", lambda: 1 / 0 if broken.is_set() else tend())
    with caplog.at_level(logging.INFO, logger="otel_llm"):
        one.append(ids := new_ids(1))
        assert wait_until(lambda: faults.fault_counts().get("delivery to sink", 0) > 3)
        broken.clear()
        assert wait_until(lambda: one.sink.ids == ids)
    said = [record for record in caplog.records if "delivery to sink" in record.getMessage()]
    assert len(said) == 1
    assert said[0].exc_info is None
    faults.reset_faults()


def test_flush_cuts_back_off_short(rig: Callable[..., Rig]) -> None:
    """A backend that needed somebody's help is tried again as soon as somebody asks."""
    one = rig()
    one.sink.answers = [Retry("The key is wrong.", "unauthorized", needs_action=True)]
    one.append(new_ids(1))
    assert wait_until(lambda: one.courier.report()["sink"].failure)
    retry_in = one.courier.report()["sink"].retry_in
    assert retry_in is not None
    assert retry_in > 100
    assert one.courier.flush(60.0).complete


def test_new_batches_do_not_cut_back_off_short(rig: Callable[..., Rig]) -> None:
    """While a backend asks to be left alone, appending does not lead to requests."""
    one = rig()
    one.sink.down = Retry("Too many requests.", "throttled", after=600.0)
    for _ in range(20):
        one.append(new_ids(1))
    assert wait_until(lambda: one.sink.sends == 1)
    assert not wait_until(lambda: one.sink.sends > 1, 0.3)


def test_a_bad_span_is_found_and_the_rest_delivered(rig: Callable[..., Rig]) -> None:
    """One bad span among 100 is quarantined with the backend's words; 99 arrive, in few requests."""
    one = rig()
    ids = new_ids(100)
    one.sink.bad = {ids[37]}
    one.append(ids)
    assert one.courier.flush(60.0).complete
    assert one.sink.ids == ids[:37] + ids[38:]
    assert one.sink.sends <= 2 * 7 + 1
    assert one.counts() == (100, 99, 0, {"invalid": 1}, {})
    [entry] = one.spool.quarantined()
    assert (entry.reason, entry.detail, entry.span_count) == ("invalid", "The server answered 400: bad span", 1)
    assert bytes.fromhex(ids[37]) in entry.payload


def test_a_retry_in_the_middle_of_the_search_resends_nothing(rig: Callable[..., Rig], quick_backoff: None) -> None:
    """The backend fails while a bad span is searched: what it took already is not sent again."""
    one = rig()
    ids = new_ids(16)
    one.sink.bad = {ids[9]}
    one.sink.answers = [Rejected("bad"), Delivered(8), REFUSED, REFUSED]
    one.append(ids)
    assert one.courier.flush(60.0).complete
    assert one.sink.ids == ids[:9] + ids[10:]


def test_spans_rejected_one_by_one(rig: Callable[..., Rig]) -> None:
    """A partial success counts and keeps what was refused, and delivers the rest, in one request."""
    one = rig()
    ids = new_ids(5)
    one.sink.refused = {ids[0], ids[3]}
    one.append(ids)
    assert one.courier.flush(60.0).complete
    assert one.sink.sends == 1
    assert one.counts() == (5, 3, 0, {"too_old": 2}, {})
    assert {entry.detail for entry in one.spool.quarantined()} == {"the id is too old"}


def test_a_backend_that_rejects_everything_is_not_asked_span_by_span(rig: Callable[..., Rig]) -> None:
    """When nothing of a large batch is taken, the search ends early, and every span is counted."""
    one = rig()
    ids = new_ids(512)
    one.sink.bad = set(ids)
    one.append(ids)
    assert one.courier.flush(60.0).complete
    assert one.sink.sends < 60
    assert one.counts() == (512, 0, 0, {"invalid": 512}, {})
    assert sum(entry.span_count for entry in one.spool.quarantined()) == 512


def test_bytes_that_are_no_otlp_are_rejected_whole(rig: Callable[..., Rig]) -> None:
    """A rejected batch that cannot be taken apart goes to quarantine as it is."""
    one = rig()

    class Picky(Sink):
        def send(self, batch: Batch, *, timeout: float) -> Rejected:
            return Rejected("not OTLP")

    one = rig(Picky("picky"))
    one.spool.append(Batch(b"\xff\xff rubbish", 3))
    one.courier.notify()
    assert one.courier.flush(60.0).complete
    assert one.counts("picky") == (3, 0, 0, {"invalid": 3}, {})


def test_a_dead_backend_does_not_hold_up_another(rig: Callable[..., Rig]) -> None:
    """One backend hangs in its request, one refuses: the third has everything, and their counts are their own."""
    hanging, refusing, well = Sink("hanging"), Sink("refusing"), Sink("well")
    hanging.hang = threading.Event()
    refusing.down = REFUSED
    one = rig(hanging, refusing, well)
    ids = new_ids(5)
    for span_id in ids:
        one.append([span_id])
    assert wait_until(lambda: well.ids == ids)
    assert one.counts("well") == (5, 5, 0, {}, {})
    assert one.counts("refusing") == one.counts("hanging") == (5, 0, 5, {}, {})


def test_a_batch_that_the_server_chokes_on_lets_the_others_pass(rig: Callable[..., Rig], quick_backoff: None) -> None:
    """A server error for one batch, again and again, sets that batch aside; everything else arrives."""
    one = rig(request_bytes=1)
    groups = [new_ids(1) for _ in range(6)]
    one.sink.choking = set(groups[1])
    one.append(*groups)
    others = [i for number, group in enumerate(groups) if number != 1 for i in group]
    assert wait_until(lambda: one.sink.ids == others)
    assert one.counts() == (6, 5, 1, {}, {})
    assert wait_until(lambda: one.courier.report()["sink"].failure is None)


def test_an_outage_with_server_errors_loses_no_batch(rig: Callable[..., Rig], quick_backoff: None) -> None:
    """A server that answers 500 to everything for a while gets everything afterwards, once."""
    one = rig(request_bytes=1)
    one.sink.down = Retry("The server answered 500.", "server_error")
    groups = [new_ids(1) for _ in range(6)]
    one.append(*groups)
    assert wait_until(lambda: one.sink.sends > 12)
    one.sink.down = None
    assert one.courier.flush(60.0).complete
    assert sorted(one.sink.ids) == sorted(i for group in groups for i in group)


def test_in_the_end_a_choking_batch_goes_to_quarantine(
    rig: Callable[..., Rig], quick_backoff: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After enough tries, each among others that went through, a batch is rejected as `gave_up` and kept."""
    monkeypatch.setattr(courier_queue, "_GIVE_UP_AFTER", 0)
    one = rig(request_bytes=1)
    groups = [new_ids(1) for _ in range(3)]
    one.sink.choking = set(groups[0])
    one.append(*groups)
    assert one.courier.flush(60.0).complete
    assert one.counts() == (3, 2, 0, {"gave_up": 1}, {})
    assert [entry.reason for entry in one.spool.quarantined()] == ["gave_up"]


@pytest.mark.parametrize("how", ["refuses", "hangs"])
def test_shutdown_keeps_its_time_and_loses_nothing(rig: Callable[..., Rig], how: str) -> None:
    """With the backend dead or hanging, shutdown returns in time; the next start delivers."""
    one = rig()
    if how == "hangs":
        one.sink.hang = threading.Event()
    one.sink.down = REFUSED
    ids = new_ids(4)
    one.append(ids)
    began = time.monotonic()
    report = one.courier.shutdown(1.0)
    assert time.monotonic() - began < 10  # the backend would hang for a minute
    assert report.waiting == {"sink": 4}
    if one.sink.hang is not None:
        one.sink.hang.set()
    later = rig()
    assert wait_until(lambda: later.courier.drain(5.0).complete)
    assert later.sink.ids == ids


@pytest.mark.parametrize("mode", ["always", "off"])
def test_shutdown_waits_for_a_silent_backend_only_where_waiting_saves_something(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """What is on disk stays there for the next start; what is in memory only gets the whole time to be answered."""
    monkeypatch.setattr("otel_llm.delivery.courier._PATIENT_PART", 0.001)
    one = rig(spool=SpoolSettings(mode=mode))
    one.sink.hang = threading.Event()
    one.append(ids := new_ids(4))
    answers = threading.Timer(1.0 if mode == "off" else 10.0, one.sink.hang.set)
    answers.start()
    report = one.courier.shutdown(60.0)
    answers.cancel()
    assert report.waiting == ({} if mode == "off" else {"sink": 4})
    if mode == "off":
        assert one.sink.ids == ids


def test_shutdown_does_not_wait_for_the_thread_of_a_request_it_has_given_up(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane that is still being left without an answer is not joined: its thread cannot end before the answer."""
    monkeypatch.setattr("otel_llm.delivery.courier._PATIENT_PART", 0.001)
    monkeypatch.setattr("otel_llm.delivery.courier._CLOSING_SECONDS", 30.0)
    one = rig()
    one.sink.hang = threading.Event()
    one.append(new_ids(4))
    began = time.monotonic()
    assert one.courier.shutdown(90.0).waiting == {"sink": 4}
    assert time.monotonic() - began < 20
    one.sink.hang.set()


def test_shutdown_has_what_is_left_of_the_time(rig: Callable[..., Rig]) -> None:
    """The time of the end begins with `hurry`: what queues needed of it is not added on top."""
    one = rig()
    one.sink.hang = threading.Event()
    one.append(new_ids(4))
    one.courier.hurry(0.1)
    time.sleep(0.1)
    began = time.monotonic()
    assert one.courier.shutdown(30.0).waiting == {"sink": 4}
    assert time.monotonic() - began < 10
    one.sink.hang.set()


def test_shutdown_delivers_what_it_can_and_closes(rig: Callable[..., Rig]) -> None:
    """With a backend that answers, shutdown leaves nothing behind and no thread, and may be called twice."""
    one = rig()
    one.append(ids := new_ids(4))
    assert one.courier.shutdown(5.0).complete
    assert one.sink.ids == ids
    assert one.sink.closed
    assert not one.courier.report()["sink"].running
    assert one.courier.shutdown(5.0).complete


def test_flush_keeps_its_time(rig: Callable[..., Rig]) -> None:
    """With a hanging backend flush returns after its timeout and says what waits."""
    one = rig()
    one.sink.hang = threading.Event()
    one.append(new_ids(3))
    began = time.monotonic()
    assert one.courier.flush(0.2).waiting == {"sink": 3}
    assert time.monotonic() - began < 10  # the backend would hang for a minute


def test_without_threads_batches_stay_in_the_spool(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    """The system gives no thread: appending works, nothing raises, and a later process delivers."""
    one = rig()

    def no_thread(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        one.append(ids := new_ids(2))
        assert not one.courier.flush(0.1).complete
        one.courier.shutdown(0.5)
    assert one.sink.sends == 0
    later = rig()
    assert later.courier.drain(5.0).complete
    assert later.sink.ids == ids


def test_our_own_requests_are_not_traced(rig: Callable[..., Rig]) -> None:
    """Instrumentation is suppressed where the backend sends, and only there."""
    seen: list[bool] = []

    class Looking(Sink):
        def send(self, batch: Batch, *, timeout: float) -> Delivered:
            seen.append(is_instrumentation_enabled())
            return Delivered(batch.span_count)

    one = rig(Looking("looking"))
    one.append(new_ids(1))
    assert one.courier.flush(60.0).complete
    assert seen == [False]
    assert is_instrumentation_enabled()
    assert otel_context.get_current() == {}


def test_memory_is_delivered_when_the_disk_cannot_be_used(rig: Callable[..., Rig], tmp_path: Path) -> None:
    """Without a usable directory batches go from memory to the backend."""
    (tmp_path / "spool").write_text("in the way")
    one = rig()
    ids = new_ids(3)
    assert one.spool.append(batch_of(ids)) is Appended.MEMORY
    one.courier.notify()
    assert one.courier.flush(60.0).complete
    assert one.sink.ids == ids
    assert one.counts() == (3, 3, 0, {}, {})


@pytest.mark.parametrize("mode", ["overflow", "off"])
def test_memory_modes_deliver(rig: Callable[..., Rig], mode: str, quick_backoff: None) -> None:
    """Under `overflow` and `off` everything arrives once, also after failures in between."""
    one = rig(spool=SpoolSettings(mode=mode))  # type: ignore[arg-type]
    one.sink.answers = [Delivered(1), REFUSED, REFUSED]
    groups = [new_ids(2) for _ in range(10)]
    one.append(*groups)
    assert one.courier.flush(60.0).complete
    assert sorted(one.sink.ids) == sorted(i for group in groups for i in group)
    assert one.counts() == (20, 20, 0, {}, {})


def test_overflow_saves_what_a_dead_backend_does_not_take(rig: Callable[..., Rig]) -> None:
    """Under `overflow` a failing backend sends batches to disk, where they survive the process."""
    one = rig(spool=SpoolSettings(mode="overflow"))
    one.sink.down = REFUSED
    ids = new_ids(2)
    one.append(ids)
    assert wait_until(lambda: one.spool.report().stored_bytes and not one.spool.report().memory_bytes)
    one.courier.shutdown(0.5)
    later = rig()
    assert later.courier.drain(5.0).complete
    assert later.sink.ids == ids


HOLDER = """
import sys, time
from pathlib import Path
from tests.crash.kit import Sink, batch_of
from otel_llm.contracts import Retry
from otel_llm.delivery.courier import Courier
from otel_llm.delivery.spool import Spool

spool = Spool(Path(sys.argv[1]))
sink = Sink()
sink.down = Retry("no", "refused")
courier = Courier(spool, {"sink": sink})
spool.append(batch_of(2))
courier.notify()
while not courier.report()["sink"].leading:
    time.sleep(0.01)
print("leading", flush=True)
time.sleep(60)
"""


def test_overflow_saves_what_is_being_sent_when_the_program_ends(rig: Callable[..., Rig]) -> None:
    """A backend that hangs at the end costs nothing either: nobody will hear its answer, so the batch is kept."""
    one = rig(spool=SpoolSettings(mode="overflow"))
    one.sink.hang = threading.Event()
    one.append(new_ids(3))
    assert wait_until(lambda: one.sink.sends == 1)
    one.courier.shutdown(0.3)
    assert one.counts() == (3, 0, 3, {}, {})
    one.sink.hang.set()
    two = rig()
    two.courier.notify()
    assert wait_until(lambda: len(two.sink.ids) == 3)
    assert two.counts() == (3, 3, 0, {}, {})


def test_half_a_character_in_a_backends_words_holds_nothing_up(
    rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture
) -> None:
    """Words that JSON can carry, and SQLite and logs cannot, lose that; the span is not sent again and again."""
    here = rig()
    here.sink.answers = [Retry("Down \ud83d.", "down"), Rejected("Bad \ud83d.", "bad \ud83d")]
    here.append(new_ids(1))
    assert wait_until(lambda: here.spool.report().backends["sink"].failure)
    assert here.courier.flush(30).complete
    assert here.counts() == (1, 0, 0, {"bad ?": 1}, {})
    assert [(entry.reason, entry.detail) for entry in here.spool.quarantined()] == [("bad ?", "Bad ?.")]
    assert "Bad ?." in caplog.text
    caplog.text.encode()
    assert here.sink.sends == 2


def test_a_lock_file_that_cannot_be_used_is_said(rig: Callable[..., Rig], tmp_path: Path) -> None:
    """Where nobody can become the one who delivers, the failure says so and what to do; then it goes on by itself."""
    here = rig()
    ids = new_ids(2)
    here.spool.append(batch_of(ids))
    lock = tmp_path / "spool" / "drain-sink.lock"
    lock.mkdir()
    here.courier.notify()
    assert wait_until(lambda: here.spool.report().backends["sink"].failure)
    failure = here.spool.report().backends["sink"].failure
    assert failure is not None
    assert str(lock) in failure.why
    assert failure.needs_action
    assert here.sink.ids == []
    lock.rmdir()
    here.courier.flush(30)
    assert here.sink.ids == ids
    assert here.spool.report().backends["sink"].failure is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is somebody else")
def test_root_leaves_no_lock_in_a_users_spool(rig: Callable[..., Rig], tmp_path: Path) -> None:
    """A command run as root delivers nothing of a user's, and does not keep the user from it by a lock of its own."""
    (tmp_path / "spool").mkdir(0o700)
    os.chown(tmp_path / "spool", 4242, 4242)
    here = rig()
    here.spool.append(batch_of(1))
    assert here.courier.flush(30).complete
    assert list((tmp_path / "spool").iterdir()) == []


def test_another_process_takes_over_from_a_killed_one(rig: Callable[..., Rig], tmp_path: Path) -> None:
    """While a process holds the lease nobody else delivers; when it is killed, another does, also its batches."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path / "spool")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"leading\n"
        one = rig()
        one.append(new_ids(3))
        assert not wait_until(lambda: one.sink.ids, 0.7)
        holder.kill()
        assert wait_until(lambda: len(one.sink.ids) == 5, 60.0)
        assert one.counts() == (5, 5, 0, {}, {})
    finally:
        holder.kill()
        holder.communicate()


def test_drain_delivers_what_others_left(rig: Callable[..., Rig]) -> None:
    """`drain` sends everything in the spool, whoever appended it, and ends at once when the backend is down."""
    one = rig()
    one.sink.down = REFUSED
    one.append(*[new_ids(2) for _ in range(5)])
    one.courier.shutdown(0.5)
    down = rig()
    down.sink.down = REFUSED
    began = time.monotonic()
    assert down.courier.drain(30.0).waiting == {"sink": 10}
    assert time.monotonic() - began < 10
    down.courier.shutdown(0.5)
    later = rig()
    assert later.courier.drain(10.0).complete
    assert len(later.sink.ids) == 10
