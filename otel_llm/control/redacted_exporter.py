"""Our backends as exporters of programs whose spans do not go through our pipeline: redacted all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_llm.delivery.exporter import DeliveryExporter
from otel_llm.faults import note_fault
from otel_llm.ledger import Ledger
from otel_llm.processors.chain import strip_content
from otel_llm.processors.draft import SpanDraft
from otel_llm.processors.redaction import Redaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult

    from otel_llm.config import Config
    from otel_llm.contracts import Backend

__all__ = ["RedactedExporter"]


class RedactedExporter(DeliveryExporter):
    """A `DeliveryExporter` that takes out of every span what the setting `redact` names, keys above all.

    The content policy is not applied: whoever chose an exporter for spans of other instrumentations wants what they
    recorded. A span whose redaction fails loses all its texts, as in the pipeline.
    """

    def __init__(self, backend: Backend, config: Config, *, timeout: float, announce: bool = True) -> None:
        super().__init__(backend, Ledger(backend.name), timeout=timeout, counts_created=True, announce=announce)
        self._redaction = Redaction.of(config)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver `spans`, redacted; SUCCESS if the backend has taken every one of them. Never raises."""
        return super().export([self._redacted(span) for span in spans])

    def _redacted(self, span: ReadableSpan) -> ReadableSpan:
        draft = SpanDraft(span)
        try:
            draft = self._redaction(draft)
        except Exception as error:  # noqa: BLE001  (a span that cannot be searched is not sent as it is)
            note_fault("end stage redaction", error)
            strip_content(draft)
        return draft.to_span()
