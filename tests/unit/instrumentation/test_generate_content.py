"""Calls in Gemini's own words are one span each: whole, streamed, through a Router, or answered by way of chat."""

from __future__ import annotations

import contextlib
import inspect
import json
from typing import TYPE_CHECKING, Any

import litellm
import litellm.google_genai
import pytest

from otel_llm import semconv
from otel_llm.instrumentation.litellm.gemini_words import chat_answer, chat_usage, chat_words
from tests.unit.instrumentation.calls import run
from tests.unit.instrumentation.recorded import attributes, failed
from tests.unit.instrumentation.test_anthropic_messages import streams
from tests.unit.instrumentation.test_garbage import left_for_the_collector

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans

USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "totalTokenCount": 17,
         "cachedContentTokenCount": 2}  # fmt: skip
FLASH = (8 * 0.3 + 2 * 0.03 + 7 * 2.5) / 1e6
"""USD that those cost with gemini-2.5-flash, 1.110; the table of 1.79 has another price of cached tokens."""
PLAIN = ("generate_content", "agenerate_content")
STREAMS = ("generate_content_stream", "agenerate_content_stream")
NAMES = (*PLAIN, *(pytest.param(name, marks=streams) for name in STREAMS))


def _body(*parts: dict[str, Any], reason: str | None = "STOP") -> dict[str, Any]:
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "usageMetadata": USAGE, "modelVersion": "gemini-2.5-flash", "responseId": "r1"}


def _events(*bodies: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies)


def _answers(provider: FakeProvider, name: str, *parts: dict[str, Any]) -> None:
    if "stream" in name:
        *first, last = parts
        provider.malformed(_events(*(_body(part, reason=None) for part in first), _body(last)))
    else:
        provider.json(_body(*parts))


def _arguments(provider: FakeProvider, **more: Any) -> dict[str, Any]:
    asked = {"model": "gemini/gemini-2.5-flash", "contents": [{"role": "user", "parts": [{"text": "How far?"}]}]}
    return {**asked, "api_base": provider.url, "api_key": "sk-test", **more}


def _call(function: Callable[..., Any], **kwargs: Any) -> Any:
    async def call() -> Any:
        made = await function(**kwargs) if inspect.iscoroutinefunction(function) else function(**kwargs)
        if hasattr(made, "__anext__") and not hasattr(made, "__next__"):
            return [chunk async for chunk in made]
        return list(made) if hasattr(made, "__next__") else made

    if inspect.iscoroutinefunction(function) or "Router" in repr(function):
        return run(call)
    made = function(**kwargs)
    return list(made) if hasattr(made, "__next__") else made


