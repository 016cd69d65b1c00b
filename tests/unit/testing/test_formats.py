"""The fake provider's wire formats, read by clients that know nothing of it: OpenAI's own, and litellm."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import litellm
import openai
import pytest

from otel_llm.testing import FakeProvider, Reply, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

USAGE = Usage(input_tokens=100, output_tokens=20, cache_read_tokens=60, cache_write_tokens=30, reasoning_tokens=5)
ASKED: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is up?"}]
TOOLS: Any = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider that serves while the test runs."""
    with FakeProvider() as running:
        yield running


@pytest.fixture
def client(provider: FakeProvider) -> Iterator[openai.OpenAI]:
    """OpenAI's own client, which does not retry."""
    with openai.OpenAI(base_url=provider.openai_base, api_key="any", max_retries=0) as found:
        yield found


@pytest.fixture
def claude(provider: FakeProvider) -> dict[str, Any]:
    """Arguments for litellm that make it speak Anthropic's format."""
    return {
        "model": "claude-haiku-4-5",
        "messages": ASKED,
        "api_base": provider.anthropic_base,
        "api_key": "any",
        "num_retries": 0,
    }


def _content_of(chunk: Any) -> str:
    return (chunk.choices[0].delta.content or "") if chunk.choices else ""


# --- OpenAI: chat ---


def test_chat_with_several_choices(provider: FakeProvider, client: openai.OpenAI) -> None:
    """`n` choices come with the output tokens of all of them."""
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert {choice.message.content for choice in answer.choices} == {"You said: What is up?"}
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 21)


def test_a_chat_stream_begins_with_the_role_and_tells_no_usage_unasked(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    """The first chunk has a role and no words; without `include_usage` no chunk has usage."""
    provider.stream(["Not ", "much."])
    chunks = list(client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, stream=True))
    assert (chunks[0].choices[0].delta.role, chunks[0].choices[0].delta.content) == ("assistant", "")
    assert [_content_of(chunk) for chunk in chunks[1:]] == ["Not ", "much.", ""]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert provider.wait_for_requests(1)[0].usage is None


def test_a_chat_stream_tells_its_usage_when_asked(provider: FakeProvider, client: openai.OpenAI) -> None:
    """With `include_usage` a last chunk without choices has it, and the provider notes that it was told."""
    provider.stream(["Not ", "much."], usage=USAGE)
    *chunks, last = client.chat.completions.create(
        model="gpt-4o-mini", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    assert all(chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (100, 20)
    assert provider.requests[0].usage == USAGE


def test_a_plain_request_gets_the_pieces_of_a_stream_joined(provider: FakeProvider, client: openai.OpenAI) -> None:
    """One script serves both kinds of request."""
    provider.stream(["Not ", "much."], fail_after=1)
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=ASKED)
    assert answer.choices[0].message.content == "Not much."


def test_a_streamed_tool_call_comes_in_pieces_that_make_its_arguments(
    provider: FakeProvider, client: openai.OpenAI
) -> None:
    """Two calls in one stream are told apart by their index."""
    provider.reply(Reply(tool_calls=(ToolCall("look_up", {"a": 1}), ToolCall("look_up", {"b": 2}))))
    arguments: dict[int, str] = {}
    stream = client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, tools=TOOLS, stream=True)
    for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or []:
            assert call.function is not None
            arguments[call.index] = arguments.get(call.index, "") + (call.function.arguments or "")
    assert {index: json.loads(text) for index, text in arguments.items()} == {0: {"a": 1}, 1: {"b": 2}}
    assert chunk.choices[0].finish_reason == "tool_calls"


