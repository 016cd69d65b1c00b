"""One call, one count: spans of other LLM instrumentations for a call that we record do not reach our backends.

A program may have OpenInference, OpenLLMetry, OpenLIT, the OpenTelemetry GenAI instrumentations, Logfire or litellm's
own callback active beside us. Each makes a span with usage for the same call, and every sum would be doubled. Such a
span is left out of what we ship; its children move up to its parent. The program's other processors see it as ever.

Two kinds are told apart by where they begin:

* Below our call: the span of a client library's instrumentation (openai, anthropic, ...) that begins while one of
  our calls runs. Outside of our calls these spans are the only record of theirs, and are kept.
* Around or after our call: the span of an instrumentation of litellm itself, which records what we record. It may
  be the parent of our span, or be made by a callback when the call is over.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, get_current_span

from otel_llm.context import active_call
from otel_llm.processors.beginning import span_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.trace import SpanContext

    from otel_llm.processors.beginning import Beginning
    from otel_llm.processors.draft import SpanDraft

__all__ = ["BUILT_IN_SCOPES", "CLIENT_SCOPES", "LITELLM_SCOPES", "OverlapFilter", "is_llm_scope"]

LITELLM_SCOPES: Final = frozenset(
    {
        "litellm",
        "langtrace_python_sdk.instrumentation.litellm.instrumentation",
        "openinference.instrumentation.litellm",
        "openlit.instrumentation.litellm",
        "opentelemetry.instrumentation.litellm",
    }
)
"""Scopes of instrumentations of litellm itself; `litellm` is its own OpenTelemetry callback (both generations)."""

_CLIENTS: Final = frozenset(
    {
        "alephalpha",
        "anthropic",
        "bedrock",
        "cohere",
        "google_genai",
        "google_generativeai",
        "groq",
        "mistralai",
        "ollama",
        "openai",
        "openai_v2",
        "replicate",
        "sagemaker",
        "together",
        "transformers",
        "vertexai",
        "voyageai",
        "watsonx",
        "writer",
    }
)

CLIENT_SCOPES: Final = frozenset(
    {
        *(f"opentelemetry.instrumentation.{client}" for client in _CLIENTS),
        "opentelemetry.instrumentation.botocore.bedrock-runtime",
        "opentelemetry.instrumentation.openai.v0",
        "opentelemetry.instrumentation.openai.v1",
        "logfire.anthropic",
        "logfire.google_genai",
        "logfire.openai",
    }
)
"""Scopes of instrumentations of client libraries: OpenLLMetry's and OpenTelemetry contrib's share one naming."""

BUILT_IN_SCOPES: Final = frozenset({"com.anthropic.sdk.python", "mistralai_sdk_tracer"})
"""Scopes of client libraries that record themselves, whatever else records them (anthropic from 2.0 on)."""

_PREFIXES: Final = (
    "langtrace_python_sdk.instrumentation.",
    "openinference.instrumentation.",
    "openlit.",
    "opentelemetry.instrumentation.genai.",
    "traceloop.",
)
"""Families whose scopes are all about LLM work."""

_CAPACITY: Final = 10_000
_MOST_SCOPES: Final = 512


def is_llm_scope(scope_name: str) -> bool:
    """Whether spans of this instrumentation scope describe calls to language models."""
    return scope_name in LITELLM_SCOPES or scope_name in CLIENT_SCOPES or scope_name.startswith(_PREFIXES)


@lru_cache(maxsize=_MOST_SCOPES)
def _may_be_duplicate(scope_name: str) -> bool:
    """Whether spans of this scope can be somebody else's record of a call of ours."""
    return scope_name in BUILT_IN_SCOPES or is_llm_scope(scope_name)


