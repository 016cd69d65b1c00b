"""Whether the tables of the log agree with each other: SQLite does not notice every damage to its file."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from otel_llm.delivery.spool_counts import CREATED, DROPPED, Counts

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DAMAGED_ORDER", "check_balance"]

DAMAGED_ORDER = "the order of what waits is malformed"
_NOBODYS = (
    "SELECT 1 FROM batches WHERE seq NOT IN (SELECT seq FROM kept) AND NOT EXISTS"
    " (SELECT 1 FROM waiting WHERE backend IN (SELECT id FROM backends) AND seq = batches.seq) LIMIT 1"
)
_WAITING = "SELECT coalesce(sum(b.spans), 0) FROM waiting w JOIN batches b ON b.seq = w.seq WHERE w.backend = ?"


def check_balance(connection: sqlite3.Connection, backends: Iterable[int]) -> dict[int, int]:
    """Make the counts of each of `backends` (by id) say what is there, and return what that changed, in spans.

    More than zero were created, and neither settled nor there any more: they are dropped now (`corrupt`). Less than
    zero are there and were not counted. Raises sqlite3.DatabaseError where batches are there that nobody waits for:
    the rows that said so are gone, and salvage sends such batches to everybody. The caller holds the transaction.
    """
    if connection.execute(_NOBODYS).fetchone():
        raise sqlite3.DatabaseError(DAMAGED_ORDER)
    counts, changed = Counts(connection), {}
    for backend in backends:
        missing = counts.open(backend) - int(connection.execute(_WAITING, (backend,)).fetchone()[0])
        if missing > 0:
            counts.add(backend, DROPPED, "corrupt", missing)
        elif missing < 0:
            counts.add(backend, CREATED, "", -missing)
        if missing:
            changed[backend] = missing
    return changed
