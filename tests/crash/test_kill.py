"""kill -9 at random moments: what was acknowledged arrives after the restart, and only what was under way twice."""

from __future__ import annotations

import os
import random
import signal
import time
import uuid
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.delivery.courier import Courier
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_types import Appended, SpoolSettings
from tests.crash.kit import batch_of, counts, new_ids
from tests.crash.receiver import HttpBackend, Receiver
from tests.fakes.http_server import Reply
from tests.fakes.opik import FakeOpik, faults, needs_openapi
from tests.unit.backends.opik.helpers import batch_of as opik_batch_of
from tests.unit.backends.opik.helpers import trace_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.crash.disaster_table import Verdict

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    with Receiver() as server:
        yield server


def write_until_killed(directory: Path, url: str, pipe: int, *, settings: SpoolSettings) -> None:
    """In a child: append one batch after the other while the courier delivers; tell the ids once they are ours."""
    spool = Spool(directory, settings)
    courier = Courier(spool, {"sink": HttpBackend(url)})
    while True:
        ids = new_ids(3)
        answer = spool.append(batch_of(ids, size=500))
        courier.notify()
        if answer is Appended.DISK:
            os.write(pipe, "".join(f"{span_id}\n" for span_id in ids).encode())
        time.sleep(0.001)


def run_and_kill(directory: Path, url: str, seconds: float, settings: SpoolSettings) -> list[str]:
    """Fork a writer, kill it that long after its first batch, and return the ids that it had acknowledged."""
    return killed_after(seconds, partial(write_until_killed, directory, url, settings=settings), length=16)


