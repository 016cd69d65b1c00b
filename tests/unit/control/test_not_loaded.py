"""A program without protobuf, or with one that does not fit: what is lost for that reason says so."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fakes.http_server import closed_port

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
class Broken:
    def find_spec(self, name, path=None, target=None):
        if name == "otel_llm.delivery.codec":
            raise TypeError("Descriptors cannot be created directly.")
sys.meta_path.insert(0, Broken())
import otel_llm
otel_llm.configure(backend=sys.argv[1], otlp={"endpoint": sys.argv[2]})
with otel_llm.span("work"): pass
print(otel_llm.flush(5).dropped)
print(otel_llm.status().backends[0].cause)
"""


@pytest.mark.parametrize("backend", ["local", "otlp"])
def test_health_names_the_package(tmp_path: Path, backend: str) -> None:
    """Directly served and spooled: the spans count as `not_loaded`, and the cause names protobuf and what to do."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend, f"http://127.0.0.1:{closed_port()}"],
        env={**os.environ, "OTEL_LLM_STATE_DIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    counts, cause = done.stdout.splitlines()
    assert counts == "{'not_loaded': 1}"
    assert "protobuf is missing" in cause
    assert "pip check" in cause
