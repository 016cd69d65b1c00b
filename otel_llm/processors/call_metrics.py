"""Metrics of calls, taken from every one of them: kept here for `/metrics`, and handed to a meter provider.

OpenTelemetry's instruments take tens of microseconds for each number, and there may be no meter provider at all. So the
sums of `/metrics` are kept in plain dicts, and what is for a meter waits until its provider collects.
"""

from __future__ import annotations

import os
import threading
import weakref
from bisect import bisect_left
from collections import defaultdict, deque
from operator import add
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.processors.label_sets import LabelSet, LabelSets
from otel_llm.processors.measures import MEASURES, UNKNOWN_COST, Measure, Measured, MeasureRules
from otel_llm.processors.usual_measures import Measuring, Usual

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import SpanContext

    from otel_llm.processors.draft import SpanDraft
    from otel_llm.processors.label_bounds import LabelBounds
    from otel_llm.processors.usual_measures import Plan

__all__ = ["CallMetrics", "MeasuresReport", "MeterSink", "PageSink", "Series"]

_SCOPE: Final = "otel_llm"
_COLLECTING: Final = "otel_llm.metrics.collecting"
"""Name of an instrument without numbers, by which we hear that a provider collects."""
_MOST_PLANS: Final = 1024
_MOST_WAITING: Final = 2048
"""Calls whose numbers wait for the next collection; those of further ones are handed over at once."""


class Sink(Protocol):
    """Whoever takes the numbers of one call."""

    def take(self, call: Usual | Sequence[Measured], span: SpanContext) -> None:
        """Take what one call adds, whose span has this context."""
        ...


class CallMetrics:
    """End stage that changes nothing: measures each call and hands the numbers to `sinks`. Belongs after redaction."""

    name = "metrics"

    def __init__(self, sinks: Sequence[Sink], rules: MeasureRules, bounds: LabelBounds) -> None:
        self._measuring = Measuring(rules, LabelSets(bounds))
        self._sinks = tuple(sinks)

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Measure one span."""
        call = self._measuring.of(draft)
        if call:
            for sink in self._sinks:
                guarded("metrics", sink.take, call, draft.context)
        return draft


class Series(NamedTuple):
    """The sums of one metric for one combination of labels."""

    labels: Mapping[str, str | int]
    total: float
    buckets: tuple[int, ...]
    """Numbers by size, one for each bound of the metric and one for what lies above; empty for a counter."""


MeasuresReport: TypeAlias = "dict[Measure, list[Series]]"


class _UsualSums:
    """What usual calls of one plan added up to."""

    __slots__ = ("calls", "sums")

    def __init__(self, calls: int, sums: list[list[float]]) -> None:
        self.calls = calls
        self.sums = sums
        """For each value of the plan its sum, and then how many there were between its bounds."""


class PageSink:
    """Adds up in memory, for `/metrics`."""

    def __init__(self) -> None:
        self.reset_after_fork()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def take(self, call: Usual | Sequence[Measured], span: SpanContext) -> None:  # noqa: ARG002  (no exemplars here)
        """Add the numbers of one call."""
        with self._lock:
            if isinstance(call, Usual):
                self._add_usual(call.plan, call.values)
            else:
                for measure, value, labels in call:
                    sums = self._sums_of(measure, labels)
                    sums[0] += value
                    if measure.bounds:
                        sums[1 + bisect_left(measure.bounds, value)] += 1

    def _add_usual(self, plan: Plan, values: list[float]) -> None:
        """Each value once, wherever it goes to; that is sorted out when somebody asks."""
        kept = self._usual.get(plan)
        if kept is None:
            if len(self._usual) >= _MOST_PLANS:
                self._sort_out()
            kept = self._usual[plan] = _UsualSums(0, [[0.0] * (2 + len(bounds)) for bounds in plan.bounds])
        kept.calls += 1
        for value, bounds, sums in zip(values, plan.bounds, kept.sums, strict=True):
            sums[0] += value
            if bounds:
                sums[1 + bisect_left(bounds, value)] += 1

    def _sort_out(self) -> None:
        """Give what usual calls added up to their instruments."""
        for plan, kept in self._usual.items():
            for measure, which, labels, zero_counts in plan.readings:
                added = kept.sums[which]
                if zero_counts or added[0]:
                    sums = self._sums_of(measure, labels)
                    sums[:] = map(add, sums, added)
            if plan.unpriced is not None:
                self._sums_of(UNKNOWN_COST, plan.unpriced)[0] += kept.calls
        self._usual.clear()

    def _sums_of(self, measure: Measure, labels: LabelSet) -> list[float]:
        """The sum of an instrument under some labels, and then how many there were between its bounds."""
        by_labels = self._sums[measure]
        found = by_labels.get(labels)
        if found is None:
            found = by_labels[labels] = [0.0] * (2 + len(measure.bounds) if measure.bounds else 1)
        return found

    def report(self) -> MeasuresReport:
        """A consistent copy of all sums."""
        with self._lock:
            self._sort_out()
            return {
                measure: [Series(labels.as_dict, sums[0], tuple(map(int, sums[1:]))) for labels, sums in series.items()]
                for measure, series in self._sums.items()
            }

    def reset_after_fork(self) -> None:
        """Start from zero in a child process: what the parent counted stays the parent's."""
        self._lock = threading.RLock()
        self._sums: dict[Measure, dict[LabelSet, list[float]]] = defaultdict(dict)
        self._usual: dict[Plan, _UsualSums] = {}


