"""Modules loaded late: forks wait for them within bounds, and one that cannot be loaded is said."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from otel_llm.faults import fault_counts
from otel_llm.loading import loading

if TYPE_CHECKING:
    from pathlib import Path

_SLOW = "import time\ntime.sleep({seconds})\nloaded = True\n"

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def _run(directory: Path, program: str, *, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(directory), *sys.path])}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


_FORKED = """
import os, threading, time
from otel_llm.loading import loading
begun, done = threading.Event(), threading.Event()
def load():
    with loading("a slow module"):
        begun.set()
        import slow
        done.set()
thread = threading.Thread(target=load, daemon=True)
thread.start()
begun.wait()
time.sleep(0.1)  # it is in the middle of its module now, and has that module's lock
child = os.fork()
if child == 0:
    {child}
    os._exit(0)
print("loaded" if done.is_set() else "still loading", flush=True)
for _ in range(100):
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
        break
    time.sleep(0.1)
else:
    os.kill(child, 9)
    status = "the child hangs"
print("child", status, flush=True)
os._exit(0)
"""


@needs_fork
def test_a_child_that_is_forked_while_we_load_a_module_can_load_it(tmp_path: Path) -> None:
    """Without the wait, the child would have the module's lock and nobody to release it."""
    (tmp_path / "slow.py").write_text(_SLOW.format(seconds=0.5))
    done = _run(tmp_path, _FORKED.format(child="import slow; assert slow.loaded"))
    assert "child 0" in done.stdout, done
    assert "still" not in done.stdout


@needs_fork
def test_a_child_that_is_forked_while_a_public_name_is_loaded_can_load_it(tmp_path: Path) -> None:
    """A thread's first `otel_llm.span` and another's fork at the same time: the child opens spans, too."""
    (tmp_path / "slow.py").write_text(_SLOW.format(seconds=0.5))
    program = _FORKED.format(child="assert otel_llm.slow").replace(
        'with loading("a slow module"):', 'if otel_llm._HOMES.update(slow=("slow", "loaded")) is None:'
    )
    program = "import otel_llm\n" + program.replace("        import slow", "        otel_llm.slow")
    done = _run(tmp_path, program)
    assert "child 0" in done.stdout, done


@needs_fork
def test_a_fork_waits_a_second_at_most(tmp_path: Path) -> None:
    """A module that takes longer is not worth more of the program's time; the child can load other things."""
    (tmp_path / "slow.py").write_text(_SLOW.format(seconds=60))
    child = "with loading('another'):\n        import wave, mailbox"
    done = _run(tmp_path, _FORKED.format(child=child))
    assert "child 0" in done.stdout, done
    assert "still loading" in done.stdout


@needs_fork
def test_the_thread_that_loads_may_fork(tmp_path: Path) -> None:
    """What forks inside an import of ours, in our thread, is what we would wait for."""
    program = """
import os
from otel_llm.loading import loading
with loading("a module that forks"):
    child = os.fork()
    if child == 0:
        import wave
        with loading("another"):
            import mailbox
        os._exit(0)
print("child", os.waitpid(child, 0)[1])
with loading("and on"):
    pass
if os.fork() == 0:
    os._exit(0)
"""
    done = _run(tmp_path, program)
    assert "child 0" in done.stdout, done
    assert done.returncode == 0, done.stderr


def test_two_threads_that_need_each_others_modules_do_not_wait_for_ever(tmp_path: Path) -> None:
    """One thread loads ours, another is in a module of the program's that loads ours too: nothing of ours is held."""
    (tmp_path / "theirs.py").write_text(
        "import time\nfrom otel_llm.loading import loading\ntime.sleep(0.3)\nwith loading('b'):\n    import wave\n"
    )
    program = """
import threading
from otel_llm.loading import loading
def load():
    with loading("a"):
        import theirs
first, second = threading.Thread(target=load), threading.Thread(target=lambda: __import__("theirs"))
second.start(); first.start()
first.join(); second.join()
print("both done")
"""
    assert "both done" in _run(tmp_path, program, timeout=30).stdout


def test_what_cannot_be_loaded_is_said_once_counted_and_raised(caplog: pytest.LogCaptureFixture) -> None:
    """The line names the module and what to do; the exception goes on to whoever needed it."""
    before = fault_counts().get("loading a test's module", 0)
    with caplog.at_level(logging.ERROR, logger="otel_llm.loading"):
        for _ in range(2):
            with pytest.raises(ModuleNotFoundError), loading("a test's module"):
                import no_such_module_at_all  # type: ignore[import-not-found]  # noqa: F401
    (line,) = [record.getMessage() for record in caplog.records]
    assert "cannot load a test's module (ModuleNotFoundError: No module named 'no_such_module_at_all')" in line
    assert "pip check" in line
    assert fault_counts()["loading a test's module"] == before + 2


def test_threads_load_at_once() -> None:
    """Nobody waits for another's module."""
    inside = threading.Barrier(2, timeout=10)

    def load() -> None:
        with loading("this"):
            inside.wait()

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not inside.broken
    assert not any(thread.is_alive() for thread in threads)
