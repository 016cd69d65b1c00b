"""The SDK's queue, with a worker that sleeps while there is nothing to do, and that begins late where it must.

The SDK's worker wakes up with every delay, twenty times a second with ours, all night long. Here it sleeps until it is
told that something waits; then its delay begins. Under gevent, where a thread is a greenlet, it does not begin in the
middle of a fork but when somebody records in the child (see `gevent_forks`).

All of it is done to one queue by giving it another class. Where the SDK is built otherwise, the queue stays as it is.
"""

from __future__ import annotations

import threading
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from otel_llm.control.gevent_forks import threads_are_greenlets
from otel_llm.faults import guarded
from otel_llm.processors.hand_over import Bell

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["doze"]

_THREAD: Final = "_worker_thread"
_AWAKEN: Final = "_worker_awaken"
_QUEUE: Final = "_queue"
_LONGEST_SLEEP_SECONDS: Final = 1.0
"""For what came in by a way on which nobody tells."""


class _NotYet:
    """Stands for a thread until it is needed."""

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread

    def start(self) -> None:
        """Not inside the fork."""

    def join(self, timeout: float | None = None) -> None:
        """What has not begun is at its end."""


class _Doze(threading.Event):
    """What the worker waits for: with nothing in `queue`, until somebody rings; then, as ever, for its delay."""

    def __init__(self, queue: Callable[[], object]) -> None:
        super().__init__()
        self._awaited = queue
        self.bell = Bell()

    def wait(self, timeout: float | None = None) -> bool:
        if not self._awaited() and not self.is_set():
            self.bell.wait(_LONGEST_SLEEP_SECONDS)
            self.bell.hush()
            if not self._awaited() and not self.is_set():
                return False
        return super().wait(timeout)

    def set(self) -> None:
        super().set()
        self.bell.ring()


@cache
def _late(kind: type) -> type:
    """The SDK's queue with such a worker.

    It is made of properties, because what runs in a fork is the SDK's own function, whatever a class overrides.
    """

    def emit(self: Any, data: object) -> None:
        thread = self.__dict__.get(_THREAD)
        if isinstance(thread, _NotYet):
            self.__dict__[_THREAD] = thread.thread
            thread.thread.start()
        kind.emit(self, data)  # type: ignore[attr-defined]  # a queue has it

    def set_thread(self: Any, thread: threading.Thread) -> None:
        self.__dict__[_THREAD] = _NotYet(thread) if threads_are_greenlets() else thread

    def set_awaken(self: Any, _: threading.Event) -> None:
        self.__dict__[_AWAKEN] = _Doze(lambda: self.__dict__[_QUEUE])

    members = {
        "emit": emit,
        _THREAD: property(lambda self: self.__dict__[_THREAD], set_thread),
        _AWAKEN: property(lambda self: self.__dict__[_AWAKEN], set_awaken),
    }
    return type(f"Late{kind.__name__}", (kind,), members)


def doze(processor: object) -> Callable[[], None]:
    """Have the worker of a `BatchSpanProcessor` sleep while nothing waits; what comes back says that something does.

    Nothing changes where the SDK is built otherwise: then its worker looks with every delay.
    """
    inner: Any = getattr(processor, "_batch_processor", None)
    kind = type(inner)
    known = kind.__module__.startswith("opentelemetry.") and hasattr(kind, "emit")
    if not known or not {_THREAD, _AWAKEN, _QUEUE} <= vars(inner).keys():
        return _nobody_sleeps
    guarded("the SDK's queue", _change, inner, kind)
    return lambda: guarded("the SDK's queue", _ring, inner)


def _change(inner: Any, kind: type) -> None:
    awaken = getattr(inner, _AWAKEN)
    inner.__class__ = _late(kind)
    setattr(inner, _AWAKEN, None)
    awaken.set()  # the worker has begun already, and is to come to the new one


def _ring(inner: Any) -> None:
    doze = getattr(inner, _AWAKEN)
    if isinstance(doze, _Doze):
        doze.bell.ring()


def _nobody_sleeps() -> None:
    """The worker looks by itself."""
