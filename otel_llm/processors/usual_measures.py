"""The numbers of usual calls, quickly: what follows from the names of their attributes is worked out once.

A usual call did not fail, was billed, and says of its tokens no more than how many there were. Which instruments such
spans add to follows from the names of their attributes; only the values differ, and there are few of them: the same
number of tokens goes to three instruments. Whatever is not usual is left to `measures`, and a test holds both to the
same numbers.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opentelemetry.trace import StatusCode

from otel_llm import semconv
from otel_llm.processors import measures
from otel_llm.processors.measures import Measure, Measured, MeasureRules, measured

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from otel_llm.processors.draft import SpanDraft
    from otel_llm.processors.label_sets import LabelSet, LabelSets

__all__ = ["Measuring", "Plan", "Usual"]

_MOST_PLANS: Final = 1024
_LARGEST_AMOUNT: Final = sys.float_info.max
_COUNTS: Final = frozenset(name for _, name in (*measures.TOTALS, *measures.OPERATION_TOKENS))
_DURATION: Final = ""
"""Stands for the attribute that the span's duration is not."""

_Reading: TypeAlias = "tuple[Measure, str, LabelSet, bool]"
"""Instrument, attribute, labels, and whether a zero counts."""


class Plan:
    """What spans with the same labels and the same names of attributes add."""

    __slots__ = ("amounts", "bounds", "counts", "readings", "unpriced")

    def __init__(self, names: Collection[str], readings: Sequence[_Reading], *, unpriced: LabelSet | None) -> None:
        said = [reading for reading in readings if reading[1] == _DURATION or reading[1] in names]
        read = tuple(dict.fromkeys(name for _, name, _, _ in said if name != _DURATION))
        self.counts = tuple(name for name in read if name in _COUNTS)
        """Attributes that are whole numbers."""
        self.amounts = tuple(name for name in read if name not in _COUNTS)
        """Attributes that are any number."""
        values = (_DURATION, *self.counts, *self.amounts)
        self.bounds = tuple(
            next((measure.bounds for measure, name, _, _ in said if name == value and measure.bounds), ())
            for value in values
        )
        """For each value those of the histograms that it goes to; empty where it goes to counters only."""
        self.readings = tuple((measure, values.index(name), labels, zero) for measure, name, labels, zero in said)
        """Instrument, which of the values, labels, and whether a zero counts."""
        self.unpriced = unpriced
        """The labels of calls whose price is not known."""


class Usual(NamedTuple):
    """What one usual call adds."""

    plan: Plan
    values: list[float]
    """The duration, then those of the plan's `counts` and `amounts`."""

    def numbers(self) -> list[Measured]:
        """The same as for any other call."""
        plan, values = self
        found: list[Measured] = [
            (measure, values[which], labels)
            for measure, which, labels, zero_counts in plan.readings
            if zero_counts or values[which]
        ]
        if plan.unpriced is not None:
            found.append((measures.UNKNOWN_COST, 1, plan.unpriced))
        return found


class Measuring:
    """Measures finished spans by `rules`, under the labels that `sets` finds. Used by one thread at a time."""

    def __init__(self, rules: MeasureRules, sets: LabelSets) -> None:
        self._rules = rules
        self._sets = sets
        self._plans: dict[tuple[LabelSet, tuple[str, ...]], Plan | None] = {}

    def of(self, draft: SpanDraft) -> Usual | Sequence[Measured]:
        """Everything that a finished span adds to metrics; nothing for what is no call to a model."""
        facts = draft.attributes
        if facts.get(semconv.OPERATION_NAME) not in semconv.LLM_OPERATIONS:
            return ()
        usual = None if draft.status.status_code is StatusCode.ERROR else self._usual(draft, facts)
        return tuple(measured(draft, self._rules, self._sets)) if usual is None else usual

    def numbers(self, draft: SpanDraft) -> Sequence[Measured]:
        """The same, number by number."""
        found = self.of(draft)
        return found.numbers() if isinstance(found, Usual) else found

    def _usual(self, draft: SpanDraft, facts: dict[str, Any]) -> Usual | None:
        """What a usual call adds; None for any other."""
        if facts.get(semconv.CACHE_HIT) is True or facts.get(semconv.USAGE_ESTIMATED) is True:
            return None
        plan = self._plan(self._sets.of(facts), tuple(facts))
        if plan is None:
            return None
        values: list[float] = [draft.seconds]
        for name in plan.counts:
            value = facts[name]
            if type(value) is not int or not 0 <= value <= measures.LARGEST_COUNT:
                return None
            values.append(value)
        for name in plan.amounts:
            value = facts[name]
            kind = type(value)
            if (kind is not float and kind is not int) or not 0 <= value <= _LARGEST_AMOUNT:
                return None
            values.append(value)
        return Usual(plan, values)

    def _plan(self, labels: LabelSet, names: tuple[str, ...]) -> Plan | None:
        key = labels, names
        try:
            return self._plans[key]
        except KeyError:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            found = self._plans[key] = _plan_of(frozenset(names), labels, self._rules)
            return found


def _plan_of(names: frozenset[str], labels: LabelSet, rules: MeasureRules) -> Plan | None:
    priced = semconv.COST in names or semconv.ATTEMPTS in names
    used = semconv.USAGE_INPUT in names or semconv.USAGE_OUTPUT in names
    if semconv.ERROR_TYPE in names or not names.isdisjoint(measures.MODALITIES):
        return None
    if not priced and not used and semconv.COST_STATUS in names:
        return None
    inference = labels.as_dict[semconv.OPERATION_NAME] in semconv.INFERENCE_OPERATIONS
    new, old = rules.generation != "old" and inference, rules.generation != "new"
    readings: list[_Reading] = []
    if semconv.ATTEMPT not in names:
        durations, chunks = measures.times_of(new=new, old=old or not inference)
        readings += [(measure, _DURATION, labels, True) for measure in durations]
        readings += [(measure, semconv.TIME_TO_FIRST_CHUNK, labels, True) for measure in chunks]
    if new:
        readings += _new_tokens(labels)
    if old:
        readings += _old_tokens(labels)
    readings += [(measure, name, labels, False) for measure, name in measures.MONEY]
    return Plan(names, readings, unpriced=labels if used and not priced else None)


def _new_tokens(labels: LabelSet) -> list[_Reading]:
    unknown = labels.plus(semconv.TOKEN_MODALITY, "unknown")
    return [
        *((measure, name, unknown, False) for measure, name in measures.TOTALS),
        *((measure, name, labels, True) for measure, name in measures.OPERATION_TOKENS),
    ]


def _old_tokens(labels: LabelSet) -> list[_Reading]:
    return [
        (measures.TOKEN_USAGE, name, labels.plus(semconv.TOKEN_TYPE, kind), True)
        for name, kind in ((semconv.USAGE_INPUT, "input"), (semconv.USAGE_OUTPUT, "output"))
    ]
