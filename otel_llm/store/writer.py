"""The writing side of the store: whole batches in short transactions, and a limit on the file's size.

Invariants
* A batch is in the store as a whole or not at all.
* A span that comes again replaces itself: (trace id, span id) is the key.
* The file stays near its limit. First the oldest spans lose what is bulky (attributes, events, links), so
  that tokens, cost and counts stay right; only when all but the newest have lost it do the oldest spans go.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from otel_llm.clock import monotonic
from otel_llm.store.db import open_writer
from otel_llm.store.private_file import file_identity

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from otel_llm.store.rows import Rows

__all__ = ["DEFAULT_MAX_BYTES", "StoreWriter"]

_log = logging.getLogger(__name__)

DEFAULT_MAX_BYTES = 4 * 1024**3
_TRIM_SPANS = 100
"""Spans trimmed or deleted at a time, until the file is within its limit."""
_WHOLE_SPANS = 100
"""The newest spans, which are never trimmed: whoever looks at the store wants to see what just happened."""

_COLUMNS = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "name",
    "kind",
    "start_ns",
    "end_ns",
    "duration_ns",
    "status",
    "status_message",
    "service",
    "scope",
    "is_llm",
    "is_call",
    "is_error",
    "operation",
    "provider",
    "request_model",
    "response_model",
    "tenant",
    "user",
    "session",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano_usd",
    "cost_status",
    "saved_nano_usd",
    "cache_hit",
    "error_type",
    "http_status",
    "stream",
    "ttft_ms",
    "attempt",
    "attempts",
    "resource_id",
    "trace_state",
)

# Only names from the tuple above are put into the text; every value is bound.
_UPSERT = (
    f"INSERT INTO spans ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + name for name in _COLUMNS)}) "  # noqa: S608
    "ON CONFLICT (trace_id, span_id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in {"trace_id", "span_id"})
)
_REPLACE_BODY = (
    "INSERT OR REPLACE INTO span_bodies (id, attributes, events, links) SELECT id, :attributes, :events, :links"
    " FROM spans WHERE trace_id = :trace_id AND span_id = :span_id"
)


class StoreWriter:
    """An open store that takes batches. One thread at a time; not to be carried across a fork."""

    def __init__(self, path: Path, *, busy_seconds: float, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Open (or create) the store at `path`; raises what `db.open_writer` raises."""
        self.path = path
        self._max_bytes = max_bytes
        self._connection = open_writer(path, busy_seconds=busy_seconds)
        self._warned_of_deletion = False
        self.identity = file_identity(path)

    @property
    def is_current(self) -> bool:
        """False once the path names another file than the one that is open: it was deleted or moved aside."""
        return self.identity is not None and file_identity(self.path) == self.identity

    def write(self, rows: Rows, *, busy_seconds: float) -> None:
        """Put all of `rows` into the store in one transaction, waiting up to `busy_seconds` for other writers.

        Raises sqlite3.Error, and then nothing of `rows` is in the store.
        """
        deadline = monotonic() + busy_seconds
        self._connection.execute(f"PRAGMA busy_timeout = {max(1, int(busy_seconds * 1000)):d}")
        with _Transaction(self._connection):
            self._connection.executemany("INSERT OR IGNORE INTO resources VALUES (?, ?)", rows.resources.items())
            self._connection.executemany(_UPSERT, rows.spans)
            bodies = [row for row in rows.spans if row["attributes"] is not None]
            self._connection.executemany(_REPLACE_BODY, bodies)
        self._keep_within_limit(deadline)

    def close(self) -> None:
        """Close the file; the last one to do so folds the WAL into it."""
        self._connection.close()

    # --- the limit ------------------------------------------------------------------------------------------

    def _keep_within_limit(self, deadline: float) -> None:
        if self._bytes_in_use() <= self._max_bytes:
            return
        deleted = 0
        with _Transaction(self._connection):
            while self._bytes_in_use() > self._max_bytes and monotonic() < deadline:
                if self._delete_oldest_bodies():
                    continue
                gone = self._delete_oldest_spans()
                deleted += gone
                if not gone:
                    break
        if deleted and not self._warned_of_deletion:
            self._warned_of_deletion = True
            _log.warning(
                "The local store %s has reached its limit of %d bytes: its oldest spans are being deleted, and usage "
                "of that time is no longer complete. Raise the limit, or move the file away to begin a new one.",
                self.path,
                self._max_bytes,
            )

    def _bytes_in_use(self) -> int:
        return self._pragma("page_size") * (self._pragma("page_count") - self._pragma("freelist_count"))

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _delete_oldest_bodies(self) -> int:
        """Delete the bulk of the oldest spans that have any, and say of how many; the newest keep theirs."""
        return self._connection.execute(
            "DELETE FROM span_bodies WHERE id IN (SELECT id FROM span_bodies"
            " WHERE id <= (SELECT max(id) FROM spans) - ? ORDER BY id LIMIT ?)",
            (_WHOLE_SPANS, _TRIM_SPANS),
        ).rowcount

    def _delete_oldest_spans(self) -> int:
        oldest = self._connection.execute("SELECT id FROM spans ORDER BY id LIMIT ?", (_TRIM_SPANS,)).fetchall()
        self._connection.executemany("DELETE FROM span_bodies WHERE id = ?", oldest)
        self._connection.executemany("DELETE FROM spans WHERE id = ?", oldest)
        self._connection.execute("UPDATE deletions SET spans = spans + ?", (len(oldest),))
        return len(oldest)


class _Transaction:
    """`BEGIN IMMEDIATE ... COMMIT`, or a rollback if the block or the commit fails."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        # IMMEDIATE: wait for the write lock now, where SQLite can wait, not in the middle, where it cannot.
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
