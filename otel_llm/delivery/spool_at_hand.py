"""Spans of the latest batches, as objects beside their bytes on disk.

What this process appends it mostly delivers itself, a moment later. A backend that wants another form than OTLP then
need not read the bytes back. Bounded by the bytes of the batches; what is not at hand is read.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from otel_llm.contracts import Batch

__all__ = ["SpansAtHand"]

_MOST_BYTES: Final = 4 * 1024 * 1024


class SpansAtHand:
    """By the row of the log that holds their bytes. Used by one thread at a time."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._batches: OrderedDict[int, Batch] = OrderedDict()
        self._bytes = 0

    def keep(self, row: int, batch: Batch) -> None:
        """Remember the spans of a batch that was stored in `row`; the oldest ones go when there are too many."""
        if not batch.spans:
            return
        self._batches[row] = batch
        self._bytes += len(batch.payload)
        while self._bytes > self._most_bytes:
            _, forgotten = self._batches.popitem(last=False)
            self._bytes -= len(forgotten.payload)

    def with_spans(self, row: int, stored: Batch) -> Batch:
        """`stored`, which was read from `row`, with its spans where they are at hand."""
        found = self._batches.get(row)
        if found is None or found.id != stored.id:
            return stored
        return replace(stored, spans=found.spans)

    def forget(self, row: int) -> None:
        """A backend has answered for the batch in `row`."""
        found = self._batches.pop(row, None)
        if found is not None:
            self._bytes -= len(found.payload)
