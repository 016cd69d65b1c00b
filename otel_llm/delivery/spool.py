"""The spool: every batch is durably ours before anybody tries to deliver it. `docs/spool.md` states the promise.

    spool = Spool(spool_directory(state_directory, "my-service"), SpoolSettings())
    spool.register(["opik"])
    spool.append(batch)            # Appended.DISK: survives the death of this process

One SQLite file serves all processes and all backends of a service. What is below handles what can go wrong with it:
a full or read-only disk (batches wait in memory, one warning, recovery by itself), a damaged file (set aside, what
can be read is saved, the rest is counted), a lock held too long (memory, then disk), and forks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
import time
import uuid
from collections import Counter
from typing import TYPE_CHECKING

from otel_llm.delivery.spool_counts import CREATED, DROPPED, DiskView, Tally, earliest, latest, ledger_report
from otel_llm.delivery.spool_files import LOG_NAME, file_identity, prepare, set_aside, set_aside_files, was_set_aside
from otel_llm.delivery.spool_fork import watch_forks
from otel_llm.delivery.spool_log import SpoolLog
from otel_llm.delivery.spool_memory import MemoryQueue
from otel_llm.delivery.spool_salvage import salvage, salvage_file
from otel_llm.delivery.spool_schema import Trouble, UnknownVersionError, diagnose
from otel_llm.delivery.spool_sync import DiskSync
from otel_llm.delivery.spool_types import Appended, BackendReport, Failure, Parcel, SpoolReport, SpoolSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from otel_llm.contracts import Batch
    from otel_llm.delivery.spool_types import Quarantined, Reject

__all__ = ["Spool"]

logger = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds that the courier's threads, and close, wait for the log; nobody's call hangs on them."""
_RETRY_SECONDS = 1.0
_NEXT_TRY_SECONDS = 0.005
_RECOVERIES_APART = 10.0
"""Seconds between two recoveries of a damaged file; a disk that damages faster is left alone for a while."""
_EXPIRE_EVERY = 60.0
_SHRINK_ABOVE = 32 * 1024 * 1024

_left_open_by_fork: list[object] = []
"""Logs that were open while a fork went past Python's hooks: neither used nor closed, see `spool_fork`."""


class _Unavailable(Exception):  # noqa: N818  (never leaves this module; it is a state, not a fault)
    """The log cannot be used just now."""


