"""Commands that tests run and that may be missing on a user's machine."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

__all__ = ["tool"]


def tool(name: str, package: str) -> str:
    """The path of a command; where it is missing, CI fails and everybody else skips with a line that says so."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        message = f"{name} is missing: install {package}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return found
