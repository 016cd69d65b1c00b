"""The official `opik` client as a witness: it reads back what others wrote, in a process and environment of its own.

The client pins its dependencies tightly, so it lives in another virtual environment, whose Python is named by
`OTEL_LLM_OPIK_PYTHON` (`/opt/opik/bin/python` if unset). Make it with
`uv venv /opt/opik && uv pip install -p /opt/opik/bin/python opik`. Where it is missing tests skip; in CI they fail.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

__all__ = ["needs_official_client", "official_read", "official_track", "official_write"]

# Read at import: the suite's own fixture hides OTEL_* from the tests themselves.
_PYTHON = Path(os.environ.get("OTEL_LLM_OPIK_PYTHON") or "/opt/opik/bin/python")
_SCRIPT = Path(__file__).with_name("official_script.py")

needs_official_client = pytest.mark.skipif(
    not _PYTHON.exists() and not os.environ.get("CI"),
    reason=f"no Python with the opik client at {_PYTHON}; set OTEL_LLM_OPIK_PYTHON",
)
"""Mark of tests that run the official client."""


def official_write(url: str, project: str) -> dict[str, Any]:
    """Have the client log one trace with two spans; returns {"trace_id", "flushed"}."""
    return _run("write", url, project)


def official_read(url: str, project: str) -> dict[str, Any]:
    """All that the client sees of a project: {"project", "traces", "spans", "tagged", "threads"}, as plain data."""
    return _run("read", url, project)


def official_track() -> dict[str, Any]:
    """The parameters of the client's `@opik.track`: {"parameters": names in order}."""
    return _run("track", "", "")


def _run(command: str, url: str, project: str) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPIK_", "OTEL_"))}
    environment |= {
        "OPIK_SENTRY_ENABLE": "false",
        "OPIK_ANALYTICS_ENABLE": "false",
        "OPIK_CONFIG_PATH": os.devnull,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [str(_PYTHON), str(_SCRIPT), command, url, project],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"the official client failed:\n{done.stderr[-4000:]}")
    return dict(json.loads(done.stdout))
