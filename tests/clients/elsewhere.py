"""The environments of the client libraries, and a process in each that runs the jobs."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from tests.recordings.recordings import FOLDER

if TYPE_CHECKING:
    from tests.clients.jobs import Job

__all__ = ["ROOT", "Elsewhere", "attributes_of", "python_of", "span_of"]

ROOT = Path(__file__).parents[2]


def python_of(variable: str, environment: str) -> str:
    """The interpreter of one of the environments that `scripts/check` makes; skips, or fails in CI, where it is not."""
    python = os.environ.get(variable) or str(ROOT / environment / "bin" / "python")
    if Path(python).exists():
        return python
    missing = f"the environment {environment} of the client libraries is missing ({python}); scripts/check makes it"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


class Elsewhere:
    """Runs jobs in another environment; each once."""

    def __init__(self, python: str) -> None:
        self.python = python
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("OTEL_", "OPIK_", "TRACELOOP_", "OPENINFERENCE_"))
        }
        self.environment = {
            **kept,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "OTEL_LLM_RECORDINGS": str(FOLDER),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }
        self._process: subprocess.Popen[str] | None = None
        self._answers: dict[str, dict[str, Any]] = {}

    def run(self, job: Job) -> dict[str, Any]:
        """What became of the calls of `job`."""
        line = json.dumps(asdict(job))
        if line not in self._answers:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(line + "\n")
            process.stdin.flush()
            self._answers[line] = self._answer(process)
        answer = self._answers[line]
        assert "error" not in answer, answer["error"]
        return answer

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [self.python, "-m", "tests.clients.program"],
                cwd=ROOT, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert self._answer(self._process) == {"ready": True}
        return self._process

    @staticmethod
    def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):  # some libraries print greetings
                return json.loads(line)
        raise AssertionError(f"the program ended with {process.wait()}; its stderr is above")

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(30)


def span_of(raw: dict[str, Any]) -> ReadableSpan:
    """A span of OTLP's JSON, as far as its facts are compared."""
    return ReadableSpan(raw["name"], attributes=attributes_of(raw))


def attributes_of(raw: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a span of OTLP's JSON."""
    return {one["key"]: _value(one["value"]) for one in raw.get("attributes", ())}


def _value(raw: dict[str, Any]) -> Any:
    ((kind, value),) = raw.items()
    if kind == "arrayValue":
        return tuple(_value(one) for one in value.get("values", ()))
    return int(value) if kind == "intValue" else value
