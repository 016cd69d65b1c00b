"""The oracle itself, held to what can be checked without it: totals, checksums, facts read by eye."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.recordings import oracle
from tests.recordings.facts import ToolCall, Usage
from tests.recordings.provider import pieces_of
from tests.recordings.recordings import Exchange, exchanges, interactions_of
from tests.recordings.untakeable import ALL_LISTED
from tests.recordings.wire import amazon_events, event_stream_data, events_of

_READ = [exchange for exchange in exchanges() if exchange.id not in ALL_LISTED or exchange.api == "gemini"]
_TOTALS = ("total_tokens", "totalTokenCount", "totalTokens")


def _totals(exchange: Exchange) -> list[int]:
    """What the provider itself gives as sum of input and output, wherever it stands under `usage`."""
    found = []
    for event in events_of(exchange.response):
        holders = [holder for holder in (event, *event.values()) if isinstance(holder, dict)]
        usages: list[dict[str, Any]] = [
            usage for holder in holders for usage in (holder.get("usage"), holder.get("usageMetadata")) if usage
        ]
        found += [usage[name] for usage in usages for name in _TOTALS if name in usage]
    return found


@pytest.mark.parametrize("exchange", _READ, ids=lambda exchange: exchange.id)
def test_every_exchange_is_read(exchange: Exchange) -> None:
    """Nothing in the recordings is unknown to the oracle, and its sum of tokens is the provider's own."""
    asked, answered = oracle.asking(exchange), oracle.answer(exchange)
    assert asked.model
    assert (answered.error_status is not None) == (exchange.response.status >= 400)
    if answered.error_status is None:
        totals = _totals(exchange)
        if totals:
            assert (answered.usage.input or 0) + (answered.usage.output or 0) == totals[-1]


@pytest.mark.parametrize("exchange", _READ, ids=lambda exchange: exchange.id)
def test_streams_are_cut_into_events_without_loss(exchange: Exchange) -> None:
    """The pieces that the provider on loopback writes add up to the recorded body, several where it is a stream."""
    response = exchange.response
    pieces = pieces_of(response.content_type, response.body)
    assert b"".join(pieces).rstrip() == response.body.replace(b"\r\n", b"\n").rstrip()
    assert len(pieces) > 1 or not response.is_event_stream or len(events_of(response)) == 1


def test_event_stream_data_are_joined_and_comments_left_out() -> None:
    """Several data lines are one datum; comments, names of events and the end mark are none."""
    stream = ': hello\n\nevent: x\ndata: {"a":\ndata: 1}\n\ndata: [DONE]\n\n'
    assert list(event_stream_data(stream)) == [{"a": 1}]


def test_broken_amazon_event_is_noticed() -> None:
    """A flipped bit fails the checksum: what the oracle reads is what was recorded."""
    body = interactions_of("bedrock/test_nova_converse_stream")[0].response.body
    assert len(list(amazon_events(body))) > 5
    broken = body[:60] + bytes([body[60] ^ 1]) + body[61:]
    with pytest.raises(AssertionError, match="broken"):
        list(amazon_events(broken))


def test_cached_and_written_tokens_of_anthropic_count_as_input() -> None:
    """Read by eye: 4 fresh and 1163 written, then 4 fresh and 1163 read."""
    first, second = interactions_of("anthropic/test_anthropic_prompt_caching_legacy")
    assert oracle.answer(first).usage == Usage(input=1167, output=187, cache_read=0, cache_write=1163)
    assert oracle.answer(second).usage == Usage(input=1167, output=202, cache_read=1163, cache_write=0)


def test_tool_use_streamed_by_bedrock_is_put_together() -> None:
    """Read by eye: a name in one event, its arguments in pieces over several."""
    (exchange,) = interactions_of("bedrock/test_anthropic_converse_stream_with_tool_use")
    (message,) = oracle.answer(exchange).messages
    assert message.calls == (ToolCall("get_weather", {"location": "Barcelona"}, "tooluse_yypYDr71TwCwByoyao4-Vg"),)


def test_thoughts_of_gemini_count_as_output() -> None:
    """Read by eye: 437 tokens of answer and 2027 of thought."""
    (exchange,) = interactions_of(
        "google-genai/test_streaming_excludecontent-gemini-2.5-flash-vertexaiapi-async-default_"
    )
    assert oracle.answer(exchange).usage == Usage(input=8, output=2464, reasoning=2027)


def test_requests_are_read_in_the_shape_they_were_recorded() -> None:
    """Read by eye: a tool loop in Anthropic's blocks, with the call and its result under one id."""
    (exchange,) = interactions_of("anthropic/test_anthropic_tools_history_legacy")
    user, assistant, tool = oracle.asking(exchange).messages
    assert (user.role, assistant.role, tool.role) == ("user", "assistant", "tool")
    assert assistant.calls == (ToolCall("get_weather", {"location": "San Francisco, CA"}, "call_1"),)
    assert tool.results == (("call_1", "Sunny and 65 degrees Fahrenheit"),)
    assert json.dumps(oracle.asking(exchange).parameters) == '{"max_tokens": 1024}'