class Spool:
    """The batches of one service that wait for delivery. Safe to use from any thread; never raises what disks do.

    `directory` is this spool's own directory (see `spool_directory`); it is made, private, with the first batch.
    Without `announce` trouble with the disk is no line in the log.
    """

    def __init__(self, directory: Path, settings: SpoolSettings | None = None, *, announce: bool = True) -> None:
        self.directory = directory
        self._announce = announce
        self.settings = settings or SpoolSettings()
        self._path = directory / LOG_NAME
        self._backends: tuple[str, ...] = ()
        self._log: SpoolLog | None = None
        self._sync: DiskSync | None = None
        self._trouble: Trouble | None = None
        self._trouble_since: float | None = None
        self._retry_at = float("-inf")
        self._recovered_at = float("-inf")
        self._expired_at = float("-inf")
        self._cut_off = False
        self._start()
        watch_forks(self)

    def _start(self) -> None:
        """What a process has of its own."""
        self._lock = threading.RLock()
        self._in_use = False
        self._fork_holds_lock = False
        self._memory = MemoryQueue(self.settings.memory_bytes)
        self._origin = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._last_seq = 0
        self._ours_on_disk: Counter[str] = Counter()
        self._seen = DiskView()
        self._to_save: tuple[Path, Trouble] | None = None
        """A damaged file that was set aside, of which nothing was saved yet."""
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

    def _persist(self, batch: Batch | None, patience: float) -> Appended | None:
        """Write what waits in memory, then `batch`; None if the log cannot be used now."""
        moving = self._memory.begin_move()
        items = [(held.batch, tuple(held.waiting)) for held in moving]
        if batch is not None:
            items.append((batch, self._backends))
        moved = False
        try:
            if not items:
                return None
            with self._using_log(patience, create=True) as log:
                answers = log.append(items, self._origin)
                if file_identity(self._path) != log.identity:  # moved aside by another process meanwhile
                    return None
                moved = True
                self._last_seq = max(self._last_seq, log.last_appended)
                for stored, names in items:
                    self._ours_on_disk.update(dict.fromkeys(names, stored.span_count))
                self._note_written(sum(len(stored.payload) for stored, _ in items))
                return answers[-1]
        except _Unavailable:
            return None
        finally:
            self._memory.end_move(moving, moved=moved)

    def _note_written(self, size: int) -> None:
        if self._sync is not None:
            self._sync.wrote(size)
        if self._trouble is not None:
            if self._announce:
                logger.info("The spool in %s works again.", self.directory)
            self._trouble = self._trouble_since = None

    # --- going out ---------------------------------------------------------------------------------------

    def take(self, backend: str, max_bytes: int, *, from_disk: bool = True, after: int = 0) -> Parcel | None:
        """The oldest batches that wait for `backend`, up to `max_bytes` (at least one); None if there are none.

        `from_disk` is for whoever holds the lease on this backend. `after` leaves out rows of the log up to that
        sequence number.
        """
        if from_disk:
            with contextlib.suppress(_Unavailable), self._using_log(_PATIENCE) as log:
                parcel = log.take(backend, max_bytes, after)
                if parcel is not None:
                    return parcel
        if self._to_disk and self._trouble is None:
            return None  # what is in memory is on its way to the disk
        return self._memory.take(backend, max_bytes)

    def settle(self, backend: str, parcel: Parcel, rejects: Sequence[Reject] = ()) -> bool:
        """Record that `backend` took all of `parcel` but `rejects`; False if that could not be recorded now."""
        if parcel.memory_ids:
            self._memory.settle(backend, parcel, rejects)
            return True
        try:
            with self._using_log(_PATIENCE) as log:
                log.settle(backend, parcel, rejects)
                if self._sync is not None:
                    self._sync.wrote(1)
                return True
        except _Unavailable:
            return False

    def give_back(self, backend: str, parcel: Parcel) -> None:
        """The parcel was not delivered; it stays where it was, to be taken again."""
        self._memory.give_back(backend, parcel)

    def postpone(self, backend: str, parcel: Parcel, seconds: float) -> None:
        """Set rows of the log aside for a while: they fail though others go through."""
        with contextlib.suppress(_Unavailable), self._using_log(_PATIENCE) as log:
            log.postpone(backend, parcel, seconds)

    def note_failure(self, backend: str, failure: Failure) -> None:
        """Keep why `backend` takes nothing now; under `overflow`, what is in memory goes to disk."""
        if self.settings.mode == "overflow":
            self._to_disk = True
        self._memory.note_failure(backend, failure)
        with contextlib.suppress(_Unavailable), self._using_log(_PATIENCE) as log:
            log.note_failure(backend, failure)

    def record(self, backend: str, counts: Tally, last_delivery: float | None, trouble: str | None) -> bool:
        """Add counts of a backend that is served past the spool, and how it is; False if that cannot be done now."""
        with contextlib.suppress(_Unavailable), self._using_log(_PATIENCE, create=True) as log:
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
        if time.monotonic() - self._expired_at > _EXPIRE_EVERY:
            self._expired_at = time.monotonic()
            with contextlib.suppress(_Unavailable), self._using_log(_PATIENCE) as log:
                while log.expire():
                    pass
                if log.room.used() * 4 < log.room.file_bytes() > _SHRINK_ABOVE:
                    log.shrink()
        if self.settings.mode == "overflow" and self._to_disk and not self.pending():
            self._to_disk = False

    def seconds_until_care(self) -> float | None:
        """Seconds until `tend` has something to do; None if nothing is known to be due."""
        if self._to_disk and (len(self._memory) or self._trouble is not None):
            return _RETRY_SECONDS
        sync = self._sync
        return sync.seconds_until_due() if sync is not None else None

    def _fold_counts(self) -> None:
        """Add what was counted in memory to the counts on disk; after trouble this also tells whether it is over."""
        if not self._to_disk:
            return
        counts = self._memory.take_settled_counts()
        if not counts and self._trouble is None:
            return
        try:
            with self._using_log(_PATIENCE, create=True) as log:
                log.add_counts(counts)
                if not len(self._memory):  # else it is over once those batches are written, which takes more room
                    self._note_written(1)
        except _Unavailable:
            self._memory.add_counts(counts)

    def close(self) -> None:
        """Write what is in memory and close the file. A later `append` opens it again."""
        if self.settings.mode == "off":
            self._memory.drop_all("shutdown")
        else:
            self._to_disk = True
            self._persist_at_last(time.monotonic() + _PATIENCE)
            if len(self._memory):
                logger.warning("The spool in %s cannot be written; what waits in memory is lost.", self.directory)
                self._memory.drop_all("shutdown")
            self._fold_counts()
        sync = self._sync
        if sync is not None and sync.seconds_until_due() is not None:
            sync.sync()
        with contextlib.suppress(_Unavailable), self._holding_lock(_PATIENCE):
            self._close_log()

    def _persist_at_last(self, deadline: float) -> None:
        """Write what is in memory, however many others are writing just now; not where the disk takes nothing."""
        while len(self._memory) and self._persist(None, _PATIENCE) is None and self._trouble is None:
            if time.monotonic() > deadline:
                return
            time.sleep(_NEXT_TRY_SECONDS)

    # --- looking -----------------------------------------------------------------------------------------

    def mark(self) -> int | None:
        """A point in the stream of this process's batches, for `pending`; None means everything."""
        if self._to_disk and len(self._memory):
            self._persist(None, self.settings.lock_timeout)
        return None if len(self._memory) else self._last_seq

    def pending(self, mark: int | None = None, backends: Iterable[str] | None = None) -> dict[str, int]:
        """Spans of this process, up to `mark`, that still wait, by backend; backends with none are left out."""
        names = self._backends if backends is None else tuple(backends)
        if self._last_seq:
            with contextlib.suppress(_Unavailable), self._using_log(_PATIENCE) as log:
                for name in names:  # should the log not be usable now, the last known number stands
                    self._ours_on_disk[name] = log.waiting_spans(name, self._origin, mark)
        found = {name: self._memory.waiting_spans(name) + self._ours_on_disk[name] for name in names}
        return {name: spans for name, spans in found.items() if spans}

    def report(self) -> SpoolReport:
        """The spool at this moment: what is on disk, for all processes, and what this process has in memory."""
        seen = self._look()
        tally: Tally = self._memory.tally()
        tally.update(seen.tally)
        backends = {**dict.fromkeys(self._backends, (None, None)), **seen.backends}
        return SpoolReport(
            path=self.directory,
            mode=self.settings.mode,
            backends={
                name: BackendReport(
                    ledger=ledger_report(tally, name, latest(delivered, self._memory.last_delivery(name))),
                    oldest_waiting=earliest(seen.oldest.get(name), self._memory.oldest_waiting(name)),
                    failure=failure
                    if self.settings.mode != "off" and not self._trouble
                    else self._memory.failure(name),
                )
                for name, (delivered, failure) in backends.items()
            },
            degraded=self._trouble.why if self._trouble else "",
            degraded_since=self._trouble_since,
            stored_bytes=seen.stored,
            capacity_bytes=seen.capacity,
            memory_bytes=self._memory.size,
            quarantined=seen.quarantined,
            set_aside=len(set_aside_files(self.directory)),
        )

    def _look(self) -> DiskView:
        """What is on disk; what was there when we last could look, if we cannot now."""
        with contextlib.suppress(_Unavailable), self._using_log(_PATIENCE) as log:
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

    def quarantined(self) -> list[Quarantined]:
        """Rejected and unreadable spans that were kept, oldest first."""
        with contextlib.suppress(_Unavailable), self._using_log(_PATIENCE) as log:
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
        with contextlib.suppress(_Unavailable), self._using_log(_PATIENCE) as log:
            return log.replay(backend, since, until, quarantined=quarantined)
        return 0

    def forget(self, backend: str) -> None:
        """Give up what waits for a backend that is configured no more, counted as dropped (`backend_removed`)."""
        with contextlib.suppress(_Unavailable), self._using_log(_PATIENCE) as log:
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

    # --- the log, and what can happen to it ----------------------------------------------------------------

    @contextlib.contextmanager
    def _holding_lock(self, patience: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=patience):
            raise _Unavailable
        try:
            if self._in_use:  # a signal handler came in while this very thread was at it
                raise _Unavailable
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _using_log(self, patience: float, *, create: bool = False) -> Iterator[SpoolLog]:
        """The open log, for this thread alone; _Unavailable if there is none or something goes wrong with it."""
        if self.settings.mode == "off" or self._cut_off:
            raise _Unavailable
        with self._holding_lock(patience):
            self._in_use = True
            try:
                yield self._opened(create=create)
            except (sqlite3.Error, OSError, UnknownVersionError) as error:
                self._react(error)
                raise _Unavailable from error
            finally:
                self._in_use = False

    def _opened(self, *, create: bool) -> SpoolLog:
        if self._log is not None and file_identity(self._path) == self._log.identity:
            return self._log
        if time.monotonic() < self._retry_at:
            raise _Unavailable
        deleted = self._log
        if deleted is None and not create and not os.path.lexists(self._path):
            raise _Unavailable
        log = SpoolLog(prepare(self.directory), self.settings)
        if self._sync is not None:
            self._sync.close()
        interval = self.settings.fsync_interval if self.settings.fsync == "interval" else None
        self._log, self._sync = log, DiskSync(self._path, interval)
        if deleted is not None:
            if not was_set_aside(self.directory, deleted.identity):
                salvage(deleted.connection, log, self._backends, only_origin=self._origin)
            deleted.close()
        self._save_what_was_set_aside(log)
        return log

    def _close_log(self) -> None:
        log, sync, self._log, self._sync = self._log, self._sync, None, None
        if sync is not None:
            sync.close()
        if log is not None:
            with contextlib.suppress(sqlite3.Error):
                log.close()

    def _react(self, error: Exception) -> None:
        """Find out what `error` means and make the best of it."""
        trouble = diagnose(error, self.directory)
        if trouble.kind == "busy":
            return
        if trouble.kind in {"corrupt", "unknown_version"}:
            try:
                if self._recover(trouble):
                    return
            except (sqlite3.Error, OSError, UnknownVersionError) as worse:
                trouble = diagnose(worse, self.directory)
        if trouble.kind != "full":  # on a full disk, reading and deleting still work
            self._close_log()
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        if self._trouble is None:
            self._trouble_since = time.time()
            limit = self.settings.memory_bytes >> 20
            if self._announce:
                logger.warning("%s Until then spans wait in memory (at most %d MiB).", trouble.why, limit)
        self._trouble = trouble

    def _recover(self, trouble: Trouble) -> bool:
        """Set the damaged file aside and begin a new one with what can still be read; False if that was just done."""
        if time.monotonic() - self._recovered_at < _RECOVERIES_APART:
            return False
        self._recovered_at = time.monotonic()
        broken = self._log.identity if self._log is not None else file_identity(self._path)
        self._close_log()
        aside = set_aside(self._path, broken, "corrupt" if trouble.kind == "corrupt" else "unknown")
        if aside is None:
            return True
        self._to_save = aside, trouble
        self._opened(create=True)
        return True

    def _save_what_was_set_aside(self, into: SpoolLog) -> None:
        """Now, or as soon as there is room for a new file."""
        if self._to_save is None:
            return
        aside, trouble = self._to_save
        known = self._seen.tally
        saved = salvage_file(aside, into, self._backends, known) if trouble.kind == "corrupt" else 0
        self._to_save = None
        logger.warning("%s It was set aside as %s; %d spans in it could be saved.", trouble.why, aside.name, saved)
