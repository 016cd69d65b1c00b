"""Saving what can still be read of a spool that is damaged, or that was deleted under us."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from otel_llm.delivery.spool_counts import CREATED, DROPPED, Counts, Tally
from otel_llm.delivery.spool_log import SpoolLog, restored

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from otel_llm.contracts import Batch

__all__ = ["salvage", "salvage_file"]


def salvage_file(broken: Path, into: SpoolLog, default_backends: Collection[str]) -> int:
    """As `salvage`, from the file at `broken`."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(broken, isolation_level=None)) as source:
        return salvage(source, into, default_backends)
    return 0


def salvage(
    source: sqlite3.Connection,
    into: SpoolLog,
    default_backends: Collection[str],
    only_origin: str | None = None,
) -> int:
    """Append what can be read in `source` to the log `into`, and carry its counts over; return the spans saved.

    What was waiting and cannot be read any more is counted as dropped (`corrupt`), as far as the counts can be
    read. Where it cannot be read who waits for a batch, all of `default_backends` do: a duplicate beats a loss.
    `only_origin` limits it to the batches of one process.
    """
    names = _backend_names(source)
    waiting = _waiting(source, names)
    saved: Tally = Counter()
    for seq, batch_origin, batch in _batches(source):
        backends = default_backends if waiting is None else waiting.get(seq, ())
        if not backends or (only_origin is not None and batch_origin != only_origin):
            continue
        into.append([(batch, backends)], batch_origin)
        for backend in backends:
            saved[backend, CREATED, ""] += batch.span_count
    if only_origin is None:
        into.add_counts(_carried_over(source, saved))
    return max(saved.values(), default=0)


def _backend_names(source: sqlite3.Connection) -> dict[int, str]:
    try:
        return dict(source.execute("SELECT id, name FROM backends").fetchall())
    except sqlite3.Error:
        return {}


def _waiting(source: sqlite3.Connection, names: dict[int, str]) -> dict[int, list[str]] | None:
    """For each batch the backends that wait for it; None if that cannot be read."""
    found: dict[int, list[str]] = {}
    try:
        for backend, seq in source.execute("SELECT backend, seq FROM waiting"):
            found.setdefault(seq, []).append(names[backend])
    except (sqlite3.Error, KeyError):
        return None
    return found


def _batches(source: sqlite3.Connection) -> Iterator[tuple[int, str, Batch]]:
    """Sequence number, origin and batch of every row that can be read and matches its checksum."""
    for seq in _sequence_numbers(source):
        try:
            row = source.execute(
                "SELECT origin, id, created_at, spans, encoding, crc, payload FROM batches WHERE seq = ?", (seq,)
            ).fetchone()
        except sqlite3.Error:
            continue
        batch = restored(row[1:]) if row else None
        if batch is not None:
            yield seq, str(row[0]), batch


def _sequence_numbers(source: sqlite3.Connection) -> list[int]:
    """All that can be reached, from the front and, past a damaged page, from the back."""
    found: set[int] = set()
    for direction in ("ASC", "DESC"):
        with suppress(sqlite3.Error):
            for (seq,) in source.execute(f"SELECT seq FROM batches ORDER BY seq {direction}"):  # noqa: S608
                found.add(seq)
    return sorted(found)


def _carried_over(source: sqlite3.Connection, saved: Tally) -> Tally:
    """The old counts as far as they are to be added: what was saved is counted already."""
    try:
        old = Counts(source).tally()
    except sqlite3.Error:
        return Counter()
    carried: Tally = Counter({key: spans for key, spans in old.items() if key[1] != CREATED})
    for backend in {name for name, _, _ in old}:
        settled = sum(spans for (name, _, _), spans in carried.items() if name == backend)
        lost = max(0, old[backend, CREATED, ""] - settled - saved[backend, CREATED, ""])
        carried[backend, DROPPED, "corrupt"] += lost
        carried[backend, CREATED, ""] += settled + lost
    return carried