def killed_after(seconds: float, write: Callable[[int], None], *, length: int) -> list[str]:
    """The lines of this length that `write` told its pipe in a child that is killed so long after the first."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            write(writer)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        first = pipe.readline()
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        told = first + pipe.read()
    return [line for line in told.split("\n") if len(line) == length]  # the last may be cut off


@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("backend", ["up", "flapping"])
def test_kill_nine_loses_no_acknowledged_batch(
    tmp_path: Path, receiver: Receiver, verdict: Verdict, rounds: int, backend: str
) -> None:
    """Over many kills on one spool: every acknowledged span arrives; only the last request of a round is repeated."""
    chance = random.Random(20261122)
    if backend == "flapping":
        receiver.reply = lambda: Reply(503 if chance.random() < 0.7 else 200)
    acknowledged: list[str] = []
    for _ in range(rounds):
        settings = SpoolSettings(fsync="off", compress_above=chance.choice([0, 1 << 40]))
        acknowledged += run_and_kill(tmp_path / "s", receiver.url, chance.uniform(0.0, 0.08), settings)
    receiver.reply = Reply
    spool = Spool(tmp_path / "s")
    courier = Courier(spool, {"sink": HttpBackend(receiver.url)})
    assert courier.drain(30.0).complete
    created, delivered, waiting, rejected, dropped = counts(spool.report())
    courier.shutdown(1.0)
    lost = set(acknowledged) - set(receiver.times)
    verdict(
        1,
        f"kill -9, {rounds} rounds, backend {backend}",
        created=created,
        delivered=len(receiver.times),
        duplicates=receiver.duplicates(),
        lost=len(lost),
        varies=True,
    )
    assert len(acknowledged) > rounds * 3
    assert not lost
    assert (delivered, waiting, rejected, dropped) == (created, 0, {}, {})
    assert created == len(receiver.times)
    assert repeated_outside_last_requests(receiver) == set()


# --- with Opik behind it -----------------------------------------------------------------------------------------


def trace_until_killed(directory: Path, url: str, pipe: int) -> None:
    """In a child: append one trace of three spans after the other; tell its id once it is ours."""
    spool = Spool(directory, SpoolSettings(fsync="off"))
    courier = Courier(spool, {"opik": OpikBackend(OpikOptions(url=url, service="shop"))})
    while True:
        trace = trace_bytes()
        answer = spool.append(opik_batch_of(trace, spans_each=3))
        courier.notify()
        if answer is Appended.DISK:
            os.write(pipe, f"{trace.hex()}\n".encode())
        time.sleep(0.001)


@needs_openapi
@pytest.mark.parametrize("rounds", [10, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_nine_before_a_flapping_opik(tmp_path: Path, verdict: Verdict, rounds: int) -> None:
    """Opik fails, commits and hangs up, or works, by chance: every acknowledged trace has its rows, each row once."""
    chance = random.Random(5)
    troubles = [faults.status(503), faults.reset_after_commit(), faults.reset_before_reading(), faults.throttled(1)]
    with FakeOpik() as opik:
        opik.faults.take = lambda *_: chance.choice(troubles) if chance.random() < 0.3 else None  # type: ignore[method-assign]
        acknowledged: list[str] = []
        for _ in range(rounds):
            write = partial(trace_until_killed, tmp_path / "s", opik.url)
            acknowledged += killed_after(chance.uniform(0.0, 0.08), write, length=32)
        opik.faults.take = lambda *_: None  # type: ignore[method-assign]
        spool = Spool(tmp_path / "s")
        courier = Courier(spool, {"opik": OpikBackend(OpikOptions(url=opik.url, service="shop"))})
        assert courier.drain(60.0).complete
        created, delivered, waiting, rejected, dropped = counts(spool.report(), "opik")
        courier.shutdown(1.0)
        spans = Counter(row["trace_id"] for row in opik.spans())
        traces = Counter(row["id"] for row in opik.traces())
        lost = [trace for trace in acknowledged if spans[str(uuid.UUID(trace))] != 3]
        verdict(
            1,
            f"kill -9, {rounds} rounds, Opik failing by chance",
            created=created,
            delivered=len(opik.spans()),
            duplicates=len(opik.duplicates()),
            lost=len(lost),
            varies=True,
        )
        assert len(acknowledged) > rounds
        assert lost == []
        assert set(spans.values()) == {3}
        assert set(traces) == set(spans)
        assert set(traces.values()) == {1}
        assert opik.duplicates() == []
        assert (delivered, waiting, rejected, dropped) == (created, 0, {}, {})


def repeated_outside_last_requests(receiver: Receiver) -> set[str]:
    """Spans that arrived again although they had first arrived in a request that was not its process's last."""
    last_request = {process: index for index, (process, _) in enumerate(receiver.requests)}
    first_arrival: dict[str, int] = {}
    wrong = set()
    for index, (_, ids) in enumerate(receiver.requests):
        for span_id in ids:
            before = first_arrival.setdefault(span_id, index)
            if before != index and last_request[receiver.requests[before][0]] != before:
                wrong.add(span_id)
    return wrong


def test_several_processes_and_a_killed_one(tmp_path: Path, receiver: Receiver, verdict: Verdict) -> None:
    """Three processes write to one spool and all are killed, the delivering one first: everything arrives."""
    acknowledged: list[str] = []
    children = []
    for _ in range(3):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                write_until_killed(tmp_path / "s", receiver.url, writer, settings=SpoolSettings(lock_timeout=5.0))
            finally:
                os._exit(1)
        os.close(writer)
        children.append((pid, os.fdopen(reader)))
    for pid, pipe in children:
        first = pipe.readline()
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        acknowledged += [line for line in (first + pipe.read()).split("\n") if len(line) == 16]
        pipe.close()
    spool = Spool(tmp_path / "s")
    courier = Courier(spool, {"sink": HttpBackend(receiver.url)})
    assert courier.drain(30.0).complete
    created, delivered, waiting, rejected, dropped = counts(spool.report())
    courier.shutdown(1.0)
    lost = set(acknowledged) - set(receiver.times)
    verdict(
        34,
        "three processes, each killed",
        created=created,
        delivered=len(receiver.times),
        duplicates=receiver.duplicates(),
        lost=len(lost),
        varies=True,
    )
    assert not lost
    assert (delivered, waiting, rejected, dropped) == (created, 0, {}, {})
