"""Which scripted answer a request gets."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm.testing import FakeProvider, Reply, ToolCall, Usage, count_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider that serves while the test runs."""
    with FakeProvider() as running:
        yield running


def _post(provider: FakeProvider, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(provider.url.removeprefix("http://"), timeout=5)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def _chat(provider: FakeProvider, text: str = "hello", *, model: str = "gpt-4o-mini", **more: Any) -> tuple[int, Any]:
    return _post(
        provider, "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": text}], **more}
    )


def _said(answer: tuple[int, Any]) -> str:
    return answer[1]["choices"][0]["message"]["content"]


def test_without_a_script_the_last_message_is_repeated_and_its_tokens_are_counted(provider: FakeProvider) -> None:
    """An unscripted answer follows from the request alone, the same every time, with tokens anyone can recount."""
    first, second = _chat(provider, "What is two plus two?"), _chat(provider, "What is two plus two?")
    assert _said(first) == _said(second) == "You said: What is two plus two?"
    assert first[1]["usage"]["prompt_tokens"] == 6  # five words and a question mark
    assert first[1]["usage"]["completion_tokens"] == 9
    assert first[1]["usage"]["total_tokens"] == 15


def test_scripted_answers_are_used_in_order_and_then_the_default_again(provider: FakeProvider) -> None:
    """Each scripted answer serves one request unless `times` says otherwise."""
    provider.answer("one")
    provider.answer("two", times=2)
    assert provider.pending == 3
    assert [_said(_chat(provider)) for _ in range(4)] == ["one", "two", "two", "You said: hello"]
    assert provider.pending == 0


def test_a_rule_without_a_limit_serves_for_ever(provider: FakeProvider) -> None:
    """`times=None` never runs out and does not count as pending."""
    provider.answer("always", times=None)
    assert [_said(_chat(provider)) for _ in range(3)] == ["always"] * 3
    assert provider.pending == 0


def test_a_rule_can_be_for_a_model_or_a_path(provider: FakeProvider) -> None:
    """`when` leaves requests for other models and paths alone."""
    provider.when(model="gpt-4o").error(503)
    provider.when(path="/embeddings").error(500)
    assert _chat(provider)[0] == 200
    assert _chat(provider, model="gpt-4o")[0] == 503
    assert _post(provider, "/v1/embeddings", {"model": "gpt-4o", "input": "x"})[0] == 500
    assert _chat(provider, model="gpt-4o")[0] == 200


def test_two_conditions_must_both_hold(provider: FakeProvider) -> None:
    """A second `when` narrows the first."""
    provider.when(model="m").when(path="/embeddings").error(500)
    assert _chat(provider, model="m")[0] == 200
    assert _post(provider, "/v1/embeddings", {"model": "other", "input": "x"})[0] == 200
    assert _post(provider, "/v1/embeddings", {"model": "m", "input": "x"})[0] == 500


def test_scripted_text_waits_for_an_operation_that_answers_with_text(provider: FakeProvider) -> None:
    """An embedding between two chats does not use up what the chat shall say."""
    provider.answer("for the chat")
    assert "data" in _post(provider, "/v1/embeddings", {"model": "m", "input": "x"})[1]
    assert _said(_chat(provider)) == "for the chat"


def test_an_answer_says_what_it_was_told_to_say(provider: FakeProvider) -> None:
    """Usage, model and finish reason of an answer are the test's to choose."""
    usage = Usage(input_tokens=100, output_tokens=20, cache_read_tokens=60, reasoning_tokens=5)
    provider.answer("half an", usage=usage, model="gpt-4o-mini-2024-07-18", finish_reason="length")
    _, body = _chat(provider)
    assert body["model"] == "gpt-4o-mini-2024-07-18"
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["prompt_tokens"] == 100
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 60
    assert body["usage"]["completion_tokens_details"]["reasoning_tokens"] == 5
    assert provider.requests[-1].usage == usage


