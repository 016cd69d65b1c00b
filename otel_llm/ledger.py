"""Where every span ended up: `created = delivered + waiting + rejected(reason) + dropped(reason)`.

One `Ledger` per backend. Health and `flush` read it; nobody reads a configuration flag instead. Counting is
by span. `waiting` is derived, so the sum balances at every moment by construction, and a bug shows as a
negative number, not as a lost span.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import NamedTuple

__all__ = ["Ledger", "LedgerReport"]


class LedgerReport(NamedTuple):
    """Counts of one backend at one moment; all are numbers of spans."""

    backend: str
    created: int
    delivered: int
    rejected: dict[str, int]
    dropped: dict[str, int]
    last_delivery: float | None = None
    """Unix seconds of the last delivery that the backend answered for; None before the first."""

    @property
    def waiting(self) -> int:
        """Spans that ended and whose fate is still open."""
        return self.created - self.delivered - sum(self.rejected.values()) - sum(self.dropped.values())

    def as_dict(self) -> dict[str, object]:
        """The same as plain data for JSON."""
        return {
            "backend": self.backend,
            "created": self.created,
            "delivered": self.delivered,
            "waiting": self.waiting,
            "rejected": dict(self.rejected),
            "dropped": dict(self.dropped),
            "last_delivery": self.last_delivery,
        }


class Ledger:
    """Counts spans of one backend by where they ended. Safe to use from any thread."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        self._lock = threading.RLock()
        self._clear()

    def _clear(self) -> None:
        self._created = 0
        self._delivered = 0
        self._rejected: Counter[str] = Counter()
        self._dropped: Counter[str] = Counter()
        self._last_delivery: float | None = None

    def created(self, spans: int = 1) -> None:
        """Count spans that ended in this process and are meant for this backend."""
        with self._lock:
            self._created += spans

    def delivered(self, spans: int) -> None:
        """Count spans that the backend answered for."""
        with self._lock:
            self._delivered += spans
            self._last_delivery = time.time()

    def rejected(self, spans: int, reason: str) -> None:
        """Count spans that the backend will never take."""
        with self._lock:
            self._rejected[reason] += spans

    def dropped(self, spans: int, reason: str) -> None:
        """Count spans that we gave up, with the reason why."""
        with self._lock:
            self._dropped[reason] += spans

    def reset_after_fork(self) -> None:
        """Start from zero in a child process: what the parent counted stays the parent's."""
        self._lock = threading.RLock()
        self._clear()

    def report(self) -> LedgerReport:
        """A consistent copy of all counts."""
        with self._lock:
            return LedgerReport(
                backend=self.backend,
                created=self._created,
                delivered=self._delivered,
                rejected=dict(self._rejected),
                dropped=dict(self._dropped),
                last_delivery=self._last_delivery,
            )
