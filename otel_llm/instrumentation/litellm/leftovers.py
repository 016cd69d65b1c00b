"""Streams that nobody reads any more: ended when they are collected, at the latest when the process exits.

A finalizer may run in the middle of anything, within a lock of ours too, so it only puts the recording in a queue; a
thread of its own does the ending, and whatever else is to be done for a stream aside from its reader. At exit it is
done at once, before whatever was registered to run at exit earlier (the tracer provider's own end, ours) closes the
way out.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Stoppable", "aside", "open_streams", "settle", "unwatch", "was_collected", "watch"]


class Stoppable(Protocol):
    """The recording of a stream."""

    def stop(self, how: str) -> None:
        """End it unless it has ended already."""


_open: dict[Stoppable, Any] = {}
"""Recordings of streams that have not ended, with the finalizer of each stream."""
_collected: SimpleQueue[Stoppable] = SimpleQueue()
_lock = threading.RLock()
_worker: threading.Thread | None = None


def watch(stream: object, recording: Stoppable) -> None:
    """Have `recording` stopped as `abandoned` when `stream` is collected, or at exit."""
    with _lock:
        if not _open:
            atexit.unregister(_stop_all)  # registered anew it runs before all that was registered meanwhile
            atexit.register(_stop_all)
        finalizer = weakref.finalize(stream, _collected.put, recording)
        finalizer.atexit = False
        _open[recording] = finalizer
        _start_worker()


def was_collected(recording: Stoppable) -> bool:
    """Whether the stream of `recording` is being collected now: a generator runs its `finally` then, as if closed."""
    finalizer = _open.get(recording)
    return finalizer is not None and not finalizer.alive


def unwatch(recording: Stoppable) -> None:
    """The stream has ended in another way."""
    finalizer = _open.pop(recording, None)
    if finalizer is not None:
        finalizer.detach()


def settle(timeout: float) -> None:
    """Wait, for at most `timeout` seconds, until every stream that was collected so far has ended."""
    if _worker is None or not _worker.is_alive():
        return
    done = threading.Event()
    aside(done.set)
    done.wait(timeout)


def aside(work: Callable[[], None]) -> None:
    """Have `work` done on the thread of the streams, after what it was given before."""
    _collected.put(_Errand(work))


class _Errand:
    """Goes through the queue like a recording, and does something else when its turn has come."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def stop(self, _: str) -> None:
        self._work()


def open_streams() -> int:
    """Number of streams that have not ended."""
    return len(_open)


def _start_worker() -> None:
    global _worker  # noqa: PLW0603  (one per process)
    if _worker is None or not _worker.is_alive():
        _worker = threading.Thread(target=_stop_collected, name="otel-llm-streams", daemon=True)
        _worker.start()
        _watch_end_of_child()


def _watch_end_of_child() -> None:
    """A child of `multiprocessing` ends without `atexit`; its finalizers run, this one before the hand-over."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _stop_all, exitpriority=0)


def _stop_collected() -> None:
    while True:
        _abandon(_collected.get())


def _stop_all() -> None:
    for recording in list(_open):
        _abandon(recording)


def _abandon(recording: Stoppable) -> None:
    unwatch(recording)
    guarded("ending an abandoned stream", recording.stop, "abandoned")


def _after_fork() -> None:
    """A child has no worker, and its parent's streams are the parent's to end."""
    global _lock, _worker, _collected
    _lock, _worker, _collected = threading.RLock(), None, SimpleQueue()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
