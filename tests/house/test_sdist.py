"""What the source distribution holds."""

from __future__ import annotations

import re
from pathlib import Path


def test_the_source_distribution_takes_what_is_named_and_no_namesakes() -> None:
    """A pattern without a slash in front means any depth: READMEs of the Collector and of tests came along."""
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    (included,) = re.findall(r"^\[tool\.hatch\.build\.targets\.sdist\]\ninclude = \[(.*)\]$", project, re.MULTILINE)
    assert all(pattern.strip('" ').startswith("/") for pattern in included.split(","))
