"""Bedrock's Converse, and what its InvokeModel passes on, in the words of a chat completion.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html. InvokeModel has the words of
each model's vendor: Claude's are Anthropic's, Nova's those of Converse; of the others the counts are read.
"""

from __future__ import annotations

from typing import Any, Final

from otel_llm.instrumentation.litellm import anthropic_words
from otel_llm.instrumentation.litellm.chat_answer import ChatAnswer
from otel_llm.instrumentation.litellm.reading import get, hidden_of, items, path, text, tokens

__all__ = ["chat_answer", "chat_messages", "chat_words", "counted", "parts"]

_PARAMETERS: Final = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxTokens": "max_tokens",
    "stopSequences": "stop",
}
"""Member of `inferenceConfig` -> argument of a chat."""
_COUNTS: Final = {
    "input_tokens": ("inputTokens", "inputTokenCount", "prompt_token_count"),
    "output_tokens": ("outputTokens", "outputTokenCount", "generation_token_count"),
    "cache_read_input_tokens": ("cacheReadInputTokens", "cacheReadInputTokenCount"),
    "cache_creation_input_tokens": ("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
}
"""What Anthropic calls a count, whose input leaves out the cached as Bedrock's does -> what it is called here."""
_AN_HOUR: Final = "1h"


def chat_words(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call under the names that litellm's chat has for them; others as they are."""
    made = anthropic_words.chat_words(arguments)
    config = arguments.get("inferenceConfig")
    for member, name in _PARAMETERS.items():
        found = get(config, member)
        if found is not None:
            made[name] = found
    offered = [_tool(tool) for tool in items(path(arguments, "toolConfig", "tools")) if get(tool, "toolSpec")]
    return {**made, "tools": offered} if offered else made


def _tool(tool: object) -> dict[str, Any]:
    said = get(tool, "toolSpec")
    named = {name: get(said, name) for name in ("name", "description")}
    return {**named, "parameters": path(said, "inputSchema", "json")}


def chat_messages(said: object) -> list[dict[str, Any]]:
    """Messages as those of a chat."""
    return [{"role": get(entry, "role"), "content": parts(get(entry, "content"))} for entry in items(said)]


def parts(content: object) -> Any:
    """Content as parts of a chat message; what is Anthropic's is left as it is."""
    return [_part(entry) for entry in content] if isinstance(content, list) else content


def _part(block: object) -> object:
    if not isinstance(block, dict) or "type" in block:
        return block
    if isinstance(block.get("text"), str):
        return {"type": "text", "text": block["text"]}
    call, result = block.get("toolUse"), block.get("toolResult")
    if call is not None:
        named = {name: get(call, name) for name in ("name", "input")}
        return {"type": "tool_use", "id": get(call, "toolUseId"), **named}
    if result is not None:
        content = parts(get(result, "content"))
        return {"type": "tool_result", "tool_use_id": get(result, "toolUseId"), "content": content}
    thought = path(block, "reasoningContent", "reasoningText", "text")
    if isinstance(thought, str):
        return {"type": "thinking", "thinking": thought}
    data = path(block, "image", "source", "bytes")
    if isinstance(data, str):
        return {"type": "image_url", "image_url": {"url": f"data:image/{path(block, 'image', 'format')};base64,{data}"}}
    return {"type": next((key for key in block if isinstance(key, str)), "unknown")}


def chat_answer(answer: object) -> ChatAnswer:
    """A whole answer as a chat completion."""
    if tokens(path(answer, "usage", "input_tokens")) is not None:
        return anthropic_words.chat_answer(answer)
    message = path(answer, "output", "message")
    content = parts(get(message, "content")) if message is not None else _text_of(answer)
    return ChatAnswer(
        choices=[{"message": {"role": "assistant", "content": content}, "finish_reason": _finish(answer)}],
        service_tier=text(path(answer, "serviceTier", "type")),
        usage=anthropic_words.chat_usage(counted(get(answer, "usage") or answer)),
        _hidden_params=dict(hidden_of(answer)),
    )


def counted(usage: object) -> dict[str, Any] | None:
    """Bedrock's counts under Anthropic's names; None where there are none."""
    made: dict[str, Any] = {}
    for name, members in _COUNTS.items():
        found = (tokens(get(usage, member)) for member in members)
        count = next((count for count in found if count is not None), None)
        if count is not None:
            made[name] = count
    if not made:
        return None
    written = [entry for entry in items(get(usage, "cacheDetails")) if get(entry, "ttl") == _AN_HOUR]
    if written:
        made["cache_creation"] = {
            "ephemeral_1h_input_tokens": sum(tokens(get(entry, "inputTokens")) or 0 for entry in written)
        }
    return made


def _finish(answer: object) -> str | None:
    """Llama's word for it is `stop_reason`; a refusal of a guardrail is one of the content's."""
    return text(get(answer, "stopReason")) or text(get(answer, "stop_reason"))


def _text_of(answer: object) -> str:
    return text(get(answer, "generation")) or text(path(next(iter(items(get(answer, "outputs"))), None), "text")) or ""