def test_the_delays_of_a_stream_come_where_they_are_scripted(provider: FakeProvider, client: openai.OpenAI) -> None:
    """The role arrives before the first content is released, and is not held back with it."""
    provider.stream(["late"], first_chunk_delay=30)
    with client.chat.completions.create(model="gpt-4o-mini", messages=ASKED, stream=True, timeout=5) as stream:
        first = next(iter(stream))
    assert (first.choices[0].delta.role, _content_of(first)) == ("assistant", "")


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, openai.AuthenticationError), (404, openai.NotFoundError), (429, openai.RateLimitError)],
)
def test_errors_are_understood(
    provider: FakeProvider, client: openai.OpenAI, status: int, error: type[openai.APIStatusError]
) -> None:
    """OpenAI's client makes its own exceptions of the fake errors, with a code."""
    provider.error(status)
    with pytest.raises(error) as caught:
        client.chat.completions.create(model="gpt-4o-mini", messages=ASKED)
    assert caught.value.code


# --- OpenAI: everything else ---


def test_completions(provider: FakeProvider, client: openai.OpenAI) -> None:
    """The old completions answer whole and streamed alike."""
    provider.answer("Not much.", times=2)
    whole = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="What is up?")
    stream = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="What is up?", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == whole.choices[0].text == "Not much."
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (4, 3)


def test_responses(provider: FakeProvider, client: openai.OpenAI) -> None:
    """A response has text, reasoning and usage; its stream ends with the same response."""
    provider.reply(Reply(("Not ", "much."), thinking="Hm.", usage=USAGE), times=2)
    whole = client.responses.create(model="gpt-4o-mini", input="What is up?")
    assert whole.output_text == "Not much."
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    assert whole.usage is not None
    assert (whole.usage.input_tokens, whole.usage.output_tokens) == (100, 20)
    assert whole.usage.input_tokens_details.cached_tokens == 60
    assert whole.usage.output_tokens_details.reasoning_tokens == 5
    events = list(client.responses.create(model="gpt-4o-mini", input="What is up?", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "Not much."
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == "Not much."
    assert provider.requests[1].usage == USAGE


def test_a_response_can_call_a_tool(provider: FakeProvider, client: openai.OpenAI) -> None:
    """A tool call is an output item of its own."""
    provider.tool_call("look_up", {"a": 1}, times=2)
    tools: Any = [{"type": "function", "name": "look_up", "parameters": {}, "strict": False}]
    [item] = client.responses.create(model="gpt-4o-mini", input="Look.", tools=tools).output
    assert item.type == "function_call"
    assert json.loads(item.arguments) == {"a": 1}
    events = list(client.responses.create(model="gpt-4o-mini", input="Look.", tools=tools, stream=True))
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(pieces)) == {"a": 1}


def test_embeddings(provider: FakeProvider, client: openai.OpenAI) -> None:
    """Vectors have the asked size and length one, are the same for the same text, and packed or not."""
    packed = client.embeddings.create(model="m", input=["one two", "three"], dimensions=16)  # base64 is its default
    plain = client.embeddings.create(model="m", input="one two", dimensions=16, encoding_format="float")
    assert [len(item.embedding) for item in packed.data] == [16, 16]
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding, rel=1e-6)
    assert packed.data[0].embedding != packed.data[1].embedding
    assert sum(value * value for value in plain.data[0].embedding) == pytest.approx(1)
    assert (packed.usage.prompt_tokens, plain.usage.prompt_tokens) == (3, 2)
    assert client.embeddings.create(model="m", input=[[1, 2, 3], [4]]).usage.prompt_tokens == 4


def test_moderations_images_and_speech(provider: FakeProvider, client: openai.OpenAI) -> None:
    """The operations without text answer what their clients can read."""
    assert [result.flagged for result in client.moderations.create(input=["a", "b"]).results] == [False, False]
    images = client.images.generate(prompt="a dot", n=2).data
    assert images is not None
    assert [base64.b64decode(image.b64_json or "")[:4] for image in images] == [b"\x89PNG", b"\x89PNG"]
    assert client.audio.speech.create(model="tts-1", voice="alloy", input="hi").content.startswith(b"ID3")


