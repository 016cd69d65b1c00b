"""Everything at once: processes of one spool are killed, stopped and replaced while their backend comes and goes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes.http_server import HttpServer, Reply
from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fakes.http_server import Request

SEED = int(os.environ.get("OTEL_LLM_CHAOS_SEED", "20261128"))
SECONDS = float(os.environ.get("OTEL_LLM_CHAOS_SECONDS", "25"))
"""How long it lasts; twenty minutes by hand: OTEL_LLM_CHAOS_SECONDS=1200."""
PROGRAM = Path(__file__).with_name("chaos_program.py")
GRACEFUL = (signal.SIGTERM, signal.SIGINT)
SUDDEN = (signal.SIGKILL, signal.SIGQUIT, signal.SIGHUP)
LOST_SECONDS = 1.5
"""What ended so shortly before a sudden end may be lost; where the machine has time it is a hundredth of that."""


class Moods:
    """A backend on one port that comes and goes; what it has taken stays taken, whatever became of its answer."""

    TAKES = (Reply(), Reply(reset=True), Reply(close=True), Reply(body=b"\x12\x10" * 9, close=True, cut_after=5))
    SLOW = (Reply(body=b"\x12\x00" * 200, bytes_per_second=2),)
    REFUSES = (Reply(429, {"Retry-After": "0.2"}), Reply(500), Reply(503), Reply(hang=True))

    def __init__(self, chance: random.Random) -> None:
        self.port = free_port()
        self.arrived: Counter[str] = Counter()
        self._chance = chance
        self._server: HttpServer | None = None
        self._mood = Reply()

    def change(self) -> None:
        """Be well in half of all cases, else anything else."""
        if self._chance.random() < 0.1:
            self.leave()
            return
        moods = (*self.TAKES, *self.SLOW, *self.REFUSES)
        self._mood = self._chance.choice([Reply()] * len(moods) + list(moods))
        self.come()

    def come(self) -> None:
        """Listen."""
        if self._server is None:
            self._server = HttpServer(self._answer, port=self.port).start()

    def leave(self) -> None:
        """Refuse connections."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def be_well(self) -> None:
        """Take everything, at once."""
        self._mood = Reply()
        self.leave()
        self.come()

    def _answer(self, request: Request) -> Reply:
        mood = self._mood
        if mood not in self.REFUSES:
            sent = ExportTraceServiceRequest.FromString(request.content)
            self.arrived.update(
                span.span_id.hex() for of in sent.resource_spans for scope in of.scope_spans for span in scope.spans
            )
        return mood


class End(NamedTuple):
    """How a process ended, or became another, and the moment before which it had time."""

    sudden: bool
    at: float

    def may_cost(self, at: float, *, child: bool) -> bool:
        """Whether a span may be lost that has ended `at`, in that process or in a `child` of it."""
        if self.sudden:
            return not child and self.at - LOST_SECONDS <= at <= self.at + LOST_SECONDS
        return at >= self.at  # recording ends when the signal comes, and threads go on for as long as they can


class Worker:
    """One process of the service, and those that it becomes."""

    def __init__(self, told: Path, environ: dict[str, str], ends: dict[int, list[End]]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, told], env=environ, stderr=told.with_name("words").open("a")
        )
        self._ends = ends
        self._told = told
        self._stopped_at: float | None = None

    @property
    def works(self) -> bool:
        """Whether it has ended a span."""
        return f"{self._process.pid} " in self._told.read_text()

    def disturb(self, chance: random.Random) -> bool:
        """Do something to it; False if it is no more."""
        what = chance.choice(["stop", "stop", "become", *GRACEFUL, *SUDDEN])
        now = time.monotonic()
        if what == "stop":
            self._process.send_signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0.01, 0.7))
            self._process.send_signal(signal.SIGCONT)
            self._stopped_at = now
            return True
        if self._stopped_at is not None and now - self._stopped_at < 2 * LOST_SECONDS:
            now = self._stopped_at  # it may not have had the time since
        if what == "become":  # the queue of who it was is gone
            self._ends[self._process.pid].append(End(sudden=True, at=now))
            before = self._becomings()
            self._process.send_signal(signal.SIGUSR1)
            while self._becomings() == before and self._process.poll() is None:
                time.sleep(0.01)
            return True
        self.end(what, now)
        return False

    def _becomings(self) -> int:
        return self._told.read_text().count(f"becomes {self._process.pid}\n")

    def end(self, how: signal.Signals, now: float) -> None:
        """Have it end."""
        self._ends[self._process.pid].append(End(how in SUDDEN, now))
        self._process.send_signal(how)
        self._process.wait(60)


@pytest.fixture
def moods() -> Iterator[Moods]:
    """A backend."""
    backend = Moods(random.Random(SEED))
    yield backend
    backend.leave()


@pytest.mark.timeout(SECONDS + 300)
def test_whatever_happens_what_was_answered_arrives(tmp_path: Path, moods: Moods) -> None:
    """Each span that ended, but for the last moment before a sudden end, arrives; the counts say what became of all."""
    print(f"OTEL_LLM_CHAOS_SEED={SEED}")
    chance, told, ends = random.Random(SEED), tmp_path / "told", defaultdict(list)
    told.touch()
    environ = {
        **os.environ,
        "PYTHONPATH": str(PROGRAM.parents[2]),
        "OTEL_LLM_BACKEND": "otlp",
        "OTEL_LLM_OTLP_ENDPOINT": f"http://127.0.0.1:{moods.port}",
        "OTEL_LLM_STATE_DIR": str(tmp_path / "state"),
        "OTEL_LLM_EXPORT_TIMEOUT": "1",
        "OTEL_SERVICE_NAME": "chaos",
    }
    workers: list[Worker] = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        while len(workers) < 3:
            workers.append(Worker(told, environ, ends))
        moods.change()
        time.sleep(chance.uniform(0.05, 1.0))
        worker = chance.choice(workers)
        if worker.works and not worker.disturb(chance):
            workers.remove(worker)
    for worker in workers:
        worker.end(signal.SIGTERM, time.monotonic())
    moods.be_well()
    time.sleep(1.0)  # children that outlived their parents end by themselves
    answer = _command(environ, "ship", "--timeout", "60")
    assert answer.returncode == 0, answer.stderr
    ledger = json.loads(_command(environ, "status", "--json").stdout)
    _check(told, ends, moods, ledger)


def _command(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "otel_llm", *arguments], env=environ, capture_output=True, text=True, check=False
    )


def _check(told: Path, ends: dict[int, list[End]], moods: Moods, status: Any) -> None:
    lines = [line.split() for line in told.read_text().splitlines() if not line.startswith("becomes")]
    missing = [
        (process, child, span_id, at, ends.get(int(process)))
        for process, child, span_id, at in lines
        if span_id not in moods.arrived
        and not any(end.may_cost(float(at), child=child == "1") for end in ends[int(process)])
    ]
    backend = status["services"]["chaos"]["otlp"]
    print(f"{len(lines)} told, {len(moods.arrived)} arrived, {sum(moods.arrived.values())} sent, {len(ends)} ends")
    print(backend)
    assert len(lines) > 100
    assert not missing, missing
    assert backend["waiting"] == 0
    assert backend["created"] == backend["delivered"] + sum(backend["dropped"].values())
    assert backend["dropped"].keys() <= {"shutdown"}, "what ends after the end"
    assert backend["delivered"] == len(moods.arrived)
