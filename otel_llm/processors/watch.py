"""End stage that changes nothing: shows the facts of each LLM span to whoever watches, before anything is taken off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_llm import semconv
from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otel_llm.processors.draft import SpanDraft

__all__ = ["CallWatch"]


class CallWatch:
    """Calls each of `watchers` with the attributes of every span of a model operation, on the thread that ended it."""

    name = "call watch"

    def __init__(self) -> None:
        self.watchers: tuple[Callable[[Mapping[str, Any]], object], ...] = ()

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Show the span; a watcher that raises is counted and does no harm."""
        if self.watchers and draft.attributes.get(semconv.OPERATION_NAME) in semconv.LLM_OPERATIONS:
            for watcher in self.watchers:
                guarded("call watcher", watcher, draft.attributes)
        return draft
