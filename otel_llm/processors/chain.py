"""The way of a span through our stages, between the SDK that ends it and the SDK processor that batches it.

    provider.add_span_processor(SpanPipeline(BatchSpanProcessor(exporter), on_end=[cost, limits, redaction]))

The program's thread does no more than leave the span (`otel_llm.processors.hand_over`); stages run on a thread of ours,
or, without hand-over, on the program's. Either way no stage may block, and none may hurt the call. A stage that raises
is counted and logged once (`otel_llm.faults`), and the span goes on without it, except that a stage marked
`fails_closed` (redaction) costs the span all its content.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from opentelemetry.sdk.trace import Event, SpanProcessor
from opentelemetry.trace import SpanContext, Status, TraceFlags

from otel_llm import semconv
from otel_llm.faults import guarded, note_fault
from otel_llm.processors.beginning import Beginning
from otel_llm.processors.content_names import FACTS
from otel_llm.processors.draft import SpanDraft
from otel_llm.processors.foreign.scopes import is_foreign_scope
from otel_llm.processors.hand_over import HandOver
from otel_llm.processors.sampling import LEFT_OUT
from otel_llm.processors.weight import weight_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from otel_llm.ledger import Ledger
    from otel_llm.processors.waiting_room import WaitingRoom

__all__ = [
    "LAST_SECONDS",
    "NOT_SAMPLED",
    "EarlyStage",
    "EndStage",
    "Fill",
    "Gate",
    "SpanPipeline",
    "StartStage",
    "strip_content",
]

EarlyStage: TypeAlias = "Callable[[ReadableSpan], bool]"
"""Called on the thread that ends a span, at that moment; False drops it. May carry `name` and `drop_reason`."""
StartStage: TypeAlias = "Callable[[Beginning], None]"
"""Called with a span that begins."""
EndStage: TypeAlias = "Callable[[SpanDraft], SpanDraft | None]"
"""Called with the draft of a span that ended; None drops it. May carry `name`, `fails_closed`, `drop_reason`."""


Fill: TypeAlias = "Callable[[], Mapping[str, Any]]"
"""Answers attributes of a span that has ended."""
_NO_FILL: Final = (None, 0)
_MOST_FILLS: Final = 10_000
LAST_SECONDS: Final = 10.0
"""What the stages, and then a store on this machine, may take at the end of the program; a moment, without a burst."""

NOT_SAMPLED = "not_sampled"
"""Reason under which calls that the program's own sampler left out are counted."""
_KEPT_IDS = frozenset({semconv.USER_ID, semconv.SESSION_ID, semconv.CONVERSATION_ID})


class _Stage(NamedTuple):
    """An end stage with what is known about it."""

    run: EndStage
    name: str
    fails_closed: bool
    drop_reason: str


class _Ended(NamedTuple):
    """A span that the program is done with, and we are not."""

    span: ReadableSpan
    left_out: str
    fill: Fill | None


class Gate(Protocol):
    """A queue that spans go into after the stages."""

    @property
    def has_room(self) -> bool:
        """Whether a span need not wait."""
        ...

    def turn_away(self, reason: str) -> None:
        """Count a span that ended and will not come, without a wait for a network or disk."""
        ...

    def pass_on(self, *, now: bool) -> None:
        """See that what is queued is handed on: in time, or `now`, on this thread, where no other one is about it."""
        ...


