"""Labels of metrics kept to a number that a metrics store can bear: first come, first named; the rest is `other`."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final

__all__ = ["OTHER", "LabelBounds"]

OTHER: Final = "other"
_LONGEST_LABEL: Final = 200
_MOST_ELSE: Final = 50
"""Values of any label that has no cap of its own: providers, servers, error types."""


class LabelBounds:
    """Lets `tenants` tenants, `models` models and 50 values of every other kind through; the rest becomes `other`.

    Safe to use from any thread.
    """

    def __init__(self, *, tenants: int = 100, models: int = 50) -> None:
        self._caps = {"tenant": tenants, "model": models}
        self._known: dict[str, set[str]] = {}
        self.reset_after_fork()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def tenant(self, name: str) -> str:
        """The label of a tenant."""
        return self.bounded("tenant", name)

    def model(self, name: str) -> str:
        """The label of a model, asked for or served."""
        return self.bounded("model", name)

    def bounded(self, kind: str, value: str) -> str:
        """The label for `value`, of all values of this `kind`."""
        value = value[:_LONGEST_LABEL]
        known = self._known.get(kind)
        if known is not None and value in known:
            return value
        with self._lock:
            known = self._known.setdefault(kind, set())
            if value not in known and len(known) >= self._caps.get(kind, _MOST_ELSE):
                return OTHER
            known.add(value)
        return value

    def reset_after_fork(self) -> None:
        """In a child: a lock that nobody holds. Names that were let through stay so."""
        self._lock = threading.RLock()
