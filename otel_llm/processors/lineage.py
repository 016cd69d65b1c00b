"""Who a span's ancestors are, as far as our backends get to know them; and which spans are LLM work or lead to it.

A program that has a tracer provider of its own has spans of all kinds on it. Of these, our backends get the LLM work
(what otel_llm records itself, what another LLM instrumentation records, and what runs inside a call) and its
ancestors: the request, the task, the function that the call was made for. Children end before their parents, so a span
knows by its end whether it has such a descendant.

No span is sent below one that is not sent: it moves up to its nearest ancestor that is, or begins its trace.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import get_current_span

from otel_llm import semconv
from otel_llm.context import active_call, heard_span
from otel_llm.processors.beginning import span_key
from otel_llm.processors.foreign.scopes import is_foreign_scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import SpanContext

    from otel_llm.processors.beginning import Beginning
    from otel_llm.processors.draft import SpanDraft

__all__ = ["Lineage", "is_llm_work", "is_own_scope"]

_Key: TypeAlias = "tuple[int, int]"
_CAPACITY: Final = 10_000
_BELOW_OWN_SCOPE: Final = f"{semconv.OWN_SCOPE}."
_MOST_RESOURCES: Final = 16

_MARKS: Final = frozenset(
    {
        semconv.OPERATION_NAME,
        semconv.PROVIDER_NAME,
        semconv.GEN_A_PROVIDER,
        semconv.REQUEST_MODEL,
        semconv.AGENT_NAME,
        semconv.TOOL_NAME,
        semconv.OI_SPAN_KIND,
        semconv.TRACELOOP_SPAN_KIND,
        semconv.TRACELOOP_REQUEST_TYPE,
        semconv.VERCEL_OPERATION,
        semconv.OPIK_SPAN_TYPE,
    }
)
"""Attributes of which one is enough to make a span LLM work."""
_PLAIN_OBSERVATIONS: Final = frozenset({None, "span", "event"})
"""Of Langfuse's types of observation, those that can be anything."""


def is_own_scope(scope_name: str) -> bool:
    """Whether otel_llm makes the spans of this instrumentation scope."""
    return scope_name == semconv.OWN_SCOPE or scope_name.startswith(_BELOW_OWN_SCOPE)


def is_llm_work(scope_name: str, attributes: Mapping[str, Any]) -> bool:
    """Whether a span of this scope is a call, an agent, a tool, or work that otel_llm records itself."""
    return (
        is_own_scope(scope_name)
        or is_foreign_scope(scope_name)
        or not attributes.keys().isdisjoint(_MARKS)
        or attributes.get(semconv.LANGFUSE_TYPE) not in _PLAIN_OBSERVATIONS
    )


class _Open:
    """A span that has begun and not ended."""

    __slots__ = ("parent", "wanted")

    def __init__(self, parent: SpanContext | None, *, wanted: bool) -> None:
        self.parent = parent
        """The nearest ancestor that we know of."""
        self.wanted = wanted
        """Whether it is LLM work, or something below it is, or all spans were sent when it began."""