class SpanPipeline(SpanProcessor):
    """Runs stages over every span and hands what is left to `inner`.

    `on_start` stages may set attributes on the beginning span; `on_end` stages work on a copy of the finished one,
    in order. Each span that reaches `inner` is counted as created in every one of `ledgers`. Spans that the program's
    own sampler left out end here, as they would in the SDK's BatchSpanProcessor, but for the calls among them: those
    go through the stages too, so that they are counted.

    With `hand_over_delay` (seconds), the stages of `on_end` run that much later on a thread of this pipeline's own, in
    the order in which spans ended; `early` stages, which need the context of the moment, on the thread that ends them.
    That thread waits for room in every one of `gates`, and what it cannot take is counted there.

    `waiting_room` holds spans that sampling left out until their trace is over. `facts_to` get what is left of a
    left-out call once its texts are gone, each counted in its ledger: so that totals do not change with sampling.
    """

    def __init__(
        self,
        inner: SpanProcessor,
        *,
        on_start: Iterable[StartStage] = (),
        on_end: Iterable[EndStage] = (),
        early: Iterable[EarlyStage] = (),
        hand_over_delay: float | None = None,
        gates: Iterable[Gate] = (),
        ledgers: Iterable[Ledger] = (),
        waiting_room: WaitingRoom | None = None,
        facts_to: Iterable[tuple[SpanProcessor, Ledger]] = (),
    ) -> None:
        self._inner = inner
        self._waiting_room = waiting_room
        self._facts_to = tuple(facts_to)
        self._on_start = tuple((stage, f"start stage {_name_of(stage)}") for stage in on_start)
        self._on_end = tuple(_described(stage) for stage in on_end)
        self._early = tuple((stage, str(getattr(stage, "drop_reason", _name_of(stage)))) for stage in early)
        self._ledgers = tuple(ledgers)
        self._gates = tuple(gates)
        self._hand_over = (
            HandOver(
                self._work_on,
                lost=self._lose,
                has_room=self._has_room,
                pass_on=self._pass_queued_on,
                delay=hand_over_delay,
            )
            if hand_over_delay is not None
            else None
        )
        self._fills: dict[int, tuple[Fill, int]] = {}
        self._lock = threading.RLock()
        self._dropped: Counter[str] = Counter()
        self._ended = False
        _renew_after_fork(self)

    @property
    def dropped(self) -> dict[str, int]:
        """Number of spans that never reached the backends' queue, by reason."""
        with self._lock:
            return dict(self._dropped)

    @property
    def waiting(self) -> int:
        """Spans that have ended and that no stage has seen."""
        return self._hand_over.waiting if self._hand_over is not None else 0

    def redirect(self, inner: SpanProcessor, ledgers: Iterable[Ledger]) -> tuple[SpanProcessor, tuple[Ledger, ...]]:
        """From now on, hand spans to `inner` and count them in `ledgers`; return the two that were so far."""
        before = self._inner, self._ledgers
        self._inner, self._ledgers = inner, tuple(ledgers)
        return before

    @property
    def takes_fills(self) -> bool:
        """Whether spans are worked on later, so that something can be added to them until then."""
        return self._hand_over is not None and not self._ended

    def fill_later(self, span_id: int, fill: Fill, size: int) -> bool:
        """Have `fill` add attributes to the span that is about to end, once it is worked on; False if it must be now.

        `fill()` answers the attributes. `size` is about the bytes that it holds on to.
        """
        if not self.takes_fills:
            return False
        if len(self._fills) > _MOST_FILLS:  # of spans that were never handed to this pipeline
            self._fills.clear()
        self._fills[span_id] = (fill, size)
        return True

    def settle(self, timeout: float, *, for_room: bool = False) -> bool:
        """Take every span that has ended through the stages; False if that cannot be done within `timeout` seconds.

        With `for_room`, wait in that time for queues that are full; else their spans are left to the worker.
        """
        return self._hand_over.settle(timeout, for_room=for_room) if self._hand_over is not None else True

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Run the start stages."""
        if self._ended:
            return
        beginning = Beginning(span, parent_context)
        for stage, place in self._on_start:
            try:  # `guarded`, without its call for each stage of each span
                stage(beginning)
            except Exception as error:  # noqa: BLE001, PERF203  (ours must not reach the program's call)
                note_fault(place, error)
        self._inner.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Leave the span to the end stages."""
        context = span.context
        if context is None:
            return
        fill, size = self._fills.pop(context[1], _NO_FILL) if self._fills else _NO_FILL
        sampled = context[3] & TraceFlags.SAMPLED
        if not sampled and not _may_be_call(span):
            return
        if self._ended:  # a provider keeps its processors, also that of a pipeline which another has replaced
            self._drop("shutdown")
            return
        for stage, reason in self._early:
            try:
                kept = stage(span)
            except Exception as error:  # noqa: BLE001  (a stage's fault costs the stage, not the span)
                note_fault(reason, error)
                continue
            if kept is False:
                self._drop(reason)
                return
        ended = _Ended(span, "" if sampled else NOT_SAMPLED, fill)
        if self._hand_over is not None:
            self._hand_over.put(ended, size or weight_of(span))
        else:
            self._work_on(ended)

    def shutdown(self) -> None:
        """Shut the inner processor down, which delivers what is queued; spans that end later are dropped."""
        if self._hand_over is not None:
            self._hand_over.stop(LAST_SECONDS)
        if self._waiting_room is not None:
            self._drop(LEFT_OUT, self._waiting_room.clear())
        self._inner.shutdown()
        self._ended = True

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the inner processor."""
        self.settle(timeout_millis / 1000.0, for_room=True)
        return self._inner.force_flush(timeout_millis)

    def reset_after_fork(self) -> None:
        """Count from zero in a child process, with a lock that nobody holds."""
        self._lock = threading.RLock()
        self._dropped = Counter()

    def _has_room(self) -> bool:
        for gate in self._gates:  # noqa: SIM110  (a loop takes half of what `all` and its generator do)
            if not gate.has_room:
                return False
        return True

    def _pass_queued_on(self, *, now: bool) -> None:
        for gate in self._gates:
            guarded("queue of spans", partial(gate.pass_on, now=now))

    def _lose(self, ended: _Ended, reason: str) -> None:
        """Count a span that no stage has seen where it would have been delivered, had it been kept."""
        if ended.left_out:
            self._drop(ended.left_out)
            return
        for ledger in self._ledgers:
            ledger.created()
        for gate in self._gates:
            gate.turn_away(reason)

    def _work_on(self, ended: _Ended) -> None:
        """Take one span through the end stages and pass it on. Never raises."""
        try:
            draft = SpanDraft(ended.span)
            draft.left_out = ended.left_out
            if ended.fill is not None:
                for key, value in (guarded("filling a span", ended.fill) or {}).items():
                    draft.attributes[key] = tuple(value) if type(value) is list else value  # as the SDK would
            staged = self._staged(draft)
            if staged is not None:
                self._settle(staged)
        except Exception as error:  # noqa: BLE001  (whatever fails here must not reach the program's call)
            note_fault("span pipeline", error)
            self._drop("pipeline_error")

    def _staged(self, draft: SpanDraft) -> SpanDraft | None:
        for stage in self._on_end:
            try:
                kept = stage.run(draft)
            except Exception as error:  # noqa: BLE001  (a stage's fault costs the stage, not the span)
                note_fault(f"end stage {stage.name}", error)
                if stage.fails_closed:
                    strip_content(draft)
                continue
            if kept is None:
                self._drop(stage.drop_reason)
                return None
            draft = kept
        return draft

    def _settle(self, draft: SpanDraft) -> None:
        """Pass on what is kept; of what is left out, its facts at once, whatever becomes of the rest later."""
        if draft.left_out:
            self._send_facts(draft)
        if self._waiting_room is not None and draft.left_out != NOT_SAMPLED:
            kept, left_out = self._waiting_room.settle(draft)
            for span in kept:
                self._pass_on(span)
            self._drop(LEFT_OUT, left_out)
        elif draft.left_out:
            self._drop(draft.left_out)
        else:
            self._pass_on(draft.to_span())

    def _send_facts(self, draft: SpanDraft) -> None:
        if self._facts_to and draft.attributes.get(semconv.OPERATION_NAME) in semconv.LLM_OPERATIONS:
            span = _facts_of(draft)
            for processor, ledger in self._facts_to:
                ledger.created()
                processor.on_end(span)

    def _pass_on(self, span: ReadableSpan) -> None:
        for ledger in self._ledgers:
            ledger.created()
        self._inner.on_end(span)

    def _drop(self, reason: str, spans: int = 1) -> None:
        if spans:
            with self._lock:
                self._dropped[reason] += spans


def _may_be_call(span: ReadableSpan) -> bool:
    """Whether a span says that it is a call to a model, in our words or in somebody else's."""
    if (span.attributes or {}).get(semconv.OPERATION_NAME) in semconv.LLM_OPERATIONS:
        return True
    return span.instrumentation_scope is not None and is_foreign_scope(span.instrumentation_scope.name)


