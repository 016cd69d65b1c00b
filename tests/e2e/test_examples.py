"""Every server example runs as its first lines say, and what it recorded has the right parents and tenants."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from otel_llm import semconv

EXAMPLES = Path(__file__).parents[2] / "examples"

SERVER = {"acme": 1, "globex": 1, semconv.UNKNOWN_TENANT: 1}
"""Calls by tenant: of the three visitors the last only claims to be one."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("example", "calls", "outermost"),
    [
        ("fastapi_app.py", SERVER, "GET /ask"),
        ("flask_app.py", SERVER, "GET"),
        ("django_app.py", SERVER, "GET"),
        ("celery_app.py", {"acme": 1, "globex": 1}, "request"),
        ("threads_app.py", {"acme": 2, "globex": 2}, "batch"),
    ],
)
def test_example(example: str, calls: dict[str, int], outermost: str, tmp_path: Path) -> None:
    """`python examples/X --fake` ends well; each LLM call is below its request, for the tenant it was made for."""
    store = tmp_path / "store.db"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), "--fake"],
        env={**os.environ, "OTEL_LLM_STORE_PATH": str(store), "OTEL_LLM_STATE_DIR": str(tmp_path / "state")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    connection = sqlite3.connect(store)
    rows = connection.execute("SELECT span_id, parent_span_id, name, tenant, is_call FROM spans").fetchall()
    scores = connection.execute("SELECT count(*) FROM feedback").fetchone()[0]
    connection.close()
    above = {span_id: (parent, name) for span_id, parent, name, _, _ in rows}
    made = [(span_id, tenant) for span_id, _, _, tenant, is_call in rows if is_call]
    assert {tenant: sum(of == tenant for _, of in made) for _, tenant in made} == calls
    for span_id, _ in made:
        names, place = [], span_id
        while place in above:
            place, name = above[place]
            names.append(name)
        assert names[1] == "invoke_workflow answer", json.dumps(names)
        assert names[-1] == outermost
    assert scores == (2 if example == "threads_app.py" else 0)
