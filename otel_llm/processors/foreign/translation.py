"""A foreign span in our names. Loaded with the first foreign span: most programs have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_llm import semconv
from otel_llm.processors.foreign.adk import from_adk
from otel_llm.processors.foreign.conventions import to_conventions
from otel_llm.processors.foreign.openinference import from_openinference
from otel_llm.processors.foreign.openllmetry import from_openllmetry
from otel_llm.processors.foreign.words import is_model_call

if TYPE_CHECKING:
    from otel_llm.processors.draft import SpanDraft

__all__ = ["is_model_call", "translate"]


def translate(draft: SpanDraft, *, wants_content: bool) -> None:
    """Give the span the conventions' newest names, whoever's it has; without `wants_content`, no messages."""
    if semconv.OI_SPAN_KIND in draft.attributes:
        from_openinference(draft, wants_content=wants_content)
    elif semconv.ANTHROPIC_STOP_REASON in draft.attributes:
        draft.attributes.setdefault(semconv.FINISH_REASONS, [draft.attributes.pop(semconv.ANTHROPIC_STOP_REASON)])
    if draft.scope_name == semconv.ADK_SCOPE:
        from_adk(draft, wants_content=wants_content)
    from_openllmetry(draft, wants_content=wants_content)
    to_conventions(draft, wants_content=wants_content)
