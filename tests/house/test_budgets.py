"""What a span costs does not creep up: counts, not times, against `benchmarks/budgets.json`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_BUDGETS: dict[str, float] = json.loads((_ROOT / "benchmarks/budgets.json").read_text())


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """The counts of a fresh process, in which nothing is loaded yet."""
    home = tmp_path_factory.mktemp("home")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "OPIK_"))}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.counted", "--json"],
        cwd=_ROOT,
        env={**environment, "HOME": str(home), "TMPDIR": str(home), "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    assert line is not None, done.stderr[-2000:]
    return dict(json.loads(line.removeprefix("RESULT ")))


@pytest.mark.slow
@pytest.mark.timeout(640)
def test_no_count_is_over_its_budget(counts: dict[str, float]) -> None:
    """Calls, bytes, memory, SQL statements and modules stay within their limits."""
    over = {name: (count, _BUDGETS.get(name)) for name, count in counts.items() if count > _BUDGETS.get(name, -1)}
    assert not over, "counted, and allowed (benchmarks/counted.py says how a limit is raised)"


@pytest.mark.slow
@pytest.mark.timeout(640)
def test_every_budget_is_counted(counts: dict[str, float]) -> None:
    """No limit stands for something that nobody counts any more."""
    assert set(_BUDGETS) == set(counts)
    assert all(count > 0 for name, count in counts.items() if not name.startswith("guests"))
