"""The version is written twice: in the package, and in `pyproject.toml`."""

from __future__ import annotations

import re
from pathlib import Path

from otel_llm.control.version import VERSION


def test_the_version_is_that_of_the_project() -> None:
    """What the package says of itself is what it is installed as."""
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert re.findall(r'^version = "(.*)"$', project, re.MULTILINE) == [VERSION]
