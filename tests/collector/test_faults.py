"""The real sidecar against what breaks around it: disks, files, Opik, hostile clients, programs that come and go."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.collector.requests import names_in, numbered, request_of
from tests.collector.running import ROOT, TOKEN, Sidecar, wait_for
from tests.fakes.opik import SPANS, FakeOpik, Fault, faults, needs_openapi

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.collector.fault_table import FaultTable

pytestmark = [needs_openapi, pytest.mark.timeout(1800)]

_MEGABYTE = 1_000_000
_QUICK = ("exporters.opik.retry_on_failure.initial_interval=20ms", "exporters.opik.retry_on_failure.max_interval=100ms")
"""Retries that a test can wait for."""


def _send(sidecar: Sidecar, request: bytes) -> None:
    """Send as an SDK does that keeps its spans: until they are acknowledged."""

    def is_taken() -> bool:
        try:
            return sidecar.post(request) == 200
        except OSError:
            return False

    assert wait_for(is_taken, 120), sidecar.log.read_text()


@pytest.mark.slow
def test_disk_full_refuses_and_loses_nothing(
    collector: Path, tmp_path: Path, small_disk: Path, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """On a full disk programs are refused with 503; what was acknowledged before, and is sent again, arrives."""
    sidecar = Sidecar(collector, small_disk, opik.url, settings=_QUICK, log=tmp_path / "log")
    sidecar.start()
    try:
        opik.stop()
        requests = [request_of(number * 10, 10, size=50_000) for number in range(30)]
        answers = [sidecar.post(request) for request in requests]
        assert set(answers) == {200, 503}, "the disk never was full"
        assert shutil.disk_usage(small_disk).free < 2 << 20
        assert sidecar.metric("otelcol_exporter_enqueue_failed_spans") == 10 * answers.count(503)
        opik.start()
        for request, answer in zip(requests, answers, strict=True):
            if answer != 200:
                _send(sidecar, request)
        assert wait_for(lambda: names_in(opik) == numbered(0, 300), 120), sidecar.log.read_text()
        assert sidecar.metric("otelcol_extension_queue_guard_refused_items") >= answers.count(503)
        assert "Error deleting item" not in sidecar.log.read_text(), "the queue had no room for its books"
    finally:
        sidecar.kill()
    fault_table.row("the disk full with Opik down; the program sends again what was refused", opik, created=300)


def test_disk_filled_by_others_lets_the_queue_send(
    collector: Path, tmp_path: Path, small_disk: Path, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """With the disk full to its last page, all that waits is sent; with room again, programs are taken."""
    sidecar = Sidecar(collector, small_disk, opik.url, settings=_QUICK, log=tmp_path / "log")
    opik.stop()
    sidecar.start()
    try:
        for number in range(6):
            assert sidecar.post(request_of(number * 10, 10, size=50_000)) == 200
        other = small_disk / "other"
        other.write_bytes(bytes(shutil.disk_usage(small_disk).free))
        assert shutil.disk_usage(small_disk).free == 0
        assert sidecar.post(request_of(60, 10, size=50_000)) == 503
        opik.start()
        assert wait_for(lambda: names_in(opik) == numbered(0, 60), 120), sidecar.log.read_text()
        other.unlink()
        _send(sidecar, request_of(60, 10, size=50_000))
        assert wait_for(lambda: names_in(opik) == numbered(0, 70), 120), sidecar.log.read_text()
    finally:
        sidecar.kill()
    fault_table.row("the disk filled by something else to its last page, with 60 spans in the queue", opik, created=70)


@pytest.mark.slow
def test_kill_on_a_full_disk_loses_nothing(
    collector: Path, tmp_path: Path, small_disk: Path, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """What was being sent at a kill -9 is sent after the next start, though the disk has no room for moving it."""
    sidecar = Sidecar(collector, small_disk, opik.url, settings=_QUICK, log=tmp_path / "log")
    opik.stop()
    sidecar.start()
    try:
        requests = [request_of(number * 10, 10, size=50_000) for number in range(30)]
        answers = [sidecar.post(request) for request in requests]
        assert set(answers) == {200, 503}, "the disk never was full"
        for _ in range(2):
            sidecar.kill()
            sidecar.start()
        opik.start()
        for request, answer in zip(requests, answers, strict=True):
            if answer != 200:
                _send(sidecar, request)
        assert wait_for(lambda: names_in(opik) == numbered(0, 300), 120), sidecar.log.read_text()
    finally:
        sidecar.kill()
    fault = "the disk full with Opik down, kill -9 twice; the program sends again what was refused"
    fault_table.row(fault, opik, created=300)


def test_full_queue_refuses_and_loses_nothing(
    collector: Path, tmp_path: Path, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """The same when the queue has reached its size, on a disk with room."""
    settings = (*_QUICK, "exporters.opik.sending_queue.queue_size=2000000")
    sidecar = Sidecar(collector, tmp_path, opik.url, settings=settings)
    sidecar.start()
    try:
        opik.stop()
        requests = [request_of(number * 10, 10, size=50_000) for number in range(12)]
        answers = [sidecar.post(request) for request in requests]
        assert set(answers) == {200, 503}, "the queue never was full"
        opik.start()
        for request, answer in zip(requests, answers, strict=True):
            if answer != 200:
                _send(sidecar, request)
        assert wait_for(lambda: names_in(opik) == numbered(0, 120), 120), sidecar.log.read_text()
    finally:
        sidecar.kill()
    fault_table.row("the queue full with Opik down; the program sends again what was refused", opik, created=120)


def _cut_in_half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _overwrite_pages(file: Path) -> None:
    noise = random.Random(7)
    with file.open("r+b") as content:
        for page in range(2, file.stat().st_size // 4096, 3):
            content.seek(page * 4096)
            content.write(noise.randbytes(4096))


def _overwrite_beginning(file: Path) -> None:
    with file.open("r+b") as content:
        content.write(random.Random(7).randbytes(8192))


@pytest.mark.parametrize(
    ("named", "spoil"),
    [
        ("the queue file cut in half after kill -9", _cut_in_half),
        ("every third page of the queue file overwritten after kill -9", _overwrite_pages),
        ("the beginning of the queue file overwritten after kill -9", _overwrite_beginning),
    ],
)
def test_corrupt_queue_file_is_moved_aside(
    named: str, spoil: Callable[[Path], None], sidecar: Sidecar, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """The sidecar starts at once on a corrupt queue, counts the file, keeps it, and takes spans again."""
    opik.stop()
    for number in range(10):
        assert sidecar.post(request_of(number * 10, 10)) == 200
    sidecar.kill()
    (file,) = sidecar.queue.glob("*_traces")
    spoil(file)
    opik.start()
    sidecar.start()
    assert sidecar.post(request_of(100, 50)) == 200
    assert wait_for(lambda: names_in(opik) == numbered(100, 50)), sidecar.log.read_text()
    assert sidecar.metric("otelcol_extension_queue_guard_corrupt_files") == 1
    assert len(list((sidecar.queue / "quarantine").iterdir())) == 1
    fault_table.row(f"{named}: moved aside and counted", opik, created=150)


@pytest.mark.parametrize(
    ("named", "fault"),
    [
        ("a storm of 40 answers 429", faults.throttled(0)),
        ("40 answers 500", faults.status(500)),
        ("40 answers 503 of a proxy", faults.status(503)),
    ],
)
def test_storms_lose_nothing(
    named: str, fault: Fault, collector: Path, tmp_path: Path, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """However often Opik refuses for now, everything arrives once."""
    planned = opik.faults.add(SPANS, fault, times=40)
    sidecar = Sidecar(collector, tmp_path, opik.url, settings=_QUICK)
    sidecar.start()
    try:
        for number in range(20):
            assert sidecar.post(request_of(number * 10, 10)) == 200
        assert wait_for(lambda: names_in(opik) == numbered(0, 200), 120), sidecar.log.read_text()
    finally:
        sidecar.kill()
    assert planned.hits == 40
    fault_table.row(named, opik, created=200)


@pytest.mark.slow
def test_large_spans_keep_memory_under_its_limit(
    collector: Path, tmp_path: Path, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """Spans of 10 MB arrive whole; spans of 50 MB are refused; what Go took from the system stays below 512 MiB."""
    limits = ("processors.memory_limiter.limit_mib=384", "processors.memory_limiter.spike_limit_mib=100")
    sidecar = Sidecar(collector, tmp_path, opik.url, settings=limits, GOMEMLIMIT="400MiB")
    sidecar.start()
    try:
        opik.stop()
        requests = [request_of(number, 1, size=10 * _MEGABYTE) for number in range(4)]
        with ThreadPoolExecutor(3) as programs:
            list(programs.map(lambda request: _send(sidecar, request), requests))
        for _ in range(2):
            assert _refused(sidecar, request_of(100, 1, size=50 * _MEGABYTE))
        opik.start()
        assert wait_for(lambda: names_in(opik) == numbered(0, 4), 180), sidecar.log.read_text()
        assert all(len(str(row["input"])) > 10 * _MEGABYTE for row in opik.spans())
        assert sidecar.metric("otelcol_process_runtime_total_sys_memory_bytes") < 512 << 20
    finally:
        sidecar.kill()
    fault_table.row("four spans of 10 MB with Opik down, two of 50 MB: 400", opik, created=6, acknowledged=4)


def _refused(sidecar: Sidecar, request: bytes, **headers: str) -> bool:
    """Whether a request gets 400, or the connection ends in the middle of it."""
    try:
        return sidecar.post(request, **headers) == 400
    except OSError:
        return True


def test_hostile_clients_are_refused_and_others_served(
    sidecar: Sidecar, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """A gzip bomb, junk, a slow client and a web page from elsewhere get nothing in, and hold up nobody."""
    slow = socket.create_connection(("127.0.0.1", sidecar.http_port))
    slow.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\n")  # and never the rest
    bomb = gzip.compress(bytes(200 * _MEGABYTE), 9)
    assert len(bomb) < _MEGABYTE
    assert _refused(sidecar, bomb, **{"Content-Encoding": "gzip"})
    assert _refused(sidecar, b"\xff" * 1000)
    assert _refused(sidecar, b"{", **{"Content-Type": "application/json"})
    assert sidecar.post(request_of(7, 1), **{"Content-Type": "text/plain"}) == 415
    rebound = {"Host": "evil.example", "Origin": "http://evil.example"}
    assert sidecar.post(request_of(8, 1), token="", **rebound) == 401
    assert sidecar.post(request_of(0, 10)) == 200
    assert wait_for(lambda: names_in(opik) == numbered(0, 10)), sidecar.log.read_text()
    slow.settimeout(60)
    assert slow.recv(1000) == b"" or slow.recv(1000) == b"", "the slow client was not cut off"
    slow.close()
    assert sidecar.metric("otelcol_process_runtime_total_sys_memory_bytes") < 512 << 20
    fault_table.row(
        "a gzip bomb, junk, a slow client, a foreign `Host` without the token: refused", opik, created=12,
        acknowledged=10,
    )  # fmt: skip


def test_two_tenants_go_to_two_projects(
    collector: Path, tmp_path: Path, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """Spans of two tenants, mixed in the queue, end in the project of their own tenant only."""
    sidecar = Sidecar(collector, tmp_path, opik.url, OPIK_PROJECT_NAME="llm-{tenant}")
    sidecar.start()
    try:
        for number in range(10):
            tenant = ("acme", "globex")[number % 2]
            assert sidecar.post(request_of(number * 5, 5, tenant__id=tenant)) == 200
        assert wait_for(lambda: names_in(opik) == numbered(0, 50)), sidecar.log.read_text()
    finally:
        sidecar.kill()
    assert set(opik.projects()) >= {"llm-acme", "llm-globex"}
    acme = {row["name"] for row in opik.spans("llm-acme")}
    assert acme == {f"span {number}" for number in range(50) if number // 5 % 2 == 0}
    assert {row["name"] for row in opik.spans("llm-globex")} == set(numbered(0, 50)) - acme
    fault_table.row("two tenants, two projects: none in the other's", opik, created=50)


def test_reload_loses_nothing(collector: Path, tmp_path: Path, opik: FakeOpik, fault_table: FaultTable) -> None:
    """SIGHUP in an outage: the same process takes the new settings, and sends what waited."""
    config = tmp_path / "config.yaml"
    before = (ROOT / "otel-collector.yaml").read_text()
    config.write_text(before)
    sidecar = Sidecar(collector, tmp_path, opik.url, config=config, settings=_QUICK)
    sidecar.start()
    try:
        opik.stop()
        assert sidecar.post(request_of(0, 50)) == 200
        pid = sidecar.pid
        config.write_text(before.replace("${env:OPIK_PROJECT_NAME:-}", "after-the-reload"))
        sidecar.reload()
        assert wait_for(lambda: "Config updated" in sidecar.log.read_text()), sidecar.log.read_text()
        _send(sidecar, request_of(50, 50))
        opik.start()
        assert wait_for(lambda: names_in(opik) == numbered(0, 100)), sidecar.log.read_text()
        assert sidecar.pid == pid
    finally:
        sidecar.kill()
    assert len(opik.spans("after-the-reload")) == 100
    fault_table.row("SIGHUP with Opik down: a new configuration", opik, created=100)


class _Application:
    """`application.py`, a program with `otel_llm`, its spool, and the sidecar as backend."""

    def __init__(self, sidecar: Sidecar, spool: Path) -> None:
        environment = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sidecar.http_port}",
            "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer {TOKEN}",
            "OTEL_SERVICE_NAME": "shop",
            "OTEL_LLM_STATE_DIR": str(spool),
            "PYTHONPATH": str(ROOT),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.collector.application"],
            env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def make(self, first: int, count: int) -> None:
        """Have it make spans."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{first} {count}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "made\n"

    def end(self) -> None:
        """Have it end as programs do."""
        self._process.communicate(timeout=120)
        assert self._process.returncode == 0


@pytest.mark.slow
def test_program_up_before_and_after_the_sidecar(
    collector: Path, tmp_path: Path, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """Spans made before the sidecar is up, and after it is gone, wait in the program's spool and arrive once."""
    sidecar = Sidecar(collector, tmp_path, opik.url)
    first = _Application(sidecar, tmp_path / "spool")
    first.make(0, 20)
    sidecar.start()
    try:
        assert wait_for(lambda: names_in(opik) == numbered(0, 20), 120), sidecar.log.read_text()
        assert sidecar.stop() == 0
        first.make(20, 20)
        first.end()
        sidecar.start()
        second = _Application(sidecar, tmp_path / "spool")
        second.make(40, 20)
        assert wait_for(lambda: names_in(opik) == numbered(0, 60), 120), sidecar.log.read_text()
        second.end()
    finally:
        sidecar.kill()
    fault_table.row("a program up before the sidecar, and still there when it is gone", opik, created=60)
