"""What is passed through to a provider as it is, and is a model's answer, is one span: whole, streamed, refused."""

from __future__ import annotations

import base64
import inspect
import json
from typing import TYPE_CHECKING, Any

import litellm
import pytest

import otel_llm
from otel_llm import semconv
from otel_llm.instrumentation.litellm.bedrock_stream import Frames
from otel_llm.instrumentation.litellm.forms import FORMS
from otel_llm.instrumentation.litellm.passthrough import passed_as
from otel_llm.instrumentation.litellm.request import Request
from otel_llm.instrumentation.litellm.stream_usage import ask_for_usage
from tests.unit.instrumentation.calls import run
from tests.unit.instrumentation.frames import frame
from tests.unit.instrumentation.recorded import attributes, failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans

NAMES = ("llm_passthrough_route", "allm_passthrough_route")
ASKED = {"messages": [{"role": "user", "content": "How far?"}], "temperature": 0.5}
CLAUDE = "anthropic.claude-haiku-4-5-20251001-v1:0"
HAIKU = (1.0, 5.0)
"""USD per million tokens in and out."""


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bedrock's requests are signed before they are sent."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION_NAME", "us-east-1")


def _pass(name: str, **asked: Any) -> Any:
    """Call it, and read what comes to its end."""
    function: Callable[..., Any] = getattr(litellm, name)

    async def call() -> Any:
        made = await function(**asked)
        return b"".join([piece async for piece in made]) if hasattr(made, "__anext__") else made

    if inspect.iscoroutinefunction(function):
        return run(call)
    made = function(**asked)
    return b"".join(made) if hasattr(made, "__next__") else made


def _to_azure(provider: FakeProvider, **more: Any) -> dict[str, Any]:
    asked = {"method": "POST", "endpoint": "openai/deployments/gpt-4o-mini/chat/completions", "json": dict(ASKED)}
    return {"model": "azure/gpt-4o-mini", "api_base": provider.url, "api_key": "sk-test", **asked, **more}


def _to_bedrock(provider: FakeProvider, action: str, body: dict[str, Any], model: str = CLAUDE) -> dict[str, Any]:
    return {
        "method": "POST",
        "endpoint": f"/model/{model}/{action}",
        "model": f"bedrock/{model}",
        "data": body,
        "api_base": provider.url,
        "aws_bedrock_runtime_endpoint": provider.url,
    }


