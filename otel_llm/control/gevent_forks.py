"""Under gevent, what the SDK does inside a fork is done so that no greenlet of the program goes on in the child.

gevent's `subprocess` forks with Python's own hooks before it runs the command, and the copy has all greenlets of the
program. The SDK's hooks start threads there, which are greenlets: waiting for one lets the copies of the program's
go on, and requests would be served twice. So the worker of the SDK's queue begins when somebody records in the child,
and the resource is read without threads.
"""

from __future__ import annotations

import sys
import threading
from functools import cache
from typing import Any, Final

from opentelemetry.sdk import resources
from opentelemetry.sdk.trace import TracerProvider

from otel_llm.faults import guarded

__all__ = ["ForkableProvider", "begin_late"]

_NAME: Final = "_worker_thread"


class _NotYet:
    """Stands for a thread until it is needed."""

    def __init__(self, thread: threading.Thread) -> None:
        self.thread = thread

    def start(self) -> None:
        """Not inside the fork."""

    def join(self, timeout: float | None = None) -> None:
        """What has not begun is at its end."""


@cache
def _late(kind: type) -> type:
    """The SDK's queue with a worker that begins with what comes first.

    `_worker_thread` is a property, because what runs in the fork is the SDK's own function, whatever a class overrides.
    """

    def emit(self: Any, data: object) -> None:
        thread = self.__dict__.get(_NAME)
        if isinstance(thread, _NotYet):
            self.__dict__[_NAME] = thread.thread
            thread.thread.start()
        kind.emit(self, data)  # type: ignore[attr-defined]  # a queue has it

    def set_thread(self: Any, thread: threading.Thread) -> None:
        self.__dict__[_NAME] = _NotYet(thread) if _threads_are_greenlets() else thread

    members = {"emit": emit, _NAME: property(lambda self: self.__dict__[_NAME], set_thread)}
    return type(f"Late{kind.__name__}", (kind,), members)


class ForkableProvider(TracerProvider):
    """The SDK's, whose resource is read in a forked child without a pool of threads where those are greenlets."""

    def _handle_fork(self) -> None:
        detectors = getattr(resources, "_build_resource_detectors", None)  # the SDK's own list, as its hook reads it
        if detectors is None or not _threads_are_greenlets():
            super()._handle_fork()
            return
        self._tracers_lock = threading.Lock()
        found = resources.Resource.get_empty()
        for detector in detectors():
            if detector.is_process_dependent():
                said = guarded("reading the resource", detector.detect)
                found = found if said is None else found.merge(said)
        self._update_resource(found)


def begin_late(processor: object) -> None:
    """Have the worker of a `BatchSpanProcessor` begin late in forks; nothing where the SDK is built otherwise."""
    inner: Any = getattr(processor, "_batch_processor", None)
    kind = type(inner)
    if kind.__module__.startswith("opentelemetry.") and hasattr(kind, "emit") and _NAME in vars(inner):
        guarded("the SDK's queue under gevent", _begin_late, inner, kind)


def _begin_late(inner: Any, kind: type) -> None:
    inner.__class__ = _late(kind)


def _threads_are_greenlets() -> bool:
    gevent = sys.modules.get("gevent.monkey")
    return gevent is not None and bool(gevent.is_module_patched("threading"))