def test_transcriptions(provider: FakeProvider, client: openai.OpenAI) -> None:
    """A form with a file is understood: its fields are remembered, and the transcript can be scripted."""
    provider.answer("hello world", times=2)
    sound = ("a.wav", io.BytesIO(b"RIFF"))
    whole = client.audio.transcriptions.create(model="whisper-1", file=sound, language="en")
    assert whole.text == "hello world"
    assert provider.requests[0].model == "whisper-1"
    assert provider.requests[0].json == {"model": "whisper-1", "language": "en"}
    text = client.audio.transcriptions.create(model="whisper-1", file=sound, response_format="text")
    assert str(text).strip() == "hello world"
    assert client.audio.transcriptions.create(model="whisper-1", file=sound).text == "A fake transcript."


def test_rerank(provider: FakeProvider) -> None:
    """Documents come back by how many of the query's words they hold, as Cohere's client side expects."""
    answer = litellm.rerank(
        model="cohere/rerank-v3.5",
        query="blue whale",
        documents=["a red whale", "the blue whale", "nothing"],
        top_n=2,
        api_base=f"{provider.openai_base}/rerank",
        api_key="any",
    )
    assert [(item["index"], item["relevance_score"]) for item in answer.results] == [(1, 1.0), (0, 0.5)]


# --- Anthropic ---


def test_messages_split_the_prompt_into_three_parts(provider: FakeProvider, claude: dict[str, Any]) -> None:
    """Anthropic counts fresh, read and written prompt tokens apart; their sum is the whole prompt."""
    provider.reply(Reply(("Not ", "much."), thinking="Hm.", usage=USAGE))
    answer = litellm.completion(**claude)
    assert answer.choices[0].message.content == "Not much."
    assert answer.choices[0].message.reasoning_content == "Hm."
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (100, 20)
    assert answer.usage.prompt_tokens_details.cached_tokens == 60
    assert answer.usage.cache_creation_input_tokens == 30
    assert answer.usage.cache_read_input_tokens == 60


def test_a_message_stream(provider: FakeProvider, claude: dict[str, Any]) -> None:
    """Thinking and text come in blocks of deltas, the usage in the last event but one."""
    provider.reply(Reply(("Not ", "much."), thinking="Hm.", usage=USAGE))
    chunks = list(litellm.completion(**claude, stream=True, stream_options={"include_usage": True}))
    assert "".join(map(_content_of, chunks)) == "Not much."
    assert chunks[-1].usage.prompt_tokens == 100
    assert chunks[-1].usage.completion_tokens == 20
    assert provider.requests[0].usage == USAGE


def test_a_message_can_call_a_tool(provider: FakeProvider, claude: dict[str, Any]) -> None:
    """A tool's input is an object, and `tool_use` is why the model stopped."""
    provider.tool_call("look_up", {"a": 1}, text="Let me see.")
    [choice] = litellm.completion(**claude, tools=TOOLS).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me see."
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"a": 1}


def test_an_overloaded_anthropic_breaks_a_stream_with_an_event(provider: FakeProvider, claude: dict[str, Any]) -> None:
    """The error event in the middle of a stream reaches litellm as an exception that names it."""
    provider.stream(["a ", "b ", "c "], fail_after=2, fail_with="error")
    heard: list[str] = []
    with pytest.raises(Exception, match="Overloaded"):  # which type it has depends on the version of litellm
        heard.extend(_content_of(chunk) for chunk in litellm.completion(**claude, stream=True))
    assert "".join(heard) == "a b "


def test_litellm_retries_after_a_rate_limit(provider: FakeProvider) -> None:
    """The first example of the documentation works as it is written."""
    provider.error(429, headers={"Retry-After": "0"})
    provider.answer("Paris", usage=Usage(12, 1))
    answer = litellm.completion("gpt-4o-mini", ASKED, api_base=provider.openai_base, api_key="any", num_retries=1)
    assert answer.choices[0].message.content == "Paris"
    assert [request.status for request in provider.requests] == [429, 200]
