"""A bug that is there once."""

from __future__ import annotations

bugs = ["a bug"]


def once() -> None:
    """Raise, the first time."""
    if bugs:
        raise RuntimeError(bugs.pop())
