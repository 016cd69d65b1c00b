"""One call, one count, where instrumentations nest: a framework's record of a model call around the client's own.

LangChain's `ChatOpenAI` calls the `openai` package; with an instrumentation on each, both spans say the same tokens.
The inner span keeps them: it is the call. The outer one stays as a span around it, without what would count a second
time. How it is told:

* A call began below the outer span (by parents, through whatever lies between).
* Or, for frameworks that never make their span the current one (OpenInference's LangChain): a call of another scope
  lies within the outer span's time, with the same outcome and model and no other tokens. One call explains one span.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

from otel_llm import semconv
from otel_llm.processors.beginning import span_key
from otel_llm.processors.foreign.scopes import begins_call, is_foreign_call, is_foreign_scope
from otel_llm.processors.foreign.words import is_model_call
from otel_llm.processors.overlap import BUILT_IN_SCOPES

if TYPE_CHECKING:
    from otel_llm.processors.beginning import Beginning
    from otel_llm.processors.draft import SpanDraft

__all__ = ["Repeats"]

_CAPACITY: Final = 10_000
_RECENT: Final = 1024
"""Calls that are remembered to recognize the spans around them, which end just after them."""

_OF_THE_CALL: Final = (
    semconv.OPERATION_NAME,
    semconv.PROVIDER_NAME,
    semconv.REQUEST_MODEL,
    semconv.RESPONSE_MODEL,
    semconv.RESPONSE_ID,
    semconv.FINISH_REASONS,
    semconv.TIME_TO_FIRST_CHUNK,
    semconv.COST,
    semconv.COST_STATUS,
    semconv.OI_COST,
    semconv.LOGFIRE_COST,
    semconv.LITELLM_TOTAL_COST,
)
"""What the span of the call itself says, and nobody should count on the span around it."""

_WORTH_KEEPING: Final = frozenset(
    {
        semconv.RESPONSE_ID,
        semconv.RESPONSE_MODEL,
        semconv.SERVER_ADDRESS,
        semconv.SERVER_PORT,
        semconv.USAGE_INPUT,
        semconv.USAGE_OUTPUT,
        semconv.USAGE_CACHE_READ,
        semconv.USAGE_CACHE_WRITE,
        semconv.USAGE_REASONING,
        semconv.HTTP_STATUS_CODE,
    }
)
"""Facts of a library's own record that go to the span around it where that has none."""

_Key = tuple[int, int]


class _Call(NamedTuple):
    """What one call said, to be compared with spans around it."""

    scope: str
    start_ns: int
    end_ns: int
    trace_id: int
    is_root: bool
    tokens: tuple[Any, Any]
    """Input and output; None where nothing was said."""
    failed: bool
    models: frozenset[str]
    response_id: Any


