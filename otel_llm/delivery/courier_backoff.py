"""How long to leave a backend alone after it did not take what it was sent."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otel_llm.contracts import Retry

__all__ = ["Backoff"]

_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 60.0
_LONGEST_ASKED_SECONDS = 15 * 60.0
"""However long a backend asks us to wait, we look again after this."""
_SHORTEST_ASKED_SECONDS = 0.1
_NEEDS_ACTION_SECONDS = 5 * 60.0
"""Waiting does not cure a wrong key; this often we look whether somebody has."""


class Backoff:
    """Exponential back-off from 1 to 60 s with jitter, so that a thousand processes do not come back at once."""

    def __init__(self) -> None:
        self.failures: int = 0
        """Failed attempts since the last success."""

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0

    def seconds_after(self, retry: Retry) -> float:
        """Seconds to wait after this answer. What the backend asked for counts, up to 15 minutes."""
        self.failures += 1
        step = min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(self.failures - 1, 16))
        if retry.needs_action:
            step = _NEEDS_ACTION_SECONDS
        jittered = max(_FIRST_SECONDS, step * random.uniform(0.5, 1.0))  # noqa: S311  (no secret)
        if retry.after is not None and retry.after > 0:  # NaN and nonsense compare false
            asked = max(_SHORTEST_ASKED_SECONDS, min(retry.after, _LONGEST_ASKED_SECONDS))
            return asked * random.uniform(1.0, 1.1)  # noqa: S311
        return jittered
