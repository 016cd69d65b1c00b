"""The SDK's batching queue, with its losses counted.

`BatchSpanProcessor` drops the oldest span without a word when its queue is full. This guard stands before it and
knows how many spans are queued: what was handed over, less what the exporter was given. Whoever can wait asks it for
room first. When the queue is full the new span is turned away here and counted, so that nothing disappears unseen.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult

from otel_llm.clock import monotonic
from otel_llm.control.sdk_queue import doze
from otel_llm.processors.weight import weight_of_finished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

__all__ = ["DropCounts", "GuardedBatching"]

_logger = logging.getLogger(__name__)

_QUEUE_FULL = "queue_full"
_SHUTDOWN = "shutdown"
_MOST_BYTES = 128 * 1024 * 1024
"""Memory that the spans of one queue may take, the last of them not counted."""
_PATIENCE = 5.0
"""Seconds without a batch taken, after which nobody is asked to wait for room any more: others have waited with him."""


def _never() -> bool:
    return False


class DropCounts(Protocol):
    """Whoever counts what is lost; a `Ledger` is one."""

    def dropped(self, spans: int, reason: str) -> None:
        """Count spans that were given up."""
        ...


class _CountingExporter(SpanExporter):
    """Tells the guard which spans left the queue, then exports; whoever holds `moving` sees nothing in between."""

    def __init__(
        self, inner: SpanExporter, taken: weakref.WeakMethod[Callable[[Sequence[ReadableSpan]], None]]
    ) -> None:
        self._inner = inner
        self._taken = taken
        self.moving = threading.Lock()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        taken = self._taken()
        with self.moving:
            if taken is not None:
                taken(spans)
            return self._inner.export(spans)

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)


class GuardedBatching(SpanProcessor):
    """A `BatchSpanProcessor` before `exporter`; what a full queue turns away is counted in `counts`.

    `queue_size` and `batch_size` are spans, `delay` is milliseconds. `keeps` says whether what is exported now survives
    the process: then it is worth exporting before its time.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        counts: DropCounts,
        *,
        queue_size: int,
        batch_size: int,
        delay: int,
        keeps: Callable[[], bool] = _never,
    ) -> None:
        self._counts = counts
        self._keeps = keeps
        self._capacity = queue_size
        self._queued = self._bytes = 0
        self._full_since: float | None = None
        self._processed: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._ended = False
        self._exporter = _CountingExporter(exporter, weakref.WeakMethod(self._took))
        self._inner = _batching(self._exporter, queue_size, min(batch_size, queue_size), delay)
        self._wake_clock = doze(self._inner)
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    @property
    def capacity(self) -> int:
        """Spans that may wait."""
        return self._capacity

    @property
    def queued(self) -> int:
        """Spans that wait for the next batch."""
        return self._queued

    @property
    def is_busy(self) -> bool:
        """Whether spans wait, or are being exported."""
        return self._queued > 0 or self._exporter.moving.locked()

    @property
    def processed(self) -> dict[str, int]:
        """Spans that left the queue, since this process began: under an empty word those handed on, else by reason."""
        with self._lock:
            return dict(self._processed)

    @contextmanager
    def at_rest(self, patience: float) -> Iterator[bool]:
        """In the block no batch is on its way to the exporter; False if one still is after `patience` seconds."""
        held = self._exporter.moving.acquire(timeout=patience)
        try:
            yield held
        finally:
            if held:
                self._exporter.moving.release()

    @property
    def has_room(self) -> bool:
        """Whether a span need not wait: there is room for it, or none is to be expected soon."""
        if self._ended or self._takes_one_more():
            self._full_since = None
            return True
        now = monotonic()
        if self._full_since is None:
            self._full_since = now
        return now - self._full_since > _PATIENCE

    def turn_away(self, reason: str) -> None:
        """Count a span that will not be handed over."""
        with self._lock:
            self._processed[reason] += 1
        self._counts.dropped(1, reason)

    def pass_on(self, *, now: bool) -> None:
        """Export what is queued: `now`, on this thread, if that keeps it and no other batch is being exported.

        Else the queue's own thread does when its delay is over.
        """
        if now and self._queued and not self._ended and not self._exporter.moving.locked() and self._keeps():
            self._inner.force_flush()
        if self._queued:
            self._wake_clock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing happens at the start of a span."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue the span, or count it as dropped where the queue is full."""
        weight = weight_of_finished(span)
        with self._lock:
            reason = _SHUTDOWN if self._ended else None if self._takes_one_more() else _QUEUE_FULL
            if reason is None:
                self._queued += 1
                self._bytes += weight
        if reason is None:
            self._inner.on_end(span)
        else:
            self.turn_away(reason)

    def shutdown(self) -> None:
        """Export what is queued and stop; what the SDK has left in its queue then is counted as dropped."""
        with self._lock:
            self._ended = True
        self._inner.shutdown()
        with self._lock:
            left, self._queued, self._bytes = self._queued, 0, 0
            self._processed[_SHUTDOWN] += left
        if left:
            self._counts.dropped(left, _SHUTDOWN)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Export what is queued."""
        return self._inner.force_flush(timeout_millis)

    def reset_after_fork(self) -> None:
        """The SDK empties a forked child's queue: what waited is the parent's."""
        self._lock = threading.RLock()
        self._exporter.moving = threading.Lock()
        self._queued = self._bytes = 0
        self._full_since = None
        self._processed.clear()

    def _takes_one_more(self) -> bool:
        return self._queued < self._capacity and self._bytes < _MOST_BYTES

    def _took(self, spans: Sequence[ReadableSpan]) -> None:
        weight = sum(map(weight_of_finished, spans))
        with self._lock:
            self._queued = max(0, self._queued - len(spans))
            self._bytes = max(0, self._bytes - weight) if self._queued else 0
            self._full_since = None
            self._processed[""] += len(spans)


def _batching(exporter: SpanExporter, queue_size: int, batch_size: int, delay: int) -> SpanProcessor:
    """The SDK's queue, whose thread begins at once; where the system gives none, spans are exported as they end."""
    try:
        processor = BatchSpanProcessor(
            exporter, max_queue_size=queue_size, schedule_delay_millis=delay, max_export_batch_size=batch_size
        )
    except RuntimeError as error:
        _logger.warning(
            "There is no thread for batches of spans (%s): each is handed over as it ends, on the program's own "
            "thread. Most likely this user's limit of processes is reached (ulimit -u): raise it.",
            error,
        )
        return SimpleSpanProcessor(exporter)
    return processor
