"""The channel to backends behind a network: through a spool on disk, so that nothing is lost with the process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

from otel_llm.clock import monotonic
from otel_llm.config import ON_THIS_MACHINE
from otel_llm.control.channels import ChannelReport, batching, empty_queue
from otel_llm.delivery.courier import Courier, CourierSettings
from otel_llm.delivery.intake import SpoolExporter
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_files import spool_directory
from otel_llm.delivery.spool_types import SpoolSettings
from otel_llm.processors.chain import LAST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from otel_llm.config import Config
    from otel_llm.contracts import Backend
    from otel_llm.control.queue_guard import GuardedBatching
    from otel_llm.delivery.spool_types import BackendReport, SpoolReport
    from otel_llm.ledger import Ledger, LedgerReport
    from otel_llm.processors.chain import Gate

__all__ = ["SpooledChannel"]

_REST_SECONDS = 0.2
"""How long a report waits for a batch that is on its way from the queue to the spool."""


class SpooledChannel:
    """Spans go from the queue into a spool on disk, and from there to every one of the backends."""

    def __init__(self, backends: Mapping[str, Backend], config: Config) -> None:
        self._spool = Spool(spool_directory(config.state_dir, config.service_name), SpoolSettings.of(config))
        self._spool.register(backends)
        self._backends = len(backends)
        self._workspace = config.opik.workspace
        self._courier = Courier(
            self._spool,
            backends,
            CourierSettings(
                request_timeout=config.export_timeout, exit_timeout=config.shutdown_timeout, announce=False
            ),
        )
        self._queue = batching(
            SpoolExporter(self._spool, self._courier),
            _SpoolCounts(self._spool),
            config,
            keeps=lambda: self._spool.writes_at_once,
        )
        self._last: list[ChannelReport] | None = None
        self._created_said: dict[tuple[int, str], tuple[int, int]] = {}
        self._processor = _WakesCourier(self._queue, self._courier)

    @property
    def processor(self) -> SpanProcessor:
        """Where ended spans are handed over."""
        return self._processor

    @property
    def ledgers(self) -> Sequence[Ledger]:
        """None: the spool counts for all processes that share it."""
        return []

    @property
    def gate(self) -> Gate:
        """The queue."""
        return self._queue

    @property
    def in_memory(self) -> bool:
        """Whether something is not on disk that is to be."""
        return self._queue.is_busy or self._spool.owes_to_disk

    def flush(self, timeout: float) -> int:
        """Put everything queued into the spool and deliver it; return the spans of this process that still wait."""
        began = monotonic()
        emptied = empty_queue(self._queue, timeout)
        waiting = self._courier.flush(max(0.0, timeout - (monotonic() - began))).waiting
        queued = 0 if emptied else self._queue.queued * self._backends
        return sum(waiting.values()) + queued

    def reports(self) -> list[ChannelReport]:
        """The counts of each backend over all processes that share the spool, what is queued here included.

        After `close` these are the last ones: the spool's file is not opened again.
        """
        if self._last is not None:
            return self._last
        with self._queue.at_rest(_REST_SECONDS):
            report, queued = self._spool.report(), self._queue.queued
        # counts of those on this machine lie in the same file (`control.outside`), and are not this channel's
        ours = {name: found for name, found in report.backends.items() if name not in ON_THIS_MACHINE}
        return [self._report(found, report, queued) for found in ours.values()]

    def hurry(self, timeout: float) -> None:
        """The time for `close` begins now: what is queued has to go to disk first."""
        self._courier.hurry(timeout)

    def keep(self, timeout: float) -> None:
        """Put what is queued into the spool, and that onto the disk; wait for what is being sent now."""
        empty_queue(self._queue, LAST_SECONDS)
        self._courier.rest(timeout)
        self._spool.close()

    def close(self, timeout: float) -> None:
        """Deliver what can be delivered in time; the rest stays in the spool for the next start."""
        self._courier.shutdown(timeout)
        self._last = self.reports()
        self._spool.close()

    def _report(self, found: BackendReport, spool: SpoolReport, queued: int) -> ChannelReport:
        ledger = found.ledger._replace(created=self._created(found.ledger, queued))
        failure = found.failure
        return ChannelReport(
            ledger=ledger,
            durable=not spool.degraded and self._spool.settings.mode == "always",
            failure=failure.why if failure is not None else None,
            failed_at=failure.at if failure is not None else None,
            failing_since=failure.since if failure is not None else None,
            memory_only=spool.degraded,
            oldest_waiting=found.oldest_waiting,
            parked=found.parked,
            workspace=self._workspace if found.ledger.backend == "opik" else "",
            queued=queued,
            queue_capacity=self._queue.capacity,
            processed=self._queue.processed,
            spool_files_set_aside=spool.set_aside,
            spool_bytes=spool.stored_bytes,
            spool_capacity=spool.capacity_bytes,
        )

    def _created(self, spooled: LedgerReport, queued: int) -> int:
        """Spans that ended: those that the spool counts, and those in the queue.

        A batch that takes long on its way from one to the other is in neither, so no less is said than before, unless
        the spool itself has begun anew.
        """
        key = (os.getpid(), spooled.backend)
        spooled_before, said_before = self._created_said.get(key, (0, 0))
        created = spooled.created + queued
        if spooled.created >= spooled_before:
            created = max(created, said_before)
        self._created_said[key] = (spooled.created, created)
        return created


class _WakesCourier(SpanProcessor):
    """Starts the courier with the first span that a process begins.

    Its first batch may be closed by the end of the program, when Python (3.12 and later) starts no more threads.
    """

    def __init__(self, queue: GuardedBatching, courier: Courier) -> None:
        self._queue = queue
        self._courier = courier
        self._awake_in = 0

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002  (the SDK's)
        if self._awake_in != os.getpid():
            self._awake_in = os.getpid()
            self._courier.notify()

    def on_end(self, span: ReadableSpan) -> None:
        self._queue.on_end(span)

    def shutdown(self) -> None:
        self._queue.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._queue.force_flush(timeout_millis)


class _SpoolCounts:
    """Counts a full queue where the spool counts everything else."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def dropped(self, spans: int, reason: str) -> None:
        self._spool.count_dropped(spans, reason)
