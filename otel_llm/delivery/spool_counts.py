"""The spool's own ledger: how many spans of each backend were created, delivered, rejected and dropped.

The counts live in the same file, and change in the same transaction, as the batches that they count. So what is
created always equals what is delivered, rejected, dropped and still there, across processes and crashes alike.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from otel_llm.delivery.words import whole
from otel_llm.ledger import LedgerReport

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

    from otel_llm.delivery.spool_types import Failure

__all__ = [
    "CREATED",
    "DELIVERED",
    "DROPPED",
    "REJECTED",
    "Counts",
    "DiskView",
    "Tally",
    "earliest",
    "latest",
    "ledger_report",
]

CREATED = "created"
DELIVERED = "delivered"
REJECTED = "rejected"
DROPPED = "dropped"

Tally: TypeAlias = "Counter[tuple[str, str, str]]"
"""(backend name, kind, reason) -> number of spans; the reason is empty for `created` and `delivered`."""

_AS_WRITTEN = f"kind IN ('{CREATED}', '{DELIVERED}', '{REJECTED}', '{DROPPED}') AND typeof(spans) = 'integer'"
_REVOCABLE = ("spool_full", "expired")
"""Reasons for which a batch can be dropped while another thread or process is sending it."""


class Counts:
    """The `counts` table. The caller holds the transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def add(self, backend: int, kind: str, reason: str, spans: int) -> None:
        """Add `spans` to one count of the backend with this id."""
        self._connection.execute(
            "INSERT INTO counts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET spans = spans + excluded.spans",
            (backend, kind, whole(reason), spans),
        )

    def take_back_dropped(self, backend: int, spans: int) -> int:
        """Uncount up to `spans` that were dropped while they were being sent; return how many could be."""
        taken = 0
        for reason in _REVOCABLE:
            row = self._connection.execute(
                "SELECT spans FROM counts WHERE backend = ? AND kind = ? AND reason = ?", (backend, DROPPED, reason)
            ).fetchone()
            found = min(row[0], spans - taken) if row else 0
            if found > 0:
                self.add(backend, DROPPED, reason, -found)
                taken += found
        return taken

    def open(self, backend: int) -> int:
        """Spans that were created for a backend and have met no end."""
        row = self._connection.execute(
            f"SELECT coalesce(sum(CASE kind WHEN ? THEN spans ELSE -spans END), 0) FROM counts"  # noqa: S608  (constants)
            f" WHERE backend = ? AND {_AS_WRITTEN}",
            (CREATED, backend),
        ).fetchone()
        return int(row[0])

    def tally(self) -> Tally:
        """All counts, by backend name; without rows that are not what was ever written."""
        rows = self._connection.execute(
            "SELECT name, kind, counts.reason, spans FROM counts"  # noqa: S608  (constants)
            f" JOIN backends ON backends.id = counts.backend WHERE {_AS_WRITTEN}"
        )
        return Counter({(name, kind, reason): spans for name, kind, reason, spans in rows})


def ledger_report(tally: Tally, names: Collection[str], last_delivery: float | None) -> LedgerReport:
    """The counts of one backend, as everybody else reads them; `names` are its own and those of its workspaces."""
    by_kind: dict[str, Counter[str]] = {kind: Counter() for kind in (CREATED, DELIVERED, REJECTED, DROPPED)}
    for (name, kind, reason), spans in tally.items():
        if name in names and spans:
            by_kind[kind][reason] += spans
    return LedgerReport(
        backend=next(iter(names)),
        created=sum(by_kind[CREATED].values()),
        delivered=sum(by_kind[DELIVERED].values()),
        rejected=dict(by_kind[REJECTED]),
        dropped=dict(by_kind[DROPPED]),
        last_delivery=last_delivery,
    )


class DiskView(NamedTuple):
    """What a report needs from the disk."""

    tally: Tally
    backends: dict[str, tuple[float | None, Failure | None]]
    oldest: dict[str, float | None]
    stored: int = 0
    capacity: int = 0
    quarantined: int = 0


def latest(*moments: float | None) -> float | None:
    """The last of the moments that there are."""
    return max((moment for moment in moments if moment is not None), default=None)


def earliest(*moments: float | None) -> float | None:
    """The first of the moments that there are."""
    return min((moment for moment in moments if moment is not None), default=None)
