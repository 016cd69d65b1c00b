"""The channel of test kits: spans stay in memory, whatever backends the settings name.

While a capture is in force (`divert_to`), every pipeline that starts in this process keeps its spans here. So a
program under test may call `configure()` as it does in production, and nothing of it leaves the process.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

from otel_llm.control.channels import ChannelReport
from otel_llm.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.control.channels import Channel

__all__ = ["CapturedSpans", "capture_in_force", "divert_to"]


class CapturedSpans(SpanProcessor):
    """Keeps every span that it is handed, in the order in which they ended; a channel of its own.

    Spans have been through the whole pipeline: identity, content policy, limits and redaction included.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._spans: list[ReadableSpan] = []
        self._ledger = Ledger("memory")
        self.before_reading: Callable[[], object] = lambda: None
        """Has what has ended handed over."""

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """What was handed over so far."""
        self.before_reading()
        with self._lock:
            return tuple(self._spans)

    def clear(self) -> None:
        """Forget what was handed over so far."""
        with self._lock:
            self._spans.clear()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep `span`."""
        with self._lock:
            self._spans.append(span)
        self._ledger.delivered(1)

    # --- as a channel ----------------------------------------------------------------------------------------

    @property
    def processor(self) -> SpanProcessor:
        """Where ended spans are handed over."""
        return self

    @property
    def ledgers(self) -> Sequence[Ledger]:
        """What was created here is delivered at once."""
        return [self._ledger]

    @property
    def gate(self) -> None:
        """Nothing ever waits."""
        return

    @property
    def in_memory(self) -> bool:
        """Where else: but nothing is on its way elsewhere."""
        return False

    def flush(self, timeout: float) -> int:  # noqa: ARG002  (nothing ever waits)
        """Nothing waits."""
        return 0

    def reports(self) -> list[ChannelReport]:
        """Counts of the spans that were kept."""
        return [ChannelReport(ledger=self._ledger.report(), durable=False)]

    def hurry(self, timeout: float) -> None:
        """Nothing to hurry."""

    def keep(self, timeout: float) -> None:
        """Nothing to keep: it lives in memory on purpose."""

    def close(self, timeout: float) -> None:
        """Nothing to close: what was kept can still be read."""


_in_force: list[Channel] = []


def capture_in_force() -> Channel | None:
    """The channel that takes the place of all backends now; None outside of tests."""
    return _in_force[-1] if _in_force else None


@contextmanager
def divert_to(channel: Channel) -> Iterator[None]:
    """Pipelines that start while this lasts have `channel` for their only one. May be nested."""
    _in_force.append(channel)
    try:
        yield
    finally:
        _in_force.remove(channel)