class OverlapFilter:
    """Start stage `on_start` finds duplicates; end stage (the object itself) drops them and re-parents children.

    `records_litellm` says whether our own litellm instrumentation is active now; `is_call` whether a span is somebody's
    record of a model call, inside which a library's record of itself is one too many. `absorb` gets what is dropped.
    At most 10,000 duplicates and as many calls of ours are remembered, the latest ones; a child of an older one keeps
    a parent that our backends do not have.
    """

    name = "overlap"
    drop_reason = "duplicate"

    def __init__(
        self,
        records_litellm: Callable[[], bool] = lambda: True,
        *,
        is_call: Callable[[ReadableSpan], bool] = lambda _: False,
        absorb: Callable[[SpanDraft], object] = lambda _: None,
    ) -> None:
        self._records_litellm = records_litellm
        self._is_call = is_call
        self._absorb = absorb
        self._parents: OrderedDict[tuple[int, int], SpanContext | None] = OrderedDict()
        self._calls: OrderedDict[tuple[int, int], None] = OrderedDict()
        """The latest calls of ours, ended or not."""
        self._lock = threading.RLock()
        _renew_after_fork(self)

    def on_start(self, beginning: Beginning) -> None:
        """Remember a span that is another instrumentation's record of a call of ours, and its parent if that is one.

        The parent may be of a tracer provider that we are no part of: our backends will never have it.
        """
        if beginning.is_call:
            self._remember_call(beginning.key)
        span, around = beginning.span, beginning.around
        if span.parent is not None:
            parent = get_current_span(around)
            if isinstance(parent, ReadableSpan) and parent.instrumentation_scope is not None:
                self._note(parent, parent.instrumentation_scope.name, around)
        self._note(span, beginning.scope, around)

    def _remember_call(self, key: tuple[int, int]) -> None:
        with self._lock:
            self._calls[key] = None
            if len(self._calls) > _CAPACITY:
                self._calls.popitem(last=False)

    def _note(self, span: ReadableSpan, scope_name: str, around: Context) -> None:
        if not _may_be_duplicate(scope_name):
            return
        context = span.get_span_context()
        if context is None or not self._is_duplicate(scope_name, span, around):
            return
        with self._lock:
            self._parents[span_key(context)] = span.parent
            if len(self._parents) > _CAPACITY:
                self._parents.popitem(last=False)

    def __call__(self, draft: SpanDraft) -> SpanDraft | None:
        """Drop a duplicate; move the child of one up to the nearest parent that is kept."""
        if not self._parents:
            return draft
        with self._lock:
            is_duplicate = span_key(draft.context) in self._parents
            parent = draft.parent
            while parent is not None and span_key(parent) in self._parents:
                parent = self._parents[span_key(parent)]
            draft.parent = parent
        if is_duplicate:
            self._absorb(draft)
            return None
        return draft

    def reset_after_fork(self) -> None:
        """Take a lock that nobody holds; what was remembered stays true for spans that live on in the child."""
        self._lock = threading.RLock()

    def _is_duplicate(self, scope_name: str, span: ReadableSpan, around: Context) -> bool:
        if scope_name in BUILT_IN_SCOPES:
            above: object = get_current_span(around)
            inside = above is not span and isinstance(above, ReadableSpan) and self._is_call(above)
            return inside or active_call(around) is not None
        if not is_llm_scope(scope_name):
            return False
        if scope_name in LITELLM_SCOPES and span.kind is not SpanKind.SERVER and self._records_litellm():
            return True  # SERVER is litellm's proxy answering a request: work around calls, not a call
        return active_call(around) is not None or self._continues(span)

    def _continues(self, span: ReadableSpan) -> bool:
        """Whether it begins below a call of ours, or a duplicate, that is over: Logfire records streams that way."""
        return span.parent is not None and (
            span_key(span.parent) in self._calls or span_key(span.parent) in self._parents
        )


def _renew_after_fork(overlap: OverlapFilter) -> None:
    if hasattr(os, "register_at_fork"):
        reset = weakref.WeakMethod(overlap.reset_after_fork)
        os.register_at_fork(after_in_child=lambda: (found := reset()) and found())
