"""Messages of any generation in the shape that Opik's chat view draws: OpenAI's chat format.

A message of the GenAI conventions has a role and parts; the chat format has a role, content (text or a list
of content items), `tool_calls`, and one message of its own for each tool's answer.
"""

from __future__ import annotations

from typing import Any, Final

from otel_llm import json_bytes
from otel_llm.backends.opik.values import compact_json, parsed, text_of

__all__ = ["FINISH_REASONS", "as_choices", "as_messages", "finish_reason"]

FINISH_REASONS: Final = {"tool_call": "tool_calls"}
"""The conventions' word -> the chat format's."""

_AUDIO_FORMATS: Final = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav"}
_URL_ITEMS: Final = {"image": "image_url", "video": "video_url", "audio": "audio_url"}


def as_messages(value: Any, default_role: str = "user") -> list[dict[str, Any]] | None:
    """Chat messages from a list of messages in any known shape; None if `value` is not such a list."""
    if type(value) is str:
        usual = _usual(value)
        if usual is not None:
            return usual
    value = parsed(value)
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        value = value["messages"]
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list) or not value:
        return None
    messages: list[dict[str, Any]] = []
    for item in value:
        if not isinstance(item, dict):
            return None
        found = _from_message(item, default_role)
        if found is None:
            return None
        messages.extend(found)
    return messages


def _usual(text: str) -> list[dict[str, Any]] | None:
    """Messages of one text each, the bulk of all content; None for anything else, whatever it is."""
    if not text.startswith("[{"):
        return None
    try:
        read = json_bytes.read(text)
    except json_bytes.UNREADABLE:
        return None
    messages: list[dict[str, Any]] = []
    try:
        for item in read:
            role, (part,) = item["role"], item["parts"]
            content, said = part["content"], len(item)
            if (
                len(part) != 2
                or part["type"] != "text"
                or type(content) is not str
                or type(role) is not str
                or not role
            ):
                return None
            message = {"role": role, "content": content}
            if said > 2:
                reason = item["finish_reason"]
                if said > 3 or type(reason) is not str:
                    return None
                message["finish_reason"] = reason
            messages.append(message)
    except (KeyError, TypeError, ValueError):  # of what is built otherwise
        return None
    return messages


def as_choices(messages: list[dict[str, Any]], finish_reasons: Any) -> dict[str, Any]:
    """`{"choices": [...]}` from answers, one per message, with the span's finish reasons where they have none."""
    reasons = finish_reasons if isinstance(finish_reasons, (list, tuple)) else ()
    choices = []
    for index, message in enumerate(messages):
        reason = message.pop("finish_reason", None)
        if reason is None and index < len(reasons):
            reason = reasons[index]
        choice: dict[str, Any] = {"index": index, "message": message}
        if isinstance(reason, str) and reason:
            choice["finish_reason"] = finish_reason(reason)
        choices.append(choice)
    return {"choices": choices}


def finish_reason(reason: str) -> str:
    """A finish reason in the chat format's words."""
    return FINISH_REASONS.get(reason, reason)


def _from_message(item: dict[str, Any], default_role: str) -> list[dict[str, Any]] | None:
    inner = item.get("message")
    if isinstance(inner, dict):  # OpenInference and `choices` wrap the message once more
        item = {**{key: value for key, value in item.items() if key != "message"}, **inner}
    parts = item.get("parts")
    if isinstance(parts, list):
        return _from_parts(item, parts, default_role)
    if not any(key in item for key in ("role", "content", "contents", "tool_calls")):
        return None
    return [_from_chat(item, default_role)]


def _from_chat(item: dict[str, Any], default_role: str) -> dict[str, Any]:
    """A message that is (nearly) in the chat format already."""
    message: dict[str, Any] = {"role": item.get("role") or default_role, "content": _chat_content(item)}
    for key in ("name", "tool_call_id", "reasoning_content", "refusal", "function_call", "finish_reason"):
        if item.get(key) is not None:
            message[key] = item[key]
    calls = item.get("tool_calls")
    if isinstance(calls, list) and calls:
        message["tool_calls"] = [_tool_call(call) for call in calls if isinstance(call, dict)]
    return message


def _chat_content(item: dict[str, Any]) -> Any:
    if isinstance(item.get("contents"), list):
        return _collapse([_openinference_item(content) for content in item["contents"] if isinstance(content, dict)])
    content = parsed(item.get("content"))
    if isinstance(content, list) and content and all(isinstance(entry, dict) and "type" in entry for entry in content):
        return content
    return item.get("content")


