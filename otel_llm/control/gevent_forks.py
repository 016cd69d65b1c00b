"""Under gevent, what the SDK does inside a fork is done so that no greenlet of the program goes on in the child.

gevent's `subprocess` forks with Python's own hooks before it runs the command, and the copy has all greenlets of the
program. The SDK's hooks start threads there, which are greenlets: waiting for one lets the copies of the program's
go on, and requests would be served twice. So the worker of the SDK's queue begins when somebody records in the child
(`sdk_queue`), and the resource is read without threads.
"""

from __future__ import annotations

import sys
import threading

from opentelemetry.sdk import resources
from opentelemetry.sdk.trace import TracerProvider

from otel_llm.faults import guarded

__all__ = ["ForkableProvider", "threads_are_greenlets"]


class ForkableProvider(TracerProvider):
    """The SDK's, whose resource is read in a forked child without a pool of threads where those are greenlets."""

    def _handle_fork(self) -> None:
        detectors = getattr(resources, "_build_resource_detectors", None)  # the SDK's own list, as its hook reads it
        if detectors is None or not threads_are_greenlets():
            super()._handle_fork()
            return
        self._tracers_lock = threading.Lock()
        found = resources.Resource.get_empty()
        for detector in detectors():
            if detector.is_process_dependent():
                said = guarded("reading the resource", detector.detect)
                found = found if said is None else found.merge(said)
        self._update_resource(found)


def threads_are_greenlets() -> bool:
    """Whether gevent has put its own in their place."""
    gevent = sys.modules.get("gevent.monkey")
    return gevent is not None and bool(gevent.is_module_patched("threading"))
