"""Gemini's Interactions in the words of a chat completion: what a call asks for, what it answers, what it counts.

Source: https://ai.google.dev/static/api/interactions.openapi.json. An answer is a list of steps (`model_output`,
`thought`, `function_call`, `google_search_call`); before May 2026 it was one of contents (`outputs`).
"""

from __future__ import annotations

from typing import Any, Final

from otel_llm.instrumentation.litellm import gemini_words
from otel_llm.instrumentation.litellm.chat_answer import ChatAnswer
from otel_llm.instrumentation.litellm.reading import get, hidden_of, items, text, tokens

__all__ = ["chat_answer", "chat_messages", "chat_usage", "chat_words", "part_of", "parts_of"]

_GEMINI: Final = "gemini"
_PARAMETERS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop_sequences": "stop",
    "max_output_tokens": "max_tokens",
    "thinking_level": "reasoning_effort",
}
"""Member of `generation_config` -> argument of a chat."""
_COUNTS: Final = {
    "total_input_tokens": "promptTokenCount",
    "total_output_tokens": "candidatesTokenCount",
    "total_thought_tokens": "thoughtsTokenCount",
    "total_reasoning_tokens": "thoughtsTokenCount",
    "total_tool_use_tokens": "toolUsePromptTokenCount",
    "total_cached_tokens": "cachedContentTokenCount",
    "total_tokens": "totalTokenCount",
}
_KINDS: Final = {
    "input_tokens_by_modality": "promptTokensDetails",
    "output_tokens_by_modality": "candidatesTokensDetails",
}
"""Member of the usage -> what generateContent calls the same."""
_SEARCH: Final = "google_search"
_FINISHES: Final = {"completed": "stop", "requires_action": "tool_call", "incomplete": "length", "failed": "error"}
_ASSISTANT: Final = frozenset({"model", "model_output", "thought", "function_call"})
"""Roles of turns and types of steps that are the model's."""


# --- what is asked -----------------------------------------------------------------------------------------


def chat_words(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call under the names that litellm's chat has for them; others as they are."""
    config = arguments.get("generation_config")
    made = {
        **arguments,
        **{name: get(config, member) for member, name in _PARAMETERS.items()},
        "model": arguments.get("model") or arguments.get("agent"),
        "system": arguments.get("system_instruction"),
        "previous_response_id": arguments.get("previous_interaction_id"),
        "generation_config": None,
    }
    if not arguments.get("model"):  # an agent of Google's, whatever it is called
        made["custom_llm_provider"] = arguments.get("custom_llm_provider") or _GEMINI
    if arguments.get("response_mime_type") == "application/json":
        made["response_format"] = {"type": "json_object"}
    return {name: value for name, value in made.items() if value is not None}


def chat_messages(said: object) -> list[dict[str, Any]]:
    """The input (a text, a content, contents, turns or steps) as chat messages."""
    if isinstance(said, str) or get(said, "type") is not None:
        return [{"role": "user", "content": parts_of(said)}]
    entries = items(said)
    if entries and all(get(entry, "role") is None and not _is_step(entry) for entry in entries):
        return [{"role": "user", "content": parts_of(entries)}]
    return [_message(entry) for entry in entries]


def _message(entry: object) -> dict[str, Any]:
    kind = text(get(entry, "role")) or text(get(entry, "type")) or "user"
    role = "assistant" if kind in _ASSISTANT else "user"
    return {"role": role, "content": _step(entry) if _is_step(entry) else parts_of(get(entry, "content"))}


def _is_step(entry: object) -> bool:
    kind = text(get(entry, "type")) or ""
    return kind in _ASSISTANT or kind == "user_input" or kind.endswith(("_call", "_result"))


# --- what is answered --------------------------------------------------------------------------------------


def chat_answer(answer: object) -> ChatAnswer:
    """A whole interaction as a chat completion."""
    steps, status = items(get(answer, "steps")), text(get(answer, "status"))
    parts = [part for step in steps for part in _step(step)] if steps else parts_of(get(answer, "outputs"))
    told = _FINISHES.get(status or "")
    usage = get(answer, "usage")
    return ChatAnswer(
        id=text(get(answer, "id")),
        model=text(get(answer, "model")) or text(get(answer, "agent")),
        status=status,
        choices=[{"message": {"role": "assistant", "content": parts}, "finish_reason": told}] if parts or told else [],
        usage=chat_usage(usage),
        _hidden_params=dict(hidden_of(answer)),
    )


def parts_of(contents: object) -> list[dict[str, Any]]:
    """A content, or each of a list, as parts of a chat message."""
    return [part_of(entry) for entry in (items(contents) or ([contents] if contents else []))]


def part_of(content: object) -> dict[str, Any]:
    """One content as a part of a chat message."""
    if isinstance(content, str):
        return {"type": "text", "text": content}
    kind = text(get(content, "type")) or "unknown"
    if kind == "text":
        return {"type": "text", "text": get(content, "text") or ""}
    if kind == "function_call":
        named = {name: get(content, name) for name in ("id", "name")}
        return {"type": "tool_use", **named, "input": get(content, "arguments")}
    if kind == "function_result":
        return {"type": "tool_result", "tool_use_id": get(content, "call_id"), "content": get(content, "result")}
    return _media(content) or {"type": kind}


def _media(content: object) -> dict[str, Any] | None:
    kind, data, uri = text(get(content, "mime_type")), get(content, "data"), get(content, "uri")
    if isinstance(uri, str):
        return {"type": "file", "file": {"file_id": uri, "format": kind}}
    if not isinstance(data, str):
        return None
    url = f"data:{kind or 'application/octet-stream'};base64,{data}"
    if get(content, "type") == "image":
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"file_data": url, "format": kind}}


def _step(step: object) -> list[dict[str, Any]]:
    kind = text(get(step, "type"))
    if kind == "thought":
        thoughts = [text(get(entry, "text")) or "" for entry in items(get(step, "summary"))]
        return [{"type": "thinking", "thinking": "\n".join(thoughts)}] if any(thoughts) else []
    return parts_of(get(step, "content")) if kind in {"model_output", "user_input"} else [part_of(step)]


def chat_usage(usage: object) -> dict[str, Any] | None:
    """The counts as chat has them; what the model thought is output, too."""
    if usage is None:
        return None
    said: dict[str, Any] = {}
    for member, name in _COUNTS.items():
        count = tokens(get(usage, member))
        if count is not None and (count or name not in said):
            said[name] = count
    for member, name in _KINDS.items():
        said[name] = [
            {"modality": (text(get(entry, "modality")) or "").upper(), "tokenCount": get(entry, "tokens")}
            for entry in items(get(usage, member))
        ]
    searches = sum(
        tokens(get(entry, "count")) or 0
        for entry in items(get(usage, "grounding_tool_count"))
        if text(get(entry, "type")) == _SEARCH
    )
    made = gemini_words.chat_usage(said, searches)
    cost = get(usage, "cost")
    return made if made is None or cost is None else {**made, "cost": cost}
