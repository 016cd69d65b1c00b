"""A message of thirty megabytes costs its span's content and nothing else: not its numbers, not its neighbours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_llm
from otel_llm import faults, semconv
from otel_llm.store.queries import spans
from otel_llm.testing import FakeProvider, Usage
from tests.fakes.opik import FakeOpik
from tests.fakes.opik.document import needs_openapi
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = needs_openapi

MEGABYTES = 30
WORDS = "moon " * (MEGABYTES * 200_000)
BASE64 = "iVBORw0KGgo" * (MEGABYTES * 1_000_000 // 11)
HUGE: dict[str, list[dict[str, Any]]] = {
    "words": [{"role": "user", "content": WORDS}],
    "image": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is it?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BASE64}"}},
            ],
        }
    ],
    "tool": [
        {"role": "user", "content": "read it"},
        {"role": "assistant", "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "read", "arguments": json.dumps({"text": WORDS})}}
        ]},
        {"role": "tool", "tool_call_id": "c1", "content": WORDS},
    ],
}  # fmt: skip


@pytest.fixture
def model() -> Iterator[FakeProvider]:
    """A provider of language models on loopback."""
    with FakeProvider() as serving:
        yield serving
    litellm.in_memory_llm_clients_cache.flush_cache()


def ask(model: FakeProvider, messages: list[dict[str, Any]]) -> None:
    """One chat completion of tenant acme."""
    with otel_llm.tenant("acme"):
        litellm.completion("openai/gpt-4o", messages, api_base=model.openai_base, api_key="k", max_retries=0)


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_message_costs_its_spans_content_and_nothing_else(
    kind: str, model: FakeProvider, tmp_path: Path
) -> None:
    """Store, OTLP and Opik have it and its neighbours; tokens, cost and tenant are whole; what was cut is said."""
    model.answer("yes", usage=Usage(1000, 100), times=None)
    faults.reset_faults()
    with FakeOpik() as opik, OtlpReceiver() as otlp:
        otel_llm.configure(
            backend=["local", "otlp", "opik"], content="on", state_dir=tmp_path, http_spans=False,
            tracer_provider=TracerProvider(shutdown_on_exit=False),
            otlp_endpoint=otlp.url, opik_url=opik.url, opik_project="huge",
        )  # fmt: skip
        neighbours = [[{"role": "user", "content": f"neighbour {n}"}] for n in range(4)]
        for messages in (*neighbours[:2], HUGE[kind], *neighbours[2:]):
            ask(model, messages)
        report = otel_llm.flush(60)
        assert (report.delivered, report.rejected, report.dropped) == (15, {}, {})
        stored = sorted(spans(tmp_path / "store.db"), key=lambda span: span["start_ns"])
        rows, sent = opik.spans("huge"), otlp.spans
        otel_llm.shutdown()
    assert faults.fault_counts() == {}
    assert (len(stored), len(rows), len(sent)) == (5, 5, 5)
    for span in stored:
        facts = span["attributes"]
        assert (facts[semconv.USAGE_INPUT], facts[semconv.USAGE_OUTPUT]) == (1000, 100)
        assert facts[semconv.COST] == pytest.approx(0.0035, abs=1e-9)
        assert facts[semconv.TENANT_ID] == "acme"
    said = [json.loads(span["attributes"][semconv.INPUT_MESSAGES]) for span in stored]
    assert [said[n][0]["parts"][0]["content"] for n in (0, 1, 3, 4)] == [f"neighbour {n}" for n in range(4)]
    assert [message["role"] for message in said[2]] == [message["role"] for message in HUGE[kind]]
    huge = stored[2]["attributes"]
    if kind == "image":
        blob = said[2][0]["parts"][1]
        assert (blob["mime_type"], blob["byte_count"]) == ("image/png", len(BASE64) * 3 // 4)
    else:
        original = dict(zip(huge[semconv.TRUNCATED], huge[semconv.TRUNCATED_BYTES], strict=True))
        sizes = len(WORDS) * (1 if kind == "words" else 2)
        assert sizes < original[semconv.INPUT_MESSAGES] < sizes + 1_000
    assert sum(span.ByteSize() for span in sent) < 2_000_000
    assert all(row["usage"]["total_tokens"] == 1100 for row in rows)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 8_000_000


@pytest.mark.parametrize("stream", [False, True])
def test_a_limit_that_is_raised_lets_whole_content_through(stream: bool, model: FakeProvider, tmp_path: Path) -> None:
    """With limits of megabytes a question and an answer of one arrive word for word, in the store, OTLP and Opik."""
    question, reply = "moon " * 200_000, " ".join(f"{number:0>500}" for number in range(1_500))
    model.answer(reply, times=None)
    with FakeOpik() as opik, OtlpReceiver() as otlp:
        otel_llm.configure(
            backend=["local", "otlp", "opik"], content="on", state_dir=tmp_path, http_spans=False,
            tracer_provider=TracerProvider(shutdown_on_exit=False), max_value_bytes=2_000_000, max_span_bytes=4_000_000,
            otlp_endpoint=otlp.url, opik_url=opik.url, opik_project="huge",
        )  # fmt: skip
        answer = litellm.completion(
            "openai/gpt-4o", [{"role": "user", "content": question}],
            api_base=model.openai_base, api_key="k", max_retries=0, stream=stream,
        )  # fmt: skip
        if stream:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in answer) == reply
        otel_llm.flush(60)
        ((stored,), (row,), (sent,)) = spans(tmp_path / "store.db"), opik.spans("huge"), otlp.spans
        otel_llm.shutdown()
    for facts in (stored["attributes"], {entry.key: entry.value.string_value for entry in sent.attributes}):
        assert semconv.TRUNCATED not in facts
        assert semconv.REPLACED not in facts
        assert json.loads(facts[semconv.INPUT_MESSAGES])[0]["parts"][0]["content"] == question
        assert json.loads(facts[semconv.OUTPUT_MESSAGES])[0]["parts"][0]["content"] == reply
    assert json.dumps(question) in json.dumps(row["input"])
    assert json.dumps(reply) in json.dumps(row["output"])