class Repeats:
    """Knows which spans stand around calls. At most 10,000 open spans and 1,024 calls are remembered."""

    def __init__(self) -> None:
        self.watching = False
        """Whether any foreign span has been seen, so that our own are of interest too."""
        self._above: OrderedDict[_Key, _Key | None] = OrderedDict()
        self._around: set[_Key] = set()
        self._absorbed: dict[_Key, dict[str, Any]] = {}
        self._recent: deque[_Call] = deque(maxlen=_RECENT)
        self._lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def reset_after_fork(self) -> None:
        """Take a lock that nobody holds."""
        self._lock = threading.RLock()

    def on_start(self, beginning: Beginning) -> None:
        """Remember a span that begins, if it is foreign or stands below one that is."""
        name = beginning.scope
        foreign = is_foreign_scope(name)
        if not foreign and not self.watching:
            return
        self.watching = True
        around = get_current_span(beginning.around)
        if name in BUILT_IN_SCOPES and isinstance(around, ReadableSpan) and is_foreign_call(around):
            return  # one record too many, which is dropped
        parent = span_key(around.get_span_context())
        with self._lock:
            below = parent in self._above
            if not foreign and not below:
                return
            self._above[beginning.key] = parent if below else None
            if len(self._above) > _CAPACITY:
                oldest = self._above.popitem(last=False)[0]
                self._around.discard(oldest)
                self._absorbed.pop(oldest, None)
            if below and begins_call(name, beginning.attributes):
                self._mark_above(parent)

    def absorb(self, draft: SpanDraft) -> None:
        """Keep what the record that a library made of itself says, for the span around it, which may know less."""
        if draft.parent is None:
            return
        key = span_key(draft.parent)
        facts = {name: value for name, value in draft.attributes.items() if name in _WORTH_KEEPING}
        with self._lock:
            if facts and key in self._above:
                self._absorbed[key] = facts

    def absorbed(self, draft: SpanDraft) -> dict[str, Any]:
        """What was kept for a span that has ended."""
        if not self._absorbed:
            return {}
        with self._lock:
            return self._absorbed.pop(span_key(draft.context), {})

    def note(self, draft: SpanDraft) -> None:
        """A span of our own, or of nobody's, has ended; one of our calls may have a framework's span around it."""
        key = span_key(draft.context)
        with self._lock:
            self._above.pop(key, None)
            self._around.discard(key)
        attributes = draft.attributes
        if draft.scope_name == semconv.OWN_SCOPE and attributes.get(semconv.OPERATION_NAME) in semconv.LLM_OPERATIONS:
            self._recent.append(_call(draft))

    def settle(self, draft: SpanDraft) -> bool:
        """Whether the foreign call that has ended repeats another one; then what counts is taken off it."""
        key = span_key(draft.context)
        is_call = is_model_call(draft.attributes)
        with self._lock:
            above = self._above.pop(key, None)
            repeats = key in self._around
            self._around.discard(key)
            if not is_call:
                return False
            if above is not None:
                self._mark_above(above)
            said = _call(draft)
            repeats = self._claim(said) or repeats
            if not repeats:
                self._recent.append(said)
        if repeats:
            _take_off(draft)
        return repeats

    def _mark_above(self, key: _Key | None) -> None:
        while key is not None and key in self._above and key not in self._around:
            self._around.add(key)
            key = self._above[key]

    def _claim(self, outer: _Call) -> bool:
        """Take the call that `outer` repeats out of what is remembered, if there is one."""
        for index in range(len(self._recent) - 1, -1, -1):
            inner = self._recent[index]
            if inner.end_ns < outer.start_ns:  # calls are remembered in the order in which they ended
                return False
            if _is_repeated_by(inner, outer):
                del self._recent[index]
                return True
        return False


def _call(draft: SpanDraft) -> _Call:
    attributes = draft.attributes
    failed = draft.status.status_code is StatusCode.ERROR or semconv.ERROR_TYPE in attributes
    models = (attributes.get(semconv.REQUEST_MODEL), attributes.get(semconv.RESPONSE_MODEL))
    return _Call(
        draft.scope_name,
        draft.start_ns or 0,
        draft.end_ns or 0,
        draft.context.trace_id,
        draft.parent is None,
        (attributes.get(semconv.USAGE_INPUT), attributes.get(semconv.USAGE_OUTPUT)),
        failed,
        frozenset(model.rpartition("/")[2] for model in models if isinstance(model, str)),
        attributes.get(semconv.RESPONSE_ID),
    )


def _is_repeated_by(inner: _Call, outer: _Call) -> bool:
    same_tokens = all(
        one == other or None in {one, other} for one, other in zip(inner.tokens, outer.tokens, strict=True)
    )
    same_trace = inner.trace_id == outer.trace_id or inner.is_root or outer.is_root
    ids = {inner.response_id, outer.response_id} - {None}
    return (
        inner.scope != outer.scope
        and inner.start_ns >= outer.start_ns
        and inner.end_ns <= outer.end_ns
        and inner.failed is outer.failed
        and same_tokens
        and same_trace
        and len(ids) < 2
        and not inner.models.isdisjoint(outer.models)
    )


def _take_off(draft: SpanDraft) -> None:
    attributes = draft.attributes
    gone = [key for key in attributes if key in _OF_THE_CALL or key.startswith(semconv.USAGE_PREFIX)]
    for name in gone:
        del attributes[name]
    attributes[semconv.REPEATS] = True
    draft.name = draft.original_name
    draft.kind = SpanKind.INTERNAL
