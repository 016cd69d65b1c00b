"""Programs that end in some way, run as real processes, and what a receiver has of them afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import otel_llm
from otel_llm import semconv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fakes.otlp_receiver import OtlpReceiver

__all__ = ["DEADLINE", "Program", "calls", "eventually", "names"]

DEADLINE = 110.0
"""Seconds after which something that should have happened has not; so many, because importing litellm alone takes
more than 60 on a machine that twenty others are busy on too."""
BIN = Path(sys.executable).parent


class Program:
    """A program below `directory` whose spans go to `endpoint`."""

    def __init__(self, directory: Path, endpoint: str, **settings: str) -> None:
        self.directory = directory
        self.environ = {
            **os.environ,
            "OTEL_LLM_STATE_DIR": str(directory / "state"),
            "OTEL_LLM_BACKEND": "otlp",
            "OTEL_LLM_OTLP_ENDPOINT": endpoint,
            "OTEL_SERVICE_NAME": "lifecycle",
            "PYTHONPATH": f"{directory}{os.pathsep}{Path(otel_llm.__file__).parents[1]}",
            **settings,
        }

    def write(self, name: str, source: str) -> None:
        """Write a module."""
        (self.directory / name).write_text(textwrap.dedent(source))

    def run(self, *command: str, timeout: float = DEADLINE) -> subprocess.CompletedProcess[str]:
        """Run a Python program to its end."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.directory,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @contextmanager
    def started(self, *command: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command beside the test; whatever is left of it at the end of the block is killed."""
        with open(self.directory / "output.txt", "w") as output:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environ,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()
                process.wait(DEADLINE)

    @property
    def output(self) -> str:
        """What a started command has written."""
        return (self.directory / "output.txt").read_text()

    def ship(self) -> None:
        """Deliver what a program has left in the spool, as its next start would."""
        answer = self.run("-m", "otel_llm", "ship", "--timeout", "30")
        assert answer.returncode == 0, answer.stderr


def eventually(condition: Callable[[], Any], what: str) -> None:
    """Wait until `condition` holds; fail the test if it does not come."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {DEADLINE:g} s"
        time.sleep(0.02)


def names(receiver: OtlpReceiver) -> Counter[str]:
    """How often the receiver was sent each span, by name and id."""
    return Counter(span.name for span in receiver.spans)


def calls(receiver: OtlpReceiver) -> int:
    """How many spans of LLM calls the receiver was sent; the same one twice counts twice."""
    return sum(any(item.key == semconv.OPERATION_NAME for item in span.attributes) for span in receiver.spans)
