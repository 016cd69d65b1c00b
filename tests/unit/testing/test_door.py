"""What programs write with its full name after `import otel_llm` alone."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("name", ["testing.capturing", "testing.FakeProvider", "errors.ConfigError"])
def test_a_module_is_there_after_importing_the_package(name: str) -> None:
    """`import otel_llm` is enough for the modules that the guides name with it; nothing is loaded until then."""
    loaded = "any(m in sys.modules for m in ('otel_llm.testing', 'otel_llm.errors'))"
    code = f"import sys, otel_llm; assert not {loaded}; otel_llm.{name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