def test_several_tool_calls_can_be_scripted_in_one_answer(provider: FakeProvider) -> None:
    """`reply` takes everything that an answer can hold; a string of arguments is sent as it is."""
    provider.reply(Reply(tool_calls=(ToolCall("a", {"x": 1}), ToolCall("b", "not json", id="mine"))))
    choice = _chat(provider)[1]["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    calls = choice["message"]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "a", "arguments": '{"x": 1}'},
        {"name": "b", "arguments": "not json"},
    ]
    assert calls[0]["id"] != "mine" == calls[1]["id"]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "look_up"}}])
def test_a_request_that_insists_on_a_tool_gets_a_call_of_it(provider: FakeProvider, choice: Any) -> None:
    """Without a script, `tool_choice` is honoured."""
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
    message = _chat(provider, tools=tools, tool_choice=choice)[1]["choices"][0]["message"]
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["look_up"]


def test_a_request_for_json_gets_json(provider: FakeProvider) -> None:
    """Without a script, `response_format` is honoured."""
    assert json.loads(_said(_chat(provider, response_format={"type": "json_object"}))) == {"answer": "hello"}


def test_an_error_carries_status_headers_and_the_body_of_its_format(provider: FakeProvider) -> None:
    """The default body of an error is what the provider of that path would send."""
    provider.error(429, headers={"Retry-After": "7"}, times=2)
    connection = http.client.HTTPConnection(provider.url.removeprefix("http://"), timeout=5)
    connection.request("POST", "/v1/chat/completions", json.dumps({"model": "m", "messages": []}))
    response = connection.getresponse()
    assert (response.status, response.headers["Retry-After"]) == (429, "7")
    assert json.loads(response.read())["error"]["code"] == "rate_limit_exceeded"
    connection.close()
    _, body = _post(provider, "/v1/messages", {"model": "m", "messages": []})
    assert (body["type"], body["error"]["type"]) == ("error", "rate_limit_error")
    assert [request.status for request in provider.requests] == [429, 429]


def test_any_body_can_be_answered(provider: FakeProvider) -> None:
    """`json` answers with a literal document, `error` with a literal body."""
    provider.json({"not": "a completion"}, status=203)
    provider.error(400, {"error": {"message": "my own"}})
    assert _chat(provider) == (203, {"not": "a completion"})
    assert _chat(provider) == (400, {"error": {"message": "my own"}})


def test_a_path_that_nobody_serves_is_a_404_that_says_what_is_served(provider: FakeProvider) -> None:
    """A wrong base URL shows at once."""
    status, body = _post(provider, "/v1/chat/complete", {"model": "m"})
    assert status == 404
    assert "chat/completions" in body["error"]["message"]


def test_a_body_that_is_no_json_is_a_400(provider: FakeProvider) -> None:
    """The provider refuses what it cannot read, and remembers it all the same."""
    connection = http.client.HTTPConnection(provider.url.removeprefix("http://"), timeout=5)
    connection.request("POST", "/v1/chat/completions", b"{nonsense")
    assert connection.getresponse().status == 400
    connection.close()
    assert provider.requests[0].body == b"{nonsense"
    assert provider.requests[0].json == {}


def test_credentials_are_masked_in_what_is_remembered(provider: FakeProvider) -> None:
    """That a key was sent can be seen; the key cannot."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    _post(provider, "/v1/chat/completions", body, Authorization="Bearer sk-secret", **{"X-Api-Key": "sk-secret"})
    request = provider.requests[0]
    assert request.headers["authorization"] == request.headers["x-api-key"] == "[masked]"
    assert "sk-secret" not in repr(request)


def test_clear_forgets_requests_and_script(provider: FakeProvider) -> None:
    """One provider can serve many tests."""
    provider.answer("never asked for")
    _chat(provider)
    provider.answer("nor this")
    provider.clear()
    assert (provider.requests, provider.pending) == ([], 0)
    assert _said(_chat(provider)) == "You said: hello"


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("word", 1), ("two words", 2), ("Hi, you!", 4), ("über-große", 3), ("a_b 1.5", 4)]
)
def test_tokens_are_words_and_punctuation_marks(text: str, tokens: int) -> None:
    """The measure of the fake provider is simple enough to repeat by hand."""
    assert count_tokens(text) == tokens
