"""Anthropic's Messages in the words of a chat completion: what a call asks for, what it answers, what it counts.

Source: https://platform.claude.com/docs/en/api/messages. Its `input_tokens` leave out what was read from the prompt
cache or written to it; ours and OpenAI's have it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from otel_llm.instrumentation.litellm.chat_answer import ChatAnswer
from otel_llm.instrumentation.litellm.reading import get, hidden_of, items, path, text, tokens

__all__ = ["chat_answer", "chat_usage", "chat_words"]

_LATER_METADATA: Final = ("litellm_metadata", "metadata")
"""Where a call may say whom it is for: `metadata` goes to Anthropic, which takes a `user_id` only."""


def chat_words(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call under the names that litellm's chat has for them; others as they are."""
    said = [entry for entry in map(arguments.get, _LATER_METADATA) if isinstance(entry, Mapping)]
    made = {
        **arguments,
        "metadata": {name: value for entry in said for name, value in entry.items()} if said else None,
        "stop": arguments.get("stop_sequences"),
        "reasoning_effort": text(path(arguments.get("output_config"), "effort")),
    }
    return {name: value for name, value in made.items() if value is not None}


def chat_answer(answer: object) -> ChatAnswer:
    """A whole message as a chat completion."""
    usage = get(answer, "usage")
    message = {"role": get(answer, "role"), "content": list(items(get(answer, "content")))}
    return ChatAnswer(
        id=get(answer, "id"),
        model=get(answer, "model"),
        service_tier=text(get(usage, "service_tier")),
        choices=[{"message": message, "finish_reason": get(answer, "stop_reason")}]
        if usage or message["content"]
        else [],
        usage=chat_usage(usage),
        _hidden_params=dict(hidden_of(answer)),
    )


def chat_usage(usage: object) -> dict[str, Any] | None:
    """Anthropic's usage as chat has it, beside whatever else Anthropic counted."""
    if not isinstance(usage, Mapping):
        return None
    given, read, written = (
        tokens(usage.get(name)) for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    made, output = (given or 0) + (read or 0) + (written or 0), tokens(usage.get("output_tokens")) or 0
    details: dict[str, Any] = {"cached_tokens": read, "cache_creation_tokens": written}
    kinds = usage.get("cache_creation")
    if isinstance(kinds, Mapping):
        details["cache_creation_token_details"] = dict(kinds)
    others = {name: value for name, value in usage.items() if value is not None and name not in _COUNTED}
    searches = others.pop("server_tool_use", None)
    if any(tokens(count) for count in (searches.values() if isinstance(searches, Mapping) else ())):
        others["server_tool_use"] = searches
    counted = {"prompt_tokens": made, "completion_tokens": output, "total_tokens": made + output}
    cached = {"cache_read_input_tokens": read, "cache_creation_input_tokens": written}
    cached = {name: count for name, count in cached.items() if count is not None}
    return {**others, **counted, "prompt_tokens_details": details, **cached}


_COUNTED: Final = frozenset({"input_tokens", "output_tokens", "cache_creation", "iterations"})
