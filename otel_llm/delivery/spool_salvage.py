"""Saving what can still be read of a spool that is damaged, or that was deleted under us."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from otel_llm.delivery.spool_counts import CREATED, DROPPED, Counts, Tally
from otel_llm.delivery.spool_log import SpoolLog, restored
from otel_llm.delivery.spool_schema import NONSENSE, PAGE_SIZE, open_log

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from otel_llm.contracts import Batch

__all__ = ["salvage", "salvage_file"]

_HEAD_BYTES = 100
_UNREADABLE = (sqlite3.Error, *NONSENSE)
_LONGEST_FILE = 4 * 1024**3
"""Bytes that a damaged head is believed to speak of at most; they are a hole in the file, not room on the disk."""


def salvage_file(broken: Path, into: SpoolLog, default_backends: Collection[str], known: Tally) -> int:
    """As `salvage`, from the file at `broken`; of one whose first page is gone, with a first page as new files have.

    Raises sqlite3.Error where `into` cannot be written; nothing that is wrong with `broken` raises.
    """
    copy = broken.with_suffix(".copy")
    try:
        with suppress(OSError, sqlite3.Error):  # no room for a copy: then only the counts are saved
            _lengthen(broken)
            if not _has_a_head(broken):
                _copy_with_new_head(broken, copy)
        with closing(sqlite3.Connection(copy if copy.exists() else broken, isolation_level=None)) as source:
            return salvage(source, into, default_backends, known=known)
    finally:
        for suffix in ("", "-wal", "-shm"):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)


def _has_a_head(broken: Path) -> bool:
    """Whether SQLite finds our tables in it."""
    with suppress(*_UNREADABLE), closing(sqlite3.Connection(broken, isolation_level=None)) as source:
        return bool(source.execute("SELECT 1 FROM sqlite_master WHERE name = 'batches'").fetchone())
    return False


def _copy_with_new_head(broken: Path, copy: Path) -> None:
    """Copy the file, its first page (the schema) from a new file: tables lie in the same places in every spool."""
    for suffix in ("", "-wal"):
        source, target = broken.with_name(broken.name + suffix), copy.with_name(copy.name + suffix)
        if source.exists():
            target.touch(mode=0o600)
            shutil.copyfile(source, target)
    with TemporaryDirectory(dir=broken.parent, prefix="head-") as place:
        fresh = Path(place) / "fresh.db"
        open_log(fresh, busy_seconds=1.0, fsync="off").close()  # which folds its write-ahead log into it
        head = bytearray(fresh.read_bytes()[:PAGE_SIZE])
    head[28:32] = (copy.stat().st_size // PAGE_SIZE).to_bytes(4, "big")
    head[32:40] = bytes(8)  # no free pages: which ones were free stood in the page that is gone
    head[92:96] = head[24:28]  # the number of pages is valid as of this version of the file
    with copy.open("r+b") as file:
        file.write(head)


def _lengthen(broken: Path) -> None:
    """Put zeros in the place of what was cut off. https://www.sqlite.org/fileformat.html 1.3: page size and count."""
    with broken.open("r+b") as file:
        head = file.read(_HEAD_BYTES)
        if not head.startswith(b"SQLite format 3\0") or len(head) < _HEAD_BYTES:
            return
        page_size, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        length = min(page_size * pages, _LONGEST_FILE)
        if file.seek(0, 2) < length:
            file.truncate(length)


def salvage(
    source: sqlite3.Connection,
    into: SpoolLog,
    default_backends: Collection[str],
    only_origin: str | None = None,
    known: Tally | None = None,
) -> int:
    """Append what can be read in `source` to the log `into`, and carry its counts over; return the spans saved.

    What was waiting and cannot be read any more is counted as dropped (`corrupt`), as far as the counts can be
    read; where they cannot, by the `known` ones, which were seen last. Where it cannot be read who waits for a batch,
    or nobody does and it is not kept either, all of `default_backends` do: a duplicate beats a loss. `only_origin`
    limits it to the batches of one process.
    """
    waiting = _waiting(source, default_backends)
    kept = _kept(source)
    saved: Tally = Counter()
    for seq, batch_origin, batch in _batches(source):
        backends = _awaited_by(seq, waiting, kept, default_backends)
        if not backends or (only_origin is not None and batch_origin != only_origin):
            continue
        into.append([(batch, backends)], batch_origin)
        for backend in backends:
            saved[backend, CREATED, ""] += batch.span_count
    if only_origin is None:
        into.add_counts(_carried_over(source, saved, known or Counter()))
    return max(saved.values(), default=0)


def _awaited_by(
    seq: int, waiting: dict[int, set[str]] | None, kept: set[int] | None, default_backends: Collection[str]
) -> Collection[str]:
    """Who waits for a batch; everybody, where the row that said so is gone."""
    if waiting is None:
        return default_backends
    return waiting.get(seq) or (() if kept is None or seq in kept else default_backends)


def _backend_names(source: sqlite3.Connection) -> dict[int, str]:
    try:
        return dict(source.execute("SELECT id, name FROM backends").fetchall())
    except _UNREADABLE:
        return {}


def _waiting(source: sqlite3.Connection, default_backends: Collection[str]) -> dict[int, set[str]] | None:
    """For each batch the backends that wait for it; None if that cannot be read."""
    names, found = _backend_names(source), dict[int, set[str]]()
    try:
        for backend, seq in source.execute("SELECT backend, seq FROM waiting"):
            found.setdefault(seq, set()).update([names[backend]] if backend in names else default_backends)
    except _UNREADABLE:
        return None
    return found


def _kept(source: sqlite3.Connection) -> set[int] | None:
    """Batches that are there although everybody has them; None if that cannot be read."""
    try:
        return {seq for (seq,) in source.execute("SELECT seq FROM kept")}
    except _UNREADABLE:
        return None


def _batches(source: sqlite3.Connection) -> Iterator[tuple[int, str, Batch]]:
    """Sequence number, origin and batch of every row that can be read and matches its checksum."""
    for seq in _sequence_numbers(source):
        try:
            row = source.execute(
                "SELECT origin, id, created_at, spans, encoding, crc, payload FROM batches WHERE seq = ?", (seq,)
            ).fetchone()
        except _UNREADABLE:
            continue
        batch = restored(row[1:]) if row else None
        if batch is not None:
            yield seq, str(row[0]), batch


def _sequence_numbers(source: sqlite3.Connection) -> list[int]:
    """All that can be reached, from the front and, past a damaged page, from the back."""
    found: set[int] = set()
    for direction in ("ASC", "DESC"):
        with suppress(*_UNREADABLE):
            for (seq,) in source.execute(f"SELECT seq FROM batches ORDER BY seq {direction}"):  # noqa: S608
                found.add(seq)
    return sorted(found)


def _carried_over(source: sqlite3.Connection, saved: Tally, known: Tally) -> Tally:
    """The old counts as far as they are to be added: what was saved is counted already."""
    try:
        old = Counts(source).tally()
    except _UNREADABLE:
        old = known
    carried: Tally = Counter({key: spans for key, spans in old.items() if key[1] != CREATED})
    for backend in {name for name, _, _ in old}:
        settled = sum(spans for (name, _, _), spans in carried.items() if name == backend)
        lost = max(0, old[backend, CREATED, ""] - settled - saved[backend, CREATED, ""])
        carried[backend, DROPPED, "corrupt"] += lost
        carried[backend, CREATED, ""] += settled + lost
    return carried
