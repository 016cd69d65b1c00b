"""Spans of the latest batches, as objects beside their bytes on disk.

What this process appends it mostly delivers itself, a moment later. A backend that wants another form than OTLP then
need not read the bytes back, and nobody reads them from the disk. Bounded by the bytes of the batches; what is not at
hand is read.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from otel_llm.clock import monotonic

if TYPE_CHECKING:
    from otel_llm.contracts import Batch

__all__ = ["SpansAtHand"]

_MOST_BYTES: Final = 16 * 1024 * 1024
"""While backends answer: about what a core makes in a second. Reading a batch back costs as much as sending it."""
_MOST_UNANSWERED: Final = 4 * 1024 * 1024
"""While none does: it is away, or another process delivers."""
_NEXT_SECONDS: Final = 10.0
"""How long a batch is expected to be taken soon, and an answer to be followed by another."""


class SpansAtHand:
    """By the row of the log that holds their bytes. Used by one thread at a time.

    Rows are taken in the order in which they came: where there is no more room, the ones that are here stay, because
    they are next. Those that nobody has taken for a while give way: their backend is away.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES, most_unanswered: int = _MOST_UNANSWERED) -> None:
        self._most_bytes = most_bytes
        self._most_unanswered = min(most_unanswered, most_bytes)
        self._answered_at = float("-inf")
        self._batches: OrderedDict[int, tuple[Batch, float]] = OrderedDict()
        """With the time until which a batch does not give way (monotonic seconds)."""
        self._bytes = 0

    def keep(self, row: int, batch: Batch, now: float | None = None) -> None:
        """Remember the spans of a batch that was stored in `row`, if there is room."""
        if not batch.spans:
            return
        now = monotonic() if now is None else now
        size = len(batch.payload)
        most = self._most_bytes if now - self._answered_at < _NEXT_SECONDS else self._most_unanswered
        while self._batches and self._bytes + size > most:
            oldest, (_, until) = next(iter(self._batches.items()))
            if until > now:
                break
            self._forget(oldest)
        if self._bytes + size <= most:
            self._batches[row] = batch, now + _NEXT_SECONDS
            self._bytes += size

    def batch(self, row: int, batch_id: object) -> Batch | None:
        """The batch that was stored in `row` under this id, where it is at hand."""
        found = self._batches.get(row)
        return found[0] if found is not None and found[0].id == batch_id else None

    def answered(self, row: int, now: float | None = None) -> None:
        """A backend has answered for the batch in `row`."""
        self._answered_at = monotonic() if now is None else now
        self._forget(row)

    def _forget(self, row: int) -> None:
        found = self._batches.pop(row, None)
        if found is not None:
            self._bytes -= len(found[0].payload)