@pytest.mark.parametrize("name", NAMES)
def test_a_call_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A call of any of the four is one span with target, ids, tokens (what was thought is output), and their cost."""
    _answers(provider, name, {"text": "Fa"}, {"text": "r."})
    _call(
        getattr(litellm.google_genai, name), **_arguments(provider, config={"temperature": 0.5, "maxOutputTokens": 9})
    )
    assert spans.only.name == "generate_content gemini-2.5-flash"
    facts = spans.facts
    expected = {
        semconv.OPERATION_NAME: semconv.OP_GENERATE_CONTENT,
        semconv.PROVIDER_NAME: "gcp.gemini",
        semconv.REQUEST_MODEL: "gemini-2.5-flash",
        semconv.RESPONSE_MODEL: "gemini-2.5-flash",
        semconv.RESPONSE_ID: "r1",
        semconv.FINISH_REASONS: ("stop",),
        semconv.SERVER_ADDRESS: "127.0.0.1",
        semconv.OPERATION_DETAIL: name,
        semconv.REQUEST_TEMPERATURE: 0.5,
        semconv.REQUEST_MAX_TOKENS: 9,
        semconv.USAGE_INPUT: 10,
        semconv.USAGE_OUTPUT: 7,
        semconv.USAGE_CACHE_READ: 2,
        semconv.USAGE_REASONING: 3,
        semconv.COST_STATUS: semconv.COST_PRICED,
        semconv.TENANT_ID: semconv.UNKNOWN_TENANT,
    }
    assert {key: facts.get(key) for key in expected} == expected
    assert facts[semconv.COST] == pytest.approx(FLASH, rel=0.01)
    assert (semconv.TIME_TO_FIRST_CHUNK in facts) is (name in STREAMS)
    assert not semconv.CONTENT_ATTRIBUTES & facts.keys()


@pytest.mark.parametrize("name", NAMES)
def test_content_is_in_the_conventions_words(name: str, provider: FakeProvider, full_spans: Spans) -> None:
    """System, contents, tools, thoughts and function calls stand on the span as those of chat do."""
    parts = ({"text": "Hm", "thought": True}, {"text": "m.", "thought": True}, {"text": "I lo"}, {"text": "ok."},
             {"functionCall": {"name": "look", "args": {"at": "it"}}})  # fmt: skip
    _answers(provider, name, *parts)
    history = [
        {"role": "user", "parts": [{"text": "How far?"}, {"inlineData": {"mimeType": "image/png", "data": "aGk="}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {"at": "moon"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"is": "far"}}}]},
    ]
    tools = [{"functionDeclarations": [{"name": "look", "description": "Looks.", "parameters": {"type": "object"}}]}]
    asked = _arguments(provider, contents=history, tools=tools, systemInstruction={"parts": [{"text": "Be brief."}]})
    _call(getattr(litellm.google_genai, name), **asked)
    facts = full_spans.facts
    said = {key: json.loads(facts[key]) for key in semconv.CONTENT_ATTRIBUTES & facts.keys()}
    assert said[semconv.SYSTEM_INSTRUCTIONS] == [{"type": "text", "content": "Be brief."}]
    assert [tool["name"] for tool in said[semconv.TOOL_DEFINITIONS]] == ["look"]
    user, model, result = said[semconv.INPUT_MESSAGES]
    assert user["role"] == "user"
    assert user["parts"][0] == {"type": "text", "content": "How far?"}
    assert (user["parts"][1]["type"], user["parts"][1]["mime_type"]) == ("blob", "image/png")
    assert model["parts"] == [{"type": "tool_call", "name": "look", "arguments": {"at": "moon"}}]
    assert result["parts"] == [{"type": "tool_call_response", "response": {"is": "far"}, "id": "look"}]
    (answer,) = said[semconv.OUTPUT_MESSAGES]
    thoughts = [part["content"] for part in answer["parts"] if part["type"] == "reasoning"]
    words = [part["content"] for part in answer["parts"] if part["type"] == "text"]
    assert ("".join(thoughts), "".join(words)) == ("Hmm.", "I look.")
    assert answer["parts"][-1] == {"type": "tool_call", "name": "look", "arguments": {"at": "it"}}
    assert facts[semconv.FINISH_REASONS] == ("tool_call",)


@streams
def test_an_error_in_a_stream_is_an_error(provider: FakeProvider, spans: Spans) -> None:
    """Gemini says in the stream that it is overloaded; litellm raises nothing, and the span is an error."""
    error = {"error": {"code": 503, "status": "UNAVAILABLE", "message": "The model is overloaded."}}
    provider.malformed(_events(_body({"text": "Fa"}, reason=None), error))
    _call(litellm.google_genai.agenerate_content_stream, **_arguments(provider))
    span = spans.only
    assert failed(span)
    assert span.status.description == "The model is overloaded."
    assert attributes(span)[semconv.ERROR_TYPE] == "UNAVAILABLE"
    assert attributes(span)[semconv.STREAM_END] == "error"


@pytest.mark.parametrize("name", [*PLAIN, *STREAMS])
@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_refusal_is_recorded(status: int, name: str, provider: FakeProvider, spans: Spans) -> None:
    """What Gemini refuses is one span, an error, with the status that it answered with."""
    provider.error(status, times=None)
    with pytest.raises(Exception, match="rror"):
        _call(getattr(litellm.google_genai, name), **_arguments(provider))
    assert failed(spans.only)
    assert spans.facts[semconv.HTTP_STATUS_CODE] == status


@pytest.mark.parametrize("body", [b'{"candi', b"[]", b"{}", b'{"candidates": 7, "usageMetadata": [1]}', b"data: 1\n\n"])
@pytest.mark.parametrize("name", NAMES)
def test_garbage_harms_nobody(name: str, body: bytes, provider: FakeProvider, spans: Spans) -> None:
    """Whatever is sent, there is one span, and it ends."""
    provider.malformed(body, times=None)
    with contextlib.suppress(Exception):
        _call(getattr(litellm.google_genai, name), **_arguments(provider))
    assert spans.only.name == "generate_content gemini-2.5-flash"


@pytest.mark.parametrize("name", [*PLAIN, *STREAMS])
def test_what_is_answered_by_way_of_chat_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A model that is not Gemini's is asked through chat: one span, its tokens and cost counted once."""
    base = {"model": "openai/gpt-4o-mini", "api_base": provider.openai_base}
    function = getattr(litellm.google_genai, name)

    async def call() -> None:
        made = function(**_arguments(provider, **base))
        made = await made if inspect.isawaitable(made) else made
        if hasattr(made, "__aiter__"):
            [_ async for _ in made]
        elif "stream" in name:
            list(made)

    run(call)
    facts = spans.facts
    assert facts[semconv.OPERATION_DETAIL] == name
    assert facts[semconv.PROVIDER_NAME] == "openai"
    assert facts[semconv.COST] > 0
    assert facts[semconv.USAGE_INPUT] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_router_call_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A Router's call is one logical span with the group's name and the deployment's facts, whomever it is for."""
    parameters = {"model": "gemini/gemini-2.5-flash", "api_base": provider.url, "api_key": "sk-test"}
    routing = litellm.Router(model_list=[{"model_name": "group", "litellm_params": parameters}], num_retries=0)
    _answers(provider, name, {"text": "Fa"}, {"text": "r."})
    asked = {"model": "group", "contents": "How far?", "litellm_metadata": {"tenant_id": "acme"}}

    async def call() -> None:
        made = getattr(routing, name)(**asked)
        made = await made if inspect.isawaitable(made) else made
        if hasattr(made, "__next__"):
            list(made)
        elif hasattr(made, "__anext__"):
            [_ async for _ in made]

    run(call)
    assert spans.only.name == "generate_content group"
    facts = spans.facts
    assert facts[semconv.TENANT_ID] == "acme"
    assert facts[semconv.PROVIDER_NAME] == "gcp.gemini"
    assert facts[semconv.RESPONSE_MODEL] == "gemini-2.5-flash"
    assert facts[semconv.COST] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_call_leaves_no_cycles(name: str, provider: FakeProvider, full_spans: Spans) -> None:
    """What a call leaves behind goes without Python's collector."""

    def call() -> None:
        _answers(provider, name, {"text": "Far."})
        _call(getattr(litellm.google_genai, name), **_arguments(provider))

    assert left_for_the_collector(call, full_spans) == set()


