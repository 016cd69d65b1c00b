"""Tells values that are plain JSON as they stand, which most are, from those that must be read with care (`values`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["INT64", "ITEM_BYTES", "MAX_BYTES", "Room", "max_bytes_now", "use_max_bytes"]

INT64: Final = range(-(2**63), 2**63)
ITEM_BYTES: Final = 8
"""What one item of a list or mapping is charged besides its text: separators, numbers, brackets."""
MAX_BYTES: Final = 262_144


class _Bounds:
    """What is read of a value where the caller does not say."""

    max_bytes = MAX_BYTES


def use_max_bytes(max_bytes: int) -> None:
    """Read up to so many bytes of a value from now on, and never less than `MAX_BYTES`: the most a span may hold."""
    _Bounds.max_bytes = max(MAX_BYTES, max_bytes)


def max_bytes_now() -> int:
    """Bytes that are read of a value where the caller does not say."""
    return _Bounds.max_bytes


class Room:
    """Whether a value is plain as it stands and within its bounds, which most are: then no copy of it is needed."""

    __slots__ = ("bytes_left", "items_left")

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self.items_left = max_items
        self.bytes_left = max_bytes

    def holds(self, value: Any, depth: int) -> bool:
        """Charge a value inside which containers may be `depth` deep; False where it does not fit, or is not plain."""
        kind = type(value)
        if kind is str:
            self.bytes_left -= len(value) if value.isascii() else 4 * len(value)
            return self.bytes_left >= 0
        if kind is bool or value is None:
            return True
        if kind is int:
            return value in INT64
        if kind is float:
            return math.isfinite(value)
        if depth <= 0:
            return False
        if kind is dict:
            return self._holds_members(value, depth - 1)
        if kind is list or kind is tuple:
            return self._holds_entries(value, depth - 1)
        return False

    def _holds_entries(self, value: Sequence[Any], depth: int) -> bool:
        self.items_left -= len(value)
        self.bytes_left -= len(value) * ITEM_BYTES
        if self.items_left < 0 or self.bytes_left < 0:
            return False
        for entry in value:  # noqa: SIM110  (a loop takes half of what `all` and its generator do)
            if not self.holds(entry, depth):
                return False
        return True

    def _holds_members(self, value: dict[Any, Any], depth: int) -> bool:
        self.items_left -= len(value)
        left = self.bytes_left - len(value) * ITEM_BYTES
        if self.items_left < 0 or left < 0:
            return False
        for key, entry in value.items():
            if type(key) is not str:
                return False
            left -= len(key) if key.isascii() else 4 * len(key)
            if type(entry) is str:
                left -= len(entry) if entry.isascii() else 4 * len(entry)
                continue
            self.bytes_left = left
            if not self.holds(entry, depth):
                return False
            left = self.bytes_left
        self.bytes_left = left
        return left >= 0
