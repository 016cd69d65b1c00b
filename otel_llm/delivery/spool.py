"""The spool: every batch is durably ours before anybody tries to deliver it. `docs/spool.md` states the promise.

    spool = Spool(spool_directory(state_directory, "my-service"), SpoolSettings())
    spool.register(["opik"])
    spool.append(batch)            # Appended.DISK: survives the death of this process

One SQLite file serves all processes and all backends of a service. `spool_keeper` handles what can go wrong with it: a
full or read-only disk (batches wait in memory, one warning, recovery by itself), a damaged file (set aside, what can be
read is saved, the rest is counted), a lock held too long (memory, then disk). Forks are handled here.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

from otel_llm.clock import monotonic
from otel_llm.delivery.parking import backend_of, belongs_to, workspace_of
from otel_llm.delivery.spool_counts import CREATED, DROPPED, DiskView, Tally, earliest, latest, ledger_report
from otel_llm.delivery.spool_files import file_identity, set_aside_files
from otel_llm.delivery.spool_fork import watch_forks
from otel_llm.delivery.spool_keeper import SpoolKeeper, Unavailable
from otel_llm.delivery.spool_memory import MemoryQueue
from otel_llm.delivery.spool_schema import Trouble
from otel_llm.delivery.spool_types import Appended, BackendReport, Failure, Parcel, Parked, SpoolReport, SpoolSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from otel_llm.contracts import Batch
    from otel_llm.delivery.parking import Share
    from otel_llm.delivery.spool_types import Quarantined, Reject

__all__ = ["Spool"]

logger = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds that the courier's threads wait for the log; nobody's call hangs on them."""
_LAST_PATIENCE = 10.0
"""Seconds that close waits for its turn to write: who is at it may have no time on a busy machine, or be stopped."""
_MEMORY_TRY_SECONDS = 1.0
_NEXT_TRY_SECONDS = 0.005
_EXPIRE_EVERY = 60.0
_BALANCE_EVERY = 600.0
_NEVER = None, None
"""Last delivery and failure of what is not known yet."""
_SHRINK_ABOVE = 32 * 1024 * 1024

_left_open_by_fork: list[object] = []
"""Logs that were open while a fork went past Python's hooks: neither used nor closed, see `spool_fork`."""


