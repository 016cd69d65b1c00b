"""Messages with less in them: without system prompts, tools or images, or with lengths in place of words.

Works on the conventions' message shapes (role and parts) as plain lists and dicts, and never keeps a part that it does
not know in more detail than it was allowed to.
"""

from __future__ import annotations

import json
from enum import IntEnum
from typing import Any, Final, NamedTuple

__all__ = [
    "Detail",
    "PartLimits",
    "in_words",
    "reduced_documents",
    "reduced_messages",
    "reduced_parts",
    "reduced_tools",
    "reduced_value",
]


class Detail(IntEnum):
    """How much of something is recorded; of two, the smaller is the stricter."""

    OFF = 0
    METADATA = 1
    """Roles, types, tool names, lengths in characters."""
    ON = 2


class PartLimits(NamedTuple):
    """The most that is recorded of each kind of part."""

    text: Detail = Detail.ON
    system: Detail = Detail.ON
    tools: Detail = Detail.ON
    images: Detail = Detail.ON

    @property
    def strictest(self) -> Detail:
        """What is allowed of content whose parts cannot be told apart."""
        return min(self.text, self.system, self.tools, self.images)

    def within(self, detail: Detail) -> PartLimits:
        """These limits, none of them above `detail`."""
        return PartLimits(*(min(detail, one) for one in (self.text, self.system, self.tools, self.images)))


_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_MEDIA: Final = frozenset({"blob", "uri", "file", "image", "image_url", "audio", "input_audio", "document", "video"})
_KEPT_OF_PART: Final = ("type", "modality", "mime_type", "byte_count")
_KEPT_OF_MESSAGE: Final = ("role", "finish_reason")
_NEEDED: Final = {
    "text": "content",
    "reasoning": "content",
    "blob": "content",
    "uri": "uri",
    "file": "file_id",
    "tool_call_response": "response",
}
"""What a part of a type has to have by the conventions' schemas: a length in words stands in its place."""
_SERVER_TOOL: Final = ("server_tool_call", "server_tool_call_response")


def reduced_messages(messages: Any, limits: PartLimits) -> list[Any]:
    """Input or output messages within `limits`; what is no message is left out."""
    made = []
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        here = _limits_of(message.get("role"), limits)
        if not any((here.text, here.tools, here.images)):
            continue
        parts = reduced_parts(message.get("parts"), here)
        if here.text is Detail.ON:
            made.append({**message, "parts": parts})
        else:
            made.append({**{key: message[key] for key in _KEPT_OF_MESSAGE if key in message}, "parts": parts})
    return made


def _limits_of(role: object, limits: PartLimits) -> PartLimits:
    if role in _SYSTEM_ROLES:
        return limits.within(limits.system)
    return limits.within(limits.tools) if role == "tool" else limits


def reduced_parts(parts: Any, limits: PartLimits) -> list[Any]:
    """The parts of one message within `limits`."""
    made = []
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, dict):
            continue
        allowed = _allowed(part, limits)
        if allowed is Detail.ON:
            made.append(part)
        elif allowed is Detail.METADATA:
            made.append(_outline(part))
    return made


def _allowed(part: dict[str, Any], limits: PartLimits) -> Detail:
    kind = str(part.get("type"))
    if "tool" in kind or "function" in kind:
        return limits.tools
    return limits.images if kind in _MEDIA or "modality" in part else limits.text


def _outline(part: dict[str, Any]) -> dict[str, Any]:
    """Type, tool name and length of a part."""
    made = {key: part[key] for key in _KEPT_OF_PART if isinstance(part.get(key), (str, int))}
    if isinstance(part.get("name"), str) and "tool" in str(part.get("type")):
        made["name"] = part["name"]
    said = [value for key, value in part.items() if key not in {*_KEPT_OF_PART, "name", "id", "uri", "base64_sha256"}]
    length = sum(_length(value) for value in said)
    if length:
        made["length"] = length
    _fill_needed(part, made)
    return made


def _fill_needed(part: dict[str, Any], made: dict[str, Any]) -> None:
    """Keep an outline valid for its type's schema: what must be there is there, without its words."""
    kind = str(part.get("type"))
    needed = _NEEDED.get(kind)
    if needed in part:
        made[needed] = in_words(part[needed]) if part[needed] else ""
    inner = part.get(kind) if kind in _SERVER_TOOL else None
    if isinstance(inner, dict) and isinstance(inner.get("type"), str):
        made[kind] = {"type": inner["type"]}


def in_words(value: object) -> str:
    """The length of something, as text that stands where it stood."""
    return f"<{_length(value)} characters>"


def reduced_documents(documents: Any) -> list[Any]:
    """Retrieved documents as scores and lengths."""
    return [
        {
            **{key: found[key] for key in ("score",) if isinstance(found.get(key), (int, float))},
            "length": _length(found),
        }
        for found in (documents if isinstance(documents, list) else ())
        if isinstance(found, dict)
    ]


def reduced_value(value: Any) -> dict[str, int]:
    """What a tool was given or answered, as its length."""
    return {"length": _length(value)}


def reduced_tools(tools: Any) -> list[Any]:
    """Tool definitions as types, names and lengths."""
    return [
        {**{key: tool[key] for key in ("type", "name") if isinstance(tool.get(key), str)}, "length": _length(tool)}
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict)
    ]


def _length(value: object) -> int:
    """Characters of a text; of anything else, of its JSON."""
    return len(value) if isinstance(value, str) else len(json.dumps(value, ensure_ascii=False, default=str))
