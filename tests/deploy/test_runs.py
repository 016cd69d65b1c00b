"""What of the deployment files can run on this machine, does: the unit's command lines, the probe, the late stop."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.collector.running import wait_for
from tests.deploy.conftest import DEPLOY, ROOT, collector, go_command
from tests.fakes.ports import free_port
from tests.tools import tool

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["collector"]  # the fixture


@pytest.fixture(scope="module")
def companions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with `probe` and `linger`, built as the Dockerfile builds them."""
    go = go_command() or tool("go", "Go 1.26 (https://go.dev/dl)")
    out = tmp_path_factory.mktemp("companions")
    text = (DEPLOY / "docker/Dockerfile").read_text()
    [line] = re.findall(r"go build (-C collector/container .*?) && ", text)
    command = [go, "build", *shlex.split(line.replace("/out/", f"{out}/"))]
    environment = {**os.environ, "CGO_ENABLED": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def _settings(state: Path, health_port: int) -> dict[str, str]:
    """The unit's environment, on ports of the test's own."""
    unit = (DEPLOY / "systemd/otelcol-llm.service").read_text()
    [line] = re.findall(r"^Environment=(.*)$", unit, re.MULTILINE)
    pairs = [pair.split("=", 1) for pair in line.replace("%S/otelcol", str(state)).split()]
    example = (DEPLOY / "systemd/otelcol.env.example").read_text().splitlines()
    pairs += [found.split("=", 1) for found in example if found and not found.startswith("#")]
    ports = {name: str(free_port()) for name in ("OTLP_HTTP_PORT", "OTLP_GRPC_PORT", "METRICS_PORT")}
    return {**os.environ, **dict(pairs), **ports, "HEALTH_PORT": str(health_port)}


def _command(name: str, binary: Path) -> list[str]:
    unit = (DEPLOY / "systemd/otelcol-llm.service").read_text()
    [line] = re.findall(rf"^{name}=(.*)$", unit, re.MULTILINE)
    line = line.replace("/usr/local/bin/otelcol-llm", str(binary))
    return shlex.split(line.replace("/etc/otelcol/config.yaml", str(ROOT / "otel-collector.yaml")))


@pytest.mark.slow
def test_the_unit_runs_and_lingers_before_it_stops(collector: Path, companions: Path, tmp_path: Path) -> None:
    """The unit's commands validate and run the Collector; the probe says so; SIGTERM comes late, a second at once."""
    port = free_port()
    settings = _settings(tmp_path / "state", port)
    probe = [companions / "probe"]
    assert subprocess.run(probe, env=settings, capture_output=True, check=False).returncode == 1
    validated = subprocess.run(_command("ExecStartPre", collector), env=settings, capture_output=True, check=False)
    assert validated.returncode == 0, validated.stderr
    command = [str(companions / "linger"), "1h", *_command("ExecStart", collector)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log)
    try:
        healthy = lambda: subprocess.run(probe, env=settings, capture_output=True, check=False).returncode == 0  # noqa: E731
        assert wait_for(healthy, 60), (tmp_path / "log").read_text()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)  # long enough for a Collector that was told to stop
        assert healthy()
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (tmp_path / "log").read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
