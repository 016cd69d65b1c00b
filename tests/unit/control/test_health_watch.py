"""Health over a real spool, backend and disk: it is noticed though nobody asks, and it recovers by itself."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

import pytest

import otel_llm
from otel_llm.control.health_watch import HealthWatch
from tests.crash.kit import wait_until
from tests.fakes.http_server import Reply
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import TracerProvider

TAKES = Reply(200, {"Content-Type": "application/x-protobuf"})


def state() -> str:
    """The state of the one backend."""
    (backend,) = otel_llm.status().backends
    return backend.state


def test_nobody_looks_before_the_first_span_and_somebody_after_it() -> None:
    """The thread begins with the first span, looks on and on, and ends when it is told to."""
    looked = threading.Semaphore(0)
    watch = HealthWatch(looked.release, every=0.01)
    assert not looked.acquire(timeout=0.1)
    watch.span_ended()
    assert looked.acquire(timeout=10)
    assert looked.acquire(timeout=10)
    watch.stop()
    running = [thread for thread in threading.enumerate() if thread.name == "otel-llm-health"]
    for thread in running:
        thread.join(10)
    assert not any(thread.is_alive() for thread in running)


def test_a_look_that_fails_does_not_end_the_watch() -> None:
    """A fault of ours while looking is counted, and the next look comes."""
    looked = threading.Semaphore(0)

    def look() -> None:
        looked.release()
        raise ValueError("a fault")

    watch = HealthWatch(look, every=0.01)
    watch.span_ended()
    try:
        assert looked.acquire(timeout=10)
        assert looked.acquire(timeout=10)
    finally:
        watch.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own_watch() -> None:
    """Threads do not cross a fork: the child's first span starts a new one."""
    looked = threading.Semaphore(0)
    watch = HealthWatch(looked.release, every=0.01)
    watch.span_ended()
    assert looked.acquire(timeout=10)
    child = os.fork()
    if child == 0:
        while looked.acquire(blocking=False):
            continue
        watch.span_ended()
        os._exit(0 if looked.acquire(timeout=10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    watch.stop()


def test_down_and_up_again_is_followed_and_logged_without_asking(
    provider: TracerProvider, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that goes away and comes back: failing, then ok, each said in one line though nobody called status."""
    monkeypatch.setattr("otel_llm.control.running.HealthWatch", lambda look: HealthWatch(look, every=0.02))
    caplog.set_level(logging.INFO, "otel_llm.control.health")

    def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "otel_llm.control.health"]

    with OtlpReceiver() as receiver:
        receiver.always(Reply(503))
        otel_llm.configure(tracer_provider=provider, backend="otlp", otlp_endpoint=receiver.url, service_name="svc")
        provider.get_tracer("app").start_span("work").end()
        assert wait_until(lambda: any("is failing (was starting)" in line for line in said()))
        receiver.always(TAKES)
        otel_llm.flush(5)
        assert wait_until(lambda: any("is ok (was failing)" in line for line in said()))
    assert len(said()) == 2


def test_a_disk_that_takes_nothing_degrades_until_it_does_again(provider: TracerProvider, tmp_path: Path) -> None:
    """With the spool in memory the backend is degraded, though spans arrive; with the disk back it is ok by itself."""
    obstacle = tmp_path / "state" / "spool"
    obstacle.parent.mkdir(mode=0o700)
    obstacle.write_text("a file where the spool's directory should be")
    with OtlpReceiver() as receiver:
        otel_llm.configure(
            tracer_provider=provider,
            backend="otlp",
            otlp_endpoint=receiver.url,
            service_name="svc",
            state_dir=tmp_path / "state",
        )
        provider.get_tracer("app").start_span("work").end()
        otel_llm.flush(60)
        (backend,) = otel_llm.status().backends
        assert (backend.state, backend.durable, backend.delivered) == ("degraded", False, 1)
        assert str(obstacle) in (backend.cause or "")
        obstacle.unlink()

        def works_again() -> bool:
            provider.get_tracer("app").start_span("work").end()
            otel_llm.flush(1)
            return state() == "ok"

        assert wait_until(works_again, 60)


def test_after_shutdown_the_state_is_stopped_and_says_what_stays(provider: TracerProvider) -> None:
    """The last counts stay readable: what was not delivered is in the spool."""
    with OtlpReceiver() as receiver:
        receiver.always(Reply(503))
        otel_llm.configure(tracer_provider=provider, backend="otlp", otlp_endpoint=receiver.url, service_name="svc")
        provider.get_tracer("app").start_span("work").end()
        otel_llm.shutdown(1)
    status = otel_llm.status()
    (backend,) = status.backends
    assert not status.running
    assert (backend.state, backend.created, backend.delivered, backend.waiting) == ("stopped", 1, 0, 1)
    assert "otel-llm ship" in (backend.cause or "")


def test_a_delivery_of_an_earlier_run_proves_nothing(provider: TracerProvider) -> None:
    """After a restart the state is `starting` until something is answered anew."""
    with OtlpReceiver() as receiver:
        for expected in (1, 2):
            otel_llm.configure(tracer_provider=provider, backend="otlp", otlp_endpoint=receiver.url, service_name="svc")
            assert state() == "starting"
            provider.get_tracer("app").start_span("work").end()
            otel_llm.flush(5)
            (backend,) = otel_llm.status().backends
            assert (backend.state, backend.delivered) == ("ok", expected)
            otel_llm.shutdown()


def test_the_watch_does_not_begin_while_the_process_ends(
    provider: TracerProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first span may be seen by the end alone, and an interpreter that ends has no thread left to give."""
    begun: list[object] = []
    monkeypatch.setattr(HealthWatch, "_run", lambda *_: begun.append(1))
    otel_llm.configure(
        tracer_provider=provider, backend="local", store_path=tmp_path / "own" / "store.db", batch_delay=600_000
    )
    provider.get_tracer("app").start_span("work").end()
    otel_llm.shutdown()
    (backend,) = otel_llm.status().backends
    assert backend.delivered == 1
    assert begun == []
