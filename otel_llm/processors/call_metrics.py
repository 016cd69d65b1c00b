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
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

from opentelemetry import metrics, trace

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.processors.label_sets import LabelSet, LabelSets
from otel_llm.processors.measures import MEASURES, Measure, Measured, MeasureRules
from otel_llm.processors.usual_measures import Measuring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
    from opentelemetry.trace import SpanContext

    from otel_llm.processors.draft import SpanDraft
    from otel_llm.processors.label_bounds import LabelBounds

__all__ = ["CallMetrics", "MeasuresReport", "MeterSink", "PageSink", "Series"]

_SCOPE: Final = "otel_llm"
_COLLECTING: Final = "otel_llm.metrics.collecting"
"""Name of an instrument without numbers, by which we hear that a provider collects."""
_MOST_WAITING: Final = 2048
"""Calls whose numbers wait for the next collection; those of further ones are handed over at once."""


class Sink(Protocol):
    """Whoever takes the numbers of one call."""

    def take(self, numbers: Sequence[Measured], span: SpanContext) -> None:
        """Take the numbers of one call, whose span has this context."""
        ...


class CallMetrics:
    """End stage that changes nothing: measures each call and hands the numbers to `sinks`. Belongs after redaction."""

    name = "metrics"

    def __init__(self, sinks: Sequence[Sink], rules: MeasureRules, bounds: LabelBounds) -> None:
        self._measuring = Measuring(rules, LabelSets(bounds))
        self._sinks = tuple(sinks)

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Measure one span."""
        numbers = self._measuring.numbers(draft)
        if numbers:
            for sink in self._sinks:
                guarded("metrics", sink.take, numbers, draft.context)
        return draft


class Series(NamedTuple):
    """The sums of one metric for one combination of labels."""

    labels: Mapping[str, str | int]
    total: float
    buckets: tuple[int, ...]
    """Numbers by size, one for each bound of the metric and one for what lies above; empty for a counter."""


MeasuresReport: TypeAlias = "dict[Measure, list[Series]]"


class PageSink:
    """Adds up in memory, for `/metrics`."""

    def __init__(self) -> None:
        self.reset_after_fork()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def take(self, numbers: Sequence[Measured], span: SpanContext) -> None:  # noqa: ARG002  (a page has no exemplars)
        """Add the numbers of one call."""
        with self._lock:
            by_measure = self._sums
            for measure, value, labels in numbers:
                bounds = measure.bounds
                try:
                    sums = by_measure[measure][labels]
                except KeyError:
                    sums = by_measure[measure][labels] = [0.0] * (2 + len(bounds) if bounds else 1)
                sums[0] += value
                if bounds:
                    sums[1 + bisect_left(bounds, value)] += 1

    def report(self) -> MeasuresReport:
        """A consistent copy of all sums."""
        with self._lock:
            return {
                measure: [Series(labels.as_dict, sums[0], tuple(map(int, sums[1:]))) for labels, sums in series.items()]
                for measure, series in self._sums.items()
            }

    def reset_after_fork(self) -> None:
        """Start from zero in a child process: what the parent counted stays the parent's."""
        self._lock = threading.Lock()
        self._sums: dict[Measure, dict[LabelSet, list[float]]] = defaultdict(dict)


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

    def take(self, numbers: Sequence[Measured], span: SpanContext) -> None:
        """Take the numbers of one call."""
        if self._provider is None and _nobody_listens():
            return
        if len(_waiting) < _MOST_WAITING:
            _waiting.append((self, numbers, span))
        else:
            self.hand_over(numbers, span)

    def hand_over(self, numbers: Sequence[Measured], span: SpanContext) -> None:
        """Give the numbers of one call to the instruments."""
        context = trace.set_span_in_context(trace.NonRecordingSpan(span))
        for measure, value, labels in numbers:
            self._record[measure](value, labels.as_dict, context)


_sinks: weakref.WeakSet[MeterSink] = weakref.WeakSet()
_waiting: deque[tuple[MeterSink, Sequence[Measured], SpanContext]] = deque()
"""Of all sinks of this process: a meter knows the first callback of a name only, whoever is configured later."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.clear)  # the parent's


def _on_collect(_: CallbackOptions) -> list[Observation]:
    """Called first thing in every collection: hand over what waits. There is nothing to observe."""
    for each in list(_sinks):
        guarded("metrics", each.before_collecting)
    while True:
        try:
            sink, numbers, span = _waiting.popleft()
        except IndexError:
            return []
        guarded("metrics", sink.hand_over, numbers, span)


def _nobody_listens() -> bool:
    """Whether the program has set no meter provider (so far)."""
    return type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider"
