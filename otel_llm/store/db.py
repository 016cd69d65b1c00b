"""Connections to the store, one way in for writers and one for readers, and what SQLite's errors mean."""

from __future__ import annotations

import errno
import sqlite3
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from otel_llm.clock import monotonic
from otel_llm.errors import StoreError
from otel_llm.store.private_file import make_private
from otel_llm.store.schema import SCHEMA_VERSION, migrate, schema_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ANOTHER_PATH", "Trouble", "ask", "diagnose", "open_reader", "open_writer", "snapshot", "unreadable"]

_READER_BUSY_SECONDS = 5.0
_INSTRUCTIONS_BETWEEN_LOOKS = 10_000


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the store could not be used just now."""

    reason: str
    """Short cause, fit for a counter's label."""
    why: str
    """A full sentence: what failed, why most likely, what to do."""
    needs_action: bool = True
    """False when waiting alone may help."""
    permanent: bool = False
    """True when it is the spans, not the store: trying again cannot help."""


def open_writer(path: Path, *, busy_seconds: float) -> sqlite3.Connection:
    """Open the store for writing, creating it (0600) and bringing its schema up to date.

    The connection is in autocommit mode, in WAL mode, syncs at each commit (what a backend has answered for
    must survive a power cut), and waits up to `busy_seconds` for other writers. Raises StoreError, OSError or
    sqlite3.Error; `diagnose` says what they mean.
    """
    make_private(path)
    connection = sqlite3.Connection(
        path, timeout=busy_seconds, isolation_level=None, check_same_thread=False, cached_statements=16
    )
    try:
        _use_wal(connection, monotonic() + busy_seconds)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, deadline: float) -> None:
    """Switch the file to WAL; SQLite does not wait for the lock it needs for that, so we do."""
    while not _switched_to_wal(connection, last_try=monotonic() >= deadline):
        time.sleep(0.01)


def _switched_to_wal(connection: sqlite3.Connection, *, last_try: bool) -> bool:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if last_try or "locked" not in str(error):
            raise
        return False
    return True


