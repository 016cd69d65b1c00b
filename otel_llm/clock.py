"""The clock by which waiting ends.

A program's tests stop or turn `time.monotonic` (freezegun, a mock), and by a clock that stands still no deadline ever
comes. This one asks the system, as `time.monotonic` does where nobody has replaced it.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["monotonic"]

monotonic: Callable[[], float] = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
"""Seconds on a clock that only goes forward; only differences mean something."""
