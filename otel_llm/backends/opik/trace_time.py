"""A sampler that gives foreign traces a time, and hands it on in `tracestate`.

A trace that began elsewhere with a random id says nothing about when. Its Opik id needs a time that every span and
every process agrees on. The first of our processes on its way writes one into `tracestate`; OpenTelemetry carries it
to all descendants, here and downstream. Spans of one trace that are no descendants of each other (each below another
span of a vendor's) get the same time in one process: the latest traces are remembered.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import TraceFlags, TraceState, format_span_id

from otel_llm.backends.opik import ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanContext, SpanKind
    from opentelemetry.util.types import Attributes

__all__ = ["TraceTimeSampler"]

_LOW_64: Final = (1 << 64) - 1
_MOST_TRACES: Final = 10_000


class TraceTimeSampler(Sampler):
    """Samples exactly as `delegate` does, and adds our `tracestate` entry to traces that need one."""

    def __init__(self, delegate: Sampler) -> None:
        self.decides_as = delegate
        """The sampler that decides; whoever wants to know what that one looks at asks here."""
        self._millis: OrderedDict[int, int] = OrderedDict()
        self._by_ratio = isinstance(getattr(delegate, "_root", delegate), TraceIdRatioBased)
        self._takes_all = _takes_all(delegate)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """The delegate's decision; its `trace_state` carries the trace's time where the trace id does not."""
        now_ns = time.time_ns()
        is_own = ids.is_own(trace_id, now_ns)
        if is_own and self._takes_all:  # what most are told, in a third of the steps
            around = trace.get_current_span(parent_context)
            if around is trace.INVALID_SPAN:
                return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)
            above = around.get_span_context()
            if above.is_valid and not above.is_remote and above.trace_flags & TraceFlags.SAMPLED:
                return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, above.trace_state)
        chosen_by = _evenly(trace_id) if is_own and self._by_ratio else trace_id
        result = self.decides_as.should_sample(parent_context, chosen_by, name, kind, attributes, links, trace_state)
        if is_own:
            return result
        parent = trace.get_current_span(parent_context).get_span_context()
        state = result.trace_state or (parent.trace_state if parent.is_valid else None) or TraceState()
        if state.get(ids.TRACESTATE_KEY) is None:
            entry = ids.write_stamp(self._settled(trace_id, _stamp(parent, now_ns)))
            result.trace_state = TraceState([(ids.TRACESTATE_KEY, entry), *state.items()])
        return result

    def _settled(self, trace_id: int, stamp: ids.Stamp) -> ids.Stamp:
        """`stamp` with the time that this trace has had before in this process, if it has."""
        known = self._millis.setdefault(trace_id, stamp.millis)  # one step of a dict: threads agree on the first one
        if len(self._millis) > _MOST_TRACES:
            with contextlib.suppress(KeyError):  # another thread has just made room
                self._millis.popitem(last=False)
        return stamp if known == stamp.millis else ids.Stamp(known, stamp.foreign_parent)

    def get_description(self) -> str:
        """The delegate's description, marked as ours."""
        return f"TraceTimeSampler({self.decides_as.get_description()})"


def _takes_all(sampler: Sampler) -> bool:
    """Whether a sampler takes every root, and what begins in this process below a span that was taken."""
    if type(sampler) is ParentBased:
        return sampler._root is ALWAYS_ON and sampler._local_parent_sampled is ALWAYS_ON  # noqa: SLF001  (no other way)
    return sampler is ALWAYS_ON


def _evenly(trace_id: int) -> int:
    """The id with 64 random bits at its end, for the SDK's sampler, which takes them as a number from 0 to 2^64.

    A UUID has the fixed bits 10 there: of such ids a ratio up to a half would take none, and one of three quarters all.
    """
    return (trace_id & ~_LOW_64) | ((trace_id << 2) & _LOW_64)


def _stamp(parent: SpanContext, now_ns: int) -> ids.Stamp:
    """The exact time for a trace that starts here; for one that comes from elsewhere, its step and its last span.

    The step, because another of our services may see the same trace unstamped, and should arrive at the same id.
    """
    if parent.is_valid and parent.is_remote:
        return ids.Stamp(ids.foreign_millis("", now_ns), format_span_id(parent.span_id))
    return ids.Stamp(now_ns // 1_000_000)
