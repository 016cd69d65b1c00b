"""The version of the package, as `pyproject.toml` has it too. Asking what is installed costs a tenth of a start."""

from __future__ import annotations

from typing import Final

__all__ = ["VERSION"]

VERSION: Final = "0.1.0"
