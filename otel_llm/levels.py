"""A common level to which many lengths are cut, so that they fit together and short ones stay whole."""

from __future__ import annotations

__all__ = ["water_level"]


def water_level(sizes: list[int], budget: int) -> int:
    """The largest level to which all `sizes` can be cut so that their sum is at most `budget`; 0 if there is none.

    Cutting to a common level takes from the longest first and leaves the short ones whole.
    """
    left, level = budget, 0
    ordered = sorted(sizes)
    for index, size in enumerate(ordered):
        share = left // (len(ordered) - index)
        if share < size:
            return max(share, 0)
        left -= size
        level = size
    return level
