"""The environment of the other instrumentations, and a process in it that runs the cases."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm.conformance import spans_of
from otel_llm.otlp_json import from_otlp_json
from otel_llm.testing import FakeProvider, Usage
from tests.conformance.collecting import heard
from tests.overlap.outcomes import MODELS, Case

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
USAGE = Usage(12, 3)


def _python() -> str:
    """The interpreter with the other instrumentations; `scripts/check` makes it."""
    python = os.environ.get("OTEL_LLM_OVERLAP_PYTHON") or str(ROOT / ".venv-overlap" / "bin" / "python")
    if Path(python).exists():
        return python
    missing = f"the environment of the other instrumentations is missing ({python}); scripts/check makes it"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


class Elsewhere:
    """Runs cases in the other environment; each once."""

    def __init__(self, python: str, base: str) -> None:
        self.python, self._base = python, base
        self.creates = True
        """Whether the litellm there sends chats by `create` of the `openai` package; known once a case was run."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OPIK_", "LANGFUSE_"))
        }
        self.environment = {
            **kept,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }
        self._process: subprocess.Popen[str] | None = None
        self._answers: dict[Case, dict[str, Any]] = {}

    def run(self, case: Case) -> dict[str, Any]:
        """What became of the calls of `case`."""
        if case not in self._answers:
            process = self._started()
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(replace(case, base=self._base))) + "\n")
            process.stdin.flush()
            try:
                self._answers[case] = self._answer(process)
            except BaseException:  # the test's time is over: the next case must not get this one's answer
                self._process = None
                process.kill()
                raise
            for line in self._answers[case].get("lines", ()):
                heard(spans_of(from_otlp_json(json.loads(line))))
        answer = self._answers[case]
        assert "error" not in answer, answer["error"]
        return answer

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [self.python, "-m", "tests.overlap.program"],
                cwd=ROOT, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            ready = self._answer(self._process)
            assert ready["ready"] is True
            self.creates = ready["creates"]
            self.run(Case(()))  # its imports are made once, for all that come after
        return self._process

    @staticmethod
    def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):  # some tools print greetings
                return json.loads(line)
        raise AssertionError(f"the program ended with {process.wait()}; its stderr is above")

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(30)


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[Elsewhere]:
    """The other environment, with a provider on loopback that answers with known usage and refuses one model."""
    python = _python()
    with FakeProvider() as provider:
        for mode in ("plain", "streamed"):
            provider.when(model=MODELS[mode].rpartition("/")[2]).answer("far", usage=USAGE, times=None)
        provider.when(model=MODELS["failed"].rpartition("/")[2]).error(404, times=None)
        made = Elsewhere(python, provider.openai_base)
        yield made
        made.close()