class Spool(SpoolKeeper):
    """The batches of one service that wait for delivery. Safe to use from any thread; never raises what disks do.

    `directory` is this spool's own directory (see `spool_directory`); it is made, private, with the first batch.
    Without `announce` trouble with the disk is no line in the log.
    """

    def __init__(self, directory: Path, settings: SpoolSettings | None = None, *, announce: bool = True) -> None:
        super().__init__(directory, settings or SpoolSettings(), announce=announce)
        self._expired_at = self._balanced_at = float("-inf")
        self._start()
        watch_forks(self)

    def _start(self) -> None:
        """What a process has of its own."""
        self._begin()
        self._fork_holds_lock = False
        self._memory = MemoryQueue(self.settings.memory_bytes)
        self._last_seq = 0
        self._ours_on_disk: Counter[str] = Counter()
        self._to_disk = self.settings.mode == "always"
        """Whether batches go to disk now; under `overflow` that changes."""

    def register(self, backends: Iterable[str]) -> None:
        """From now on, every batch waits for each of `backends` (by name)."""
        self._backends = tuple(dict.fromkeys(backends))

    # --- coming in ---------------------------------------------------------------------------------------

    def append(self, batch: Batch) -> Appended:
        """Keep `batch` for all registered backends.

        `DISK` means that it survives the death of this process. `MEMORY` means that the disk could not take it
        within `lock_timeout`; it is written as soon as that works. `DROPPED` is counted, with its reason.
        """
        if not self._backends:
            return Appended.DROPPED
        if not self._to_disk and (self.settings.mode == "off" or self._memory.fits(batch)):
            return self._memory.put(batch, self._backends)
        self._to_disk = True
        recovered_at = self._recovered_at
        answer = self._persist(batch, self.settings.lock_timeout)
        if answer is None and self._recovered_at != recovered_at:  # there is a new file now
            answer = self._persist(batch, self.settings.lock_timeout)
        if answer is None:
            return self._memory.put(batch, self._backends)
        sync = self._sync
        if sync is not None:
            sync.sync_if_due()
        return answer

    def count_dropped(self, spans: int, reason: str) -> None:
        """Count spans that ended but never became a batch, for every registered backend."""
        self._memory.count(self._backends, CREATED, "", spans)
        self._memory.count(self._backends, DROPPED, reason, spans)

    def _persist(self, batch: Batch | None, patience: float, *, at_last: bool = False) -> Appended | None:
        """Write what waits in memory, then `batch`; None if the log cannot be used now."""
        moving = self._memory.begin_move(at_last=at_last)
        items = [(held.batch, tuple(held.waiting)) for held in moving]
        if batch is not None:
            items.append((batch, self._backends))
        try:
            if not items:
                return None
            with self._using_log(patience, create=True) as log:
                answers = log.append(items, self._origin)
                if file_identity(self._path) != log.identity:  # moved aside by another process meanwhile
                    return None
                self._memory.end_move(moving, moved=True)  # under the lock: nobody sees a batch in both places
                moving = []
                self._last_seq = max(self._last_seq, log.last_appended)
                for stored, names in items:
                    self._ours_on_disk.update(dict.fromkeys(names, stored.span_count))
                self._note_written(sum(len(stored.payload) for stored, _ in items))
                return answers[-1]
        except Unavailable:
            return None
        finally:
            self._memory.end_move(moving, moved=False)

    def _note_written(self, size: int) -> None:
        if self._sync is not None:
            self._sync.wrote(size)
        self._note_that_it_works()

    # --- going out ---------------------------------------------------------------------------------------

    def take(self, backend: str, max_bytes: int, *, from_disk: bool = True, after: int = 0) -> Parcel | None:
        """The oldest batches that wait for `backend`, up to `max_bytes` (at least one); None if there are none.

        `from_disk` is for whoever holds the lease on this backend. `after` leaves out rows of the log up to that
        sequence number.
        """
        if from_disk:
            with contextlib.suppress(Unavailable), self._using_log(_PATIENCE) as log:
                parcel = log.take(backend, max_bytes, after)
                if parcel is not None:
                    return parcel
        if self._to_disk and self._trouble is None:
            return None  # what is in memory is on its way to the disk
        return self._memory.take(backend, max_bytes)

    def settle(
        self, backend: str, parcel: Parcel, rejects: Sequence[Reject] = (), shares: Sequence[Share] = ()
    ) -> bool:
        """Record that `backend` took all of `parcel` but `rejects`; False if that could not be recorded now.

        What `shares` holds was not taken either: it waits from now on for a workspace, under its `parked_name`.
        """
        if parcel.memory_ids:
            self._memory.settle(backend, parcel, rejects, shares)
            return True
        try:
            with self._using_log(_PATIENCE) as log:
                log.settle(backend, parcel, rejects, shares)
                if self._sync is not None:
                    self._sync.wrote(1)
                return True
        except Unavailable:
            return False

    def give_back(self, backend: str, parcel: Parcel) -> None:
        """The parcel was not delivered; it stays where it was, to be taken again."""
        self._memory.give_back(backend, parcel)

    def parked(self, backend: str, *, from_disk: bool = True) -> list[str]:
        """The names under which something waits for a workspace of `backend`; `from_disk` as for `take`."""
        found = belongs_to(backend, self._memory.names())
        if from_disk:
            with contextlib.suppress(Unavailable), self._using_log(_PATIENCE) as log:
                found += log.parked(backend)
        return list(dict.fromkeys(found))

    def postpone(self, backend: str, parcel: Parcel, seconds: float) -> None:
        """Set rows of the log aside for a while: they fail though others go through."""
        with contextlib.suppress(Unavailable), self._using_log(_PATIENCE) as log:
            log.postpone(backend, parcel, seconds)

    def note_failure(self, backend: str, failure: Failure) -> None:
        """Keep why `backend` takes nothing now; under `overflow`, what is in memory goes to disk."""
        overflow = self.settings.mode == "overflow"
        if overflow:
            self._to_disk = True
        self._memory.note_failure(backend, failure)
        with contextlib.suppress(Unavailable), self._using_log(_PATIENCE, create=overflow) as log:
            log.note_failure(backend, failure)

    def record(self, backend: str, counts: Tally, last_delivery: float | None, trouble: str | None) -> bool:
        """Add counts of a backend that is served past the spool, and how it is; False if that cannot be done now."""
        with contextlib.suppress(Unavailable), self._using_log(_PATIENCE, create=True) as log:
            log.record(backend, counts, last_delivery, trouble)
            return True
        return False

    # --- care --------------------------------------------------------------------------------------------

    def tend(self) -> None:
        """What must be done now and then: memory to disk, sync, checkpoint, expiry. Called by the courier."""
        if self._to_disk and len(self._memory):
            self._persist(None, _PATIENCE)
        self._fold_counts()
        sync = self._sync
        if sync is not None:
            sync.sync_if_due()
            sync.checkpoint_if_due()
        if monotonic() - self._balanced_at > _BALANCE_EVERY:
            self._balance()
        if monotonic() - self._expired_at > _EXPIRE_EVERY:
            self._expired_at = monotonic()
            with contextlib.suppress(Unavailable), self._using_log(_PATIENCE) as log:
                while log.expire():
                    pass
                if log.room.used() * 4 < log.room.file_bytes() > _SHRINK_ABOVE:
                    log.shrink()
        if self.settings.mode == "overflow" and self._to_disk and not self.pending():
            self._to_disk = False

    def _balance(self) -> None:
        """Find out whether damage that SQLite did not notice has taken something away."""
        with contextlib.suppress(Unavailable), self._using_log(_PATIENCE) as log:
            self._balanced_at = monotonic()
            missing = {name: spans for name, spans in log.balance(self._backends).items() if spans > 0}
            if missing:
                lost = ", ".join(f"{spans} for {name}" for name, spans in missing.items())
                logger.warning("The spool in %s is damaged; spans in it are lost (%s).", self.directory, lost)

    def seconds_until_care(self) -> float | None:
        """Seconds until `tend` has something to do; None if nothing is known to be due."""
        if self._to_disk and (len(self._memory) or self._trouble is not None):
            return _MEMORY_TRY_SECONDS
        sync = self._sync
        return sync.seconds_until_due() if sync is not None else None

    def _fold_counts(self) -> None:
        """Add what was counted in memory to the counts on disk; after trouble this also tells whether it is over."""
        if not self._to_disk:
            return
        if not self._memory.has_settled_counts() and self._trouble is None:
            return
        with contextlib.suppress(Unavailable), self._using_log(_PATIENCE, create=True) as log:
            counts = self._memory.take_settled_counts()
            try:
                log.add_counts(counts)
            except BaseException:
                self._memory.add_counts(counts)
                raise
            if not len(self._memory):  # else it is over once those batches are written, which takes more room
                self._note_written(1)

    def close(self) -> None:
        """Write what is in memory and close the file. A later `append` opens it again."""
        if self.settings.mode == "off":
            self._memory.drop_all("shutdown")
        else:
            self._to_disk = True
            self._persist_at_last(monotonic() + _LAST_PATIENCE)
            if len(self._memory):
                logger.warning("The spool in %s cannot be written; what waits in memory is lost.", self.directory)
                self._memory.drop_all("shutdown")
            self._fold_counts()
        sync = self._sync
        if sync is not None and sync.seconds_until_due() is not None:
            sync.sync()
        with contextlib.suppress(Unavailable), self._holding_lock(_PATIENCE):
            self._close_log()

    def _persist_at_last(self, deadline: float) -> None:
        """Write what is in memory, however many others are writing just now; not where the disk takes nothing."""
        while len(self._memory) and self._persist(None, _PATIENCE, at_last=True) is None and self._trouble is None:
            if monotonic() > deadline:
                return
            time.sleep(_NEXT_TRY_SECONDS)

    # --- looking -----------------------------------------------------------------------------------------

    def mark(self) -> int | None:
        """A point in the stream of this process's batches, for `pending`; None means everything."""
        if self._to_disk and len(self._memory):
            self._persist(None, self.settings.lock_timeout)
        return None if len(self._memory) else self._last_seq

    @property
    def outlasts_process(self) -> bool:
        """Whether what waits will be on disk when the process has ended."""
        return self.settings.mode != "off" and self._trouble is None

    @property
    def writes_at_once(self) -> bool:
        """Whether what is handed over goes to disk first, and to backends from there."""
        return self.settings.mode == "always" and self.outlasts_process

    @property
    def owes_to_disk(self) -> bool:
        """Whether batches are in memory that a disk which works will have at the end of the process."""
        return self.outlasts_process and len(self._memory) > 0

    def pending(self, mark: int | None = None, backends: Iterable[str] | None = None) -> dict[str, int]:
        """Spans of this process, up to `mark`, that still wait, by backend; backends with none are left out.

        What was parked for a workspace counts under its own name, whatever the mark.
        """
        names = list(self._backends if backends is None else backends)
        for base in tuple(names):
            names += belongs_to(base, self._memory.names() | self._ours_on_disk.keys())
        if self._last_seq:
            with contextlib.suppress(Unavailable), self._using_log(_PATIENCE) as log:
                known = log.names()
                names = list(dict.fromkeys([*names, *(name for base in names for name in belongs_to(base, known))]))
                for name in names:  # should the log not be usable now, the last known number stands
                    upto = None if workspace_of(name) else mark
                    self._ours_on_disk[name] = log.waiting_spans(name, self._origin, upto)
        found = {name: self._memory.waiting_spans(name) + self._ours_on_disk[name] for name in names}
        return {name: spans for name, spans in found.items() if spans}

    def report(self) -> SpoolReport:
        """The spool at this moment: what is on disk, for all processes, and what this process has in memory."""
        with contextlib.suppress(Unavailable), self._holding_lock(_PATIENCE):  # so that nothing moves between the two
            return self._report()
        return self._report()  # as exact as can be: the lock is held for long, or by what a signal has interrupted

    def _report(self) -> SpoolReport:
        seen = self._look()
        tally: Tally = self._memory.tally()
        tally.update(seen.tally)
        names = {**dict.fromkeys(self._backends), **dict.fromkeys(seen.backends)}
        own = [name for name in names if not workspace_of(name) or backend_of(name) not in names]
        return SpoolReport(
            path=self.directory,
            mode=self.settings.mode,
            backends={name: self._report_on(name, seen, tally) for name in own},
            degraded=self._trouble.why if self._trouble else "",
            degraded_since=self._trouble_since,
            stored_bytes=seen.stored,
            capacity_bytes=seen.capacity,
            memory_bytes=self._memory.size,
            quarantined=seen.quarantined,
            set_aside=len(set_aside_files(self.directory)),
        )

    def _report_on(self, backend: str, seen: DiskView, tally: Tally) -> BackendReport:
        """A backend with all its workspaces."""
        workspaces = sorted({name for name, _, _ in tally if name != backend and backend_of(name) == backend})
        names = (backend, *workspaces)
        delivered = (seen.backends.get(name, _NEVER)[0] for name in names)
        found = (self._parked_report(name, seen, tally) for name in workspaces)
        parked = tuple(each for each in found if each.waiting)
        return BackendReport(
            ledger=ledger_report(tally, names, latest(*delivered, *map(self._memory.last_delivery, names))),
            oldest_waiting=self._oldest(backend, seen),
            failure=self._failure_of(backend, seen),
            parked=parked,
        )

    def _parked_report(self, name: str, seen: DiskView, tally: Tally) -> Parked:
        return Parked(
            workspace=workspace_of(name),
            waiting=ledger_report(tally, (name,), None).waiting,
            oldest_waiting=self._oldest(name, seen),
            failure=self._failure_of(name, seen),
        )

    def _oldest(self, name: str, seen: DiskView) -> float | None:
        return earliest(seen.oldest.get(name), self._memory.oldest_waiting(name))

    def _failure_of(self, name: str, seen: DiskView) -> Failure | None:
        on_disk = self.settings.mode != "off" and not self._trouble
        return seen.backends.get(name, _NEVER)[1] if on_disk else self._memory.failure(name)

    def _look(self) -> DiskView:
        """What is on disk; what was there when we last could look, if we cannot now."""
        with contextlib.suppress(Unavailable), self._using_log(_PATIENCE) as log:
            backends = log.backends()
            self._seen = DiskView(
                tally=log.tally(),
                backends=backends,
                oldest={name: log.oldest_waiting(name) for name in backends},
                stored=log.room.used(),
                capacity=log.room.capacity(),
                quarantined=log.archive.size(),
            )
        return self._seen

    def failure(self, name: str) -> Failure | None:
        """The failure that holds now for what waits under this name, whoever noted it."""
        return self._failure_of(name, self._look())

    def quarantined(self) -> list[Quarantined]:
        """Rejected and unreadable spans that were kept, oldest first."""
        with contextlib.suppress(Unavailable), self._using_log(_PATIENCE) as log:
            return log.archive.entries()
        return []

    # --- by hand -----------------------------------------------------------------------------------------

    def replay(
        self, backend: str, *, since: float = 0.0, until: float = float("inf"), quarantined: bool = False
    ) -> int:
        """Let stored batches closed in [since, until] (Unix seconds) wait for `backend`; return their spans.

        That is what waits for other backends, what `keep_delivered` kept, and, if asked for, what this backend
        had rejected.
        """
        with contextlib.suppress(Unavailable), self._using_log(_PATIENCE) as log:
            return log.replay(backend, since, until, quarantined=quarantined)
        return 0

    def forget(self, backend: str) -> None:
        """Give up what waits for a backend that is configured no more, counted as dropped (`backend_removed`)."""
        with contextlib.suppress(Unavailable), self._using_log(_PATIENCE) as log:
            log.forget(backend)

    # --- forks -------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Close the log, so that the child inherits none of SQLite's state."""
        self._fork_holds_lock = self._lock.acquire(timeout=_PATIENCE)
        if self._fork_holds_lock and not self._in_use:
            self._close_log()

    def after_fork_in_parent(self) -> None:
        """Go on; the log is opened again when it is needed."""
        if self._fork_holds_lock:
            self._fork_holds_lock = False
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """Begin with an empty memory; what the parent had queued stays the parent's."""
        if self._log is not None:
            _left_open_by_fork.extend((self._log, self._sync))
            self._log = self._sync = None
            self._cut_off = True
            self._trouble = Trouble("unusable", "This process was forked past Python's fork hooks.")
            self._trouble_since = time.time()
            logger.warning("%s It keeps its spans in memory.", self._trouble.why)
        self._start()
