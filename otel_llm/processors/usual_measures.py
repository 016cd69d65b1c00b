"""The numbers of usual calls, quickly: what follows from the names of their attributes is worked out once.

A usual call did not fail, was billed, and says of its tokens no more than how many there were. Which instruments such
spans add to follows from the names of their attributes; only the values differ. Whatever is not usual is left to
`measures`, and a test holds both to the same numbers.
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

__all__ = ["Measuring"]

_MOST_PLANS: Final = 1024
_LARGEST_AMOUNT: Final = sys.float_info.max

_Reading: TypeAlias = "tuple[Measure, str, LabelSet, float, bool]"
"""Instrument, attribute, labels, the largest value that counts, and whether a zero counts."""


class _Plan(NamedTuple):
    """What spans with the same labels and the same names of attributes add."""

    times: tuple[Measure, ...]
    """Instruments of the span's duration."""
    readings: tuple[_Reading, ...]
    unpriced: bool


class Measuring:
    """Measures finished spans by `rules`, under the labels that `sets` finds. Used by one thread at a time."""

    def __init__(self, rules: MeasureRules, sets: LabelSets) -> None:
        self._rules = rules
        self._sets = sets
        self._plans: dict[tuple[LabelSet, tuple[str, ...]], _Plan | None] = {}

    def numbers(self, draft: SpanDraft) -> Sequence[Measured]:
        """Everything that a finished span adds to metrics; nothing for what is no call to a model."""
        facts = draft.attributes
        if facts.get(semconv.OPERATION_NAME) not in semconv.LLM_OPERATIONS:
            return ()
        quick = None if draft.status.status_code is StatusCode.ERROR else self._usual(draft, facts)
        return tuple(measured(draft, self._rules, self._sets)) if quick is None else quick

    def _usual(self, draft: SpanDraft, facts: dict[str, Any]) -> list[Measured] | None:
        """The numbers of a usual call; None for any other."""
        if facts.get(semconv.CACHE_HIT) is True or facts.get(semconv.USAGE_ESTIMATED) is True:
            return None
        labels = self._sets.of(facts)
        plan = self._plan(labels, tuple(facts))
        if plan is None:
            return None
        seconds = draft.seconds
        numbers: list[Measured] = [(measure, seconds, labels) for measure in plan.times]
        for measure, name, its_labels, most, zero_counts in plan.readings:
            value = facts[name]
            kind = type(value)
            if (kind is not int and kind is not float) or not 0 <= value <= most:
                return None
            if kind is float and most != _LARGEST_AMOUNT:
                return None
            if value or zero_counts:
                numbers.append((measure, value, its_labels))
        if plan.unpriced:
            numbers.append((measures.UNKNOWN_COST, 1, labels))
        return numbers

    def _plan(self, labels: LabelSet, names: tuple[str, ...]) -> _Plan | None:
        key = labels, names
        try:
            return self._plans[key]
        except KeyError:
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            found = self._plans[key] = _plan_of(frozenset(names), labels, self._rules)
            return found


def _plan_of(names: frozenset[str], labels: LabelSet, rules: MeasureRules) -> _Plan | None:
    priced = semconv.COST in names or semconv.ATTEMPTS in names
    used = semconv.USAGE_INPUT in names or semconv.USAGE_OUTPUT in names
    if semconv.ERROR_TYPE in names or not names.isdisjoint(measures.MODALITIES):
        return None
    if not priced and not used and semconv.COST_STATUS in names:
        return None
    inference = labels.as_dict[semconv.OPERATION_NAME] in semconv.INFERENCE_OPERATIONS
    new, old = rules.generation != "old" and inference, rules.generation != "new"
    times: tuple[Measure, ...] = ()
    readings: list[_Reading] = []
    if semconv.ATTEMPT not in names:
        times, chunks = measures.times_of(new=new, old=old or not inference)
        readings += [(chunk, semconv.TIME_TO_FIRST_CHUNK, labels, _LARGEST_AMOUNT, True) for chunk in chunks]
    if new:
        readings += _new_tokens(labels)
    if old:
        readings += [
            (measures.TOKEN_USAGE, name, labels.plus(semconv.TOKEN_TYPE, kind), measures.LARGEST_COUNT, True)
            for name, kind in ((semconv.USAGE_INPUT, "input"), (semconv.USAGE_OUTPUT, "output"))
        ]
    readings += [(measure, name, labels, _LARGEST_AMOUNT, False) for measure, name in measures.MONEY]
    return _Plan(times, _of(names, readings), used and not priced)


def _of(names: Collection[str], readings: list[_Reading]) -> tuple[_Reading, ...]:
    return tuple(reading for reading in readings if reading[1] in names)


def _new_tokens(labels: LabelSet) -> list[_Reading]:
    unknown = labels.plus(semconv.TOKEN_MODALITY, "unknown")
    return [
        *((measure, name, unknown, measures.LARGEST_COUNT, False) for measure, name in measures.TOTALS),
        *((measure, name, labels, measures.LARGEST_COUNT, True) for measure, name in measures.OPERATION_TOKENS),
    ]
