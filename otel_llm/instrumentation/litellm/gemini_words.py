"""Gemini's generateContent in the words of a chat completion: what a call asks for, what it answers, what it counts.

Source: https://ai.google.dev/api/generate-content. Members are written as the wire has them (`maxOutputTokens`) or as
Google's Python client has them (`max_output_tokens`); both are read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from otel_llm.instrumentation.litellm.chat_answer import ChatAnswer
from otel_llm.instrumentation.litellm.reading import get, hidden_of, items, text, tokens

__all__ = ["ANSWER_MEMBERS", "chat_answer", "chat_choice", "chat_messages", "chat_usage", "chat_words", "said"]

_WIRE_NAMES: Final = ("candidates", "usageMetadata", "modelVersion", "responseId", "promptFeedback", "error")


def _snake(name: str) -> str:
    return re.sub("(?=[A-Z])", "_", name).lower()


ANSWER_MEMBERS: Final = tuple(dict.fromkeys((*_WIRE_NAMES, *map(_snake, _WIRE_NAMES))))
"""What is read of an answer."""
_PARAMETERS: Final = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "seed": "seed",
    "candidateCount": "n",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
}
"""Member of the config -> argument of a chat."""
_FINISH_REASONS: Final = {"STOP": "stop", "MAX_TOKENS": "length"}
_REFUSALS: Final = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "IMAGE_SAFETY", "MODEL_ARMOR"}
)
_MODALITIES: Final = {"TEXT": "text_tokens", "IMAGE": "image_tokens", "AUDIO": "audio_tokens", "VIDEO": "video_tokens"}


_COUNTS: Final = (
    "promptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)


def said(source: object, name: str) -> Any:
    """A member by its name on the wire, or by that of Google's Python client."""
    found = get(source, name)
    return get(source, _snake(name)) if found is None else found


# --- what is asked -----------------------------------------------------------------------------------------


def chat_words(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call under the names that litellm's chat has for them; others as they are."""
    config = arguments.get("config")
    config = said(arguments, "generationConfig") if config is None else config
    made = {**arguments, "config": None, "generationConfig": None}
    for name, parameter in _PARAMETERS.items():
        made[parameter] = said(config, name) if made.get(parameter) is None else made[parameter]
    metadata = [entry for entry in map(arguments.get, ("litellm_metadata", "metadata")) if isinstance(entry, Mapping)]
    made["metadata"] = {name: value for entry in metadata for name, value in entry.items()} if metadata else None
    system = said(arguments, "systemInstruction")
    made["system"] = said(config, "systemInstruction") if system is None else system
    made["tools"] = _tools(arguments.get("tools") or said(config, "tools"))
    made["reasoning_effort"] = text(said(said(config, "thinkingConfig"), "thinkingLevel"))
    if said(config, "responseMimeType") == "application/json":
        made["response_format"] = {"type": "json_object"}
    return {name: value for name, value in made.items() if value is not None}


def _tools(tools: object) -> list[Any] | None:
    """The functions one by one; Gemini's own tools as they are."""
    made: list[Any] = []
    for tool in items(tools):
        functions = items(said(tool, "functionDeclarations"))
        made.extend(functions or [tool])
    return made or None


def chat_messages(contents: object) -> list[dict[str, Any]]:
    """Contents (a text, a content, a list of either) as chat messages; `model` says what the assistant does."""
    if contents is None:
        return []
    entries = contents if isinstance(contents, (list, tuple)) else [contents]
    return [_message(entry) for entry in entries]


def _message(content: object) -> dict[str, Any]:
    role = text(get(content, "role")) if not isinstance(content, str) else None
    parts = get(content, "parts") if not isinstance(content, str) else None
    entries = items(parts) or [content if parts is None else parts]
    return {"role": "assistant" if role == "model" else role or "user", "content": [_part(part) for part in entries]}


def _part(part: object) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    words = get(part, "text")
    if isinstance(words, str):
        thinks = get(part, "thought") is True
        return {"type": "thinking", "thinking": words} if thinks else {"type": "text", "text": words}
    call, result = said(part, "functionCall"), said(part, "functionResponse")
    if call is not None:
        return {"type": "tool_use", "id": get(call, "id"), "name": get(call, "name"), "input": get(call, "args")}
    if result is not None:
        identifier = get(result, "id") or get(result, "name")
        return {"type": "tool_result", "tool_use_id": identifier, "content": get(result, "response")}
    return _media(said(part, "inlineData"), said(part, "fileData")) or {"type": _kind(part)}


def _media(inline: object, file: object) -> dict[str, Any] | None:
    kind = text(said(inline if file is None else file, "mimeType")) or "application/octet-stream"
    if file is not None:
        return {"type": "file", "file": {"file_id": said(file, "fileUri"), "format": kind}}
    data = get(inline, "data")
    if not isinstance(data, str):
        return None
    url = f"data:{kind};base64,{data}"
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "file", "file": {"file_data": url, "format": kind}}