def _facts_of(draft: SpanDraft) -> ReadableSpan:
    """A call reduced to what one counts by: names and numbers, and whom it was for."""
    made = draft.copy()
    made.attributes = {
        key: value
        for key, value in draft.attributes.items()
        if key in FACTS or key in _KEPT_IDS or isinstance(value, (int, float))
    }
    made.attributes[semconv.SAMPLING_LEFT_OUT] = draft.left_out
    made.events = ()
    context = draft.context
    flags = TraceFlags(context.trace_flags | TraceFlags.SAMPLED)  # or the SDK's queue would turn it away
    made.context = SpanContext(context.trace_id, context.span_id, context.is_remote, flags, context.trace_state)
    return made.to_span()


def strip_content(draft: SpanDraft) -> None:
    """Take every text off a draft that is not a fact of the call, and list their keys as replaced.

    Numbers, ids, times, tenant, model and error type stay. Used where nobody knows any more which text is clean.
    """
    found = [key for key, value in draft.attributes.items() if _is_unchecked(key, value)]
    for key in found:
        del draft.attributes[key]
    if any(_is_unchecked(key, value) for event in draft.events for key, value in (event.attributes or {}).items()):
        draft.events = tuple(_without_texts(event) for event in draft.events)
        found.append("events")
    if draft.status.description:
        draft.status = Status(draft.status.status_code)
    draft.name = _plain_name(draft)
    if found:
        listed = draft.attributes.get(semconv.REPLACED) or ()
        draft.attributes[semconv.REPLACED] = [*listed, *found]


