"""Web searches of a Responses answer: in the cost where the table has a price, and said to be missing elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import litellm
import pytest

from otel_llm import semconv

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans

ROW = {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "litellm_provider": "openai", "mode": "chat"}
PRICE = {"search_context_cost_per_query": {f"search_context_size_{size}": 0.01 for size in ("low", "medium", "high")}}
ANSWER = {
    "id": "r1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "output": [
        {"type": "web_search_call", "id": "w1", "status": "completed", "action": {"type": "search", "query": "q"}}
    ],
    "parallel_tool_calls": True,
    "tools": [{"type": "web_search_preview"}],
    "tool_choice": "auto",
    "usage": {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100},
}


@pytest.mark.parametrize(
    ("row", "status"), [({**ROW, **PRICE}, semconv.COST_PRICED), (ROW, semconv.COST_ESTIMATED)], ids=["price", "none"]
)
def test_a_search_without_a_price_makes_the_cost_an_estimate(
    row: dict[str, object], status: str, provider: FakeProvider, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the table says no price for a search, what could be priced is at least that much, and is said to be so."""
    model = f"gpt-that-searches-{len(row)}"  # litellm remembers what it read of a row
    monkeypatch.setitem(litellm.model_cost, model, row)
    provider.json({**ANSWER, "model": model})
    litellm.responses(
        model=f"openai/{model}",
        input="look it up",
        tools=[{"type": "web_search_preview"}],
        api_base=provider.openai_base,
        api_key="sk-test",
    )
    assert spans.facts[semconv.COST_STATUS] == status
    assert spans.facts[semconv.COST] == pytest.approx(0.0112 if "search_context_cost_per_query" in row else 0.0012)
