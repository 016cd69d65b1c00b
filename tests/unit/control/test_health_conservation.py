"""created = delivered + waiting + rejected + dropped, over both kinds of channel, whatever the backend does."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

from otel_llm.config import load
from otel_llm.contracts import Rejected, Retry
from otel_llm.control.channels import DirectChannel
from otel_llm.control.health import HealthMonitor
from otel_llm.control.spooled import SpooledChannel
from otel_llm.delivery.spool_files import spool_directory
from otel_llm.processors.chain import SpanPipeline
from tests.crash.kit import Sink, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_llm.control.channels import Channel
    from otel_llm.control.health import BackendStatus

DOWN = Retry("Refused. Start it.", "refused")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("spans"), st.integers(1, 40)),
        st.tuples(st.sampled_from(["down", "up", "reject", "raise", "flush"]), st.just(0)),
    ),
    max_size=12,
)


class Rig:
    """A provider, one channel and a backend that does as told."""

    def __init__(self, kind: str, state_dir: Any) -> None:
        config = load({"state_dir": state_dir, "batch_queue_size": 32, "batch_size": 8, "export_timeout": 0.05})
        self.sink = Sink("sink")
        self.channel: Channel = (
            DirectChannel(self.sink, config) if kind == "direct" else SpooledChannel({"sink": self.sink}, config)
        )
        self.pipeline = SpanPipeline(self.channel.processor, ledgers=self.channel.ledgers)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.pipeline)
        self.monitor = HealthMonitor()
        self.ended = 0

    def spans(self, count: int) -> None:
        """End this many spans."""
        tracer = self.provider.get_tracer("test")
        for _ in range(count):
            tracer.start_span("work").end()
        self.ended += count

    def do(self, step: str, count: int) -> None:
        """One thing that happens."""
        if step == "spans":
            self.spans(count)
        elif step == "reject":
            self.sink.answers.append(Rejected("The server answered 400.", "invalid"))
        elif step == "raise":
            self.sink.answers.append(ValueError("a fault in the backend"))
        elif step == "flush":
            self.channel.flush(0.1)
        else:
            self.sink.down = DOWN if step == "down" else None

    def status(self) -> BackendStatus:
        """The state now."""
        (status,) = self.monitor.observe(self.channel.reports())
        return status

    def close(self) -> None:
        """Take all down."""
        self.sink.down = None
        self.channel.hurry(0.2)
        self.pipeline.shutdown()
        self.channel.close(0.5)


def accounted(status: BackendStatus) -> int:
    """Spans whose place is known."""
    return status.delivered + status.waiting + sum(status.rejected.values()) + sum(status.dropped.values())


@pytest.mark.parametrize("kind", ["direct", "spooled"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_every_span_is_somewhere_whatever_happens(
    kind: str, steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """After each step all ended spans are accounted for; in the end the counts are what the backend really has."""
    rig = Rig(kind, tmp_path_factory.mktemp("state"))
    try:
        for step, count in steps:
            rig.do(step, count)
            status = rig.status()
            assert status.waiting >= 0
            assert accounted(status) == status.created <= rig.ended
            assert wait_until(lambda: rig.status().created == rig.ended), "a batch between queue and spool stays there"
        rig.sink.down = None
        rig.sink.answers.clear()
        rig.channel.flush(60)
        assert wait_until(lambda: rig.status().waiting == 0, 60)
        status = rig.status()
        assert accounted(status) == status.created == rig.ended
        assert status.delivered == len(rig.sink.ids)
    finally:
        rig.close()


def watched(rig: Rig, busy: Callable[[], None]) -> list[BackendStatus]:
    """What others saw of the counts while `busy` ran."""
    seen: list[BackendStatus] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.append(rig.status())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        busy()
    finally:
        done.set()
        looking.join()
    return seen


@pytest.mark.parametrize("kind", ["direct", "spooled"])
def test_counts_seen_from_another_thread_never_go_back(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """While spans are recorded and delivered, `created` and `delivered` only grow, and `waiting` is never negative."""
    rig = Rig(kind, tmp_path_factory.mktemp("state"))
    try:

        def busy() -> None:
            for _ in range(10):
                rig.spans(20)
                rig.channel.flush(0.2)

        seen = watched(rig, busy)
        assert len(seen) > 1
        assert all(status.waiting >= 0 for status in seen)
        for before, after in itertools.pairwise(seen):
            assert after.created >= before.created
            assert after.delivered >= before.delivered
    finally:
        rig.close()


class Counted(Rig):
    """Knows at every moment how many spans have begun to end, and how many have ended."""

    def __init__(self, kind: str, state_dir: Any) -> None:
        super().__init__(kind, state_dir)
        self.ending = self.done = 0

    def spans(self, count: int) -> None:
        tracer = self.provider.get_tracer("test")
        for _ in range(count):
            span = tracer.start_span("work")
            self.ending += 1
            span.end()
            self.done += 1
        self.ended += count


@contextmanager
def stranger_at(log: Path) -> Iterator[None]:
    """Another process that holds the spool's lock again and again, so that batches wait in memory for a while."""
    done = threading.Event()

    def meddle() -> None:
        while not done.wait(0.02):
            if log.exists():
                connection = sqlite3.connect(log, isolation_level=None, timeout=5)
                connection.execute("BEGIN IMMEDIATE")
                done.wait(0.08)
                connection.execute("ROLLBACK")
                connection.close()

    thread = threading.Thread(target=meddle)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("kind", ["direct", "spooled"])
def test_every_look_is_exact(kind: str, tmp_path: Path) -> None:
    """At any moment `created` is the number of spans that have ended, wherever their batch is on its way just then."""
    rig = Counted(kind, tmp_path)
    wrong: list[tuple[int, int, int]] = []
    looks = 0
    stop = threading.Event()

    def look() -> None:
        nonlocal looks
        while not stop.is_set():
            before = rig.done
            status = rig.status()
            if not before <= status.created <= rig.ending or accounted(status) != status.created or status.waiting < 0:
                wrong.append((before, status.created, rig.ending))
            looks += 1

    looking = threading.Thread(target=look)
    try:
        with stranger_at(tmp_path / "spool" / spool_name() / "spool.db"):
            looking.start()
            for _ in range(60):
                rig.spans(7)
                time.sleep(0.01)
        stop.set()
        looking.join()
        assert looks > 20
        assert wrong == []
        assert rig.status().created == rig.ended
    finally:
        stop.set()
        rig.close()


def spool_name() -> str:
    """The directory of the spool of this program's service."""
    return spool_directory(Path(), load().service_name).name


@pytest.mark.parametrize("kind", ["direct", "spooled"])
def test_the_spools_size_is_reported_where_there_is_one(kind: str, tmp_path: Path) -> None:
    """What waits on disk shows in bytes beside the cap; a backend without a spool reports neither."""
    rig = Rig(kind, tmp_path)
    rig.sink.down = Retry("Connection refused.", "refused")
    try:
        rig.spans(8)
        assert wait_until(lambda: rig.status().created == 8)
        status = rig.status()
        if kind == "direct":
            assert (status.spool_bytes, status.spool_capacity) == (None, None)
        else:
            assert wait_until(lambda: (rig.status().spool_bytes or 0) > 0)
            status = rig.status()
            assert (status.spool_capacity or 0) > (status.spool_bytes or 0)
    finally:
        rig.close()