def _kind(part: object) -> str:
    """What a part is that has no words of its own here, such as `executableCode`: its only key."""
    return next((key for key in part if isinstance(key, str)), "unknown") if isinstance(part, dict) else "unknown"


# --- what is answered --------------------------------------------------------------------------------------


def chat_answer(answer: object) -> ChatAnswer:
    """A whole answer as a chat completion."""
    usage, hidden = said(answer, "usageMetadata"), dict(hidden_of(answer))
    traffic = text(said(usage, "trafficType"))
    if traffic:
        hidden.setdefault("provider_specific_fields", {"traffic_type": traffic})
    choices = [chat_choice(candidate) for candidate in items(get(answer, "candidates"))]
    blocked = text(said(said(answer, "promptFeedback"), "blockReason"))
    if not choices and blocked:
        choices = [{"message": {"role": "assistant", "content": []}, "finish_reason": "content_filter"}]
    searches = sum(
        len(items(said(said(candidate, "groundingMetadata"), "webSearchQueries")))
        for candidate in items(get(answer, "candidates"))
    )
    return ChatAnswer(
        id=text(said(answer, "responseId")),
        model=text(said(answer, "modelVersion")),
        choices=choices,
        usage=chat_usage(usage, searches),
        _hidden_params=hidden,
    )


def chat_choice(candidate: object) -> dict[str, Any]:
    """One candidate as a choice."""
    content = get(candidate, "content")
    message = _message(content) if items(get(content, "parts")) else {"content": []}
    reason = text(said(candidate, "finishReason"))
    told = _FINISH_REASONS.get(reason, "content_filter" if reason in _REFUSALS else reason.lower()) if reason else None
    if told == "stop" and any(part["type"] == "tool_use" for part in message["content"]):
        told = "tool_call"
    return {"message": {**message, "role": "assistant"}, "finish_reason": told}


def chat_usage(usage: object, searches: int = 0) -> dict[str, Any] | None:
    """Gemini's counts as chat has them; what it thought is output, too."""
    if usage is None:
        return None
    prompt, given, thought, tools, total = (tokens(said(usage, name)) for name in _COUNTS)
    if prompt is None and given is None:
        return None
    inputs, output = (prompt or 0) + (tools or 0), given or 0
    if inputs + output != total:  # else the output has the thoughts in it
        output += thought or 0
    inputs_by_kind = {"cached_tokens": tokens(said(usage, "cachedContentTokenCount")), **_by_kind(usage, "prompt")}
    if searches:
        inputs_by_kind["web_search_requests"] = searches
    return {
        "prompt_tokens": inputs,
        "completion_tokens": output,
        "total_tokens": inputs + output,
        "prompt_tokens_details": inputs_by_kind,
        "completion_tokens_details": {"reasoning_tokens": thought, **_by_kind(usage, "candidates")},
    }


def _by_kind(usage: object, of: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for entry in items(said(usage, f"{of}TokensDetails")):
        name = _MODALITIES.get(text(get(entry, "modality")) or "")
        count = tokens(said(entry, "tokenCount"))
        if name is not None and count is not None:
            made[name] = made.get(name, 0) + count
    return made
