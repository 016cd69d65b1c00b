"""The questions one can ask the local store; all are read-only and see one consistent moment."""

from __future__ import annotations

from otel_llm.store.call_pages import calls, errors
from otel_llm.store.calls import CallRow, spans
from otel_llm.store.groupings import GROUPINGS
from otel_llm.store.usage import UsageReport, UsageRow, usage

__all__ = ["GROUPINGS", "CallRow", "UsageReport", "UsageRow", "calls", "errors", "spans", "usage"]