def test_what_gemini_counts_is_told_as_chat_counts() -> None:
    """Tokens by kind, thoughts inside or beside the output, prompts of tools, searches; nonsense is no usage."""
    usage = {
        "promptTokenCount": 5,
        "toolUsePromptTokenCount": 2,
        "candidatesTokenCount": 9,
        "thoughtsTokenCount": 4,
        "totalTokenCount": 16,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}, {"modality": "NEW"}, 7],
    }
    told = chat_usage(usage, 2)
    assert told is not None
    assert (told["prompt_tokens"], told["completion_tokens"]) == (7, 9)
    assert told["prompt_tokens_details"] == {"cached_tokens": None, "audio_tokens": 3, "web_search_requests": 2}
    assert told["completion_tokens_details"] == {"reasoning_tokens": 4}
    assert chat_usage({}) is None
    assert chat_usage(7) is None


def test_the_words_of_googles_client_are_read_too() -> None:
    """Arguments and answers may be written with underscores."""
    config = {"max_output_tokens": 5, "stop_sequences": ["x"], "system_instruction": "Be brief."}
    words = chat_words({"model": "m", "contents": "Hi", "config": config})
    assert (words["max_tokens"], words["stop"], words["system"]) == (5, ["x"], "Be brief.")
    answer = chat_answer({"prompt_feedback": {"block_reason": "SAFETY"}, "response_id": "r2"})
    assert answer["id"] == "r2"
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["content_filter"]
