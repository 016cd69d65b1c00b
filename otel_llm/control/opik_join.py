"""One trace in Opik of what `opik.track` records and what we record, whichever is inside the other.

Ours inside of theirs: our spans are told which trace they belong to and what they hang below, by the attributes that
Opik's own `OpikSpanProcessor` writes and that each of our ways to Opik reads. Theirs inside of ours: the trace that
Opik's SDK is about to begin gets the id that ours has in Opik, and its span hangs below ours. Ids are functions of
OpenTelemetry's (`backends.opik.ids`), so nobody has to be asked for them.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, TraceState, get_current_span

from otel_llm import semconv
from otel_llm.backends.opik import ids
from otel_llm.context import heard_span, opik_place_in
from otel_llm.control.opik_tracked import Tracked, TrackedBeginnings, default_project, tracked
from otel_llm.processors.beginning import span_key
from otel_llm.values import to_attribute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from opentelemetry.context import Context

    from otel_llm.backends.opik.routing import Routing
    from otel_llm.processors.beginning import Beginning
    from otel_llm.processors.draft import SpanDraft
    from otel_llm.processors.lineage import Lineage

__all__ = ["OpikJoin"]

_ATTACHES: Final = "opik.integrations.otel"
"""The module of Opik's SDK that stamps spans with a caller's place; stamps are looked for only where it is loaded."""

_Key: TypeAlias = "tuple[int, int]"
_CAPACITY: Final = 10_000
_MOST_TRACES: Final = 16
"""Traces of Opik's SDK below one span whose tags and metadata are taken over."""


class _Joined(NamedTuple):
    """Where a span of ours stands in Opik."""

    trace: str
    parent: str | None
    """A span of Opik's SDK; None where it is the span's own parent."""
    project: str | None
    foreign: bool = False
    """Whether another process writes the row of the trace: nothing here may begin it anew."""


class _Told:
    """What programs say of a trace by `opik_context.update_current_trace`, to be said of ours too."""

    def __init__(self) -> None:
        self.traces: list[Any] = []


