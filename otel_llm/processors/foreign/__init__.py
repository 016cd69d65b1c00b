"""Spans of other instrumentations, brought to our names, priced, and counted once."""

from otel_llm.processors.foreign.scopes import in_foreign_call, is_foreign_call
from otel_llm.processors.foreign.stage import ForeignSpans

__all__ = ["ForeignSpans", "in_foreign_call", "is_foreign_call"]