def _openinference_item(content: dict[str, Any]) -> dict[str, Any]:
    entry = content.get("message_content", content)
    if not isinstance(entry, dict):
        return {"type": "text", "text": text_of(entry)}
    image = entry.get("image")
    if isinstance(image, dict):
        inner = image.get("image", image)
        return _url_item("image", text_of(inner.get("url") if isinstance(inner, dict) else inner))
    if "text" in entry:
        return {"type": "text", "text": text_of(entry["text"])}
    return entry


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """One tool call: the chat format's, OpenInference's `tool_call.*` or OpenLLMetry's flat one."""
    call = call.get("tool_call", call) if isinstance(call.get("tool_call", call), dict) else call
    function = call.get("function") if isinstance(call.get("function"), dict) else call
    arguments = function.get("arguments", function.get("args", function.get("input"))) if function else None
    name = function.get("name", function.get("toolName")) if function else None
    return _call(call.get("id", call.get("toolCallId")), name, arguments)


def _call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    call: dict[str, Any] = {"type": "function", "function": {"name": text_of(name), "arguments": text_of(arguments)}}
    return {"id": text_of(call_id), **call} if call_id is not None else call


def _from_parts(item: dict[str, Any], parts: list[Any], default_role: str) -> list[dict[str, Any]]:
    """The message itself, unless it holds nothing but tools' answers, then a message for each of those."""
    message: dict[str, Any] = {"role": item.get("role") or default_role}
    content: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    reasoning: list[str] = []
    answers: list[dict[str, Any]] = []
    for part in parts:
        if not isinstance(part, dict):
            content.append({"type": "text", "text": text_of(part)})
            continue
        kind = part.get("type")
        if kind == "tool_call":
            calls.append(_call(part.get("id"), part.get("name"), part.get("arguments")))
        elif kind == "server_tool_call":
            calls.append(_call(part.get("id"), part.get("name"), part.get("server_tool_call")))
        elif kind == "tool_call_response":
            answers.append(_answer(part))
        elif kind in ("reasoning", "thinking"):
            reasoning.append(text_of(part.get("content")))
        else:
            content.append(_content_item(part))
    if not (content or calls or reasoning) and answers:
        return answers
    message["content"] = _collapse(content)
    if reasoning:
        message["reasoning_content"] = "\n".join(reasoning)
    if calls:
        message["tool_calls"] = calls
    for key in ("name", "finish_reason"):
        if item.get(key) is not None:
            message[key] = item[key]
    return [message, *answers]


def _answer(part: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"role": "tool", "content": text_of(part.get("response", part.get("result")))}
    if part.get("id") is not None:
        answer["tool_call_id"] = text_of(part["id"])
    return answer


def _collapse(content: list[dict[str, Any]]) -> Any:
    """Nothing becomes None, one text becomes plain text, anything else stays a list of items."""
    if not content:
        return None
    if len(content) == 1 and content[0].get("type") == "text":
        return content[0].get("text")
    return content


def _content_item(part: dict[str, Any]) -> dict[str, Any]:
    kind, modality = part.get("type"), str(part.get("modality") or "")
    if kind in ("text", "compaction"):
        return {"type": "text", "text": text_of(part.get("content", part.get("text")))}
    if kind == "uri":
        return _url_item(modality, text_of(part.get("uri")))
    if kind == "blob":
        return _blob_item(modality, str(part.get("mime_type") or ""), text_of(part.get("content")))
    if kind == "file":
        return {"type": "file", "file": {"file_id": text_of(part.get("file_id"))}}
    return part if isinstance(kind, str) else {"type": "text", "text": compact_json(part)}


def _url_item(modality: str, url: str) -> dict[str, Any]:
    kind = _URL_ITEMS.get(modality)
    return {"type": kind, kind: {"url": url}} if kind else {"type": "file", "file": {"file_url": url}}


def _blob_item(modality: str, mime_type: str, base64_text: str) -> dict[str, Any]:
    if modality == "audio" and mime_type in _AUDIO_FORMATS:
        return {"type": "input_audio", "input_audio": {"data": base64_text, "format": _AUDIO_FORMATS[mime_type]}}
    url = f"data:{mime_type or 'application/octet-stream'};base64,{base64_text}"
    if modality in _URL_ITEMS:
        return _url_item(modality, url)
    return {"type": "file", "file": {"file_data": url}}
