"""From the thread of the program's call to a thread of ours: what a call leaves behind is worked on a moment later.

The program's thread puts what it has and goes on. A worker takes it in the same order, after a delay in which more may
come, and lets go of the interpreter between one and the next. When more comes in than the worker can take, whoever
puts something does a piece of the work: so memory is bounded, nothing is lost, and nobody waits for a network or disk.

    hand_over = HandOver(work)           # work(item), never raises
    hand_over.put(item, size)
    hand_over.settle(timeout)            # all that was put before has been worked on
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from otel_llm.greenlets import rest_in_copy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HandOver"]

_logger = logging.getLogger(__name__)

_DELAY_SECONDS: Final = 0.05
_SOON: Final = 64
"""Items that are not left to wait for more."""
_MOST_ITEMS: Final = 4096
_MOST_BYTES: Final = 32 * 1024 * 1024
_RELIEF_SECONDS: Final = 0.02
"""How long a thread that is to help waits for another one that is at work."""


class HandOver:
    """A queue with a worker. Safe to use from any thread; a forked child begins with an empty one.

    `work` is called with one item after the other, by one thread at a time, in the order in which they were put.
    """

    def __init__(
        self,
        work: Callable[[Any], None],
        *,
        delay: float = _DELAY_SECONDS,
        most_items: int = _MOST_ITEMS,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._work = work
        self._delay = delay
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._begin()
        if hasattr(os, "register_at_fork"):
            begin = weakref.WeakMethod(self._begin)
            os.register_at_fork(after_in_child=lambda: (found := begin()) and found())

    def _begin(self) -> None:
        self._items: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._working = threading.RLock()
        self._something = threading.Event()
        self._enough = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Items that have not been worked on."""
        return len(self._items)

    def start(self) -> None:
        """Have the worker run; later, at the end of the program, there may be no more threads to be had."""
        if self._thread is not None or self._stopped:
            return
        thread = threading.Thread(target=self._run, name="otel-llm-hand-over", daemon=True)
        self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending: whoever puts does the work
            _logger.debug("No thread to take spans over (%s).", error)
            self._stopped = True

    def put(self, item: Any, size: int = 0) -> None:
        """Leave `item`, of about `size` bytes, to the worker."""
        items = self._items
        items.append((item, size))
        self._bytes += size
        if self._thread is None:
            self.start()
        waiting = len(items)
        if self._stopped or waiting > self._most_items or self._bytes > self._most_bytes:
            self._relieve()
            return
        if not self._something.is_set():
            self._something.set()
        if waiting >= _SOON and not self._enough.is_set():
            self._enough.set()

    def settle(self, timeout: float) -> bool:
        """Work on everything that waits, in this thread; False if another one was at it for `timeout` seconds."""
        if not self._working.acquire(timeout=max(0.0, timeout)):
            return False
        try:
            while self._take_one():
                pass
        finally:
            self._working.release()
        return True

    def stop(self, timeout: float) -> bool:
        """Settle, and have no worker any more: whoever puts something from now on does the work as well."""
        self._stopped = True
        self._something.set()
        self._enough.set()
        return self.settle(timeout)

    def _relieve(self) -> None:
        """Do as much of the work as was just added to it."""
        if not self._working.acquire(timeout=_RELIEF_SECONDS):
            return
        try:
            self._take_one()
            self._take_one()
        finally:
            self._working.release()

    def _take_one(self) -> bool:
        try:
            item, size = self._items.popleft()
        except IndexError:
            return False
        self._bytes -= size
        self._work(item)
        return True

    def _run(self) -> None:
        process = os.getpid()
        while not self._stopped:
            self._something.wait()
            self._something.clear()
            if len(self._items) < _SOON:
                self._enough.wait(self._delay)
            self._enough.clear()
            rest_in_copy(process)
            while self._items:
                with self._working:
                    self._take_one()
                time.sleep(0)  # the program's threads come first
                rest_in_copy(process)
