"""When the disk itself must have what was appended: group sync of the write-ahead log, and its checkpoints.

A commit puts a batch into the operating system's hands: that survives the death of the process. Surviving a power
cut takes a sync, which costs milliseconds, so one sync serves all commits of an interval. It runs outside the
spool's lock, on a descriptor of its own; SQLite holds no POSIX locks on the write-ahead log, so closing that is safe.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING

from otel_llm.clock import monotonic
from otel_llm.delivery.spool_files import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DiskSync"]

_sync_data = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync

_SYNC_BYTES = 1024 * 1024
"""Bytes after which a sync is due whatever the time."""
_CHECKPOINT_BYTES = 8 * 1024 * 1024
_CHECKPOINT_IDLE_SECONDS = 10.0


class DiskSync:
    """Keeps track of what one process wrote to one log and not yet to the disk. Safe to use from any thread."""

    def __init__(self, path: Path, interval: float | None) -> None:
        self._path = path
        self._interval = interval
        """Seconds between syncs; None when SQLite syncs each commit itself, or nobody wants it."""
        self._lock = threading.RLock()
        self._closed = False
        self._descriptor: int | None = None
        self._unsynced = 0
        self._synced_at = float("-inf")
        self._since_checkpoint = 0
        self._checkpointed_at = monotonic()

    def wrote(self, size: int) -> None:
        """Note that `size` bytes were committed."""
        self._unsynced += size
        self._since_checkpoint += size

    def seconds_until_due(self) -> float | None:
        """Seconds until the next sync is due (0 if it is); None when there is nothing to sync."""
        if self._interval is None or not self._unsynced:
            return None
        if self._unsynced >= _SYNC_BYTES:
            return 0.0
        return max(0.0, self._synced_at + self._interval - monotonic())

    def sync_if_due(self) -> None:
        """Sync if the interval is over; a disk that refuses is left to the next commit to report."""
        if self.seconds_until_due() == 0.0:
            self.sync()

    def sync(self) -> None:
        """Make the disk have all that was committed."""
        with self._lock, contextlib.suppress(OSError):
            if self._closed:
                return
            self._unsynced, self._synced_at = 0, monotonic()
            if self._descriptor is None:
                wal = f"{self._path}-wal"
                self._descriptor = os.open(wal, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                sync_directory(self._path.parent)
            _sync_data(self._descriptor)

    def checkpoint_if_due(self) -> None:
        """Move what is in the write-ahead log into the database file, so that the log starts over.

        On a connection of its own: this may take long on a slow disk, and blocks neither readers nor writers.
        """
        idle = monotonic() - self._checkpointed_at > _CHECKPOINT_IDLE_SECONDS
        if not self._since_checkpoint or not (idle or self._since_checkpoint > _CHECKPOINT_BYTES):
            return
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._closed:  # else a connection could be open during a fork
                return
            self._since_checkpoint, self._checkpointed_at = 0, monotonic()
            with contextlib.closing(sqlite3.Connection(self._path, timeout=0, isolation_level=None)) as connection:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def close(self) -> None:
        """Close for good; waits for a sync or checkpoint that is under way."""
        with self._lock:
            self._closed = True
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