class MeterSink:
    """Hands numbers to instruments of `meter_provider` (None: the program's global one, whenever it sets one).

    That happens when the provider collects, on its thread and not on the call's. `rules` say which instruments there
    are. The span's context goes along, for exemplars.
    """

    def __init__(self, meter_provider: MeterProvider | None, rules: MeasureRules, version: str) -> None:
        meter = metrics.get_meter(_SCOPE, version, meter_provider, schema_url=semconv.SCHEMA_URL)
        self._record: Mapping[Measure, Any] = {
            measure: (
                meter.create_histogram(
                    measure.name, measure.unit, measure.about, explicit_bucket_boundaries_advisory=list(measure.bounds)
                ).record
                if measure.bounds
                else meter.create_counter(measure.name, measure.unit, measure.about).add
            )
            for measure in MEASURES[rules.generation]
        }
        meter.create_observable_gauge(_COLLECTING, [_on_collect])
        self._provider = meter_provider
        self.before_collecting: Callable[[], object] = lambda: None
        _sinks.add(self)

    def take(self, call: Usual | Sequence[Measured], span: SpanContext) -> None:
        """Take the numbers of one call."""
        if self._provider is None and _nobody_listens():
            return
        if len(_waiting) < _MOST_WAITING:
            _waiting.append((self, call, span))
        else:
            self.hand_over(call, span)

    def hand_over(self, call: Usual | Sequence[Measured], span: SpanContext) -> None:
        """Give the numbers of one call to the instruments."""
        numbers = call.numbers() if isinstance(call, Usual) else call
        context = trace.set_span_in_context(trace.NonRecordingSpan(span))
        for measure, value, labels in numbers:
            self._record[measure](value, labels.as_dict, context)


_sinks: weakref.WeakSet[MeterSink] = weakref.WeakSet()
_waiting: deque[tuple[MeterSink, Usual | Sequence[Measured], SpanContext]] = deque()
"""Of all sinks of this process: a meter knows the first callback of a name only, whoever is configured later."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.clear)  # the parent's


def _on_collect(_: CallbackOptions) -> list[Observation]:
    """Called first thing in every collection: hand over what waits. There is nothing to observe."""
    for each in list(_sinks):
        guarded("metrics", each.before_collecting)
    while True:
        try:
            sink, call, span = _waiting.popleft()
        except IndexError:
            return []
        guarded("metrics", sink.hand_over, call, span)


def _nobody_listens() -> bool:
    """Whether the program has set no meter provider (so far).

    The public way to ask looks into the environment each time, which takes longer than adding a call up.
    """
    if getattr(_internal, "_METER_PROVIDER", _internal) is None:
        return True
    return type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"
