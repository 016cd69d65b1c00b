"""HTTP spans that we asked for: kept where they are an attempt of an LLM call, dropped elsewhere.

The instrumentations of httpx and aiohttp record every request of the process. Where the program did not ask for
that itself, only the requests of LLM calls are its business with us.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from otel_llm.context import active_call

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span

    from otel_llm.processors.draft import SpanDraft

__all__ = ["HttpScopeFilter"]

_SCOPES: Final = frozenset({"opentelemetry.instrumentation.httpx", "opentelemetry.instrumentation.aiohttp_client"})
_CAPACITY: Final = 10_000


class HttpScopeFilter:
    """Start stage `on_start` finds HTTP spans outside of LLM calls; end stage (the object itself) drops them."""

    name = "http scope"
    drop_reason = "not_llm_http"

    def __init__(self) -> None:
        self._outside: OrderedDict[int, None] = OrderedDict()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def on_start(self, span: Span, parent_context: Context | None) -> None:
        """Remember `span` if it is an HTTP request that no LLM call makes. At most 10,000 are remembered."""
        scope = span.instrumentation_scope
        if scope is None or scope.name not in _SCOPES or active_call(parent_context) is not None:
            return
        with self._lock:
            self._outside[span.get_span_context().span_id] = None
            if len(self._outside) > _CAPACITY:
                self._outside.popitem(last=False)

    def __call__(self, draft: SpanDraft) -> SpanDraft | None:
        """Drop what was remembered."""
        if not self._outside:
            return draft
        with self._lock:
            remembered = self._outside.pop(draft.context.span_id, draft) is None
        return None if remembered else draft

    def reset_after_fork(self) -> None:
        """Take a lock that nobody holds."""
        self._lock = threading.Lock()
