"""What Opik shows of a call's tokens, and what it bills for them where the span does not say the cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from otel_llm import semconv
from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.contracts import Delivered
from otel_llm.delivery.codec import encode
from tests.fakes.opik import FakeOpik, needs_openapi
from tests.fakes.spans import make_span

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_openapi

CACHED = {semconv.USAGE_INPUT: 1000, semconv.USAGE_OUTPUT: 200, semconv.USAGE_CACHE_READ: 700}
WRITTEN = {**CACHED, semconv.USAGE_CACHE_WRITE: 100}
SONNET = 200 * 3 + 700 * 0.3 + 100 * 3.75 + 200 * 15
KINDS = {**CACHED, semconv.USAGE_TEXT_INPUT: 1000, semconv.USAGE_TEXT_OUTPUT: 50, semconv.USAGE_REASONING: 150}
ALL_READ = {**CACHED, semconv.USAGE_CACHE_READ: 1000}


@pytest.fixture
def opik() -> Iterator[FakeOpik]:
    """A server without login."""
    with FakeOpik() as server:
        yield server


def _told(opik: FakeOpik, provider: str, model: str, counts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The row of a call and that of its trace, read back."""
    attributes = {semconv.OPERATION_NAME: semconv.OP_CHAT, semconv.PROVIDER_NAME: provider, **counts}
    span = make_span("chat", attributes={**attributes, semconv.REQUEST_MODEL: model})
    (batch,) = encode([span], max_bytes=2**30)
    outcome = OpikBackend(OpikOptions(url=opik.url, project="p")).send(batch, timeout=30)
    assert outcome == Delivered(1)
    (row,), (trace,) = opik.spans("p"), opik.traces("p")
    return row, trace


@pytest.mark.parametrize(
    ("provider", "model", "counts", "micro_usd"),
    [
        ("anthropic", "claude-sonnet-4", WRITTEN, SONNET),
        ("aws.bedrock", "anthropic.claude-sonnet-4", WRITTEN, SONNET),
        ("gcp.vertex_ai", "claude-sonnet-4", WRITTEN, SONNET),
        ("anthropic", "claude-sonnet-4", ALL_READ, 1000 * 0.3 + 200 * 15),
        ("openai", "gpt-4o", CACHED, 300 * 2.5 + 700 * 1.25 + 200 * 10),
        ("openai", "gpt-4o", KINDS, 300 * 2.5 + 700 * 1.25 + 200 * 10),
        ("azure.ai.openai", "gpt-4o", CACHED, 300 * 2.5 + 700 * 1.25 + 200 * 10),
        ("gcp.gemini", "gemini-2.0-flash", CACHED, 300 * 0.1 + 700 * 0.025 + 200 * 0.4),
    ],
)
def test_input_is_all_input_and_the_estimate_is_right(
    opik: FakeOpik, provider: str, model: str, counts: dict[str, Any], micro_usd: float
) -> None:
    """Whoever the provider is, the page shows cached tokens as a part of the input, and each is billed once."""
    row, trace = _told(opik, provider, model, counts)
    for usage in (row["usage"], trace["usage"]):
        assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (1000, 200, 1200)
        assert usage["cache_read_input_tokens"] == counts[semconv.USAGE_CACHE_READ]
    assert row["total_estimated_cost"] == pytest.approx(micro_usd / 1e6, rel=1e-12)
    assert row["total_estimated_cost"] == trace["total_estimated_cost"]
