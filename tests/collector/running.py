"""A running Collector for tests: the shipped sidecar configuration, on free ports, with a directory of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT: Final = Path(__file__).parents[2]
TOKEN: Final = "token-of-the-test"
_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 60.0


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


class Sidecar:
    """`otelcol-llm` with otel-collector.yaml or another configuration. A second start keeps its ports and its queue.

    Args:
        binary: The Collector.
        state: A directory of its own, for its queue.
        opik_url: Where it sends to.
        config: The configuration.
        settings: What to set otherwise, as `key.key=value`.
        log: Where its output goes; `collector.log` in `state` if not told.
        environment: More variables, over those of the configuration.
    """

    def __init__(
        self,
        binary: Path,
        state: Path,
        opik_url: str,
        *,
        config: Path = ROOT / "otel-collector.yaml",
        settings: Sequence[str] = (),
        log: Path | None = None,
        **environment: str,
    ) -> None:
        self._command = [binary, "--config", config, *(f"--set={setting}" for setting in settings)]
        self.log = log or state / "collector.log"
        self.queue = state / "queue"
        self.metrics_port = free_port()
        self.http_port = free_port()
        self.grpc_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "OPIK_URL": opik_url,
            "OTLP_TOKEN": TOKEN,
            "OTELCOL_STATE": str(state),
            "OTLP_HTTP_PORT": str(self.http_port),
            "OTLP_GRPC_PORT": str(self.grpc_port),
            "HEALTH_PORT": str(free_port()),
            "METRICS_PORT": str(self.metrics_port),
            **environment,
        }

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None
        return self._process.pid

    def launch(self) -> None:
        """Run it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def start(self) -> None:
        """Run it, and wait until it takes spans."""
        self.launch()
        assert wait_for(self.takes_spans, _START_SECONDS), self.log.read_text()

    def takes_spans(self) -> bool:
        """Whether it answers a program; an AssertionError if it has ended."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            return self.post(b"") == 200
        except OSError:
            return False

    def reload(self) -> None:
        """Have it read its configuration anew."""
        os.kill(self.pid, signal.SIGHUP)

    def kill(self) -> None:
        """Stop it as kill -9 does."""
        self._stop(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._stop(signal.SIGTERM)

    def _stop(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(how)
        try:
            return process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def post(self, request: bytes, token: str = TOKEN, **more_headers: str) -> int:
        """Send an OTLP request as a program does; the status of the answer."""
        headers = {"Content-Type": "application/x-protobuf", "Authorization": f"Bearer {token}", **more_headers}
        url = f"http://127.0.0.1:{self.http_port}/v1/traces"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, request, headers), timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refusal:
            refusal.close()
            return refusal.code

    def metric(self, name: str) -> float:
        """The sum of all series of one of the Collector's own metrics."""
        return sum(value for key, value in self._series() if key.partition("{")[0].removesuffix("_total") == name)

    def metric_names(self) -> set[str]:
        """The names of the Collector's own metrics, as Prometheus has them."""
        return {key.partition("{")[0] for key, _ in self._series()}

    def _series(self) -> list[tuple[str, float]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        pairs = (line.rpartition(" ")[::2] for line in lines if not line.startswith("#"))
        return [(key, float(value)) for key, value in pairs]


class Gateway(Sidecar):
    """A Collector of a tier, which takes OTLP over gRPC."""

    def takes_spans(self) -> bool:
        """Whether it answers a program; an AssertionError if it has ended."""
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        return self.export(b"")

    def export(self, request: bytes) -> bool:
        """Send a request over gRPC; whether it was acknowledged."""
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}") as channel:
            call = channel.unary_unary(_EXPORT)
            try:
                call(request, metadata=[("authorization", f"Bearer {TOKEN}")], timeout=60)
            except grpc.RpcError:
                return False
        return True