CONVERSED = b"".join(
    frame(event, event_type=name, message_type="event")
    for name, event in (
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Fa"}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "r."}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t1", "name": "look"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"at": '}}}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '"it"}'}}}),
        ("messageStop", {"stopReason": "tool_use"}),
        (
            "metadata",
            {"usage": {"inputTokens": 100, "outputTokens": 20, "cacheReadInputTokens": 50, "totalTokens": 170}},
        ),
    )
)


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_in_openais_words(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A chat that is passed through to Azure is one span, as if it had been called by its form."""
    provider.answer("far", model="gpt-4o-mini")
    with otel_llm.tenant("acme"):
        _pass(name, **_to_azure(provider))
    assert spans.only.name == "chat gpt-4o-mini"
    facts = spans.facts
    expected = {
        semconv.PROVIDER_NAME: "azure.ai.openai",
        semconv.REQUEST_MODEL: "gpt-4o-mini",
        semconv.REQUEST_TEMPERATURE: 0.5,
        semconv.OPERATION_DETAIL: name,
        semconv.FINISH_REASONS: ("stop",),
        semconv.SERVER_ADDRESS: "127.0.0.1",
        semconv.COST_STATUS: semconv.COST_PRICED,
        semconv.TENANT_ID: "acme",
    }
    assert {key: facts.get(key) for key in expected} == expected
    assert facts[semconv.USAGE_INPUT] > 0
    row = litellm.model_cost["azure/gpt-4o-mini"]
    assert facts[semconv.COST] == pytest.approx(
        facts[semconv.USAGE_INPUT] * row["input_cost_per_token"]
        + facts[semconv.USAGE_OUTPUT] * row["output_cost_per_token"]
    )
    assert not semconv.CONTENT_ATTRIBUTES & facts.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_in_openais_words(name: str, provider: FakeProvider, full_spans: Spans) -> None:
    """Its stream is handed on byte by byte; the span ends with it and has the tokens that the provider counted."""
    body = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
    provider.stream(["Fa", "r."], model="gpt-4o-mini")
    given = _pass(name, **_to_azure(provider, json=body))
    assert b'"Fa"' in given
    facts = full_spans.facts
    assert facts[semconv.TIME_TO_FIRST_CHUNK] > 0
    assert facts[semconv.FINISH_REASONS] == ("stop",)
    assert semconv.USAGE_ESTIMATED not in facts
    assert facts[semconv.COST_STATUS] == semconv.COST_PRICED
    assert "How far?" in facts[semconv.INPUT_MESSAGES]
    assert "Far." in facts[semconv.OUTPUT_MESSAGES]


def test_nothing_is_asked_for_that_the_program_did_not_ask_for(provider: FakeProvider) -> None:
    """Where its body does not ask for usage, a stream in OpenAI's words is not asked for it in any other way."""
    kwargs = _to_azure(provider, json={**ASKED, "stream": True})
    form = passed_as(FORMS["llm_passthrough_route"], kwargs)
    assert form is not None
    assert ask_for_usage(Request(form, (), kwargs), kwargs) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_refusal_is_an_error(name: str, provider: FakeProvider, spans: Spans) -> None:
    """What the provider refuses is raised as ever, and the span has the error."""
    provider.error(429, times=None)
    with pytest.raises(Exception, match=r"429|[rR]ate"):
        _pass(name, **_to_azure(provider))
    assert failed(spans.only)
    assert spans.facts[semconv.HTTP_STATUS_CODE] == 429


def test_a_router_tries_again(provider: FakeProvider, spans: Spans) -> None:
    """Through a Router what is passed through is one call, with its attempts below it; what was billed is on one."""
    deployment = {"model": "azure/gpt-4o-mini", "api_base": provider.url, "api_key": "sk-test"}
    router = litellm.Router(
        model_list=[{"model_name": "mine", "litellm_params": deployment}], num_retries=1, retry_after=0
    )
    provider.error(500)
    endpoint = "openai/deployments/gpt-4o-mini/chat/completions"
    run(router.allm_passthrough_route, model="mine", method="POST", endpoint=endpoint, json=dict(ASKED))
    (logical,) = spans.logical
    first, second = spans.attempts
    assert logical.name == "chat mine"
    assert attributes(logical)[semconv.ATTEMPTS] == 2
    assert semconv.USAGE_INPUT not in attributes(logical)
    assert failed(first)
    assert attributes(second)[semconv.USAGE_INPUT] > 0
    assert attributes(second)[semconv.COST_STATUS] == semconv.COST_PRICED


@pytest.mark.parametrize("name", NAMES)
def test_what_asks_no_model_has_no_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Lists of models, files and the like are not a model's answers."""
    provider.json({"data": []}, times=None)
    _pass(name, **_to_azure(provider, method="GET", endpoint="openai/models", json=None))
    _pass(name, **_to_azure(provider, endpoint="openai/files", json={}))
    assert spans.llm == []


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_of_converse(name: str, provider: FakeProvider, full_spans: Spans) -> None:
    """Bedrock's own words are read: its input leaves out what was cached, ours has it in."""
    provider.json(
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "Far."}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": 100, "outputTokens": 20, "cacheReadInputTokens": 50, "totalTokens": 170},
        }
    )
    body = {
        "messages": [{"role": "user", "content": [{"text": "How far?"}]}],
        "system": [{"text": "Be brief"}],
        "inferenceConfig": {"maxTokens": 9, "topP": 0.5},
    }
    _pass(name, **_to_bedrock(provider, "converse", body))
    facts = full_spans.facts
    expected = {
        semconv.PROVIDER_NAME: "aws.bedrock",
        semconv.REQUEST_MODEL: CLAUDE,
        semconv.REQUEST_MAX_TOKENS: 9,
        semconv.REQUEST_TOP_P: 0.5,
        semconv.USAGE_INPUT: 150,
        semconv.USAGE_CACHE_READ: 50,
        semconv.USAGE_OUTPUT: 20,
        semconv.FINISH_REASONS: ("stop",),
        semconv.COST_STATUS: semconv.COST_PRICED,
    }
    assert {key: facts.get(key) for key in expected} == expected
    assert "How far?" in facts[semconv.INPUT_MESSAGES]
    assert "Be brief" in facts[semconv.SYSTEM_INSTRUCTIONS]
    assert "Far." in facts[semconv.OUTPUT_MESSAGES]


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_of_converse(name: str, provider: FakeProvider, full_spans: Spans) -> None:
    """Amazon's event stream is read: text, the call of a tool, the stop reason, and the tokens at its end."""
    provider.malformed(CONVERSED)
    assert _pass(name, **_to_bedrock(provider, "converse-stream", {"messages": []})) == CONVERSED
    facts = full_spans.facts
    assert (facts[semconv.USAGE_INPUT], facts[semconv.USAGE_CACHE_READ], facts[semconv.USAGE_OUTPUT]) == (150, 50, 20)
    assert facts[semconv.FINISH_REASONS] == ("tool_call",)
    assert facts[semconv.REQUEST_STREAM] is True
    assert facts[semconv.TIME_TO_FIRST_CHUNK] > 0
    (message,) = json.loads(facts[semconv.OUTPUT_MESSAGES])
    assert message["parts"] == [
        {"type": "text", "content": "Far."},
        {"type": "tool_call", "name": "look", "arguments": {"at": "it"}, "id": "t1"},
    ]


