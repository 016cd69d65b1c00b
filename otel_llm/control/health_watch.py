"""Looks at the health of the pipeline now and then, so that a change of state is logged though nobody asks."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Final

from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HealthWatch"]

_LOOK_SECONDS: Final = 5.0


class HealthWatch:
    """Calls `look` every few seconds on a daemon thread, from the first span of the process on.

    Threads do not cross a fork, so the child gets its own with its first span.
    """

    def __init__(self, look: Callable[[], object], every: float = _LOOK_SECONDS) -> None:
        self._look = look
        self._every = every
        self._begun = threading.Lock()
        self._stopped = threading.Event()
        if hasattr(os, "register_at_fork"):
            anew = weakref.WeakMethod(self._begin_anew)
            os.register_at_fork(after_in_child=lambda: (found := anew()) and found())

    def span_ended(self) -> None:
        """A span has ended: make sure that somebody looks. Costs nothing after the first."""
        if self._begun.locked() or not self._begun.acquire(blocking=False):
            return
        thread = threading.Thread(target=self._run, args=(self._stopped,), name="otel-llm-health", daemon=True)
        guarded("starting the health watch", thread.start)

    def stop(self) -> None:
        """Look no more; does not wait for a look that is under way."""
        self._begun.acquire(blocking=False)
        self._stopped.set()

    def _begin_anew(self) -> None:
        if not self._stopped.is_set():
            self._begun = threading.Lock()
            self._stopped = threading.Event()

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._every):
            guarded("looking at the health", self._look)
