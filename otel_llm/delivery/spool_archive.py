"""What the spool keeps although nobody waits for it: rejected spans in quarantine, delivered batches for replay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from otel_llm.contracts import Batch
from otel_llm.delivery.spool_types import Quarantined
from otel_llm.delivery.words import whole

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from otel_llm.delivery.spool_types import Reject, SpoolSettings

__all__ = ["Archive"]

_MAX_DETAIL = 2000
"""Characters of the backend's words to keep."""
UNREADABLE = "corrupt"


class Archive:
    """The `quarantine` and `kept` tables. The caller holds the transaction where something is written."""

    def __init__(self, connection: sqlite3.Connection, settings: SpoolSettings) -> None:
        self._connection = connection
        self._limit = settings.quarantine_bytes

    def quarantine(self, backend: str, reject: Reject) -> None:
        """Keep rejected spans with the backend's words, and let the oldest go if they are too many bytes."""
        batch = reject.batch
        if batch is None:
            return
        reason, detail = whole(reject.rejection.reason), whole(reject.rejection.detail[:_MAX_DETAIL])
        self._insert(backend, reason, detail, batch.created_at, batch.span_count, batch.payload)

    def keep_unreadable(self, seq: int) -> None:
        """Keep the raw bytes of a batch that cannot be read."""
        row = self._connection.execute("SELECT payload FROM batches WHERE seq = ?", (seq,)).fetchone()
        if row and isinstance(row[0], bytes):
            self._insert("", UNREADABLE, f"batch {seq} does not match its checksum", 0.0, 0, row[0])

    def _insert(self, backend: str, reason: str, detail: str, created_at: float, spans: int, payload: bytes) -> None:
        if len(payload) > self._limit:
            return
        self._connection.execute(
            "INSERT INTO quarantine (backend, reason, detail, quarantined_at, created_at, spans, bytes, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (backend, reason, detail, time.time(), created_at, spans, len(payload), payload),
        )
        while self._bytes() > self._limit:
            self._connection.execute("DELETE FROM quarantine WHERE id = (SELECT min(id) FROM quarantine)")

    def _bytes(self) -> int:
        return int(self._connection.execute("SELECT coalesce(sum(bytes), 0) FROM quarantine").fetchone()[0])

    def entries(self) -> list[Quarantined]:
        """Everything in quarantine, oldest first."""
        rows = self._connection.execute(
            "SELECT id, backend, reason, detail, quarantined_at, spans, payload FROM quarantine ORDER BY id"
        )
        return [Quarantined(*row) for row in rows]

    def size(self) -> int:
        """Number of entries in quarantine."""
        return int(self._connection.execute("SELECT count(*) FROM quarantine").fetchone()[0])

    def take_quarantined(self, backend: str, since: float, until: float) -> list[Batch]:
        """Take the spans that `backend` rejected, closed in [since, until], out of quarantine."""
        where = "WHERE backend = ? AND created_at BETWEEN ? AND ?"
        rows = self._connection.execute(
            f"SELECT payload, spans, created_at FROM quarantine {where} ORDER BY id",  # noqa: S608  (a constant)
            (backend, since, until),
        ).fetchall()
        self._connection.execute(f"DELETE FROM quarantine {where}", (backend, since, until))  # noqa: S608
        return [Batch(payload=payload, span_count=spans, created_at=created) for payload, spans, created in rows]

    def requeue(self, backend: int, since: float, until: float, parked: Sequence[int]) -> int:
        """Let every stored batch closed in [since, until] wait for `backend`; return the spans that do so newly.

        Not those that wait for one of its workspaces, which are `parked`.
        """
        theirs = ", ".join(map(str, (backend, *parked)))
        rows = self._connection.execute(
            "SELECT seq, spans FROM batches WHERE created_at BETWEEN ? AND ?"  # noqa: S608  (numbers of ours)
            f" AND NOT EXISTS (SELECT 1 FROM waiting WHERE backend IN ({theirs}) AND waiting.seq = batches.seq)",
            (since, until),
        ).fetchall()
        self._connection.executemany(
            "INSERT INTO waiting (backend, seq) VALUES (?, ?)", [(backend, s) for s, _ in rows]
        )
        self._connection.executemany("DELETE FROM kept WHERE seq = ?", [(seq,) for seq, _ in rows])
        return sum(spans for _, spans in rows)
