"""Counts of backends on this machine, put beside the spool's, so that they can be read from outside of the program.

A spool counts on disk as it goes. What is handed to a backend directly is counted in memory; every few seconds, on a
flush and at the end, what was settled since the last time is added to the same file. So a `kill -9` costs at most the
counts of the last seconds, and what waits in a running program's memory is not seen from outside.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from typing import TYPE_CHECKING

from otel_llm.control.channels import DirectChannel
from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_llm.config import Config
    from otel_llm.control.channels import Channel, ChannelReport
    from otel_llm.delivery.spool import Spool
    from otel_llm.delivery.spool_counts import Tally
    from otel_llm.ledger import LedgerReport

__all__ = ["OutsideCounts"]


class OutsideCounts:
    """Writes the counts of directly served backends of one pipeline. Safe to use from any thread; never raises."""

    def __init__(self, config: Config) -> None:
        from otel_llm.delivery import spool  # noqa: F401, PLC0415  (here, and not by the thread that will write)

        self._config = config
        self._spool: Spool | None = None
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._written: dict[str, tuple[Tally, str | None]] = {}
        """For each backend the counts and the trouble that the file has of this process."""

    def write(self, channels: Iterable[Channel]) -> None:
        """Bring the file up to date; what cannot be written now is written the next time."""
        if self._config.spool.mode == "off":
            return
        if self._process != os.getpid():  # a forked child counts from zero, and the lock may be held by nobody here
            self._begin()
        reports = [report for one in channels if isinstance(one, DirectChannel) for report in one.reports()]
        with self._lock:
            for report in reports:
                guarded("keeping counts", self._write, report)

    def close(self) -> None:
        """Close the file."""
        if self._spool is not None:
            guarded("keeping counts", self._spool.close)

    def _write(self, report: ChannelReport) -> None:
        name = report.ledger.backend
        settled, trouble = _settled(report.ledger), report.failure
        before, trouble_before = self._written.get(name, (Counter(), None))
        grown = Counter({key: spans - before[key] for key, spans in settled.items() if spans != before[key]})
        if not grown and trouble == trouble_before:
            return
        if self._opened().record(name, grown, report.ledger.last_delivery, trouble):
            self._written[name] = settled, trouble

    def _opened(self) -> Spool:
        if self._spool is None:
            from otel_llm.delivery.spool import Spool  # noqa: PLC0415  (loads sqlite3)
            from otel_llm.delivery.spool_files import spool_directory  # noqa: PLC0415
            from otel_llm.delivery.spool_types import SpoolSettings  # noqa: PLC0415

            directory = spool_directory(self._config.state_dir, self._config.service_name)
            self._spool = Spool(directory, SpoolSettings.of(self._config), announce=False)
        return self._spool


def _settled(ledger: LedgerReport) -> Tally:
    """The counts of spans whose fate is known: `created` is their sum, for what waits is seen from inside only."""
    from otel_llm.delivery.spool_counts import CREATED, DELIVERED, DROPPED, REJECTED  # noqa: PLC0415

    name = ledger.backend
    found: Tally = Counter({(name, DELIVERED, ""): ledger.delivered})
    found.update({(name, REJECTED, reason): spans for reason, spans in ledger.rejected.items()})
    found.update({(name, DROPPED, reason): spans for reason, spans in ledger.dropped.items()})
    found[name, CREATED, ""] = sum(found.values())
    return found
