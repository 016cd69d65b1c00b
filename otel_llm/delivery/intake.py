"""The face that the OpenTelemetry SDK sees: a span exporter whose SUCCESS means "durably ours"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from otel_llm.delivery.late_codec import NotLoadedError, encode
from otel_llm.delivery.spool_types import Appended
from otel_llm.faults import note_fault
from otel_llm.turns import MANY, unhurried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.delivery.courier import Courier
    from otel_llm.delivery.spool import Spool

__all__ = ["SpoolExporter"]

MAX_BATCH_BYTES = 1024 * 1024
"""Payload of one batch: small enough for every receiver's limit; a larger span is a batch of its own."""


class SpoolExporter(SpanExporter):
    """Encodes spans, appends them to the spool and wakes the courier. Never raises, never waits for a network."""

    def __init__(self, spool: Spool, courier: Courier) -> None:
        self._spool = spool
        self._courier = courier

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep `spans`: SUCCESS if all of them are on disk or, when the disk fails, in memory.

        FAILURE means that some were dropped; they are counted with their reason.
        """
        try:
            return self._keep(spans)
        except NotLoadedError:
            self._spool.count_dropped(len(spans), "not_loaded")
            return SpanExportResult.FAILURE
        except Exception as error:  # noqa: BLE001  (the SDK would log a traceback for each batch; these are counted)
            note_fault("keeping spans", error)
            self._spool.count_dropped(len(spans), "internal")
            return SpanExportResult.FAILURE

    def _keep(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with unhurried(lambda: len(spans) < MANY):
            batches = encode(spans, max_bytes=MAX_BATCH_BYTES)
        lost = len(spans) - sum(batch.span_count for batch in batches)
        if lost:
            self._spool.count_dropped(lost, "not_encodable")
        dropped = [batch for batch in batches if self._spool.append(batch) is Appended.DROPPED]
        if batches:
            self._courier.notify(sum(len(batch.payload) for batch in batches))
        return SpanExportResult.FAILURE if lost or dropped else SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Deliver what was exported so far; True only if every backend has answered for every span in time."""
        return self._courier.flush(timeout_millis / 1000.0).complete

    def shutdown(self) -> None:
        """Deliver what can be delivered within the courier's `exit_timeout`; the rest stays in the spool."""
        self._courier.shutdown()
