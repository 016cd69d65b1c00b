"""Foreign spans that went through our stage are at least as right in Opik as they were without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from otel_llm.backends.opik.mapping import map_request
from otel_llm.backends.opik.routing import Routing
from otel_llm.delivery.codec import encode
from otel_llm.pricing import NO_PRICES
from otel_llm.processors.draft import SpanDraft
from otel_llm.processors.foreign import ForeignSpans
from otel_llm.processors.foreign.cost import ForeignCost
from otel_llm.wire import decode
from tests.fakes.spans import make_span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

TABLE = {"gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}}
OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.provider": "openai",
    "llm.model_name": "gpt-4o",
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.content": "Hi",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "Hello",
    "input.value": '{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}',
    "input.mime_type": "application/json",
    "llm.token_count.prompt": 10,
    "llm.token_count.completion": 5,
    "llm.token_count.total": 15,
    "llm.token_count.prompt_details.cache_read": 4,
}
OPENLLMETRY = {
    "llm.request.type": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.response.model": "gpt-4o",
    "gen_ai.prompt.0.role": "user",
    "gen_ai.prompt.0.content": "Hi",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "Hello",
    "gen_ai.usage.prompt_tokens": 10,
    "gen_ai.usage.completion_tokens": 5,
    "gen_ai.usage.cache_read_input_tokens": 4,
    "llm.usage.total_tokens": 15,
}


def _row(span: ReadableSpan) -> dict[str, Any]:
    (batch,) = encode([span], max_bytes=2**30)
    (row,) = map_request(decode(batch), Routing(project="p")).spans
    return row.body


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [("openinference.instrumentation.openai", OPENINFERENCE), ("opentelemetry.instrumentation.openai.v1", OPENLLMETRY)],
    ids=["OpenInference", "OpenLLMetry"],
)
def test_a_translated_span_is_the_same_row(scope: str, attributes: dict[str, Any]) -> None:
    """Type, model, provider, tokens, question and answer are as before; what is new is the cost."""
    span = make_span("anything", attributes=attributes, instrumentation_scope=InstrumentationScope(scope))
    draft = ForeignSpans(lambda: ForeignCost(NO_PRICES, lambda: TABLE))(SpanDraft(span))
    before, after = _row(span), _row(draft.to_span())
    for column in ("type", "model", "provider"):
        assert after[column] == before[column], column
    for count in ("prompt_tokens", "completion_tokens", "total_tokens", "cache_read_input_tokens"):
        assert after["usage"][count] == before["usage"][count], count
    for side, text in (("input", "Hi"), ("output", "Hello")):
        assert text in str(before[side])
        assert text in str(after[side])
    assert after["total_estimated_cost"] == pytest.approx(20e-6)
