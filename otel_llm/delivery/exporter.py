"""The SDK's face of one backend without a spool: encode, send, try again within bounds, count.

For backends on this machine, and for programs that use only the exporter. What a backend does not take in time is
lost, and counted as such; what has to survive an outage goes through the spool (`otel_llm.delivery.intake`).
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_llm.clock import monotonic
from otel_llm.contracts import Delivered, Rejected, Retry
from otel_llm.delivery.late_codec import NotLoadedError, encode, halve, prepare_for
from otel_llm.delivery.words import legible
from otel_llm.faults import note_fault
from otel_llm.turns import MANY, unhurried
from otel_llm.untraced import untraced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.contracts import Backend, Batch, Outcome
    from otel_llm.ledger import Ledger, LedgerReport

__all__ = ["DeliveryExporter"]

_logger = logging.getLogger(__name__)

_LOCKED: Final = "locked"
"""Why a backend on this machine takes nothing while another process has its file."""
_SHORT_PAUSE_SECONDS: Final = 0.01
_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 8.0
_MOST_HALVES: Final = 64
"""Sends that one export may spend on finding bad spans; each bad one among 64 costs about a dozen."""


class DeliveryExporter(SpanExporter):
    """Hands finished spans to `backend` and counts in `ledger` where each of them ended.

    `timeout` is the time in seconds that one `export` may take, all batches, retries and pauses included. With
    `counts_created` the spans are counted as created here, for programs where no `SpanPipeline` does it. Changes of
    state are logged unless `announce` is False, because health says them already; the first loss is
    said then, where health does not count. The backend is used by one thread at a time, and closed by `shutdown`.
    """

    def __init__(
        self,
        backend: Backend,
        ledger: Ledger,
        *,
        timeout: float = 10.0,
        counts_created: bool = False,
        announce: bool = True,
    ) -> None:
        self._backend = backend
        self._ledger = ledger
        self._timeout = timeout
        self._counts_created = counts_created
        self._level = logging.WARNING if announce else logging.DEBUG
        self._sending = threading.Lock()
        self._stopped = threading.Event()
        self._latest_end = float("inf")
        self._longest_send = self._end_of_failing = float("inf")
        self._trouble: str | None = None
        self._oldest: float | None = None
        self._says_losses = counts_created and not announce
        self._losing = False
        _renew_after_fork(self)
        prepare_for(backend)

    @property
    def trouble(self) -> str | None:
        """Why the backend takes nothing now, with what to do; None while it does."""
        return self._trouble

    @property
    def oldest_waiting(self) -> float | None:
        """Unix seconds at which the first span of what is being exported now ended; None while nothing is."""
        return self._oldest

    @property
    def report(self) -> LedgerReport:
        """Where the spans of this process ended."""
        return self._ledger.report()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver `spans`; SUCCESS if the backend has taken every one of them. Never raises."""
        if self._counts_created:
            self._ledger.created(len(spans))
        tally = _Tally(self._ledger)
        try:
            with untraced(), self._sending, unhurried(lambda: len(spans) < MANY and not self._stopped.is_set()):
                self._oldest = (spans[0].end_time or 0) / 1e9 if spans else None
                self._export(spans, tally)
        except NotLoadedError:
            tally.dropped(len(spans), "not_loaded")
        except Exception as error:  # noqa: BLE001  (the SDK would log a traceback; the spans are counted either way)
            note_fault("export", error)
            tally.dropped(max(len(spans) - tally.settled, 0), "export_fault")
        self._oldest = None
        self._say_loss(tally)
        return SpanExportResult.FAILURE if tally.lost else SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """True once no export is under way; False if one still is after `timeout_millis`. Nothing is held back."""
        if not self._sending.acquire(timeout=max(timeout_millis, 0) / 1000):
            return False
        self._sending.release()
        return True

    def hurry(self, seconds: float, *, while_taken: float = 0.0) -> None:
        """From now on, send nothing for longer than this and try nothing again: the program is ending.

        As long as the backend takes every batch, or another process writes to the same file, it may go on for
        `while_taken` seconds, where that is more.
        """
        now = monotonic()
        self._longest_send = seconds
        self._end_of_failing = now + seconds
        self._latest_end = now + max(seconds, while_taken)
        self._stopped.set()

    def shutdown(self) -> None:
        """End pauses between retries at once and close the backend; later spans are dropped and counted."""
        self._stopped.set()
        self._latest_end = 0.0
        with self._sending:
            self._backend.close()

    def reset_after_fork(self) -> None:
        """In a child process: no lock is held, no trouble known, and the counts are the parent's."""
        self._sending = threading.Lock()
        self._ledger.reset_after_fork()
        self._trouble = self._oldest = None

    def _export(self, spans: Sequence[ReadableSpan], tally: _Tally) -> None:
        batches = encode(spans)
        unencodable = len(spans) - sum(batch.span_count for batch in batches)
        if unencodable:
            tally.dropped(unencodable, "unencodable")
        end = monotonic() + self._timeout
        waiting, halves = deque(batches), 0
        while waiting:
            batch = waiting.popleft()
            outcome = self._sent(batch, end)
            parts = halve(batch) if isinstance(outcome, Rejected) and halves < _MOST_HALVES else None
            if parts is not None:
                waiting.extendleft(reversed(parts))
                halves += 1
            else:
                tally.settle(batch, outcome)

    def _sent(self, batch: Batch, end: float) -> Outcome:
        """The last outcome for a batch: tried again while that can help and there is time."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            left = min(end, self._latest_end) - monotonic()
            if left <= 0:
                return Retry("There was no time left to send the spans.", "no_time")
            outcome = legible(self._backend.send(batch, timeout=min(left, self._longest_send)))
            self._note(outcome)
            if not isinstance(outcome, Retry) or outcome.needs_action:
                return outcome
            if self._stopped.is_set() and outcome.reason == _LOCKED:  # by one who writes, too, and will be done
                time.sleep(_SHORT_PAUSE_SECONDS)
                continue
            self._latest_end = min(self._latest_end, self._end_of_failing)
            wait = outcome.after if outcome.after is not None else pause * random.uniform(0.5, 1.0)  # noqa: S311
            if monotonic() + wait >= end or self._stopped.wait(wait):
                return outcome
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _say_loss(self, tally: _Tally) -> None:
        """Log the first loss after a time without any; the ledger counts the others."""
        if self._says_losses and tally.lost and not self._losing:
            why = " ".join(list(dict.fromkeys(tally.reasons))[:3]) or "they could not be encoded."
            _logger.error("%d spans did not reach %s and are lost: %s", tally.lost, self._backend.name, why)
        self._losing = tally.lost > 0

    def _note(self, outcome: Outcome) -> None:
        """Log when the backend stops taking spans, and when it takes them again."""
        trouble = outcome.why if isinstance(outcome, Retry) else None
        if trouble is not None and self._trouble is None:
            _logger.log(self._level, "The backend %s takes no spans. %s", self._backend.name, trouble)
        elif isinstance(outcome, Delivered) and self._trouble is not None:
            _logger.log(self._level, "The backend %s takes spans again.", self._backend.name)
        self._trouble = trouble


class _Tally:
    """Counts the spans of one export, each exactly once, here and in the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.settled = 0
        self.lost = 0
        self.reasons: list[str] = []
        """Why spans were lost, in words."""

    def settle(self, batch: Batch, outcome: Outcome) -> None:
        """Count every span of a batch by its last outcome."""
        if isinstance(outcome, Retry):
            self.dropped(batch.span_count, outcome.reason)
            self.reasons.append(outcome.why)
        elif isinstance(outcome, Rejected):
            self._rejected(batch.span_count, outcome.reason)
            self.reasons.append(outcome.why)
        else:
            for rejection in outcome.rejected:
                self._rejected(1, rejection.reason)
                self.reasons.append(rejection.detail or rejection.reason)
            self._ledger.delivered(outcome.accepted)
            self.settled += outcome.accepted

    def dropped(self, spans: int, reason: str) -> None:
        """Count spans that we gave up."""
        self._ledger.dropped(spans, reason)
        self.settled += spans
        self.lost += spans

    def _rejected(self, spans: int, reason: str) -> None:
        self._ledger.rejected(spans, reason)
        self.settled += spans
        self.lost += spans


def _renew_after_fork(exporter: DeliveryExporter) -> None:
    if hasattr(os, "register_at_fork"):
        reset = weakref.WeakMethod(exporter.reset_after_fork)
        os.register_at_fork(after_in_child=lambda: (found := reset()) and found())
