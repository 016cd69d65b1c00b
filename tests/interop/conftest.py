"""The environment of the vendors, processes in it that run the cases, and both sides' receivers on loopback."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm.testing import FakeProvider, Usage
from tests.fakes.otlp_receiver import OtlpReceiver
from tests.interop.cases import AFTER_US, ALONE, MODEL, PLAIN, REFUSED, VENDORS, Case
from tests.interop.sinks import Record, Sink, otlp_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
SECONDS = 110.0
AMBIENT = ("OTEL_", "OPIK_", "LANGFUSE_", "DD_", "SENTRY_", "LOGFIRE_", "PHOENIX_", "APPLICATIONINSIGHTS_", "PYTEST_")


def _python() -> str:
    """The interpreter with the vendors' packages; `scripts/check` makes it."""
    python = os.environ.get("OTEL_LLM_INTEROP_PYTHON") or str(ROOT / ".venv-interop" / "bin" / "python")
    if Path(python).exists():
        return python
    missing = f"the environment of the vendors is missing ({python}); scripts/check makes it"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)


@dataclass(frozen=True)
class Outcome:
    """What became of one run."""

    theirs: list[Record]
    """What the vendor's side got."""
    ours: list[Record]
    """What our backend got."""
    out: str
    err: str
    calls: int
    """Requests for answers that the provider of models got."""
    headers: list[set[str]]
    """Names of the headers of the program's own request, which is no call."""

    @property
    def names(self) -> Counter[str]:
        """How often our backend got a span of each name."""
        return Counter(record.name for record in self.ours)


class Bench:
    """Runs programs with a vendor, with us or without, each once."""

    def __init__(self, python: str, directory: Path) -> None:
        self.python, self._directory = python, directory
        self.provider, self.sink, self.receiver = FakeProvider(), Sink(), OtlpReceiver()
        self.versions: dict[str, str] = {}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._outcomes: dict[Case, Outcome] = {}

    def __enter__(self) -> Self:
        self.provider.start()
        self.provider.when(model=MODEL).answer("far", usage=Usage(12, 3), times=None)
        self.provider.when(model=REFUSED).error(404, times=None)
        self.sink.start()
        self.receiver.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.close()
            process.wait(SECONDS)
        self.provider.stop()
        self.sink.stop()
        self.receiver.stop()

    @property
    def environment(self) -> dict[str, str]:
        """What every program here has in its environment; under pytest Logfire would send nothing."""
        ambient = (
            "OTEL_",
            "OPIK_",
            "LANGFUSE_",
            "DD_",
            "SENTRY_",
            "LOGFIRE_",
            "PHOENIX_",
            "APPLICATIONINSIGHTS_",
            "PYTEST_",
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ambient)}
        return {
            **kept,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "DD_TRACE_AGENT_URL": self.sink.url,
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
            "DD_TRACE_STARTUP_LOGS": "false",
            "DD_DOGSTATSD_URL": f"unix://{self._directory}/nobody",
        }

    def alone(self, vendor: str, order: str) -> Outcome:
        """What the vendor gets without us, in a program that is otherwise the same."""
        return self._run(Case(vendor, ALONE), self._preload(vendor, order))

    def run(self, vendor: str, order: str, *, again: bool = False) -> Outcome:
        """What both sides get."""
        return self._run(Case(vendor, order, again=again), self._preload(vendor, order))

    @staticmethod
    def _preload(vendor: str, order: str) -> str:
        return PLAIN if order == AFTER_US else VENDORS[vendor].preload

    def _run(self, case: Case, preload: str) -> Outcome:
        case = replace(case, directory=str(self._directory / f"{case} {preload}".replace("/", "")))
        if case not in self._outcomes:
            self._outcomes[case] = self._ran(case, preload)
        return self._outcomes[case]

    def _ran(self, case: Case, preload: str) -> Outcome:
        directory = Path(case.directory)
        directory.mkdir()
        counts = len(self.sink.requests), len(self.receiver.requests), len(self.provider.requests)
        case = replace(case, provider=self.provider.openai_base, sink=self.sink.url, receiver=self.receiver.url)
        answer = self._answer(preload, json.dumps(asdict(case)))
        err = (directory / "err").read_text()
        assert answer == {"status": 0}, err
        asked = self.provider.requests[counts[2] :]
        return Outcome(
            theirs=self.sink.records(VENDORS[case.vendor].sink, since=counts[0]),
            ours=[record for request in self.receiver.requests[counts[1] :] for record in otlp_records(request)],
            out=(directory / "out").read_text(),
            err=err,
            calls=sum(request.method == "POST" for request in asked),
            headers=[set(request.headers) for request in asked if request.method == "GET"],
        )

    def _answer(self, preload: str, line: str) -> dict[str, Any]:
        if preload not in self._processes:
            self._processes[preload] = subprocess.Popen(
                [self.python, "-m", "tests.interop.program", preload],
                cwd=ROOT, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            self.versions = _line(self._processes[preload])["versions"]
        process = self._processes[preload]
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return _line(process)


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise AssertionError(f"the program ended with {process.wait()}; its stderr is above")


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Everything that the matrix needs."""
    with Bench(_python(), tmp_path_factory.mktemp("interop")) as made:
        yield made