class OpikJoin:
    """Start stage `on_start` finds out where spans stand; the end stage (the object itself) writes it on the draft.

    With `outward`, `opik.track` joins our traces too; else only our spans join those of `opik.track`. At most 10,000
    joined spans and as many times of traces are remembered. Belongs after the stages that decide about parents.
    """

    name = "opik join"

    def __init__(
        self, lineage: Lineage, routing: Routing, *, outward: bool, default_tenant: str, settles_times: bool
    ) -> None:
        self.settles_times = settles_times
        """Whether traces may have ids without a time in them, which our own provider's sampler would have given one."""
        self._lineage = lineage
        self._routing = routing
        self._default_tenant = default_tenant
        self._joined: OrderedDict[_Key, _Joined] = OrderedDict()
        self._told: OrderedDict[_Key, _Told] = OrderedDict()
        self._millis: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.RLock()
        self._beginnings = TrackedBeginnings(self._adopt, self._move_below, self._foreign) if outward else None
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def begin(self) -> None:
        """Listen to Opik's SDK, once the program has it."""
        if self._beginnings is not None:
            self._beginnings.begin()

    def end(self) -> None:
        """Listen no more."""
        if self._beginnings is not None:
            self._beginnings.end()

    def reset_after_fork(self) -> None:
        """Take a lock that nobody holds; what was remembered stays true for spans that live on in the child."""
        self._lock = threading.RLock()

    # --- ours in theirs ----------------------------------------------------------------------------------------

    def on_start(self, beginning: Beginning) -> None:
        """Find out whether a span belongs to a trace of Opik's SDK. Comes after the lineage's own start stage."""
        if not beginning.sampled:
            return
        context = beginning.context
        if self.settles_times:
            self._time_of(context, beginning.span.start_time or 0)
        around = tracked()
        if around is None and not self._joined and not _may_be_told(beginning.around):
            return
        parent = self._lineage.parent_of(context)
        with self._lock:
            joined = self._place(parent, around, beginning.around)
            if joined is not None:
                _put(self._joined, beginning.key, joined)

    def _place(self, parent: SpanContext | None, around: Tracked | None, context: Context | None) -> _Joined | None:
        """The place of a span that begins below `parent`, with `around` running by Opik's own means."""
        if parent is None or parent.is_remote:
            return _Joined(around.trace, around.span, around.project) if around is not None else _told_by(context)
        above = self._joined.get(span_key(parent))
        told = None if above is not None else _stamped(parent, context) or _told_by(context)
        if around is not None and around.began_ns > _start_of(parent, context):
            known = above or told
            trace = known.trace if known is not None else self._trace_id(parent, 0)
            if around.trace == trace:  # else the two were not joined: the span stays with its own parent
                return _Joined(around.trace, around.span, around.project)
        return told if above is None else _Joined(above.trace, None, above.project, above.foreign)

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Write on `draft` where it stands in Opik."""
        key = span_key(draft.context)
        with self._lock:
            joined = self._joined.get(key)
            told = self._told.pop(key, None)
            millis = self._millis.get(draft.context.trace_id)
        if millis is not None:
            draft.context = _timed(draft.context, millis)
        if told is not None:
            _retell(draft.attributes, told.traces)
        if joined is not None and semconv.OPIK_TRACE_ID not in draft.attributes and self._may_join(draft, joined):
            draft.attributes.update(self._directives(draft, joined))
        return draft

    def _directives(self, draft: SpanDraft, joined: _Joined) -> dict[str, str]:
        own = _raw(draft.context)
        made = {semconv.OPIK_TRACE_ID: joined.trace, semconv.OPIK_SPAN_ID: ids.opik_span_id(joined.trace, *own)}
        if joined.parent is not None:
            made[semconv.OPIK_PARENT_SPAN_ID] = joined.parent
        elif draft.parent is not None:
            made[semconv.OPIK_PARENT_SPAN_ID] = ids.opik_span_id(joined.trace, *_raw(draft.parent))
        if joined.project is not None and semconv.OPIK_PROJECT not in draft.attributes:
            made[semconv.OPIK_PROJECT] = joined.project
        return made

    def _may_join(self, draft: SpanDraft, joined: _Joined) -> bool:
        """A tenant whose spans go to a project of its own keeps them there."""
        tenant = draft.attributes.get(semconv.TENANT_ID)
        entry = self._routing.tenants.get(tenant) if isinstance(tenant, str) else None
        return entry is None or entry == joined.project

    # --- theirs in ours ----------------------------------------------------------------------------------------

    def _adopt(self, trace: Any, span: Any) -> bool:
        """Opik's SDK is about to begin `trace` with `span`: have it begin in ours. Whether it does."""
        current = heard_span() or get_current_span()
        context = current.get_span_context()
        if not isinstance(current, ReadableSpan) or not context.trace_flags.sampled:
            return False
        project = self._project_of(current)
        if project is None or span.project_name not in (None, project):
            return False
        top = self._lineage.want(context)
        if top is None:
            return False
        with self._lock:
            joined = self._joined.get(span_key(context))
            trace.id = joined.trace if joined is not None else self._trace_id(context, current.start_time or 0)
            told = self._told.setdefault(span_key(top), _Told())
            if len(told.traces) < _MOST_TRACES:
                told.traces.append(trace)
            _shrink(self._told)
        if joined is not None and joined.project is not None:
            project = joined.project
        if (
            span.project_name is None and project != default_project()
        ):  # said aloud, the SDK applies it to all that is below
            trace.project_name = span.project_name = project
        span.trace_id = trace.id
        span.parent_span_id = ids.opik_span_id(trace.id, *_raw(context))
        return True

    def _foreign(self) -> dict[str, str] | None:
        """The place of what Opik's SDK is about to begin, by its own headers, if it is in another process's trace."""
        current = heard_span() or get_current_span()
        context = current.get_span_context()
        if not isinstance(current, ReadableSpan) or not context.trace_flags.sampled:
            return None
        with self._lock:
            joined = self._joined.get(span_key(context))
        if joined is None:
            stamped = _stamped(context, None)
            place = (stamped.trace, stamped.parent) if stamped is not None else None
        else:
            place = (joined.trace, ids.opik_span_id(joined.trace, *_raw(context))) if joined.foreign else None
        if place is None or place[1] is None or self._lineage.want(context) is None:
            return None
        return {"opik_trace_id": place[0], "opik_parent_span_id": place[1]}

    def _move_below(self, span: Any, around: Tracked) -> None:
        """Opik's SDK is about to begin `span` below `around`: have it hang below a span of ours in between, if any."""
        current = heard_span() or get_current_span()
        context = current.get_span_context()
        if not isinstance(current, ReadableSpan) or (current.start_time or 0) <= around.began_ns:
            return
        with self._lock:
            joined = self._joined.get(span_key(context))
        if joined is not None and joined.trace == span.trace_id and self._lineage.want(context) is not None:
            span.parent_span_id = ids.opik_span_id(joined.trace, *_raw(context))

    def _project_of(self, span: ReadableSpan) -> str | None:
        """The project that `span` will be in; None where it will be in a workspace of its tenant's."""
        attributes: Mapping[str, Any] = {semconv.TENANT_ID: self._default_tenant, **(span.attributes or {})}
        destination = self._routing.destination(dict(attributes), dict(span.resource.attributes))
        return destination.project if destination.workspace is None else None

    # --- ids ---------------------------------------------------------------------------------------------------

    def _time_of(self, context: SpanContext, start_ns: int) -> None:
        """Settle on the time of a trace whose ids carry none, when its first span here begins."""
        if not ids.is_own(context.trace_id, start_ns) and ids.read_stamp(_state(context)) is None:
            with self._lock:
                self._millis.setdefault(context.trace_id, ids.foreign_millis("", start_ns))
                _shrink(self._millis)

    def _trace_id(self, context: SpanContext, start_ns: int) -> str:
        """The trace's id in Opik, as every span of it will have it."""
        raw, millis = _raw(context)[0], self._millis.get(context.trace_id)
        if millis is not None:
            return ids.opik_trace_id(raw, "", 0, millis)
        return ids.opik_trace_id(raw, _state(context), start_ns or time.time_ns())