class Lineage:
    """Start stage `on_start` follows who begins below whom; the end stage (the object itself) drops what leads nowhere.

    With `llm_only` spans are dropped that are neither LLM work nor its ancestors; without, only parents that no backend
    gets are replaced. Remembered are at most 10,000 open spans, as many dropped ones, and as many parents of which we
    have heard and that began before us. What is forgotten is kept if it is LLM work itself.
    """

    name = "lineage"
    drop_reason = "not_llm"

    def __init__(self, *, llm_only: bool, joined: bool) -> None:
        self.llm_only = llm_only
        self._since = time.time_ns() if joined else 0
        """Unix nanoseconds; spans of the provider that began before end without having been seen to begin."""
        self._open: OrderedDict[_Key, _Open] = OrderedDict()
        self._awaited: OrderedDict[_Key, None] = OrderedDict()
        self._gone: OrderedDict[_Key, SpanContext | None] = OrderedDict()
        self._resources: tuple[Resource, ...] = ()
        """Of the spans that we have seen to begin: those with another are of a provider that we are no part of."""
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def on_start(self, beginning: Beginning) -> None:
        """Remember the span and whom it belongs to."""
        if not beginning.sampled:
            return  # such a span may never reach the end stage
        span = beginning.span
        with self._lock:
            if not self._resources or self._resources[0] is not span.resource:
                self._learn(span.resource)
            parent = span.parent
            if parent is not None:
                parent = self._nearest(parent, beginning.around)
            entry = self._open[beginning.key] = _Open(parent, wanted=not self.llm_only)
            if len(self._open) > _CAPACITY:
                forgotten, its = self._open.popitem(last=False)
                if its.wanted:
                    self._await(forgotten)
            if self.llm_only and _is_work_at_start(beginning):
                entry.wanted = True
                self._want(parent)  # now, because it may end before this span does

    def __call__(self, draft: SpanDraft) -> SpanDraft | None:
        """Put `draft` below its nearest ancestor that is sent, or drop it."""
        key = span_key(draft.context)
        with self._lock:
            entry = self._open.pop(key, None)
            parent = self._resolved(draft.parent if entry is None else entry.parent)
            if parent is not draft.parent:
                draft.parent = parent
            if not self.llm_only:
                return draft
            if entry is not None:
                wanted = entry.wanted
            else:
                wanted = key in self._awaited
                self._awaited.pop(key, None)
            if not wanted and not is_llm_work(draft.scope_name, draft.attributes):
                _put(self._gone, key, parent)
                return None
            if not draft.left_out:
                self._want(parent)
        return draft

    def parent_of(self, context: SpanContext) -> SpanContext | None:
        """The nearest ancestor of an open span; None for a root, and for a span that is not open."""
        with self._lock:
            entry = self._open.get(span_key(context))
            return self._resolved(entry.parent) if entry is not None else None

    def want(self, context: SpanContext) -> SpanContext | None:
        """Have an open span kept, and all above it; the topmost of them that is open, None if the span is not."""
        with self._lock:
            if span_key(context) not in self._open:
                return None
            self._want(context)
            while (above := self._resolved(self._open[span_key(context)].parent)) is not None and span_key(
                above
            ) in self._open:
                context = above
            return context

    def reset_after_fork(self) -> None:
        """Take a lock that nobody holds; what was remembered stays true for spans that live on in the child."""
        self._lock = threading.RLock()

    def _learn(self, resource: Resource) -> None:
        if not self._has_seen(resource):
            self._resources = (resource, *self._resources[: _MOST_RESOURCES - 1])

    def _has_seen(self, resource: Resource) -> bool:
        return any(resource is seen for seen in self._resources)

    def _nearest(self, parent: SpanContext, around: Context | None) -> SpanContext | None:
        """The nearest ancestor that is sent or may yet be, for a span that begins below `parent` in `around`."""
        if parent.is_remote or span_key(parent) in self._open:
            return parent
        if span_key(parent) in self._gone:
            return self._resolved(parent)
        live = get_current_span(around)
        if isinstance(live, ReadableSpan) and span_key(live.get_span_context()) == span_key(parent):
            if self._has_seen(live.resource) or (live.start_time or 0) < self._since:
                return parent
            above = self._resolved(live.parent)  # `live` is of a provider that we are no part of
            if above is not None and (above.is_remote or span_key(above) in self._open):
                return above
        heard = heard_span(around)
        return self._resolved(heard.get_span_context()) if heard is not None else None

    def _resolved(self, parent: SpanContext | None) -> SpanContext | None:
        while parent is not None and span_key(parent) in self._gone:
            parent = self._gone[span_key(parent)]
        return parent

    def _want(self, parent: SpanContext | None) -> None:
        """Have `parent` kept when it ends, and all above it."""
        while parent is not None and not parent.is_remote:
            entry = self._open.get(span_key(parent))
            if entry is None:
                self._await(span_key(parent))
                return
            if entry.wanted:
                return
            entry.wanted = True
            parent = self._resolved(entry.parent)

    def _await(self, key: _Key) -> None:
        _put(self._awaited, key, None)


def _put(remembered: OrderedDict[_Key, Any], key: _Key, value: Any) -> None:
    remembered[key] = value
    remembered.move_to_end(key)
    if len(remembered) > _CAPACITY:
        remembered.popitem(last=False)


def _is_work_at_start(beginning: Beginning) -> bool:
    return active_call(beginning.around) is not None or is_llm_work(beginning.scope, beginning.attributes)
