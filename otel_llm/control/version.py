"""The version of the installed package."""

from __future__ import annotations

from importlib import metadata
from typing import Final

__all__ = ["VERSION"]


def _installed() -> str:
    try:
        return metadata.version("otel-llm")
    except metadata.PackageNotFoundError:
        return "0+unknown"


VERSION: Final = _installed()
