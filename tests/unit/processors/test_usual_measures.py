"""Usual calls are measured quickly, and to the same numbers as all others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace import Status, StatusCode

from otel_llm import semconv
from otel_llm.processors.call_metrics import CallMetrics, PageSink
from otel_llm.processors.draft import SpanDraft
from otel_llm.processors.label_bounds import LabelBounds
from otel_llm.processors.label_sets import LabelSets
from otel_llm.processors.measures import MeasureRules, measured
from otel_llm.processors.usual_measures import Measuring
from tests.fakes.spans import make_span

COUNTS = st.sampled_from([0, 1, 412, 10**13, -1, 3.0, 2.5, True, "7", float("nan"), float("inf"), (1, 2)])
AMOUNTS = st.sampled_from([0, 0.0, 0.5, 2, -1.0, float("inf"), float("nan"), "1", False])
FLAGS = st.sampled_from([True, False, "yes"])
CALLS = st.fixed_dictionaries(
    {semconv.OPERATION_NAME: st.sampled_from(["chat", "embeddings", "retrieval", "execute_tool"])},
    optional={
        semconv.PROVIDER_NAME: st.sampled_from(["openai", "", 3]),
        semconv.REQUEST_MODEL: st.sampled_from(["gpt-4o", "gpt-4o-mini"]),
        semconv.TENANT_ID: st.sampled_from(["acme", "globex", ("a",)]),
        semconv.USAGE_INPUT: COUNTS,
        semconv.USAGE_OUTPUT: COUNTS,
        semconv.USAGE_CACHE_READ: COUNTS,
        semconv.USAGE_CACHE_WRITE: COUNTS,
        semconv.USAGE_REASONING: COUNTS,
        semconv.USAGE_TEXT_INPUT: COUNTS,
        semconv.TIME_TO_FIRST_CHUNK: AMOUNTS,
        semconv.COST: AMOUNTS,
        semconv.COST_SAVED: AMOUNTS,
        semconv.COST_STATUS: st.sampled_from([semconv.COST_UNKNOWN, "priced"]),
        semconv.CACHE_HIT: FLAGS,
        semconv.USAGE_ESTIMATED: FLAGS,
        semconv.ERROR_TYPE: st.sampled_from(["timeout", ""]),
        semconv.ATTEMPT: st.just(1),
        semconv.ATTEMPTS: st.just(2),
    },
)
RULES = st.builds(MeasureRules, generation=st.sampled_from(["both", "new", "old"]), estimated_tokens=st.booleans())


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(CALLS, st.booleans()), min_size=1, max_size=4), RULES)
def test_usual_calls_give_the_same_numbers(calls: list[tuple[dict[str, Any], bool]], rules: MeasureRules) -> None:
    """Whatever a span says, and whatever spans came before it, nothing is counted that would not be, or otherwise."""
    sets = LabelSets(LabelBounds())
    measuring = Measuring(rules, sets)
    for attributes, failed in calls:
        status = Status(StatusCode.ERROR, "x") if failed else Status(StatusCode.UNSET)
        draft = SpanDraft(make_span("chat m", attributes=attributes, status=status))
        assert list(measuring.numbers(draft)) == list(measured(draft, rules, sets))


def _page(sink: PageSink) -> dict[tuple[str, str], tuple[float, tuple[int, ...]]]:
    return {
        (measure.name, str(series.labels)): (pytest.approx(series.total), series.buckets)
        for measure, all_series in sink.report().items()
        for series in all_series
    }


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(CALLS, st.booleans()), min_size=1, max_size=8), RULES, st.integers(0, 8))
def test_the_page_adds_usual_calls_up_to_the_same_sums(
    calls: list[tuple[dict[str, Any], bool]], rules: MeasureRules, asked_after: int
) -> None:
    """Sums of usual calls are those of their numbers one by one, with the same series, whenever somebody asks."""
    sets = LabelSets(LabelBounds())
    quick, plain = PageSink(), PageSink()
    stage = CallMetrics([quick], rules, LabelBounds())
    for number, (attributes, failed) in enumerate(calls):
        status = Status(StatusCode.ERROR, "x") if failed else Status(StatusCode.UNSET)
        draft = SpanDraft(make_span("chat m", attributes=attributes, status=status))
        stage(draft)
        plain.take(list(measured(draft, rules, sets)), draft.context)
        if number == asked_after:
            assert _page(quick) == _page(plain)
    assert _page(quick) == _page(plain)