def test_a_stream_of_claude_at_bedrock(provider: FakeProvider, full_spans: Spans) -> None:
    """InvokeModel streams its vendor's events, wrapped: those of Claude are Anthropic's."""
    events = (
        {"type": "message_start", "message": {"id": "m1", "model": "claude", "usage": {"input_tokens": 100}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Far."}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
        {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 100, "outputTokenCount": 20}},
    )
    provider.malformed(
        b"".join(
            frame({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}, event_type="chunk")
            for event in events
        )
    )
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, **ASKED}
    _pass("llm_passthrough_route", **_to_bedrock(provider, "invoke-with-response-stream", body))
    facts = full_spans.facts
    assert (facts[semconv.USAGE_INPUT], facts[semconv.USAGE_OUTPUT]) == (100, 20)
    assert facts[semconv.COST] == pytest.approx((100 * HAIKU[0] + 20 * HAIKU[1]) / 1e6)
    assert "Far." in facts[semconv.OUTPUT_MESSAGES]
    assert facts[semconv.REQUEST_MAX_TOKENS] == 9


LLAMA = (
    {"generation": "Far."},
    {"generation": "", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 7, "outputTokenCount": 2}},
)
NOVA = (
    {"contentBlockDelta": {"delta": {"text": "Far."}}},
    {"metadata": {"usage": {"inputTokens": 7, "outputTokens": 2}}},
)


@pytest.mark.parametrize("events", [LLAMA, NOVA], ids=["Llama", "Nova"])
def test_a_stream_of_another_vendor_at_bedrock(events: Any, provider: FakeProvider, spans: Spans) -> None:
    """Of others the counts are read that Bedrock adds, or that they have of Converse."""
    wrapped = ({"bytes": base64.b64encode(json.dumps(event).encode()).decode()} for event in events)
    provider.malformed(b"".join(frame(event, event_type="chunk") for event in wrapped))
    _pass("llm_passthrough_route", **_to_bedrock(provider, "invoke-with-response-stream", {"prompt": "How far?"}))
    assert (spans.facts[semconv.USAGE_INPUT], spans.facts[semconv.USAGE_OUTPUT]) == (7, 2)
    assert semconv.TIME_TO_FIRST_CHUNK in spans.facts


def test_a_stream_that_bedrock_breaks_off_is_an_error(provider: FakeProvider, spans: Spans) -> None:
    """What goes wrong in the middle is a frame of its own: the span has its name."""
    said = frame({"message": "Too many"}, exception_type="throttlingException", message_type="exception")
    provider.malformed(CONVERSED[:200] + said)
    _pass("llm_passthrough_route", **_to_bedrock(provider, "converse-stream", {"messages": []}))
    assert failed(spans.only)
    assert spans.facts[semconv.ERROR_TYPE] == "throttlingException"
    assert spans.only.status.description == "Too many"


@pytest.mark.parametrize("size", [1, 7, 64])
def test_frames_may_be_cut_anywhere(size: int) -> None:
    """Whatever pieces a stream comes in, the events are the same."""
    frames = Frames()
    found = [event for at in range(0, len(CONVERSED), size) for event in frames.feed(CONVERSED[at : at + size])]
    assert [name for name, _ in found] == [name for name, _ in Frames().feed(CONVERSED)]
    assert len(found) == 9


@pytest.mark.parametrize("rubbish", [b"", b"{}", b"\xff" * 40, b"\x00" * 40, b"data: {}\n\n" * 9])
def test_what_is_no_frame_is_nothing(rubbish: bytes) -> None:
    """Bytes that are no event stream tell nothing, and hold on to nothing."""
    frames = Frames()
    assert list(frames.feed(rubbish)) == []
    assert len(frames._rest) < 12