def _may_be_told(context: Context | None) -> bool:
    """Whether a caller's headers may say where a span belongs, by our middleware or by Opik's `attach_to_parent`."""
    return _ATTACHES in sys.modules or opik_place_in(context) is not None


def _told_by(context: Context | None) -> _Joined | None:
    """What the headers of Opik's SDK say that came with a request (`opik_trace_id`, `opik_parent_span_id`)."""
    place = opik_place_in(context)
    return None if place is None else _Joined(place.trace, place.span, None, foreign=True)


def _stamped(parent: SpanContext, context: Context | None) -> _Joined | None:
    """The place of a span below `parent`, if Opik's `attach_to_parent` has said of that where it belongs."""
    live = get_current_span(context)
    if _ATTACHES not in sys.modules or not isinstance(live, ReadableSpan):
        return None
    if live.get_span_context().span_id != parent.span_id:
        return None
    said = live.attributes or {}
    trace = ids.uuid7_or_none(said.get(semconv.OPIK_TRACE_ID))
    if trace is None:
        return None
    own = ids.uuid7_or_none(said.get(semconv.OPIK_SPAN_ID)) or ids.opik_span_id(trace, *_raw(parent))
    project = said.get(semconv.OPIK_PROJECT)
    return _Joined(trace, own, project if isinstance(project, str) else None, foreign=True)


def _retell(attributes: dict[str, Any], traces: Iterable[Any]) -> None:
    """Say of a span what a program has said of these traces of Opik's SDK, whose rows ours replaces."""
    for trace in traces:
        if trace.tags:
            known = attributes.get(semconv.OPIK_TAGS)
            before = list(known) if isinstance(known, (list, tuple)) else []
            attributes[semconv.OPIK_TAGS] = [*before, *(str(tag) for tag in trace.tags if str(tag) not in before)]
        for name, value in (trace.metadata or {}).items():
            attribute = to_attribute(value).value
            if attribute is not None:
                attributes.setdefault(f"{semconv.OPIK_METADATA_PREFIX}{name}", attribute)
        if trace.thread_id:
            attributes.setdefault(semconv.OPIK_THREAD_ID, str(trace.thread_id))


def _timed(context: SpanContext, millis: int) -> SpanContext:
    entry = (ids.TRACESTATE_KEY, ids.write_stamp(ids.Stamp(millis)))
    state = TraceState([entry, *context.trace_state.items()])
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags, state)


def _start_of(parent: SpanContext, context: Context | None) -> int:
    """When `parent` began, where it is the current span of `context`; else the beginning of time."""
    live = get_current_span(context)
    if isinstance(live, ReadableSpan) and live.get_span_context().span_id == parent.span_id:
        return live.start_time or 0
    return 0


def _state(context: SpanContext) -> str:
    return context.trace_state.to_header() if context.trace_state else ""


def _raw(context: SpanContext) -> tuple[bytes, bytes]:
    return context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")


def _put(remembered: OrderedDict[Any, Any], key: Any, value: Any) -> None:
    remembered[key] = value
    _shrink(remembered)


def _shrink(remembered: OrderedDict[Any, Any]) -> None:
    if len(remembered) > _CAPACITY:
        remembered.popitem(last=False)
