"""Counts of backends on this machine are seen from outside of the program, and add up there as they do inside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import otel_llm
from otel_llm.cli import main
from otel_llm.config import load
from otel_llm.contracts import Delivered
from otel_llm.control.channels import DirectChannel
from otel_llm.control.running import current_pipeline
from otel_llm.processors.chain import SpanPipeline
from tests.crash.kit import Sink, wait_until
from tests.fakes.http_server import HttpServer, Reply, closed_port
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

    from otel_llm.contracts import Batch, Outcome

ROOT = Path(otel_llm.__file__).parents[1]

PROGRAM = """
    import os, sys, time
    import otel_llm
    from opentelemetry import trace
    otel_llm.configure(backend=["local", "file"], instrument=[])

    def spans(count):
        for _ in range(count):
            trace.get_tracer("app").start_span("work").end()
"""


def run(state: Path, source: str, **more: str) -> int:
    """Run a program with this state directory and service `app`; its exit code."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OTEL_LLM_STATE_DIR": str(state),
        "OTEL_SERVICE_NAME": "app",
        "OTEL_LLM_BACKEND": "local,file",
        **more,
    }
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM) + textwrap.dedent(source)]
    return subprocess.run(command, env=environ, check=False, timeout=100, stderr=subprocess.DEVNULL).returncode


def from_outside(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, dict[str, Any]]:
    """What `otel-llm status --json` says of the service, and its exit code; the books of each backend balance."""
    monkeypatch.setenv("OTEL_LLM_STATE_DIR", str(state))
    monkeypatch.setenv("OTEL_LLM_BACKEND", "local,file")
    code = main(["status", "--json"])
    backends = json.loads(capsys.readouterr().out)["services"]["app"]
    for found in backends.values():
        lost = sum(found["rejected"].values()) + sum(found["dropped"].values())
        assert found["created"] == found["delivered"] + found["waiting"] + lost
    return code, backends


def test_several_runs_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two programs, one with a forked child: each span is counted once for each backend, and the state is ok."""
    assert run(tmp_path, "spans(20)") == 0
    assert run(tmp_path, "spans(5)\nif os.fork() == 0: spans(3); os._exit(0)\nos.wait()") == 0
    code, backends = from_outside(tmp_path, capsys, monkeypatch)
    assert code == 0
    assert {name: (found["created"], found["delivered"], found["state"]) for name, found in backends.items()} == {
        "local": (28, 28, "ok"),
        "file": (28, 28, "ok"),
    }


def test_after_kill_nine_the_last_known_counts_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was counted at the last flush is there; the books balance without the program."""
    assert run(tmp_path, "spans(9); otel_llm.flush(20); os.kill(os.getpid(), 9)") == -signal.SIGKILL
    _, backends = from_outside(tmp_path, capsys, monkeypatch)
    assert (backends["local"]["created"], backends["local"]["delivered"]) == (9, 9)


def test_losses_and_their_cause_are_seen_from_outside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that cannot be written: its spans are dropped with a reason, the state is failing, the exit code 1."""
    (tmp_path / "taken").mkdir()
    assert run(tmp_path, "spans(4)", OTEL_LLM_STORE_PATH=str(tmp_path / "taken")) == 0
    code, backends = from_outside(tmp_path, capsys, monkeypatch)
    assert code == 1
    assert backends["local"]["state"] == "failing"
    assert "is a directory. Name the file in it" in backends["local"]["cause"]
    assert "Remove" not in backends["local"]["cause"]
    assert sum(backends["local"]["dropped"].values()) == 4
    assert backends["file"]["state"] == "ok"


def test_each_backend_is_counted_once_from_inside(provider: TracerProvider, tmp_path: Path) -> None:
    """Counts that lie in the spool's file for the world outside are not counted a second time in the program."""
    with OtlpReceiver() as receiver:
        otel_llm.configure(
            tracer_provider=provider,
            backend=["local", "otlp"],
            otlp_endpoint=receiver.url,
            state_dir=tmp_path,
            spans="all",
            instrument=[],
        )
        for _ in range(5):
            provider.get_tracer("app").start_span("work").end()
        assert otel_llm.flush(20).delivered == 10
        assert otel_llm.flush(20).delivered == 10
        assert [(one.name, one.created) for one in otel_llm.status().backends] == [("local", 5), ("otlp", 5)]


