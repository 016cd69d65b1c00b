"""The spool's SQLite file: its tables, how it is opened, and what SQLite's errors mean."""

from __future__ import annotations

import errno
import sqlite3
import time
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from otel_llm.clock import monotonic
from otel_llm.delivery.spool_files import UnsafePlaceError

if TYPE_CHECKING:
    from pathlib import Path

    from otel_llm.delivery.spool_types import Fsync

__all__ = [
    "BACKSTOP_PAGES",
    "JOURNAL_BYTES",
    "NONSENSE",
    "PAGE_SIZE",
    "SCHEMA_VERSION",
    "Trouble",
    "UnknownVersionError",
    "diagnose",
    "open_log",
]

SCHEMA_VERSION = 1
PAGE_SIZE = 8192
"""Measured with batches of 180 kB: 8 KiB costs 40 % less CPU than 4 KiB, and larger pages only bloat small batches."""
BACKSTOP_PAGES = 4096
"""WAL pages (32 MiB) at which a commit checkpoints by itself, should nobody have done so in the background."""
JOURNAL_BYTES = 16 * 1024 * 1024
"""To which the write-ahead log is cut when it starts over."""

_SCHEMA = (
    """CREATE TABLE backends (
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        last_delivery REAL,
        why TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT '',
        needs_action INTEGER NOT NULL DEFAULT 0,
        failed_at REAL,
        failing_since REAL)""",
    # The payload comes last: what stands before it is read without touching the payload's overflow pages.
    # AUTOINCREMENT: a sequence number is never used twice, so a late settlement cannot hit a newer batch.
    """CREATE TABLE batches (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL,
        origin TEXT NOT NULL,
        boot TEXT NOT NULL,
        uptime REAL NOT NULL,
        created_at REAL NOT NULL,
        spans INTEGER NOT NULL,
        encoding INTEGER NOT NULL,
        crc INTEGER NOT NULL,
        payload BLOB NOT NULL)""",
    # One row for each backend that has yet to answer for a batch.
    """CREATE TABLE waiting (
        backend INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        due REAL NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (backend, seq)) WITHOUT ROWID""",
    """CREATE TABLE kept (seq INTEGER PRIMARY KEY, done_at REAL NOT NULL)""",
    """CREATE TABLE counts (
        backend INTEGER NOT NULL,
        kind TEXT NOT NULL,
        reason TEXT NOT NULL,
        spans INTEGER NOT NULL,
        PRIMARY KEY (backend, kind, reason)) WITHOUT ROWID""",
    """CREATE TABLE quarantine (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        backend TEXT NOT NULL,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        quarantined_at REAL NOT NULL,
        created_at REAL NOT NULL,
        spans INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        payload BLOB NOT NULL)""",
)


class UnknownVersionError(Exception):
    """The file was written by another version of otel_llm, which this one cannot read."""


NONSENSE = (TypeError, UnicodeDecodeError, LookupError, ArithmeticError)
"""What reading raises in a file where another type or number stands than was written, and SQLite cannot know it."""

Kind: TypeAlias = Literal["busy", "full", "corrupt", "unknown_version", "unusable"]


class Trouble(NamedTuple):
    """Why the log cannot be used just now."""

    kind: Kind
    why: str
    """A full sentence: what failed, why most likely, what to do."""


def open_log(path: Path, *, busy_seconds: float, fsync: Fsync) -> sqlite3.Connection:
    """Open the log at `path` in autocommit mode, with its tables made where missing.

    Raises sqlite3.Error, or UnknownVersionError for a file of another version.
    """
    connection = sqlite3.Connection(
        path, timeout=busy_seconds, isolation_level=None, check_same_thread=False, cached_statements=64
    )
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        _use_wal(connection, monotonic() + max(busy_seconds, 0.2))
        connection.execute(f"PRAGMA synchronous = {'FULL' if fsync == 'always' else 'NORMAL'}")
        # Debian's SQLite overwrites what is deleted, which doubles the writing; FAST does so only where it is free.
        connection.execute("PRAGMA secure_delete = FAST")
        connection.execute(f"PRAGMA wal_autocheckpoint = {BACKSTOP_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch to WAL; SQLite's busy timeout does not cover the exclusive lock that this needs once."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:  # noqa: PERF203  (a retry)
            if "locked" not in str(error) or monotonic() > deadline:
                raise
            time.sleep(0.005)
        else:
            return


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) == SCHEMA_VERSION:
        return
    found = _version(connection)
    if found not in {0, SCHEMA_VERSION}:
        raise UnknownVersionError(f"schema version {found}")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _version(connection) == 0:  # else another process was first
            for statement in _SCHEMA:
                connection.execute(statement)
            # Numbers begin with the time, so that none of an earlier file, since set aside, comes again.
            connection.execute("INSERT INTO sqlite_sequence VALUES ('batches', ?)", (time.time_ns() // 1000,))
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # a full disk has ended it already
            connection.execute("ROLLBACK")
        raise


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


# SQLite's own result texts, the same in every version; Python gives the codes only from 3.11 on.
_SQLITE_KINDS: tuple[tuple[str, Kind, str], ...] = (
    ("locked", "busy", "Another process holds it; it is tried again."),
    ("is full", "full", "The disk is full. Free some space."),
    ("disk i/o error", "unusable", "The disk is full or fails. Free some space, and look into the system's log."),
    ("readonly", "unusable", "It is read-only. Make it writable, or set OTEL_LLM_STATE_DIR elsewhere."),
    ("unable to open", "unusable", "It cannot be opened. Check that its directory exists and is yours."),
    ("malformed", "corrupt", "It is damaged."),
    ("not a database", "corrupt", "It is not an SQLite database."),
    ("constraint failed", "corrupt", "It is damaged."),
    ("no such table", "corrupt", "It is an SQLite database, but not a spool."),
    ("no such column", "corrupt", "It is an SQLite database, but not a spool."),
    ("has no column", "corrupt", "It is an SQLite database, but not a spool."),
)


def diagnose(error: Exception, place: Path) -> Trouble:
    """What `error`, raised while using the spool in `place`, means and what to do about it."""
    if isinstance(error, UnknownVersionError):
        return Trouble("unknown_version", f"The spool in {place} was written by another version ({error}).")
    if isinstance(error, UnsafePlaceError):
        return Trouble("unusable", str(error))
    if isinstance(error, OSError):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        advice = "Make the directory writable, or set OTEL_LLM_STATE_DIR elsewhere."
        if full:
            advice = "Free some space."
        elif error.errno in {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}:
            advice = f"Remove what is in the way ({error.filename}), or set OTEL_LLM_STATE_DIR elsewhere."
        why = f"The spool in {place} cannot be used ({error.strerror or error}). {advice}"
        return Trouble("full" if full else "unusable", why)
    text = str(error).lower()
    if isinstance(error, NONSENSE) or "could not decode" in text:  # SQLite's words would quote what stands there
        return Trouble("corrupt", f"The spool in {place} cannot be used (what it holds makes no sense). It is damaged.")
    for needle, kind, advice in _SQLITE_KINDS:
        if needle in text:
            return Trouble(kind, f"The spool in {place} cannot be used ({error}). {advice}")
    return Trouble("unusable", f"The spool in {place} cannot be used ({type(error).__name__}: {error}).")
