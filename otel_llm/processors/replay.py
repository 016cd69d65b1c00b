"""The program's own spans in Temporal workflows: dropped where the workflow is only being replayed.

Workflow code is run again whenever a worker takes a workflow over, and what it records then has been recorded before.
A workflow task that fails is run again too, not as a replay: its spans have ids that are the same each time.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.processors.beginning import Beginning

__all__ = ["ReplayFilter"]

_CAPACITY: Final = 10_000


class ReplayFilter:
    """Early stage: drops spans of workflows that end in a replay, or have ended before (of the last 10,000).

    Start stage `on_start`: gives spans that begin in a replay their time.
    """

    name = "replay"
    drop_reason = "replay"

    def __init__(self) -> None:
        self._ended: OrderedDict[tuple[int, int], None] = OrderedDict()
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def on_start(self, beginning: Beginning) -> None:
        """A span that begins in a replay and ends after it has begun when its workflow got there first."""
        workflow = _workflow()
        if workflow is not None and workflow.unsafe.is_replaying_history_events():
            span = beginning.span
            span._start_time = min(workflow.time_ns(), span._start_time or workflow.time_ns())  # noqa: SLF001  (no other way)

    def __call__(self, span: ReadableSpan) -> bool:
        """Whether the span, which ends here and now, is news."""
        workflow = _workflow()
        if workflow is None or span.context is None:
            return True
        if workflow.unsafe.is_replaying_history_events():
            return False
        return not self._has_ended((span.context.trace_id, span.context.span_id))

    def reset_after_fork(self) -> None:
        """Take a lock that nobody holds."""
        self._lock = threading.RLock()

    def _has_ended(self, ids: tuple[int, int]) -> bool:
        with self._lock:
            if ids in self._ended:
                return True
            self._ended[ids] = None
            if len(self._ended) > _CAPACITY:
                self._ended.popitem(last=False)
            return False


def _workflow() -> Any:
    """Temporal's workflow module if the program has loaded it and this is workflow code; else None."""
    workflow = sys.modules.get("temporalio.workflow")
    return workflow if workflow is not None and workflow.in_workflow() else None
