"""Servers and processes: each measurement in a process of its own, against a provider and a sink in theirs.

Rounds are interleaved: every variant once, in a shuffled order, then every variant again. What is compared is compared
within one round, as a ratio, because the machine is not the same from one minute to the next.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.environments import HERE, REPOSITORY, home_of, make_environment
from benchmarks.workload import QUIET, ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

CLOSED = "http://127.0.0.1:9"
"""Nobody listens on the discard port: connections are refused."""
_UNWANTED = ("OTEL_", "OPIK_", "LANGFUSE_", "LOGFIRE_", "TRACELOOP_", "PYTHON", "LITELLM_", "OPENAI_")
"""Of the environment that the benchmark runs in; `PYTHONDONTWRITEBYTECODE` would have every start compile."""

Runs = dict[str, list[dict[str, Any]]]
"""The results of each job, round by round."""


@dataclass(frozen=True)
class Server:
    """A provider or a sink that runs in a process of its own."""

    port: int
    control: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def tell(self, what: str) -> dict[str, Any]:
        """Ask it or tell it something (`stats`, `reset`, `mode?m=hang`)."""
        return ask(self.control, f"/{what}")


@contextlib.contextmanager
def serving(python: Path, script: str = "server.py") -> Iterator[Server]:
    """A server, until the block ends."""
    process = subprocess.Popen(
        [str(python), str(HERE / script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ports = process.stdout.readline().split()
        assert len(ports) == 2, f"{script} did not start"
        yield Server(int(ports[0]), int(ports[1]), process)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


class Bench:
    """Runs jobs in the peers' environments against one provider and, unless told otherwise, one sink."""

    def __init__(self, work: Path, provider: Server, sink: Server, grpc_sink: Server) -> None:
        self.work = work
        self.provider = provider
        self.sink = sink
        self.grpc_sink = grpc_sink
        self.on_round: Callable[[Runs], None] = lambda _: None
        """Called with what there is after every round of a scene."""
        self.earlier: Runs = {}
        """What there is already of the scene, from a run that was cut off."""
        self.left: Callable[[], str] = lambda: ""
        """How long the rest will take, in words."""
        self._numbers = itertools.count()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def own_sink(self) -> Iterator[Server]:
        """A sink for one job, so that others may run beside it."""
        with serving(self.python("otel_llm")) as sink:
            yield sink

    def python(self, environment: str) -> Path:
        """The Python of an environment."""
        with self._lock:
            return make_environment(self.work, environment)

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        """A directory for the files of one run: home, temporary files, our state."""
        with self._lock:
            number = next(self._numbers)
        directory = self.work / "runs" / f"{os.getpid()}-{number}"
        directory.mkdir(parents=True)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def run(
        self,
        job: dict[str, Any],
        *,
        sink: Server | None = None,
        sink_url: str | None = None,
        directory: Path | None = None,
        timeout: float = 600,
        exit_timeout: float = 300,
    ) -> dict[str, Any]:
        """The figures of one job; `{"error": ...}` where it did not get through.

        Its figures have to be there after `timeout` seconds; then it has `exit_timeout` to end.
        """
        if directory is None:
            with self.directory() as own:
                return self.run(
                    job, sink=sink, sink_url=sink_url, directory=own, timeout=timeout, exit_timeout=exit_timeout
                )
        over_grpc = job["peer"].endswith("_grpc")
        sink = sink or (self.grpc_sink if over_grpc else self.sink)
        if not job.get("keep"):
            sink.tell("reset")
        whole = {
            **job,
            "control": sink.control,
            "sink_url": sink_url or sink.url,
            "provider_url": f"{self.provider.url}/v1",
            "provider_control": self.provider.control,
        }
        command = [str(self.python(home_of(job["peer"]))), "-u", str(HERE / job.get("script", "workload.py"))]
        result = self._finished(
            [*command, json.dumps(whole)], self.environment(directory), directory, timeout, exit_timeout
        )
        return {**result, "load": os.getloadavg()[0]}

    def _finished(
        self, command: list[str], environment: dict[str, str], directory: Path, timeout: float, exit_timeout: float
    ) -> dict[str, Any]:
        """Run a job to its end. Its output goes to files: a pipe may be held open by what it leaves behind."""
        out, err = directory / "out.txt", directory / "err.txt"
        began = time.time()
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(command, env=environment, stdout=stdout, stderr=stderr, cwd=directory, text=True)
            self._running.add(process)
            try:
                late = not _ended(process, out, timeout, exit_timeout)
            finally:
                self._running.discard(process)
                process.kill()  # nothing to one that has ended
                process.wait()
            over = time.time()
        result = _told(out)
        if result is None:
            why = f"not at its end after {timeout:.0f} s; " if late else ""
            return {"error": why + err.read_text(errors="replace").strip()[-1500:]}
        took = {"exit_seconds": over - result["ended"], "job_seconds": over - began}
        return {**result, **took, "exit_code": process.returncode, "killed": late}

    def environment(self, directory: Path) -> dict[str, str]:
        """The environment of a run: nothing of this one that a peer would read, files below `directory`."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(_UNWANTED) and not key.lower().endswith("_proxy")
        }
        own = {name: str(directory) for name in ("HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
        return {**kept, **QUIET, **own, "OTEL_LLM_STATE_DIR": str(directory / "state")}

    def command(
        self, arguments: list[str], directory: Path, timeout: float = 600, **settings: str
    ) -> tuple[float, str]:
        """Run `otel-llm ARGUMENTS` on the state of `directory`; seconds that it took, and what it printed."""
        began = time.monotonic()
        done = subprocess.run(
            [str(self.python("otel_llm")), "-m", "otel_llm", *arguments],
            cwd=REPOSITORY,
            env={**self.environment(directory), "OTEL_LLM_SERVICE_NAME": "bench", **settings},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return time.monotonic() - began, done.stdout

    def ship(self, backend: str, directory: Path, url: str, timeout: float) -> float:
        """Deliver what a program left in its spool; seconds that it took."""
        address = {"opik": {"OTEL_LLM_OPIK_URL": f"{url}/api"}, "otlp": {"OTEL_LLM_OTLP_ENDPOINT": url}}[backend]
        arguments = ["ship", "--timeout", str(timeout)]
        return self.command(arguments, directory, timeout + 60, OTEL_LLM_BACKEND=backend, **address)[0]

    def usage(self, directory: Path, *arguments: str) -> tuple[float, int]:
        """Ask the local store; seconds that it took, and the calls that it counts (-1: it did not answer)."""
        seconds, told = self.command(["usage", "--json", *arguments], directory, 1800)
        return seconds, int(json.loads(told)["totals"]["calls"]) if told.strip() else -1

    def said(self, number: int, rounds: int, name: str, result: dict[str, Any]) -> None:
        """Progress."""
        say(f"round {number + 1}/{rounds} {name}: {brief(result)}{self.left()}")

    def so_far(self, names: Iterable[str]) -> Runs:
        """What a run that was cut off has of these, to be added to."""
        return {name: list(self.earlier.get(name, ())) for name in names}

    def each(self, cases: Mapping[str, Callable[[], dict[str, Any]]], wanted: dict[str, int], at_once: int) -> Runs:
        """Every case as often as wanted, so many at a time. It is for what is counted, and does not mind neighbours.

        What is there already, of an earlier call or of a run that was cut off, counts.
        """
        found = self.so_far(cases)
        todo = [name for name in cases for _ in range(wanted[name] - len(found[name]))]

        def one(name: str) -> None:
            result = cases[name]()
            with self._lock:
                if self._stopped:
                    return
                found[name].append(result)
                self.earlier[name] = list(found[name])
                self.said(len(found[name]) - 1, wanted[name], name, result)
                self.on_round(self.earlier)

        with ThreadPoolExecutor(at_once) as pool:
            try:
                list(pool.map(one, todo))
            except BaseException:
                self.stop()
                raise
        return found

    def stop(self) -> None:
        """End the processes that run; what they had measured is not kept."""
        self._stopped = True
        for process in list(self._running):
            process.kill()

    def rounds(self, jobs: dict[str, dict[str, Any]], rounds: int) -> Runs:
        """Every job `rounds` times, interleaved."""
        return self.interleaved({name: partial(self.run, job) for name, job in jobs.items()}, rounds)

    def interleaved(self, cases: Mapping[str, Callable[[], dict[str, Any]]], rounds: int | dict[str, int]) -> Runs:
        """Every case so many times, in an order that changes from round to round.

        After a run that was cut off, the rounds that are whole stay; the one that was cut is measured anew, so that
        what is compared was measured together.
        """
        wanted = rounds if isinstance(rounds, dict) else dict.fromkeys(cases, rounds)
        found, last = self.so_far(cases), max(wanted.values(), default=0)
        first = min((len(found[name]) for name in cases if len(found[name]) < wanted[name]), default=last)
        for results in found.values():
            del results[first:]
        for number in range(first, last):
            order = [name for name in cases if wanted[name] > number]
            random.Random(number).shuffle(order)
            for name in order:
                found[name].append(cases[name]())
                self.said(number, wanted[name], name, found[name][-1])
            self.on_round(found)
        return found


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _told(out: Path) -> dict[str, Any] | None:
    """The figures that a job has printed, if it has."""
    line = next(
        (line for line in out.read_text().splitlines() if line.startswith("RESULT {") and line[-1] == "}"), None
    )
    found: dict[str, Any] | None = None if line is None else json.loads(line.removeprefix("RESULT "))
    return found


def _ended(process: subprocess.Popen[str], out: Path, timeout: float, exit_timeout: float) -> bool:
    """Whether a job ended in time: so long until its figures are there, and then so long for its exit."""
    deadline, told = time.monotonic() + timeout, False
    while process.poll() is None:
        now = time.monotonic()
        if not told and _told(out) is not None:
            told, deadline = True, now + exit_timeout
        if now > deadline:
            return False
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
    return True


def brief(result: dict[str, Any]) -> str:
    """A result in a few words."""
    if "kinds" in result and "seconds" in next(iter(result["kinds"].values())):
        return "; ".join(f"{name} {brief(kind)}" for name, kind in result["kinds"].items())
    if "kinds" in result:
        return ", ".join(f"{name} {kind['whole_recorded']} whole" for name, kind in result["kinds"].items())
    if "pairs" in result:
        added = sorted(pair["on"]["cpu"] - pair["off"]["cpu"] for pair in result["pairs"])
        arrived = result["arrived"]
        return f"{added[len(added) // 2]:.0f} us, {arrived['whole_recorded']}/{arrived['recorded']}"
    if "error" in result:
        return f"failed: {result['error'].splitlines()[-1] if result['error'] else 'no word'}"
    shown = {key: value for key, value in result.items() if isinstance(value, (int, float)) and key not in {"ended"}}
    return ", ".join(f"{key} {value:.4g}" for key, value in shown.items())
