"""Thresholds and random bits as OpenTelemetry's specification has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace._sampling_experimental._trace_state import OtelTraceState
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from otel_llm.processors.probability import (
    SPAN,
    probability_of,
    randomness_of,
    said_threshold,
    threshold_of,
    with_threshold,
)


def context(trace_id: int = 1, state: TraceState | None = None) -> SpanContext:
    """A span context of this trace."""
    return SpanContext(trace_id, 1, is_remote=False, trace_flags=TraceFlags(1), trace_state=state)


@pytest.mark.parametrize(("ratio", "threshold"), [(1, 0), (0, SPAN), (0.5, SPAN // 2), (0.25, SPAN * 3 // 4)])
def test_a_ratio_is_a_threshold(ratio: float, threshold: int) -> None:
    """The share above the threshold is the ratio."""
    assert threshold_of(ratio) == threshold
    assert probability_of(threshold) == ratio


def test_the_last_56_bits_decide_unless_tracestate_says_others() -> None:
    """`rv` wins where it is well-formed."""
    assert randomness_of(context((7 << 56) + 5)) == 5
    assert randomness_of(context(5, TraceState([("ot", "rv:00000000000009")]))) == 9
    assert randomness_of(context(5, TraceState([("ot", "rv:9")]))) == 5


@given(st.integers(0, SPAN - 1))
def test_a_threshold_reads_back_as_the_sdk_reads_it(threshold: int) -> None:
    """What we write, the SDK and we ourselves read as the same number; other entries stay."""
    state = with_threshold(TraceState([("other", "x"), ("ot", "rv:00000000000009;th:1;z:1")]), threshold)
    assert said_threshold(context(1, state)) == threshold
    read = OtelTraceState.parse(state)
    assert (read.threshold, read.random_value, list(read.rest)) == (threshold, 9, ["z:1"])
    assert state["other"] == "x"


@pytest.mark.parametrize("text", ["", "th:", "th:xyz", "th:123456789012345", "th", "rv", "x" * 300])
def test_damage_in_tracestate_says_nothing(text: str) -> None:
    """Whoever wrote it was not us."""
    state = TraceState([("ot", text)]) if text else TraceState()
    assert said_threshold(context(1, state)) == 0
    assert randomness_of(context(5, state)) == 5