def _is_unchecked(key: str, value: Any) -> bool:
    """Whether an attribute can hold words that somebody wrote."""
    if key in FACTS or isinstance(value, (int, float)):
        return False
    return not (isinstance(value, (list, tuple)) and all(isinstance(entry, (int, float)) for entry in value))


def _without_texts(event: Event) -> Event:
    kept = {key: value for key, value in (event.attributes or {}).items() if not _is_unchecked(key, value)}
    return Event(event.name, kept, event.timestamp)


def _plain_name(draft: SpanDraft) -> str:
    """The name that the conventions give the span, as far as its facts tell; else that of its instrumentation."""
    operation = draft.attributes.get(semconv.OPERATION_NAME)
    if not operation:
        return draft.scope_name or "span"
    model = draft.attributes.get(semconv.REQUEST_MODEL)
    return f"{operation} {model}" if model else str(operation)


def _described(stage: EndStage) -> _Stage:
    name = _name_of(stage)
    return _Stage(stage, name, bool(getattr(stage, "fails_closed", False)), getattr(stage, "drop_reason", name))


def _name_of(stage: Any) -> str:
    found = getattr(stage, "name", None) or getattr(stage, "__qualname__", None) or type(stage).__name__
    return str(found)


def _renew_after_fork(pipeline: SpanPipeline) -> None:
    if hasattr(os, "register_at_fork"):
        reset = weakref.WeakMethod(pipeline.reset_after_fork)
        os.register_at_fork(after_in_child=lambda: (found := reset()) and found())
