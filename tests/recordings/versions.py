"""Which litellm runs here; read from its metadata, so that nothing is imported."""

from __future__ import annotations

from importlib.metadata import version

__all__ = ["IS_1_79", "LITELLM"]

LITELLM: tuple[int, ...] = tuple(int(part) for part in version("litellm").split(".")[:3])
"""litellm's version as numbers: (1, 79, 0)."""

IS_1_79 = LITELLM[:2] == (1, 79)
"""Whether this is the oldest version that must work."""
