"""Environments, servers and processes: each peer in an environment of its own, each measurement in its own process.

Rounds are interleaved: every variant once, in a shuffled order, then every variant again. What is compared is compared
within one round, as a ratio, because the machine is not the same from one minute to the next.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers import QUIET
from benchmarks.workload import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
LITELLM = "litellm==1.106.2"
"""One version for all: the newest that every peer resolves with."""
_OTLP = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "otel_llm": (LITELLM, "-e", str(REPOSITORY), "opentelemetry-exporter-otlp-proto-grpc"),
    "openinference": (LITELLM, "openinference-instrumentation-litellm", *_OTLP),
    "openllmetry": (LITELLM, "traceloop-sdk"),
    "litellm_otel": (LITELLM, *_OTLP),
    "langfuse": (LITELLM, "langfuse"),
    "openlit": (LITELLM, "openlit"),
    "logfire": (LITELLM, "logfire[litellm]"),
    "opik": (LITELLM, "opik"),
}
_HOMES = {
    "bare": "litellm_otel",
    "otel_llm_otlp": "otel_llm",
    "otel_llm_alone": "otel_llm",
    "langfuse_callback": "langfuse",
    "langfuse_sdk": "langfuse",
    "opik_callback": "opik",
    "opik_track": "opik",
    "opik_sdk": "opik",
}


def home_of(peer: str) -> str:
    """The environment that a peer, or a way for raw spans, runs in."""
    return _HOMES.get(peer, peer if peer in ENVIRONMENTS else "otel_llm")


def make_environment(work: Path, name: str) -> Path:
    """The Python of environment `name`, made if it is not there; with `uv` where there is one, else `venv` and pip."""
    home = work / "venvs" / name
    python, done = home / "bin" / "python", home / ".ok"
    if done.exists():
        return python
    print(f"making the environment {name}", file=sys.stderr)
    requirements = ENVIRONMENTS[name]
    uv = shutil.which("uv")
    if uv:
        subprocess.run([uv, "venv", "-q", "--clear", "-p", sys.executable, str(home)], check=True)
        subprocess.run([uv, "pip", "install", "-q", "-p", str(python), *requirements], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *requirements], check=True)
    # Byte code, so that no start pays for compiling.
    subprocess.run([str(python), "-m", "compileall", "-q", str(home / "lib")], check=False, stdout=subprocess.DEVNULL)
    done.touch()
    return python


@dataclass(frozen=True)
class Server:
    """A provider or a sink that runs in a process of its own."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def tell(self, what: str) -> dict[str, Any]:
        """Ask it or tell it something (`stats`, `reset`, `mode?m=hang`)."""
        return ask(self.port, f"/_bench/{what}")


@contextlib.contextmanager
def serving(python: Path) -> Iterator[Server]:
    """A server, until the block ends."""
    process = subprocess.Popen([str(python), str(HERE / "server.py")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield Server(int(process.stdout.readline()), process)
    finally:
        process.kill()
        process.wait()


class Bench:
    """Runs jobs in the peers' environments against one provider and one sink."""

    def __init__(self, work: Path, provider: Server, sink: Server) -> None:
        self.work = work
        self.provider = provider
        self.sink = sink

    def run(self, job: dict[str, Any], *, sink_url: str | None = None, timeout: float = 600) -> dict[str, Any]:
        """The figures of one job; `{"error": ...}` where it did not get through."""
        peer = job["peer"]
        python = make_environment(self.work, home_of(peer))
        self.sink.tell("reset")
        whole = {
            **job,
            "sink": self.sink.port,
            "sink_url": sink_url or self.sink.url,
            "provider_url": f"{self.provider.url}/v1",
        }
        unwanted = ("OTEL_", "OPIK_", "PYTHONDONTWRITEBYTECODE")  # the last would have every start compile
        environment = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
        load = os.getloadavg()[0]
        process = subprocess.Popen(
            [str(python), "-u", str(HERE / "workload.py"), json.dumps(whole)],
            env={**environment, **QUIET},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        result = _outcome(process, timeout)
        return {**result, "load": load}

    def rounds(self, jobs: dict[str, dict[str, Any]], rounds: int) -> dict[str, list[dict[str, Any]]]:
        """Every job `rounds` times, interleaved in an order that changes from round to round."""
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in jobs}
        for number in range(rounds):
            order = list(jobs)
            random.Random(number).shuffle(order)
            for name in order:
                found[name].append(self.run(jobs[name]))
                print(f"round {number + 1}/{rounds} {name}: {_brief(found[name][-1])}", file=sys.stderr)
        return found


def _outcome(process: subprocess.Popen[str], timeout: float) -> dict[str, Any]:
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        out, err = process.communicate()
        err = f"not at its end after {timeout:.0f} s; {err}"
    line = next((line for line in out.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        return {"error": err.strip()[-600:]}
    result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
    result["exit_seconds"] = time.time() - result["ended"]
    result["exit_code"] = process.returncode
    return result


def _brief(result: dict[str, Any]) -> str:
    if "pairs" in result:
        added = sorted(pair["on"]["cpu"] - pair["off"]["cpu"] for pair in result["pairs"])
        return f"{added[len(added) // 2]:.0f} us"
    return str(
        {key: value for key, value in result.items() if key in {"cpu", "cpu_ms", "error", "p50", "p99", "growth_mb"}}
    )
