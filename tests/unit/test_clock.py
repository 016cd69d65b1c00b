"""The program's tests may stop Python's clocks: what waits for an end finds it all the same."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fakes.http_server import closed_port

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys, time
stopped = time.monotonic(), time.perf_counter(), time.time()
def stop():
    time.monotonic, time.perf_counter, time.time = (lambda value=value: value for value in stopped)
    time.sleep = lambda seconds: None
if {before}: stop()
import otel_llm
otel_llm.configure(backend="otlp", otlp={{"endpoint": "http://127.0.0.1:{port}"}})
if not {before}: stop()
with otel_llm.span("work"): pass
print(otel_llm.flush(0.5).waiting, otel_llm.status().backends[0].state)
otel_llm.shutdown()
"""


@pytest.mark.parametrize("before", [True, False])
def test_flush_and_shutdown_end_where_a_mock_has_stopped_the_clocks(tmp_path: Path, before: bool) -> None:
    """With a backend that is down, `flush` ends after its time, and so does the program."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(port=closed_port(), before=before)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["1", "failing"]
