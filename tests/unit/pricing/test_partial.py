"""Streams that break off: what was heard is counted, and the cost follows that count."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import litellm
import pytest

from otel_llm import semconv
from otel_llm.testing import Usage

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans

MODEL = "claude-haiku-4-5-20251001"
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


@pytest.mark.parametrize("how", ["cut", "error"])
@pytest.mark.parametrize("more", [{}, {"tools": [SEARCH]}], ids=["our figure", "litellm's figure"])
def test_the_cost_of_a_broken_anthropic_stream_follows_its_estimated_tokens(
    provider: FakeProvider, spans: Spans, how: Any, more: dict[str, Any]
) -> None:
    """Anthropic's first event says one output token; cost is that of the tokens on the span, and an estimate."""
    provider.stream(["The moon is far. "] * 20, usage=Usage(100, 120), fail_after=12, fail_with=how)
    messages = [{"role": "user", "content": "hi"}]
    call = {"api_base": provider.anthropic_base, "api_key": "sk-test", "stream": True, **more}
    with contextlib.suppress(Exception):
        for _ in litellm.completion(f"anthropic/{MODEL}", messages, **call):
            pass
    facts = spans.facts
    row = litellm.model_cost[MODEL]
    tokens_in, tokens_out = facts[semconv.USAGE_INPUT], facts[semconv.USAGE_OUTPUT]
    assert tokens_in == 100
    assert tokens_out > 12
    assert facts[semconv.USAGE_ESTIMATED] is True
    expected = tokens_in * row["input_cost_per_token"] + tokens_out * row["output_cost_per_token"]
    assert facts[semconv.COST] == pytest.approx(expected, abs=1e-9)
    assert facts[semconv.COST_STATUS] == semconv.COST_ESTIMATED
