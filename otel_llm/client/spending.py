"""What each tenant has spent today, in a file that all processes of a service share.

Fed with the cost on the spans of its calls, so it counts what the store and Opik count, calls made around the client
included. Money is whole nano-USD. A day is a day of UTC. Where the file cannot be used, this process counts alone.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from otel_llm import semconv
from otel_llm.errors import StoreError
from otel_llm.store.private_file import make_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Spending"]

_logger = logging.getLogger(__name__)
_NANO = Decimal(10**9)
_BUSY_SECONDS = 2.0
_DAYS_KEPT = 35


class Spending:
    """Money by tenant and day. Safe to use from any thread; `note` never touches the disk."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.RLock()
        self._unsaved: Counter[tuple[str, str]] = Counter()
        self._alone = False

    def note(self, attributes: Mapping[str, Any]) -> None:
        """Count the cost on a span that has ended."""
        cost = attributes.get(semconv.COST)
        if not isinstance(cost, (int, float)) or not 0 < cost < float("inf"):
            return
        tenant = str(attributes.get(semconv.TENANT_ID) or semconv.UNKNOWN_TENANT)
        with self._lock:
            self._unsaved[self._today(), tenant] += int((Decimal(repr(cost)) * _NANO).to_integral_value())

    def today(self, tenant: str) -> Decimal:
        """USD that `tenant` has spent today; writes what was noted since, which may wait for the disk."""
        day = self._today()
        saved = self._saved(day, tenant)
        with self._lock:
            return (saved + self._unsaved[day, tenant]) / _NANO

    def save(self) -> None:
        """Write what was noted."""
        self._saved(self._today(), "")

    def _saved(self, day: str, tenant: str) -> int:
        if self._alone:
            return 0
        with self._lock:
            unsaved, self._unsaved = self._unsaved, Counter()
        try:
            return self._written(unsaved, day, tenant)
        except (sqlite3.Error, OSError, StoreError) as error:
            with self._lock:
                self._unsaved.update(unsaved)
            if not _is_busy(error):
                self._alone = True
                _logger.warning("Budgets are counted in this process alone: %s cannot be used (%s).", self._path, error)
            return 0

    def _written(self, unsaved: Counter[tuple[str, str]], day: str, tenant: str) -> int:
        make_private(self._path)
        with closing(sqlite3.Connection(self._path, timeout=_BUSY_SECONDS, isolation_level=None)) as file:
            file.execute(
                "CREATE TABLE IF NOT EXISTS spending"
                " (day TEXT, tenant TEXT, nano_usd INTEGER, PRIMARY KEY (day, tenant))"
            )
            # One transaction for both: what was committed must never be taken for unsaved because reading failed.
            file.execute("BEGIN IMMEDIATE" if unsaved else "BEGIN")
            file.executemany(
                "INSERT INTO spending VALUES (?, ?, ?)"
                " ON CONFLICT DO UPDATE SET nano_usd = nano_usd + excluded.nano_usd",
                [(when, who, nano) for (when, who), nano in unsaved.items()],
            )
            found = file.execute("SELECT nano_usd FROM spending WHERE day = ? AND tenant = ?", (day, tenant)).fetchone()
            if unsaved:
                file.execute("DELETE FROM spending WHERE day < ?", (_day(self._clock() - _DAYS_KEPT * 86_400),))
            file.execute("COMMIT")
        return int(found[0]) if found else 0

    def _today(self) -> str:
        return _day(self._clock())


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def _is_busy(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "busy" in str(error))
