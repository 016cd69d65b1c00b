"""Messages of any generation in the shape that Opik's chat view draws: OpenAI's chat format.

A message of the GenAI conventions has a role and parts; the chat format has a role, content (text or a list
of content items), `tool_calls`, and one message of its own for each tool's answer.
"""

from __future__ import annotations

from typing import Any, Final

from otel_llm import json_bytes
from otel_llm.backends.opik.parts import PartsRead, collapse, is_part, is_typed, text_item, tool_call, url_item
from otel_llm.backends.opik.values import parsed, text_of

__all__ = ["FINISH_REASONS", "as_choices", "as_messages", "finish_reason"]

FINISH_REASONS: Final = {"tool_call": "tool_calls"}
"""The conventions' word -> the chat format's."""

_ROLES: Final = frozenset({"system", "user", "assistant", "tool", "function"})
"""Those that Opik's page knows: one message of any other, and it draws none of the conversation."""
_OTHER_ROLES: Final = {
    "developer": "system",
    "model": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "human": "user",
}
_KEPT: Final = ("name", "tool_call_id", "reasoning_content", "refusal", "function_call", "finish_reason")


def as_messages(value: Any, default_role: str = "user") -> list[dict[str, Any]] | None:
    """Chat messages from a list of messages in any known shape; None if `value` is not such a list."""
    if type(value) is str:
        usual = _usual(value)
        if usual is not None:
            return usual
    value = parsed(value)
    if isinstance(value, dict):
        value = _unwrapped(value)
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


def _unwrapped(value: dict[str, Any]) -> list[Any]:
    """The messages of a request, or the one of an answer: `messages`, or Google's `contents` and `content`."""
    messages = value.get("messages")
    if isinstance(messages, list):
        return messages
    if isinstance(value.get("contents"), list) and "role" not in value:
        config = value.get("config")
        system = config.get("system_instruction") if isinstance(config, dict) else None
        said = [{"role": "system", "content": system}] if isinstance(system, str) and system else []
        return [*said, *value["contents"]]
    content = value.get("content")
    if isinstance(content, dict) and isinstance(content.get("parts"), list):
        reason = value.get("finish_reason")
        return [{**content, "finish_reason": reason.lower()} if isinstance(reason, str) else content]
    return [value]


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
                or role not in _ROLES
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
    blocks = _blocks(item)
    if blocks is not None:
        return _from_parts(item, blocks, default_role)
    return [_finished({**_whose(item, default_role), "content": item.get("content")}, item, [])]


def _whose(item: dict[str, Any], default_role: str) -> dict[str, Any]:
    """The message's role in the chat format's words; one that it lacks becomes the name of who spoke."""
    said = text_of(item.get("role")).strip()
    role = _OTHER_ROLES.get(said.lower(), said.lower())
    if role in _ROLES:
        return {"role": role}
    return {"role": default_role, "name": said} if said else {"role": default_role}


def _finished(message: dict[str, Any], item: dict[str, Any], calls: list[dict[str, Any]]) -> dict[str, Any]:
    """`message` with the calls of tools and whatever else the item says in the chat format already."""
    for key in _KEPT:
        if item.get(key) is not None:
            message[key] = item[key]
    said = item.get("tool_calls")
    calls = calls + [_tool_call(call) for call in said if isinstance(call, dict)] if isinstance(said, list) else calls
    if calls:
        message["tool_calls"] = calls
    return message


def _blocks(item: dict[str, Any]) -> list[Any] | None:
    """Content that is a list of typed blocks, or of OpenInference's; None for text and all else."""
    if isinstance(item.get("contents"), list):
        return [_openinference_item(content) for content in item["contents"] if isinstance(content, dict)]
    said = item.get("content")
    content = parsed(said)
    if not isinstance(content, list) or not content:
        return None
    # text is taken for blocks only where all of them have a type: a program may well ask about JSON
    known = is_part if content is said else is_typed
    return content if all(isinstance(entry, dict) and known(entry) for entry in content) else None


def _openinference_item(content: dict[str, Any]) -> dict[str, Any]:
    entry = content.get("message_content", content)
    if not isinstance(entry, dict):
        return text_item(entry)
    image = entry.get("image")
    if isinstance(image, dict):
        inner = image.get("image", image)
        return url_item("image", text_of(inner.get("url") if isinstance(inner, dict) else inner))
    if "text" in entry and entry.get("type") not in ("reasoning", "thinking"):
        return text_item(entry["text"])
    return entry


def _tool_call(call: dict[str, Any]) -> dict[str, Any]:
    """One tool call: the chat format's, OpenInference's `tool_call.*` or OpenLLMetry's flat one."""
    call = call.get("tool_call", call) if isinstance(call.get("tool_call", call), dict) else call
    function = call.get("function") if isinstance(call.get("function"), dict) else call
    arguments = function.get("arguments", function.get("args", function.get("input"))) if function else None
    name = function.get("name", function.get("toolName")) if function else None
    return tool_call(call.get("id", call.get("toolCallId")), name, arguments)


def _from_parts(item: dict[str, Any], parts: list[Any], default_role: str) -> list[dict[str, Any]]:
    """The message itself, unless it holds nothing but tools' answers, then a message for each of those.

    Answers that a user's message holds are to the calls before it, and come first.
    """
    read = PartsRead()
    for part in parts:
        read.add(part)
    if read.only_answers:
        return read.answers
    message: dict[str, Any] = {**_whose(item, default_role), "content": collapse(read.content)}
    if read.reasoning:
        message["reasoning_content"] = "\n".join(read.reasoning)
    finished = _finished(message, item, read.calls)
    return [*read.answers, finished] if finished["role"] == "user" else [finished, *read.answers]
