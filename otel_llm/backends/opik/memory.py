"""What earlier batches told about traces whose root is still to come.

A long trace leaves in several batches: its LLM calls first, its root last. The trace's row is made from the
root, which often has no input and output of its own; this remembers those of the first and the last LLM call.
It is a help, not a source of truth: without it (after a restart) rows are complete but for these fields, and
`trace_rows.version` keeps such a row from replacing a fuller one.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["TraceMemory", "TraceNotes"]

MAX_TRACES: Final = 2_000
MAX_BYTES: Final = 8 * 1024 * 1024
_NOTE_BYTES: Final = 100


class TraceNotes:
    """What is known of one trace in one project."""

    def __init__(self) -> None:
        self.first_input: tuple[int, str, bytes] | None = None
        """Start (Unix ns), span id and input (JSON) of the LLM span that began first."""
        self.last_output: tuple[int, str, bytes] | None = None
        """End (Unix ns), span id and output (JSON) of the LLM span that ended last."""
        self.thread: tuple[int, str, str] | None = None
        """Start (Unix ns), span id and thread id of the earliest span that named one."""
        self.tags: set[str] = set()
        self.size = 0
        """Bytes, roughly, counted against `MAX_BYTES`."""

    def copy(self) -> TraceNotes:
        """Notes that can be added to without a change to these."""
        made = TraceNotes()
        made.__dict__.update(self.__dict__, tags=set(self.tags))
        return made


class TraceMemory:
    """Notes on the most recent traces, bounded by number and by bytes. Used by one thread."""

    def __init__(self, max_traces: int = MAX_TRACES, max_bytes: int = MAX_BYTES) -> None:
        self._max_traces = max_traces
        self._max_bytes = max_bytes
        self._notes: OrderedDict[Hashable, TraceNotes] = OrderedDict()
        self._millis: OrderedDict[bytes, int] = OrderedDict()
        self._bytes = 0

    def millis(self, trace_id: bytes, proposed: int) -> int:
        """The time of an unstamped foreign trace: the one settled on earlier, else `proposed`."""
        settled = self._millis.setdefault(trace_id, proposed)
        self._millis.move_to_end(trace_id)
        while len(self._millis) > self._max_traces:
            self._millis.popitem(last=False)
        return settled

    def settled(self, trace_id: bytes) -> int | None:
        """The time of an unstamped foreign trace that was settled on earlier; None for a trace never met."""
        return self._millis.get(trace_id)

    def knows(self, key: Hashable) -> bool:
        """Whether anything is known of a trace."""
        return key in self._notes

    def recall(self, key: Hashable) -> TraceNotes:
        """A copy of what is known of a trace; empty if nothing is."""
        found = self._notes.get(key)
        if found is None:
            return TraceNotes()
        return found.copy()

    def keep(self, key: Hashable, notes: TraceNotes) -> None:
        """Remember `notes`, and forget the oldest traces beyond the bounds."""
        told = [note[2] for note in (notes.first_input, notes.last_output, notes.thread) if note is not None]
        notes.size = sum(map(len, told)) + sum(map(len, notes.tags)) + _NOTE_BYTES
        old = self._notes.pop(key, None)
        self._bytes += notes.size - (old.size if old is not None else 0)
        self._notes[key] = notes
        while self._notes and (self._bytes > self._max_bytes or len(self._notes) > self._max_traces):
            _, forgotten = self._notes.popitem(last=False)
            self._bytes -= forgotten.size
