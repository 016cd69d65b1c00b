"""Spans that their ratio leaves out wait here until their trace is over, in case another span of it must be kept.

An HTTP request ends before the call that it belongs to, and a call before the agent's run: whoever decides when a
span ends cannot know yet what the rest of the trace will be. Room is bounded: the oldest traces go first.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm import semconv
from otel_llm.processors.sampling import RULES, TRACE

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.processors.draft import SpanDraft

__all__ = ["Settled", "WaitingRoom"]

_MOST_SPANS: Final = 2_000
_MOST_BYTES: Final = 16 * 1024 * 1024
_MOST_KEPT: Final = 4_096
"""Traces of which it is remembered that something had to be kept."""
_BYTES_PER_VALUE: Final = 64


class Settled(NamedTuple):
    """Spans whose fate is known now."""

    kept: list[ReadableSpan]
    left_out: int


class _Waiting:
    """The spans of one trace. Finished ones: a draft would hold on to the original with all its content."""

    def __init__(self) -> None:
        self.spans: list[tuple[ReadableSpan, dict[str, Any]]] = []
        """Each with its attributes, which it shares."""
        self.bytes = 0

    def kept(self) -> list[ReadableSpan]:
        """All of them, marked as kept for their trace."""
        for _, attributes in self.spans:
            attributes[semconv.SAMPLING_REASON] = TRACE
        return [span for span, _ in self.spans]


class WaitingRoom:
    """Holds spans that are left out, and gives them back as kept once their trace turns out to matter.

    At most 2,000 spans and about 16 MiB wait. Safe to use from any thread.
    """

    def __init__(self, *, most_spans: int = _MOST_SPANS, most_bytes: int = _MOST_BYTES) -> None:
        self._most_spans = most_spans
        self._most_bytes = most_bytes
        self.reset_after_fork()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def settle(self, draft: SpanDraft) -> Settled:
        """Take one span that has been through all stages; answer all whose fate that decides."""
        trace_id = draft.context.trace_id
        over = draft.parent is None or draft.parent.is_remote
        with self._lock:
            if not draft.left_out:
                return Settled([*self._released(trace_id, draft), draft.to_span()], 0)
            if trace_id in self._kept:
                draft.attributes[semconv.SAMPLING_REASON] = TRACE
                return Settled([draft.to_span()], 0)
            if over:
                gone = self._forget(trace_id)
                return Settled([], gone + 1)
            self._admit(trace_id, draft)
            return Settled([], self._make_room())

    def clear(self) -> int:
        """The program is ending: let everything that waits go, and say how many spans that was."""
        with self._lock:
            return sum(self._forget(trace_id) for trace_id in list(self._traces))

    def reset_after_fork(self) -> None:
        """In a child process: what waited is the parent's."""
        self._lock = threading.RLock()
        self._traces: OrderedDict[int, _Waiting] = OrderedDict()
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._spans = 0
        self._bytes = 0

    def _released(self, trace_id: int, draft: SpanDraft) -> list[ReadableSpan]:
        """What a kept span brings with it."""
        if draft.attributes.get(semconv.SAMPLING_REASON) not in RULES:
            return []
        self._kept[trace_id] = None
        self._kept.move_to_end(trace_id)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        waiting = self._traces.get(trace_id)
        self._forget(trace_id)
        return waiting.kept() if waiting is not None else []

    def _admit(self, trace_id: int, draft: SpanDraft) -> None:
        waiting = self._traces.setdefault(trace_id, _Waiting())
        size = _size(draft)
        waiting.spans.append((draft.to_span(), draft.attributes))
        waiting.bytes += size
        self._spans += 1
        self._bytes += size

    def _make_room(self) -> int:
        gone = 0
        while self._traces and (self._spans > self._most_spans or self._bytes > self._most_bytes):
            gone += self._forget(next(iter(self._traces)))
        return gone

    def _forget(self, trace_id: int) -> int:
        waiting = self._traces.pop(trace_id, None)
        if waiting is None:
            return 0
        self._spans -= len(waiting.spans)
        self._bytes -= waiting.bytes
        return len(waiting.spans)


def _size(draft: SpanDraft) -> int:
    """Roughly the bytes that a draft holds."""
    return sum(
        len(value) if isinstance(value, (str, bytes)) else _BYTES_PER_VALUE for value in draft.attributes.values()
    ) + 1024 * (1 + len(draft.events))
