"""Calls in Anthropic's own words are one span each: whole, streamed, through a Router, or answered by way of chat."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
from typing import TYPE_CHECKING, Any

import litellm
import pytest

from otel_llm import semconv
from otel_llm.context import tenant
from otel_llm.instrumentation.litellm.anthropic_words import chat_usage
from otel_llm.instrumentation.litellm.sse import ServerSentEvents
from otel_llm.testing import Reply, ToolCall, Usage
from tests.unit.instrumentation.calls import CALLS, MESSAGES, arguments, run
from tests.unit.instrumentation.recorded import attributes, failed, until
from tests.unit.instrumentation.test_garbage import left_for_the_collector

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans

FORM = CALLS["anthropic_messages"]
CACHED = Usage(input_tokens=100, output_tokens=10, cache_read_tokens=40, cache_write_tokens=20)
SONNET_CACHED = (40 * 3 + 40 * 0.3 + 20 * 3.75 + 10 * 15) / 1e6
"""USD that those cost with claude-sonnet-4-5."""
TOOLS = [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}]

streams = pytest.mark.skipif(
    hasattr(litellm, "messages") and not all(map(importlib.util.find_spec, ("backoff", "redis"))),
    reason="newer litellm streams Anthropic's Messages only with backoff and redis installed",
)


def _router(provider: FakeProvider, **settings: Any) -> Any:
    parameters = {"model": FORM.model, "api_base": provider.anthropic_base, "api_key": "sk-test"}
    return litellm.Router(model_list=[{"model_name": "group", "litellm_params": parameters}], **settings)


async def _read(made: Any) -> list[Any]:
    return [chunk async for chunk in await made]


def _stream(provider: FakeProvider, **more: Any) -> list[Any]:
    return run(_read, made=litellm.anthropic_messages(**arguments(FORM, provider, stream=True, **more)))


def _whole(provider: FakeProvider, **more: Any) -> Any:
    return run(litellm.anthropic_messages, **arguments(FORM, provider, **more))


@pytest.mark.parametrize("way", [_whole, pytest.param(_stream, marks=streams)])
def test_cached_tokens_are_counted_and_priced(way: Callable[..., Any], provider: FakeProvider, spans: Spans) -> None:
    """Anthropic counts the prompt in three parts; the span has their sum, the cached ones apart, and what they cost."""
    provider.reply(Reply(("far",), usage=CACHED))
    way(provider)
    facts = spans.facts
    assert facts[semconv.USAGE_INPUT] == 100
    assert facts[semconv.USAGE_OUTPUT] == 10
    assert facts[semconv.USAGE_CACHE_READ] == 40
    assert facts[semconv.USAGE_CACHE_WRITE] == 20
    assert facts[semconv.COST] == pytest.approx(SONNET_CACHED)
    assert facts[semconv.COST_STATUS] == semconv.COST_PRICED


@pytest.mark.parametrize("way", [_whole, pytest.param(_stream, marks=streams)])
def test_content_is_in_the_conventions_words(
    way: Callable[..., Any], provider: FakeProvider, full_spans: Spans
) -> None:
    """System, messages, thinking, tools and tool calls stand on the span as those of chat do."""
    history = [
        *MESSAGES,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "moon"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "far"}]},
    ]
    provider.reply(Reply(("I look.",), tool_calls=(ToolCall("look", {"at": "it"}),), thinking="Hm."))
    way(provider, messages=history, system="Be brief.", tools=TOOLS, stop_sequences=["END"], temperature=0.5)
    facts = full_spans.facts
    said = {key: json.loads(facts[key]) for key in semconv.CONTENT_ATTRIBUTES & facts.keys()}
    assert said[semconv.SYSTEM_INSTRUCTIONS] == [{"type": "text", "content": "Be brief."}]
    assert said[semconv.TOOL_DEFINITIONS] == [
        {"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    ]
    call = {"type": "tool_call", "name": "look", "arguments": {"at": "moon"}, "id": "t1"}
    assert said[semconv.INPUT_MESSAGES][1]["parts"] == [call]
    assert said[semconv.INPUT_MESSAGES][2]["parts"] == [{"type": "tool_call_response", "response": "far", "id": "t1"}]
    (answer,) = said[semconv.OUTPUT_MESSAGES]
    assert answer["role"] == "assistant"
    assert {"type": "reasoning", "content": "Hm."} in answer["parts"]
    assert {"type": "text", "content": "I look."} in answer["parts"]
    assert [part["arguments"] for part in answer["parts"] if part["type"] == "tool_call"] == [{"at": "it"}]
    assert facts[semconv.FINISH_REASONS] == ("tool_call",)
    assert facts[semconv.REQUEST_STOP_SEQUENCES] == ("END",)
    assert facts[semconv.REQUEST_TEMPERATURE] == 0.5
    assert facts[semconv.REQUEST_MAX_TOKENS] == 50


@streams
def test_a_stream_is_one_span(provider: FakeProvider, spans: Spans) -> None:
    """A stream has ids, models, the finish reason, and the time to its first word."""
    provider.stream(["the ", "moon"])
    chunks = _stream(provider)
    assert b"message_stop" in b"".join(chunks)
    facts = spans.facts
    assert facts[semconv.RESPONSE_ID].startswith("msg_")
    assert facts[semconv.RESPONSE_MODEL] == FORM.bare_model
    assert facts[semconv.FINISH_REASONS] == ("stop",)
    assert facts[semconv.REQUEST_STREAM] is True
    assert facts[semconv.TIME_TO_FIRST_CHUNK] > 0
    assert semconv.STREAM_END not in facts


def test_events_are_read_wherever_their_bytes_are_cut() -> None:
    """A stream comes in pieces that mind neither lines nor letters."""
    sent = 'event: x\ndata: {"type": "x", "text": "Mönch"}\n\ndata: nothing\ndata: [1]\n\ndata: {"type": "y"}\n\n'
    raw = sent.encode()
    for length in (1, 2, 7, len(raw)):
        events = ServerSentEvents()
        found = [event for at in range(0, len(raw), length) for event in events.feed(raw[at : at + length])]
        assert found == [{"type": "x", "text": "Mönch"}, {"type": "y"}], length


@streams
def test_a_stream_that_is_closed_ends(provider: FakeProvider, spans: Spans) -> None:
    """A stream that is closed early ends its span, with what had come."""

    async def leave() -> None:
        stream = await litellm.anthropic_messages(**arguments(FORM, provider, stream=True))
        await stream.__anext__()
        await stream.aclose()

    run(leave)
    assert spans.facts[semconv.STREAM_END] == "closed"
    assert spans.facts[semconv.USAGE_INPUT] > 0


@streams
def test_a_stream_that_is_dropped_ends_when_it_is_collected(provider: FakeProvider, spans: Spans) -> None:
    """`break` and forget is one span, `abandoned`."""

    async def leave() -> None:
        stream = await litellm.anthropic_messages(**arguments(FORM, provider, stream=True))
        await stream.__anext__()
        del stream
        gc.collect()
        await asyncio.sleep(0)

    run(leave)
    until(lambda: gc.collect() is not None and spans.llm)
    assert spans.facts[semconv.STREAM_END] == "abandoned"


@streams
def test_an_error_in_a_stream_is_an_error(provider: FakeProvider, spans: Spans) -> None:
    """Anthropic says in the stream that it is overloaded; litellm raises nothing, and the span is an error."""
    provider.stream(["the ", "moon"], fail_after=1, fail_with="error")
    _stream(provider)
    span = spans.only
    assert failed(span)
    assert span.status.description == "Overloaded"
    assert not span.events
    facts = attributes(span)
    assert facts[semconv.ERROR_TYPE] == "overloaded_error"
    assert facts[semconv.STREAM_END] == "error"
    assert facts[semconv.FINISH_REASONS] == ("error",)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_refusal_is_recorded(status: int, provider: FakeProvider, spans: Spans) -> None:
    """What Anthropic refuses is an error, with the status that it answered with."""
    provider.error(status, times=None)
    with pytest.raises(Exception, match="error"):
        _whole(provider, num_retries=0)
    assert failed(spans.only)
    assert spans.facts[semconv.HTTP_STATUS_CODE] == status
    assert spans.facts[semconv.PROVIDER_NAME] == "anthropic"


@pytest.mark.parametrize(
    "body", ['{"id": "fake", "cho', '{"type": "error", "error": {"type": "api_error"}}', "[]", "{}"]
)
def test_garbage_harms_nobody(body: str, provider: FakeProvider, spans: Spans) -> None:
    """Whatever the provider sends, the program sees what it would see without us, and there is one span."""
    provider.malformed(body.encode(), times=None)
    outcomes = []
    for _ in range(2):
        try:
            outcomes.append(_whole(provider))
        except Exception as error:
            outcomes.append(type(error))
    assert spans.only if len(spans.llm) == 1 else len(spans.llm) == 2
    assert outcomes[0] == outcomes[1]


def test_an_answer_that_is_an_error_is_one(provider: FakeProvider, spans: Spans) -> None:
    """A whole answer can be an error, too, whatever its HTTP status."""
    provider.malformed(b'{"type": "error", "error": {"type": "api_error", "message": "Sorry"}}')
    try:
        _whole(provider)
    except Exception:
        pytest.skip("this version raises")
    assert failed(spans.only)
    assert spans.facts[semconv.ERROR_TYPE] == "api_error"


def test_a_cancelled_call_is_recorded(provider: FakeProvider, spans: Spans) -> None:
    """A call whose task is cancelled ends as an error."""
    provider.hang()

    async def cancel() -> None:
        task = asyncio.create_task(litellm.anthropic_messages(**arguments(FORM, provider)))
        await asyncio.to_thread(until, lambda: provider.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancel)
    assert spans.facts[semconv.ERROR_TYPE].endswith("CancelledError")


def test_whom_a_call_is_for(provider: FakeProvider, spans: Spans) -> None:
    """Anthropic takes a user in `metadata` and nothing else; `litellm_metadata` says the rest, or a block around it."""
    _whole(provider, metadata={"user_id": "u1"}, litellm_metadata={"tenant_id": "acme", "team": "blue"})
    facts = spans.facts
    assert (facts[semconv.TENANT_ID], facts[semconv.USER_ID]) == ("acme", "u1")
    assert facts[semconv.METADATA_PREFIX + "team"] == "blue"
    spans.clear()
    with tenant("globex"):
        _whole(provider)
    assert spans.facts[semconv.TENANT_ID] == "globex"


@pytest.mark.parametrize("name", ["acreate", "create"])
def test_litellms_interface_like_anthropics_own(name: str, provider: FakeProvider, spans: Spans) -> None:
    """`litellm.anthropic.messages` is recorded like the functions behind it."""
    form = FORM if name == "acreate" else CALLS["anthropic_messages_handler"]
    run(getattr(litellm.anthropic.messages, name), **arguments(form, provider))
    assert spans.only.name == f"chat {form.bare_model}"
    assert spans.facts[semconv.USAGE_INPUT] > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["openai/gpt-4o-mini", "mistral/mistral-small-latest"])
def test_what_is_answered_by_way_of_another_form_is_one_span(
    model: str, stream: bool, provider: FakeProvider, full_spans: Spans
) -> None:
    """What litellm asks chat or Responses for is one span, with tokens and cost counted once."""
    call = {**arguments(FORM, provider), "model": model, "api_base": provider.openai_base, "stream": stream}
    run(_read, made=litellm.anthropic_messages(**call)) if stream else run(litellm.anthropic_messages, **call)
    facts = full_spans.facts
    assert facts[semconv.OPERATION_DETAIL] == "anthropic_messages"
    assert facts[semconv.PROVIDER_NAME] == model.partition("/")[0].replace("mistral", "mistral_ai")
    assert facts[semconv.COST] > 0
    assert facts[semconv.USAGE_OUTPUT] > 0
    assert "How far is the moon?" in facts[semconv.INPUT_MESSAGES]
    assert "You said" in facts[semconv.OUTPUT_MESSAGES]


def _logical(spans: Spans) -> ReadableSpan:
    (span,) = spans.logical
    return span


@pytest.mark.parametrize("stream", [False, pytest.param(True, marks=streams)])
def test_a_router_call_is_one_span(stream: bool, provider: FakeProvider, spans: Spans) -> None:
    """A Router's call is one logical span with the group's name and the deployment's facts; a retry is an attempt."""
    routing = _router(provider, num_retries=1)

    async def call() -> None:
        made = await routing.aanthropic_messages(model="group", stream=stream, **FORM.inputs)
        if stream:
            [_ async for _ in made]

    run(call)
    span = spans.only
    facts = attributes(span)
    assert span.name == "chat group"
    assert facts[semconv.PROVIDER_NAME] == "anthropic"
    assert facts[semconv.RESPONSE_MODEL] == FORM.bare_model
    assert facts[semconv.COST] > 0
    spans.clear()
    provider.error(500)
    run(call)
    first, second = spans.attempts
    assert failed(first)
    assert attributes(second)[semconv.COST] > 0
    facts = attributes(_logical(spans))
    assert facts[semconv.ATTEMPTS] == 2
    assert semconv.COST not in facts


@streams
def test_a_stream_leaves_no_cycles(provider: FakeProvider, full_spans: Spans) -> None:
    """What a stream leaves behind goes without Python's collector."""
    assert left_for_the_collector(lambda: _stream(provider), full_spans) == set()


def test_what_anthropic_counts_is_told_as_chat_counts() -> None:
    """The parts of the prompt are added up; searches count where there were any; nonsense is no usage."""
    told = chat_usage({"input_tokens": 1, "cache_read_input_tokens": 2, "output_tokens": 3,
                       "server_tool_use": {"web_search_requests": 0}, "cache_creation_input_tokens": 7,
                       "cache_creation": {"ephemeral_1h_input_tokens": 4}})  # fmt: skip
    assert told is not None
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (10, 3, 13)
    assert told["prompt_tokens_details"]["cache_creation_token_details"] == {"ephemeral_1h_input_tokens": 4}
    assert "server_tool_use" not in told
    assert "server_tool_use" in (chat_usage({"server_tool_use": {"web_search_requests": 2}}) or {})
    assert chat_usage("many") is None
