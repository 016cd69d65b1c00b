"""From the thread of the program's call to a thread of ours: what a call leaves behind is worked on a moment later.

The program's thread puts what it has and goes on. A worker takes it in the same order, after a delay in which more may
come, and lets go of the interpreter after every few. Where there is no place for what it has worked on, the
worker waits; a thread of the program never does. When more comes in than the worker can take, whoever puts something
does a piece of the work. Above a bound that holds whatever happens, it is given up: so memory is bounded, and what is
lost is known.

    hand_over = HandOver(work, lost=count)   # work(item) and lost(item, reason) never raise
    hand_over.put(item, size)
    hand_over.settle(timeout)                # all that was put before has been worked on
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from otel_llm.clock import monotonic
from otel_llm.greenlets import rest_in_copy
from otel_llm.turns import MANY, MOMENT_SECONDS, REST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FULL", "STOPPED", "Bell", "HandOver"]

_logger = logging.getLogger(__name__)

FULL: Final = "queue_full"
"""Why something is given up that more than fills the hand-over."""
STOPPED: Final = "shutdown"
"""Why something is given up that the end of the program leaves no time for."""

_DELAY_SECONDS: Final = 0.15
"""How long the first of some items waits for more: the work on one costs a third less where many are done in a row."""
_SOON: Final = 64
"""Items that are not left to wait for more."""
_QUICK_SECONDS: Final = 0.01
_FEW: Final = 8
"""As many within `_QUICK_SECONDS` are worked on and passed on then: where few come, little is saved by waiting."""
_MOST_ITEMS: Final = 16_384
_MOST_BYTES: Final = 128 * 1024 * 1024
_RELIEF_SECONDS: Final = 0.02
"""How long a thread that is to help waits for another one that is at work."""
_ASIDE_SECONDS: Final = 0.002
"""How long the worker leaves the work to whoever else wants to do some, and how often it looks for a place."""

_STRETCH_SECONDS: Final = 0.001
"""How long the worker keeps the interpreter where many items wait."""


def _always() -> bool:
    return True


def _uncounted(item: Any, reason: str) -> None:
    """Nobody wants to know."""


def _nowhere(*, now: bool) -> None:
    """What has been worked on goes no further."""


class Bell:
    """Wakes a worker. An `Event` would do, but for its lock, which a thread that is interrupted keeps.

    What interrupts it (a signal's handler, a finalizer) may put something too and would wait for ever, and a handler
    that raises leaves the lock locked. `SimpleQueue.put` is made for that.
    """

    def __init__(self) -> None:
        self._rung: queue.SimpleQueue[None] = queue.SimpleQueue()  # looked up now: gevent has one of its own

    def ring(self) -> None:
        """Let who waits go on, now or when it waits next."""
        if self._rung.empty():
            self._rung.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has rung; False if it has not in `timeout` seconds."""
        try:
            self._rung.get(timeout=timeout)
        except queue.Empty:
            return False
        return True

    def hush(self) -> None:
        """Forget that it has rung."""
        while not self._rung.empty():
            self.wait(0)


class HandOver:
    """A queue with a worker. Safe to use from any thread; a forked child begins with an empty one.

    `work` is called with one item after the other, by one thread at a time, in the order in which they were put.
    `has_room` says whether there is a place for what is worked on; where there is none, nobody but the worker and
    `settle` wait for one. From a quarter of `most_items` or `most_bytes` on, whoever puts something helps; what goes
    beyond them is handed to `lost`, with the reason, in place of `work`.

    Where few come, they wait for a hundredth of a second instead of `delay`, not at all where none came for as long.
    Each time that the worker is done it calls `pass_on(now=...)`, `now` where there were few.
    """

    def __init__(
        self,
        work: Callable[[Any], None],
        *,
        lost: Callable[[Any, str], None] = _uncounted,
        has_room: Callable[[], bool] = _always,
        pass_on: Callable[..., None] = _nowhere,
        delay: float = _DELAY_SECONDS,
        most_items: int = _MOST_ITEMS,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._work = work
        self._lost = lost
        self._has_room = has_room
        self._pass_on = pass_on
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
        self._claims = 0
        self._books = threading.RLock()
        """Held for `_bytes` and `_claims`; a signal handler may come in while its own thread holds it."""
        self._working = threading.RLock()
        self._at_work: int | None = None
        self._something = Bell()
        self._enough = Bell()
        self._thread: threading.Thread | None = None
        self._stopped = False

    @property
    def waiting(self) -> int:
        """Items that have not been worked on."""
        return len(self._items)

    def start(self) -> None:
        """Have the worker run; later, at the end of the program, there may be no more threads to be had."""
        with self._books:
            if self._thread is not None or self._stopped:
                return
            # With its thread: gevent may have come in between, and a greenlet that waits for a real one stops all.
            self._something, self._enough = Bell(), Bell()
            thread = threading.Thread(target=self._run, name="otel-llm-hand-over", daemon=True)
            self._thread = thread
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is ending: whoever puts does the work
            _logger.debug("No thread to take spans over (%s).", error)
            self._stopped = True

    def put(self, item: Any, size: int = 0) -> None:
        """Leave `item`, of about `size` bytes, to the worker."""
        if self._thread is None:
            self.start()
        if not self._stopped and self._is_filled(size, 4):
            if self._has_room():
                self._relieve()
            if self._is_filled(size, 1):
                self._lost(item, FULL)
                return
        with self._books:
            self._items.append((item, size))
            self._bytes += size
        if self._stopped:
            self._relieve()
            return
        self._something.ring()
        if len(self._items) >= _SOON:
            self._enough.ring()

    def settle(self, timeout: float, *, for_room: bool = False) -> bool:
        """Work on everything that waits, in this thread; False if that was not possible in `timeout` seconds.

        With `for_room`, a place for what is worked on is waited for; else it is left to the worker.
        """
        end = monotonic() + timeout
        return self._claimed(timeout, lambda: self._take_all(end, for_room=for_room))

    def stop(self, timeout: float) -> bool:
        """Settle, and have no worker any more: whoever puts something from now on does the work as well.

        What `timeout` seconds do not suffice for is lost; False if there was any.
        """
        self._stopped = True
        self._something.ring()
        self._enough.ring()
        if self.settle(timeout, for_room=True):
            return True
        while (item := self._next()) is not None:
            self._lost(item, STOPPED)
        return False

    def _is_filled(self, size: int, parts: int) -> bool:
        """Whether one more, of `size` bytes, goes beyond one of so many parts of what may wait."""
        waiting = len(self._items)
        return waiting * parts >= self._most_items or (waiting > 0 and (self._bytes + size) * parts > self._most_bytes)

    def _relieve(self) -> None:
        """Do as much of the work as was just added to it; all of it where nobody else will."""
        self._claimed(_RELIEF_SECONDS, lambda: self._take_one() and self._take_one() and self._take_rest())

    def _take_rest(self) -> bool:
        while self._stopped and self._take_one():
            pass
        return True

    def _claimed(self, timeout: float, work: Callable[[], bool]) -> bool:
        """What `work()` answers, done by this thread alone; False if another one was at it for `timeout` seconds.

        Or if this very thread is at it and was interrupted: what it is in the middle of is not for entering again.
        """
        me = threading.get_ident()
        if self._at_work == me:
            return False
        with self._books:
            self._claims += 1
        try:
            if not self._working.acquire(timeout=max(0.0, timeout)):
                return False
            try:
                self._at_work = me
                return work()
            finally:
                self._at_work = None
                self._working.release()
        finally:
            with self._books:
                self._claims -= 1

    def _take_all(self, end: float, *, for_room: bool) -> bool:
        while self._items:
            if not self._has_room():
                if not for_room or monotonic() > end:
                    return False
                time.sleep(_ASIDE_SECONDS)
                continue
            self._take_one()
            if monotonic() > end:
                return not self._items
        return True

    def _take_one(self) -> bool:
        """Work on the next one; False if there is none, or no place for it."""
        if not self._stopped and not self._has_room():
            return False
        item = self._next()
        if item is None:
            return False
        self._work(item)
        return True

    def _take_some(self) -> bool:
        """Work on as many as a moment suffices for; False if there is none, or no place for it."""
        end = monotonic() + (_STRETCH_SECONDS if len(self._items) >= MANY else MOMENT_SECONDS)
        while self._take_one():
            if not self._items or self._claims or monotonic() >= end:
                return True
        return False

    def _next(self) -> Any:
        with self._books:
            if not self._items:
                return None
            item, size = self._items.popleft()
            self._bytes -= size
        return item

    def _run(self) -> None:
        process = os.getpid()
        rests_since = float("-inf")
        while not self._stopped:
            self._something.wait()
            self._something.hush()
            few = self._gather(rests_since)
            rest_in_copy(process)
            while self._items and not self._stopped:
                with self._working:
                    self._at_work = threading.get_ident()
                    taken = self._take_some()
                    self._at_work = None
                if self._items or self._claims:
                    time.sleep(self._rest_after(taken=taken))
                rest_in_copy(process)
            if not self._stopped:
                self._pass_on(now=few)
                rest_in_copy(process)
            rests_since = monotonic()

    def _rest_after(self, *, taken: bool) -> float:
        """Seconds of sleep, because the program's threads come first; a mere word where there is much to do."""
        if not taken or self._claims:  # whoever waits for the lock gets it only from one who sleeps
            return _ASIDE_SECONDS
        return REST_SECONDS if 0 < len(self._items) < MANY else 0.0

    def _gather(self, rests_since: float) -> bool:
        """Wait for more, where it is worth it; whether there are few. `rests_since` is on the monotonic clock."""
        quick = min(_QUICK_SECONDS, self._delay)
        rested = monotonic() - rests_since >= quick and len(self._items) <= _FEW
        if not rested and len(self._items) < _SOON and not self._enough.wait(quick) and len(self._items) > _FEW:
            self._enough.wait(self._delay - quick)
        self._enough.hush()
        return len(self._items) <= _FEW
