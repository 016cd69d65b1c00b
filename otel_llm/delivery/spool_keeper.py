"""The spool's log and what can happen to it: used by one thread at a time, mended, left alone when the disk refuses."""

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

from otel_llm.clock import monotonic
from otel_llm.delivery.spool_counts import DiskView
from otel_llm.delivery.spool_files import LOG_NAME, file_identity, prepare, set_aside, was_set_aside
from otel_llm.delivery.spool_log import SpoolLog
from otel_llm.delivery.spool_salvage import salvage, salvage_file
from otel_llm.delivery.spool_schema import NONSENSE, Trouble, UnknownVersionError, diagnose
from otel_llm.delivery.spool_sync import DiskSync
from otel_llm.faults import let_through

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from otel_llm.delivery.spool_types import SpoolSettings

__all__ = ["SpoolKeeper", "Unavailable"]

logger = logging.getLogger("otel_llm.delivery.spool")

_RETRY_SECONDS = 1.0
_RECOVERIES_APART = 10.0
"""Seconds between two recoveries of a damaged file; a disk that damages faster is left alone for a while."""


class Unavailable(Exception):  # noqa: N818  (never leaves the spool; it is a state, not a fault)
    """The log cannot be used just now."""


class SpoolKeeper:
    """Gives out the open log, and knows why there is none. The base of `Spool`."""

    def __init__(self, directory: Path, settings: SpoolSettings, *, announce: bool) -> None:
        self.directory = directory
        self.settings = settings
        self._announce = announce
        self._path = directory / LOG_NAME
        self._backends: tuple[str, ...] = ()
        self._log: SpoolLog | None = None
        self._sync: DiskSync | None = None
        self._trouble: Trouble | None = None
        self._trouble_since: float | None = None
        self._retry_at = float("-inf")
        self._recovered_at = float("-inf")
        self._cut_off = False
        self._begin()

    def _begin(self) -> None:
        """What a process has of its own."""
        self._lock = threading.RLock()
        self._in_use = False
        self._origin = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self._seen = DiskView(Counter(), {}, {})
        """What was on disk at the last look."""
        self._to_save: tuple[Path, Trouble] | None = None
        """A damaged file that was set aside, of which nothing was saved yet."""

    @contextlib.contextmanager
    def _holding_lock(self, patience: float) -> Iterator[None]:
        if not self._lock.acquire(timeout=patience):
            raise Unavailable
        try:
            if self._in_use:  # a signal handler came in while this very thread was at it
                raise Unavailable
            yield
        finally:
            self._lock.release()

    @contextlib.contextmanager
    def _using_log(self, patience: float, *, create: bool = False) -> Iterator[SpoolLog]:
        """The open log, for this thread alone; Unavailable if there is none or something goes wrong with it."""
        if self.settings.mode == "off" or self._cut_off:
            raise Unavailable
        with self._holding_lock(patience):
            self._in_use = True
            try:
                yield self._opened(create=create)
            except (sqlite3.Error, OSError, UnknownVersionError, *NONSENSE) as error:
                let_through(error)
                self._react(error)
                raise Unavailable from error
            finally:
                self._in_use = False

    def _opened(self, *, create: bool) -> SpoolLog:
        if self._log is not None and file_identity(self._path) == self._log.identity:
            return self._log
        if monotonic() < self._retry_at:
            raise Unavailable
        deleted = self._log
        if deleted is None and not create and not os.path.lexists(self._path):
            raise Unavailable
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
            except (sqlite3.Error, OSError, UnknownVersionError, *NONSENSE) as worse:
                trouble = diagnose(worse, self.directory)
        if trouble.kind != "full":  # on a full disk, reading and deleting still work
            self._close_log()
        self._retry_at = monotonic() + _RETRY_SECONDS
        if self._trouble is None:
            self._trouble_since = time.time()
            limit = self.settings.memory_bytes >> 20
            if self._announce:
                logger.warning("%s Until then spans wait in memory (at most %d MiB).", trouble.why, limit)
        self._trouble = trouble

    def _recover(self, trouble: Trouble) -> bool:
        """Set the damaged file aside and begin a new one with what can still be read; False if that was just done."""
        if monotonic() - self._recovered_at < _RECOVERIES_APART:
            return False
        self._recovered_at = monotonic()
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

    def _note_that_it_works(self) -> None:
        """Something was written."""
        if self._trouble is not None:
            if self._announce:
                logger.info("The spool in %s works again.", self.directory)
            self._trouble = self._trouble_since = None
