"""What the tally counts: each call once, tokens and money where they stand, within bounds."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from otel_llm import semconv
from otel_llm.processors.draft import SpanDraft
from otel_llm.processors.label_bounds import LabelBounds
from otel_llm.processors.tally import FIRST_CHUNK_BOUNDS, MOST_ERROR_TYPES, OTHER, Tally


def draft(attributes: dict[str, Any], *, failed: bool = False) -> SpanDraft:
    """A finished span with these attributes."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    span = provider.get_tracer("test").start_span("chat m", attributes=attributes)
    if failed:
        span.set_status(Status(StatusCode.ERROR))
    span.end()
    return SpanDraft(kept.get_finished_spans()[0])


def call(**more: Any) -> dict[str, Any]:
    """Attributes of an ordinary call."""
    named = {semconv.OPERATION_NAME: "chat", semconv.REQUEST_MODEL: "m", semconv.TENANT_ID: "acme"}
    return {**named, **{getattr(semconv, name): value for name, value in more.items()}}


def tallied(*drafts: SpanDraft) -> Tally:
    """A tally over these spans."""
    tally = Tally()
    for one in drafts:
        assert tally(one) is one
    return tally


def test_a_call_is_counted_with_all_it_used() -> None:
    """Calls, tokens, cost, cache hits and time to first chunk add up by tenant and model."""
    one = call(USAGE_INPUT=10, USAGE_OUTPUT=5, COST=0.25, TIME_TO_FIRST_CHUNK=0.3)
    hit = call(COST=0.0, COST_SAVED=0.5, CACHE_HIT=True, SAVED_INPUT=10, SAVED_OUTPUT=5)
    usage = tallied(draft(one), draft(one), draft(hit)).report().usage[("acme", "m")]
    assert (usage.calls, usage.errors, usage.cache_hits) == (3, 0, 1)
    assert (usage.input_tokens, usage.output_tokens, usage.cost_usd, usage.saved_usd) == (20, 10, 0.5, 0.5)
    assert usage.unknown_cost_calls == 0
    assert usage.first_chunks[FIRST_CHUNK_BOUNDS.index(0.4)] == 2
    assert usage.first_chunk_seconds == 0.6


def test_what_the_response_cache_answers_has_no_tokens() -> None:
    """Tokens on the span of a cached answer, whoever wrote it, were not billed and are not counted."""
    usage = tallied(draft(call(USAGE_INPUT=10, USAGE_OUTPUT=5, COST=0.0, CACHE_HIT=True))).report().usage[("acme", "m")]
    assert (usage.calls, usage.cache_hits, usage.input_tokens, usage.output_tokens) == (1, 1, 0, 0)


def test_attempts_count_money_but_not_calls() -> None:
    """A logical call of two attempts is one call; the money stands on the billed attempt."""
    tally = tallied(
        draft(call(ATTEMPT=1, ERROR_TYPE="RateLimitError"), failed=True),
        draft(call(ATTEMPT=2, USAGE_INPUT=7, COST=0.125)),
        draft(call(ATTEMPTS=2)),
    )
    usage = tally.report().usage[("acme", "m")]
    assert (usage.calls, usage.errors, usage.input_tokens, usage.cost_usd) == (1, 0, 7, 0.125)
    assert usage.unknown_cost_calls == 0


def test_an_unknown_price_is_counted_and_a_failed_call_is_none() -> None:
    """Tokens without a price are a call of unknown cost; a call that failed before using any is not."""
    tally = tallied(
        draft(call(USAGE_INPUT=7, COST_STATUS="unknown")),
        draft(call(COST_STATUS="unknown", ERROR_TYPE="APIError"), failed=True),
    )
    report = tally.report()
    assert report.usage[("acme", "m")].unknown_cost_calls == 1
    assert report.usage[("acme", "m")].errors == 1
    assert report.errors == {"APIError": 1}


def test_other_spans_are_let_through_uncounted() -> None:
    """HTTP spans, agents and tools are no calls."""
    tally = tallied(draft({}), draft({semconv.OPERATION_NAME: "execute_tool"}))
    assert tally.report().usage == {}


def test_tenants_models_and_errors_without_end_stay_bounded() -> None:
    """Beyond the bound everything new is counted under `other`, and nothing is lost from the sums."""
    tally = Tally(bounds=LabelBounds(tenants=3, models=2))
    for number in range(70):
        tally._count(
            {
                semconv.TENANT_ID: f"t{number}",
                semconv.REQUEST_MODEL: f"m{number % 4}",
                semconv.ERROR_TYPE: f"E{number}",
                semconv.COST: 1.0,
            },
            failed=True,
        )
    report = tally.report()
    assert {tenant for tenant, _ in report.usage} == {"t0", "t1", "t2", OTHER}
    assert {model for _, model in report.usage} == {"m0", "m1", OTHER}
    assert sum(usage.cost_usd for usage in report.usage.values()) == 70
    assert report.usage[(OTHER, "m0")].calls == 17
    assert len(report.errors) == MOST_ERROR_TYPES + 1
    assert sum(report.errors.values()) == 70


def test_nonsense_values_are_not_added_up() -> None:
    """Programs may set anything: text, NaN and negative numbers count as nothing."""
    strange = call(USAGE_INPUT="many", USAGE_OUTPUT=-4, COST=float("nan"), TIME_TO_FIRST_CHUNK=float("inf"))
    usage = tallied(draft(strange)).report().usage[("acme", "m")]
    assert (usage.calls, usage.input_tokens, usage.output_tokens, usage.cost_usd) == (1, 0, 0, 0.0)
    assert not any(usage.first_chunks)
