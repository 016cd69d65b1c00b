"""The script that measures how much the Collector carries runs to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.collector.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.timeout(1800), pytest.mark.slow]


def test_every_line_is_measured(collector: Path, tmp_path: Path) -> None:
    """One and two tiers and the queue are measured, with every span arriving."""
    assert collector.is_file()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.collector", "--spans", "128", "--json", tmp_path / "numbers.json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert [each["setup"] for each in numbers["speed"]] == ["sidecar"] * 3 + [
        "sidecar, otlp_http",
        "1 balancers, 1 samplers",
        "2 balancers, 3 samplers",
    ]
    assert all(each["spans"] == 128 and each["cpu_us_per_span"] > 0 for each in numbers["speed"])
    assert all(each["disk_bytes_per_span"] > each["span_bytes"] for each in numbers["queued"])