def open_reader(path: Path) -> sqlite3.Connection:
    """Open the store read-only; rows come as `sqlite3.Row`.

    Raises StoreError, with a sentence fit for a person, if there is none yet, it is not readable, or it was
    written by another version.
    """
    if not _is_there(path):
        raise StoreError(
            f"There is no local store at {path} yet: nothing has been recorded there. Run a program with "
            "`otel-llm run python app.py` (backend `local`), try `otel-llm demo`, or name another store with --store."
        )
    if path.is_dir():
        raise StoreError(
            f"{path} is a directory, no local store. Name the file in it, for example {path / 'store.db'}."
        )
    if not path.is_file():  # opening a pipe would wait for whoever writes into it
        raise StoreError(f"{path} is not a regular file, so it is no local store. Name another with --store.")
    try:
        connection = sqlite3.Connection(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_READER_BUSY_SECONDS, isolation_level=None
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA cache_size = -262144")  # up to 256 MiB: a million calls are grouped in memory
        found = schema_version(connection)
    except sqlite3.Error as error:
        raise unreadable(error, path) from error
    if found != SCHEMA_VERSION:
        connection.close()
        raise StoreError(_wrong_version(path, found))
    return connection


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError as error:
        raise StoreError(
            f"The local store {path} cannot be looked at ({error.strerror}): this user may not enter its directory. "
            "Ask as the user who records there, or name another store with --store."
        ) from error


@contextmanager
def snapshot(path: Path, *, seconds: float | None = None) -> Iterator[sqlite3.Connection]:
    """A read-only connection that sees one moment, whatever is written meanwhile, for at most `seconds`.

    Raises StoreError, with a sentence fit for a person, if the store cannot be read or that time is over.
    """
    with closing(open_reader(path)) as connection:
        if seconds is not None:
            end = monotonic() + seconds
            connection.set_progress_handler(lambda: monotonic() > end, _INSTRUCTIONS_BETWEEN_LOOKS)
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.Error as error:
            if seconds is not None and "interrupted" in str(error):
                raise StoreError(
                    f"Reading the local store {path} took longer than {seconds:g} s and was given up: it is large, or "
                    "the disk is busy. Ask for a shorter period."
                ) from error
            raise unreadable(error, path) from error


def ask(path: Path, sql: str, values: dict[str, Any]) -> list[sqlite3.Row]:
    """What one statement finds; raises StoreError as `snapshot` does."""
    with snapshot(path) as connection:
        return connection.execute(sql, values).fetchall()


def _wrong_version(path: Path, found: int) -> str:
    if found == 0:
        return f"The local store {path} is still empty: nothing has been recorded there yet."
    if found > SCHEMA_VERSION:
        return (
            f"The local store {path} has schema version {found}, newer than the {SCHEMA_VERSION} that this otel_llm "
            "knows. Upgrade this installation."
        )
    return (
        f"The local store {path} has the older schema version {found}. Run any recorded program against it once: "
        f"the first span brings it to version {SCHEMA_VERSION}."
    )


# SQLite's own result texts (sqlite3ErrStr), the same in every version; Python gives the codes only from 3.11 on.
_SQLITE_TROUBLES: tuple[tuple[str, str, str, bool], ...] = (
    ("disk is full", "disk_full", "The disk is full. Free some space; what is waiting is written then.", True),
    ("readonly database", "read_only", "The file or its directory is read-only. Make it writable.", True),
    ("locked", "locked", "Another process has been writing for long. It is tried again.", False),
    ("unable to open", "cannot_open", "The file cannot be opened. Check that its directory exists and is yours.", True),
    ("malformed", "corrupt", "The file is damaged.", True),
    ("not a database", "corrupt", "The file is not an SQLite database.", True),
    (
        "disk i/o error",
        "io_error",
        "The disk reports an error. Check the disk; network file systems cannot do WAL.",
        True,
    ),
)

ANOTHER_PATH: Final = "Choose another store_path (OTEL_LLM_STORE_PATH)."
_NOT_OURS: Final = f"This user may not write there. {ANOTHER_PATH} Or change the rights."
_OS_TROUBLES = {
    errno.ENOSPC: ("disk_full", "The disk is full. Free some space; what is waiting is written then."),
    errno.EDQUOT: ("disk_full", "The disk quota is used up. Free some space; what is waiting is written then."),
    errno.EROFS: ("read_only", f"The file system is read-only. {ANOTHER_PATH}"),
    errno.EACCES: (
        "permission",
        _NOT_OURS,
    ),
    errno.EPERM: (
        "permission",
        _NOT_OURS,
    ),
    errno.ENOTDIR: (
        "cannot_open",
        f"A part of the path is not a directory. {ANOTHER_PATH}",
    ),
}


def diagnose(error: Exception, path: Path) -> Trouble:
    """What `error`, raised while using the store `path`, means and what to do about it."""
    if isinstance(error, StoreError):
        return Trouble("unusable", str(error))
    if isinstance(error, OSError):
        reason, advice = _OS_TROUBLES.get(
            error.errno or 0,
            ("cannot_open", f"The file system refuses. {ANOTHER_PATH}"),
        )
        return Trouble(reason, f"The local store {path} cannot be used ({error.strerror or error}). {advice}")
    if isinstance(error, (sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, OverflowError)):
        return Trouble("invalid", f"SQLite cannot hold these spans ({error}).", permanent=True)
    text = str(error).lower()
    for needle, reason, advice, needs_action in _SQLITE_TROUBLES:
        if needle in text:
            return Trouble(reason, f"The local store {path} cannot be used ({error}). {advice}", needs_action)
    return Trouble("internal", f"The local store {path} cannot be used ({type(error).__name__}: {error}).")


_ADVICE_TO_READERS: Final = {
    "locked": "Another program has held it for long, most likely an open `sqlite3` shell or a copy being made. End it, "
    "and ask again.",
    "corrupt": "It is damaged, or no store. `otel-llm doctor --backend local` examines the configured one; the next "
    "recorded span moves a damaged store aside and begins a new one, and `sqlite3 FILE .recover` may read the old.",
    "disk_full": "SQLite sorts large answers in temporary files. Free some space, name another place in SQLITE_TMPDIR, "
    "or ask for a shorter period.",
    "cannot_open": "Most likely this user may not read it, or not write in its directory, where SQLite keeps a file "
    "beside it. Ask as the user who records there, or name a copy with --store.",
}
"""What somebody who only reads can do, where it is not what the writer's batch waits for."""


def unreadable(error: sqlite3.Error, path: Path) -> StoreError:
    """The sentence for a person who asked the store `path` and got `error`."""
    trouble = diagnose(error, path)
    advice = _ADVICE_TO_READERS.get(trouble.reason)
    return StoreError(f"The local store {path} cannot be read ({error}). {advice}" if advice else trouble.why)
