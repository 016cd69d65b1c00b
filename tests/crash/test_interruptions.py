"""The program's own signal handlers may strike anywhere, in the middle of our code too."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import otel_llm

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[str], str]

SETUP = """
import linecache, os, signal, sys
import litellm, otel_llm
from opentelemetry import trace

OURS = os.path.dirname(otel_llm.__file__)
otel_llm.configure(backend="file")

def call():
    return litellm.completion(model="openai/m", messages=[{"role": "user", "content": "x"}], mock_response="y")

def struck(work, at):
    '''Do `work` with a signal at the `at`-th line of our code; whether it took so many lines.'''
    left = [at]
    def line(frame, event, argument):
        # Python looks for signals at calls, not from line to line: not between the lines of `run_around`, and not
        # where a block lets go of its lock
        source = linecache.getline(frame.f_code.co_filename, frame.f_lineno).lstrip()
        if event == "line" and left[0] and frame.f_code.co_name != "run_around" and not source.startswith("with "):
            left[0] -= 1
            if not left[0]:
                signal.raise_signal(signal.SIGUSR1)
        return line
    sys.settrace(lambda frame, *_: line if frame.f_code.co_filename.startswith(OURS) and left[0] else None)
    try:
        work()
    finally:
        sys.settrace(None)
    return not left[0]

call()
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program to its good end, and answer what it said."""

    def run(source: str) -> str:
        environ = {
            **os.environ,
            "OTEL_LLM_STATE_DIR": str(tmp_path),
            "PYTHONPATH": str(Path(otel_llm.__file__).parents[1]),
        }
        program = SETUP + textwrap.dedent(source)
        done = subprocess.run(
            [sys.executable, "-c", program], env=environ, capture_output=True, text=True, timeout=110, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.mark.parametrize("error", ["TimeUp(Exception)", "Stop(BaseException)"])
def test_what_a_handler_raises_reaches_the_program(run: Run, error: str) -> None:
    """An exception of a handler that strikes in our code comes out of the call; no later call is recorded below it."""
    name = error.partition("(")[0]
    told = run(f"""
        class {error}: pass

        def handle(*_):
            raise {name}

        signal.signal(signal.SIGUSR1, handle)
        swallowed, inside, at = [], [], 1
        while True:
            try:
                if not struck(call, at):
                    break
                swallowed.append(at)
            except {name}:
                pass
            if trace.get_current_span().get_span_context().is_valid:
                inside.append(at)
            at += 3
        before = otel_llm.status().backends[0].created
        for _ in range(5):
            call()
        print(at > 300, swallowed, inside, otel_llm.status().backends[0].created - before, otel_llm.status().faults)
    """)
    assert told == "True [] [] 5 {}"


@pytest.mark.parametrize("what", ["otel_llm.flush(0.2)", "otel_llm.status()", "work()"])
def test_a_handler_may_call_us_while_we_are_at_it(run: Run, what: str) -> None:
    """A handler that flushes, asks for the status or does work of its own never waits for what it has interrupted."""
    told = run(f"""
        signal.signal(signal.SIGUSR1, lambda *_: {what})

        @otel_llm.trace("work", operation="tool")
        def work(): pass

        at = 1
        while struck(work, at):
            at += 1
        for at in range(1, 600, 17):
            struck(lambda: otel_llm.flush(0.5), at)
        report = otel_llm.flush()
        print(report.complete, report.delivered > 200, otel_llm.status().faults)
    """)
    assert told == "True True {}"


def test_a_handler_may_end_us_while_we_flush(run: Run) -> None:
    """`shutdown` in a handler that has interrupted a flush ends in its time, and loses nothing."""
    told = run("""
        signal.signal(signal.SIGUSR1, lambda *_: otel_llm.shutdown(1.0))
        for at in range(1, 400, 40):
            call()
            struck(lambda: otel_llm.flush(0.5), at)
            status = otel_llm.status()
            print(status.running, [(b.created, b.delivered) for b in status.backends if b.created != b.delivered])
            otel_llm.configure(backend="file")
    """)
    assert set(told.splitlines()) == {"False []"}


def test_process_one_goes_on_after_sigterm(run: Run) -> None:
    """In a container's first process, which SIGTERM does not end, it delivers what there is, and recording goes on."""
    told = run("""
        import time
        from otel_llm.control import lifecycle

        lifecycle._INIT = os.getpid()
        os.kill(os.getpid(), signal.SIGTERM)
        end = time.monotonic() + 30
        while otel_llm.status().backends[0].delivered < 1 and time.monotonic() < end:
            time.sleep(0.01)
        call()
        os.kill(os.getpid(), signal.SIGTERM)
        print(otel_llm.flush().delivered, otel_llm.status().running)
    """)
    assert told == "2 True"