# --- what waits, and where -----------------------------------------------------------------------------------------


def test_without_a_spool_an_outage_is_waited_for_in_memory(provider: TracerProvider, tmp_path: Path) -> None:
    """With `spool.mode=off` spans wait in memory for longer than one try may take, arrive, and touch no disk."""
    with OtlpReceiver() as receiver:
        taken, receiver._answer = receiver._answer, lambda _: Reply(503)
        otel_llm.configure(
            tracer_provider=provider,
            backend="otlp",
            otlp_endpoint=receiver.url,
            state_dir=tmp_path / "state",
            spool_mode="off",
            export_timeout=0.2,
            spans="all",
            instrument=[],
        )
        for _ in range(100):
            provider.get_tracer("app").start_span("work").end()
        for _ in range(4):
            assert otel_llm.flush(0.3).waiting == 100
        (found,) = otel_llm.status().backends
        assert (found.state, found.durable, found.waiting) == ("failing", False, 100)
        receiver._answer = taken
        assert wait_until(lambda: not otel_llm.flush(1).waiting)
        assert len({span.span_id for span in receiver.spans}) == len(receiver.spans) == 100
    assert not (tmp_path / "state").exists()


def test_what_a_program_without_a_spool_could_not_deliver_is_counted(provider: TracerProvider, tmp_path: Path) -> None:
    """At the end of a program whose backend is down, what waits in memory is dropped, and the last status says so."""
    otel_llm.configure(
        tracer_provider=provider,
        backend="otlp",
        otlp_endpoint=f"http://127.0.0.1:{closed_port()}",
        state_dir=tmp_path,
        spool_mode="off",
        spans="all",
        instrument=[],
    )
    provider.get_tracer("app").start_span("work").end()
    otel_llm.shutdown(0.3)
    (found,) = otel_llm.status().backends
    assert (found.created, found.delivered, found.waiting, found.dropped) == (1, 0, 0, {"shutdown": 1})


class Held(Sink):
    """A backend that answers when it is let."""

    def __init__(self) -> None:
        super().__init__("local")
        self.gate = threading.Event()

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        self.gate.wait(60)
        return Delivered(batch.span_count)


def test_the_oldest_waiting_span_of_a_direct_backend_is_known(provider: TracerProvider, tmp_path: Path) -> None:
    """While a backend on this machine does not answer, the status says since when its oldest span has waited."""
    backend = Held()
    channel = DirectChannel(backend, load({"state_dir": tmp_path, "batch_delay": 1}))
    provider.add_span_processor(SpanPipeline(channel.processor, ledgers=channel.ledgers))
    span = provider.get_tracer("app").start_span("work")
    span.end(end_time=1_700_000_000_000_000_000)
    assert wait_until(lambda: channel.reports()[0].oldest_waiting == 1_700_000_000.0)
    backend.gate.set()
    assert wait_until(lambda: channel.reports()[0].oldest_waiting is None)
    assert channel.reports()[0].processed == {"": 1}
    channel.close(1)


@pytest.mark.parametrize("timeout", [0.3, 1.5])
def test_flush_keeps_its_timeout_with_everything_hanging(
    timeout: float, provider: TracerProvider, tmp_path: Path
) -> None:
    """Two backends that never answer, a queue that is full: the report comes in time and says what waits."""
    with HttpServer(default=Reply(hang=True)) as hanging:
        otel_llm.configure(
            tracer_provider=provider,
            backend=["local", "otlp", "opik"],
            otlp_endpoint=hanging.url,
            opik_url=f"{hanging.url}/api",
            state_dir=tmp_path,
            spans="all",
            instrument=[],
            shutdown_timeout=0.3,
        )
        for _ in range(3000):
            provider.get_tracer("app").start_span("work").end()
        report = otel_llm.flush(timeout)
        assert not report
        assert report.waiting > 0
        assert report.seconds < timeout + 2, "far beyond its timeout"
        pipeline = current_pipeline()
        assert pipeline is not None
        otel_llm.shutdown(0.3)
