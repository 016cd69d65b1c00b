"""Room in the spool: how much it holds, how much it may, and what goes first when it must shrink."""

from __future__ import annotations

import functools
import time
from pathlib import Path
from typing import TYPE_CHECKING

from otel_llm.clock import monotonic
from otel_llm.delivery.spool_counts import DROPPED, Counts
from otel_llm.delivery.spool_files import free_bytes
from otel_llm.delivery.spool_schema import BACKSTOP_PAGES, JOURNAL_BYTES

if TYPE_CHECKING:
    import sqlite3

    from otel_llm.delivery.spool_types import SpoolSettings

__all__ = ["Room", "boot_id", "uptime"]

_FREE_DISK_STALE_SECONDS = 5.0
_LEAST_LOG_PAGES = 16
_ROW_OVERHEAD = 1024
"""Bytes that a batch needs beside its payload: cells, index entries, half-empty pages. Generous."""
_EXPIRY_SCAN = 64
"""Oldest batches to look at in one go."""


class Room:
    """The caps on bytes and age. The caller holds the transaction where something is dropped."""

    def __init__(self, connection: sqlite3.Connection, directory: Path, settings: SpoolSettings) -> None:
        self._connection = connection
        self._directory = directory
        self._settings = settings
        self._counts = Counts(connection)
        self._page_size = self._pragma("page_size")
        self._log_pages = BACKSTOP_PAGES
        self._free_disk = 0
        self._free_disk_at = float("-inf")

    def used(self) -> int:
        """Bytes of the log file that hold something (free pages are used again before the file grows)."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._page_size

    def file_bytes(self) -> int:
        """Size of the log file, free pages included."""
        return self._pragma("page_count") * self._page_size

    def holds_more_than(self, size: int, file_bytes: int) -> bool:
        """Whether more than `size` bytes are used, of a log file of `file_bytes`."""
        return file_bytes > size and self.used() > size

    def capacity(self, file_bytes: int | None = None) -> int:
        """Bytes that the log may use now: the configured cap, or the share of what others leave of the disk."""
        now = monotonic()
        stale = now - self._free_disk_at > _FREE_DISK_STALE_SECONDS
        if stale:
            self._free_disk, self._free_disk_at = free_bytes(self._directory), now
        held = self.file_bytes() if file_bytes is None else file_bytes
        share = self._settings.free_disk_share * (self._free_disk + held)
        capacity = min(self._settings.max_bytes, int(share))
        if stale:
            self._bound_write_ahead_log(capacity)
        return capacity

    def _bound_write_ahead_log(self, capacity: int) -> None:
        """On a small disk the log beside the file must not grow to what a large one can spare."""
        pages = max(_LEAST_LOG_PAGES, min(BACKSTOP_PAGES, capacity // 4 // self._page_size))
        if pages != self._log_pages:
            self._log_pages = pages
            self._connection.execute(f"PRAGMA wal_autocheckpoint = {pages:d}")
            self._connection.execute(f"PRAGMA journal_size_limit = {min(JOURNAL_BYTES, pages * self._page_size):d}")

    def make(self, incoming: int, file_bytes: int) -> bool:
        """Drop the oldest batches until `incoming` more bytes fit into a file of `file_bytes`; False if they cannot."""
        needed = incoming + _ROW_OVERHEAD
        capacity = self.capacity(file_bytes)
        while self.holds_more_than(capacity - needed, file_bytes):
            if not self._drop_oldest_kept() and not self._drop_oldest_waiting():
                return False
        return True

    def expire(self) -> int:
        """Drop batches that are too old and kept ones past their time; return how many went."""
        rows = self._connection.execute(
            "SELECT seq, created_at, boot, uptime FROM batches ORDER BY seq LIMIT ?", (_EXPIRY_SCAN,)
        ).fetchall()
        expired = [seq for seq, created_at, boot, up in rows if self._too_old(created_at, boot, up)]
        for seq in expired:
            self.drop(seq, "expired")
        outlived = self._connection.execute(
            "SELECT seq FROM kept WHERE done_at <= ? LIMIT ?", (time.time() - self._settings.keep_delivered, 64)
        ).fetchall()
        for (seq,) in outlived:
            self._forget_kept(seq)
        return len(expired) + len(outlived)

    def drop(self, seq: int, reason: str) -> None:
        """Remove a batch, counting its spans as dropped for each backend that still waits for it."""
        row = self._connection.execute("SELECT spans FROM batches WHERE seq = ?", (seq,)).fetchone()
        for (backend,) in self._connection.execute(
            "SELECT backend FROM waiting WHERE backend IN (SELECT id FROM backends) AND seq = ?", (seq,)
        ).fetchall():
            self._connection.execute("DELETE FROM waiting WHERE backend = ? AND seq = ?", (backend, seq))
            if row:
                self._counts.add(backend, DROPPED, reason, row[0])
        self._forget_kept(seq)

    def release(self, seq: int) -> None:
        """Let go of a batch that a backend is done with, if no other backend waits for it."""
        if self._settings.keep_delivered <= 0:
            self._forget(seq)
            return
        awaited = self._connection.execute(
            "SELECT 1 FROM waiting WHERE backend IN (SELECT id FROM backends) AND seq = ? LIMIT 1", (seq,)
        ).fetchone()
        if not awaited:
            self._connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (seq, time.time()))

    def _forget_kept(self, seq: int) -> None:
        self._connection.execute("DELETE FROM kept WHERE seq = ?", (seq,))
        self._forget(seq)

    def _forget(self, seq: int) -> None:
        self._connection.execute(
            "DELETE FROM batches WHERE seq = ?1 AND NOT EXISTS"
            " (SELECT 1 FROM waiting WHERE backend IN (SELECT id FROM backends) AND seq = ?1)",
            (seq,),
        )

    def _drop_oldest_kept(self) -> bool:
        row = self._connection.execute("SELECT min(seq) FROM kept").fetchone()
        if row[0] is None:
            return False
        self._forget_kept(row[0])
        return True

    def _drop_oldest_waiting(self) -> bool:
        row = self._connection.execute("SELECT min(seq) FROM batches").fetchone()
        if row[0] is None:
            return False
        self.drop(row[0], "spool_full")
        return True

    def _too_old(self, created_at: float, boot: str, up: float) -> bool:
        """Whether the wall clock and, within one boot, the uptime say so: a jump of the clock expires nothing."""
        limit = self._settings.max_age
        if time.time() - created_at <= limit:
            return False
        return boot != boot_id() or not boot or uptime() - up > limit

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])


@functools.cache
def boot_id() -> str:
    """What tells this boot of the machine from others; empty where the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        return ""


def uptime() -> float:
    """Seconds since the machine started, sleep included; no clock setting changes it."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)
