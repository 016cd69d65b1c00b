"""Under gevent, what the SDK does inside a fork is done so that no greenlet of the program goes on in the child.

gevent's `subprocess` forks with Python's own hooks before it runs the command, and the copy has all greenlets of the
program. The SDK's hooks start threads there, which are greenlets: waiting for one lets the copies of the program's
go on, and requests would be served twice. So the worker of the SDK's queue begins when somebody records in the child,
and the resource is read without threads.
"""

from __future__ import annotations

import sys
import threading
from typing import Any, TypeVar

from opentelemetry.sdk import resources
from opentelemetry.sdk._shared_internal import BatchProcessor
from opentelemetry.sdk.trace import TracerProvider

from otel_llm.faults import guarded

__all__ = ["ForkableProvider", "begin_late"]

_T = TypeVar("_T")
_NAME = "_worker_thread"


class _NotYet:
    """Stands for a thread until it is needed."""

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread

    def start(self) -> None:
        """Not inside the fork."""

    def join(self, timeout: float | None = None) -> None:
        """What has not begun is at its end."""


class _LateWorker(BatchProcessor[_T]):
    def emit(self, data: _T) -> None:
        thread = self.__dict__.get(_NAME)
        if isinstance(thread, _NotYet):
            self.__dict__[_NAME] = thread.thread
            thread.thread.start()
        super().emit(data)


def _set(self: Any, thread: threading.Thread) -> None:
    self.__dict__[_NAME] = _NotYet(thread) if _threads_are_greenlets() else thread


# A property, because what runs in the fork is the SDK's own function, whatever the class overrides.
setattr(_LateWorker, _NAME, property(lambda self: self.__dict__[_NAME], _set))


class ForkableProvider(TracerProvider):
    """The SDK's, whose resource is read in a forked child without a pool of threads where those are greenlets."""

    def _handle_fork(self) -> None:
        if not _threads_are_greenlets():
            super()._handle_fork()
            return
        self._tracers_lock = threading.Lock()
        found = resources.Resource.get_empty()
        for detector in resources._build_resource_detectors():  # noqa: SLF001  (the SDK's own list, as its hook reads it)
            if detector.is_process_dependent():
                said = guarded("reading the resource", detector.detect)
                found = found if said is None else found.merge(said)
        self._update_resource(found)


def begin_late(processor: object) -> None:
    """Have the worker of a `BatchSpanProcessor` begin late in forks; nothing where the SDK is built otherwise."""
    inner = getattr(processor, "_batch_processor", None)
    if type(inner) is BatchProcessor and _NAME in inner.__dict__:
        inner.__class__ = _LateWorker


def _threads_are_greenlets() -> bool:
    gevent = sys.modules.get("gevent.monkey")
    return gevent is not None and bool(gevent.is_module_patched("threading"))
