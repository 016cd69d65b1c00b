"""Batches that wait in memory: when the disk cannot take them, or was not asked to. Bounded by bytes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING

from otel_llm.delivery.parking import backend_of, parked_name
from otel_llm.delivery.spool_counts import CREATED, DELIVERED, DROPPED, REJECTED, Tally
from otel_llm.delivery.spool_log import merged
from otel_llm.delivery.spool_types import Appended, Parcel

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from otel_llm.contracts import Batch
    from otel_llm.delivery.parking import Share
    from otel_llm.delivery.spool_types import Failure, Reject

__all__ = ["Held", "MemoryQueue"]


class Held:
    """A batch in memory and the backends that have yet to answer for it."""

    __slots__ = ("batch", "moving", "sending", "waiting")

    def __init__(self, batch: Batch, waiting: set[str]) -> None:
        self.batch = batch
        self.waiting = waiting
        self.sending: set[str] = set()
        """Backends it is on its way to; it stays where it is until they have answered."""
        self.moving = False
        """It is being written to disk."""


class MemoryQueue:
    """A queue in memory with counts of its own. Safe to use from any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.RLock()
        self._held: dict[str, Held] = {}
        self._bytes = 0
        self._counts: Tally = Counter()
        self._last_delivery: dict[str, float] = {}
        self._failures: dict[str, Failure] = {}

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._held)

    def fits(self, batch: Batch) -> bool:
        """Whether `batch` can be put without dropping another."""
        return self._bytes + len(batch.payload) <= self._limit

    def put(self, batch: Batch, backends: Collection[str]) -> Appended:
        """Hold `batch` for `backends`, dropping the oldest that nobody is sending if there is no room."""
        with self._lock:
            for backend in backends:
                self._counts[backend, CREATED, ""] += batch.span_count
            held = self._hold(batch, set(backends))
            return Appended.MEMORY if held.batch.id in self._held else Appended.DROPPED

    def take(self, backend: str, max_bytes: int) -> Parcel | None:
        """The oldest batches that wait for `backend`, put together up to `max_bytes` (at least one)."""
        with self._lock:
            taken: list[Held] = []
            size = 0
            for held in self._held.values():
                if backend not in held.waiting or backend in held.sending or held.moving:
                    continue
                size += len(held.batch.payload)
                if taken and size > max_bytes:
                    break
                taken.append(held)
            for held in taken:
                held.sending.add(backend)
            if not taken:
                return None
            batches = [held.batch for held in taken]
            return Parcel(merged(batches), memory_ids=tuple(batch.id for batch in batches))

    def give_back(self, backend: str, parcel: Parcel) -> None:
        """The parcel was not delivered; let it be taken again."""
        with self._lock:
            for batch_id in parcel.memory_ids:
                held = self._held.get(batch_id)
                if held is not None:
                    held.sending.discard(backend)

    def settle(self, backend: str, parcel: Parcel, rejects: Sequence[Reject], shares: Sequence[Share] = ()) -> None:
        """`backend` has answered for all of `parcel`: it took everything but `rejects`, and `shares` wait on."""
        with self._lock:
            answered = 0
            for batch_id in parcel.memory_ids:
                held = self._held.get(batch_id)
                if held is not None:
                    answered += held.batch.span_count
                    held.sending.discard(backend)
                    held.waiting.discard(backend)
                    self._release(held)
            if not answered:  # given up, or written to disk, before the answer came
                return
            for share in shares:
                self._park(backend, share)
                answered -= share.batch.span_count
            for reject in rejects:
                self._counts[backend, REJECTED, reject.rejection.reason] += reject.span_count
                answered -= reject.span_count
            self._counts[backend, DELIVERED, ""] += answered
            self._failures.pop(backend, None)
            if answered > 0:
                self._last_delivery[backend] = time.time()

    def note_failure(self, backend: str, failure: Failure) -> None:
        """Keep why `backend` takes nothing, until it answers for something from here."""
        with self._lock:
            self._failures[backend] = failure

    def failure(self, backend: str) -> Failure | None:
        """Why `backend` takes nothing from here; None while it does, or nobody has tried."""
        with self._lock:
            return self._failures.get(backend)

    def count(self, backends: Collection[str], kind: str, reason: str, spans: int) -> None:
        """Add `spans` to one count of each of `backends`."""
        with self._lock:
            for backend in backends:
                self._counts[backend, kind, reason] += spans

    def add_counts(self, tally: Tally) -> None:
        """Add counts that were taken and could not be handed on."""
        with self._lock:
            self._counts.update(tally)

    def drop_all(self, reason: str) -> None:
        """Give up everything that is held, counted under `reason`."""
        with self._lock:
            for held in list(self._held.values()):
                self._drop(held, reason)

    # --- on the way to disk --------------------------------------------------------------------------------

    def begin_move(self, *, at_last: bool = False) -> list[Held]:
        """Batches that may be written to disk now; nobody else takes or moves them until `end_move`.

        `at_last` they all may, those that are being sent too: nobody will be there to hear the answer.
        """
        with self._lock:
            movable = [held for held in self._held.values() if (at_last or not held.sending) and not held.moving]
            for held in movable:
                held.moving = True
            return movable

    def end_move(self, moving: list[Held], *, moved: bool) -> None:
        """The batches are on disk, where they are counted from now on; or they are not, and stay."""
        with self._lock:
            for held in moving:
                held.moving = False
                if moved:
                    for backend in held.waiting:
                        self._counts[backend, CREATED, ""] -= held.batch.span_count
                    held.waiting.clear()
                    self._release(held)

    def has_settled_counts(self) -> bool:
        """Whether there are counts of spans whose fate is known."""
        with self._lock:
            waiting: Tally = Counter()
            for held in self._held.values():
                for backend in held.waiting:
                    waiting[backend, CREATED, ""] += held.batch.span_count
            return any(spans != waiting[key] for key, spans in self._counts.items())

    def take_settled_counts(self) -> Tally:
        """Remove and return the counts of all spans whose fate is known, leaving those that still wait here."""
        with self._lock:
            settled, self._counts = self._counts, Counter()
            for held in self._held.values():
                for backend in held.waiting:
                    settled[backend, CREATED, ""] -= held.batch.span_count
                    self._counts[backend, CREATED, ""] += held.batch.span_count
            return Counter({key: spans for key, spans in settled.items() if spans})

    # --- looking -------------------------------------------------------------------------------------------

    def tally(self) -> Tally:
        """All counts since they were last taken."""
        with self._lock:
            return Counter(self._counts)

    def waits_for(self, backend: str) -> bool:
        """Whether something here waits for `backend`."""
        with self._lock:
            return any(backend in held.waiting for held in self._held.values())

    def waiting_spans(self, backend: str) -> int:
        """Spans here that wait for `backend`."""
        with self._lock:
            return sum(held.batch.span_count for held in self._held.values() if backend in held.waiting)

    def oldest_waiting(self, backend: str) -> float | None:
        """When the oldest batch here that waits for `backend` was closed (Unix seconds)."""
        with self._lock:
            return next((h.batch.created_at for h in self._held.values() if backend in h.waiting), None)

    def names(self) -> set[str]:
        """Of all that something here waits for."""
        with self._lock:
            return {name for held in self._held.values() for name in held.waiting}

    def last_delivery(self, backend: str) -> float | None:
        """When `backend` last answered for spans from here (Unix seconds)."""
        with self._lock:
            return self._last_delivery.get(backend)

    # --- inside --------------------------------------------------------------------------------------------

    def _hold(self, batch: Batch, waiting: set[str]) -> Held:
        self._held[batch.id] = held = Held(batch, waiting)
        self._bytes += len(batch.payload)
        for old in [h for h in self._held.values() if not h.sending and not h.moving]:
            if self._bytes <= self._limit:
                break
            self._drop(old, "memory_full")
        return held

    def _park(self, backend: str, share: Share) -> None:
        """Let a part of what `backend` was sent wait for one of its workspaces; it is counted there from now on."""
        name = parked_name(backend_of(backend), share.workspace)
        self._counts[backend, CREATED, ""] -= share.batch.span_count
        self._counts[name, CREATED, ""] += share.batch.span_count
        self._hold(share.batch, {name})

    def _drop(self, held: Held, reason: str) -> None:
        for backend in held.waiting:
            self._counts[backend, DROPPED, reason] += held.batch.span_count
        held.waiting.clear()
        self._release(held)

    def _release(self, held: Held) -> None:
        if not held.waiting and self._held.pop(held.batch.id, None) is not None:
            self._bytes -= len(held.batch.payload)
