"""The parts of one message, in whatever shape: content of the chat format, tools' calls, their answers, and reasoning.

Known are the parts of the GenAI conventions, the content blocks of OpenAI's and Anthropic's clients, and the parts
without a type of Google's and Bedrock's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_llm.backends.opik.values import compact_json, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PartsRead", "collapse", "is_part", "is_typed", "text_item", "tool_call", "url_item"]

_AUDIO_FORMATS: Final = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav"}
_URL_ITEMS: Final = {"image": "image_url", "video": "video_url", "audio": "audio_url"}
_TEXTS: Final = frozenset({"text", "compaction", "input_text", "output_text", "refusal"})
_CALLS: Final = {
    "tool_call": "arguments",
    "server_tool_call": "server_tool_call",
    "tool_use": "input",
    "server_tool_use": "input",
}
"""Type of a part that calls a tool, and its key for what the tool is given."""
_ANSWERS: Final = frozenset({"tool_call_response", "tool_result"})
_THOUGHTS: Final = frozenset({"reasoning", "thinking"})


class PartsRead:
    """What the parts of a message become."""

    def __init__(self) -> None:
        self.content: list[dict[str, Any]] = []
        self.calls: list[dict[str, Any]] = []
        self.answers: list[dict[str, Any]] = []
        """Messages of their own."""
        self.reasoning: list[str] = []

    @property
    def only_answers(self) -> bool:
        """Whether there is nothing but tools' answers."""
        return bool(self.answers) and not (self.content or self.calls or self.reasoning)

    def add(self, part: Any) -> None:
        """Take one part."""
        if not isinstance(part, dict):
            self.content.append(text_item(part))
            return
        part = _typed(part)
        kind = _kind(part)
        if kind in _CALLS:
            self.calls.append(tool_call(part.get("id"), part.get("name"), part.get(_CALLS[kind])))
        elif kind in _ANSWERS:
            self.answers.append(_answer(part))
        elif kind in _THOUGHTS:
            self.reasoning.append(text_of(_first_of(part, "content", "thinking", "text")))
        else:
            self.content.append(_content_item(part))


def collapse(content: list[dict[str, Any]]) -> Any:
    """Nothing becomes None, one text becomes plain text, anything else stays a list of items."""
    if not content:
        return None
    if len(content) == 1 and content[0].get("type") == "text":
        return content[0].get("text")
    return content


def tool_call(call_id: Any, name: Any, arguments: Any) -> dict[str, Any]:
    """A call of the chat format: arguments are text."""
    call: dict[str, Any] = {"type": "function", "function": {"name": text_of(name), "arguments": text_of(arguments)}}
    return {"id": text_of(call_id), **call} if call_id is not None else call


def text_item(value: Any) -> dict[str, Any]:
    """Text as an item of content."""
    return {"type": "text", "text": text_of(value)}


def url_item(modality: str, url: str) -> dict[str, Any]:
    """Something that stands elsewhere (or in the address itself) as an item of content."""
    kind = _URL_ITEMS.get(modality)
    return {"type": kind, kind: {"url": url}} if kind else {"type": "file", "file": {"file_url": url}}


def _first_of(fields: dict[str, Any], *keys: str) -> Any:
    return next((fields[key] for key in keys if key in fields), None)


def _kind(part: dict[str, Any]) -> str:
    kind = part.get("type")
    return kind if isinstance(kind, str) else ""


def _content_item(part: dict[str, Any]) -> dict[str, Any]:
    kind, modality = _kind(part), text_of(part.get("modality"))
    if kind in _TEXTS:
        return text_item(_first_of(part, "content", "text", "refusal"))
    if kind == "uri":
        return url_item(modality, text_of(part.get("uri")))
    if kind == "blob":
        return _blob_item(part, modality)
    if kind == "file" and "file" not in part:
        return {"type": "file", "file": {"file_id": text_of(part.get("file_id"))}}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        return url_item("image", part["image_url"])
    source = part.get("source")
    if kind == "image" and isinstance(source, dict):
        return _image_of_source(source)
    return part if isinstance(part.get("type"), str) else text_item(compact_json(part))


def _image_of_source(source: dict[str, Any]) -> dict[str, Any]:
    """Anthropic's: an address, or the type and the bytes."""
    if isinstance(source.get("url"), str):
        return url_item("image", source["url"])
    return _blob_item({"mime_type": source.get("media_type"), "content": source.get("data")}, "image")


def _blob_item(part: dict[str, Any], modality: str) -> dict[str, Any]:
    mime_type, data = text_of(part.get("mime_type")), text_of(part.get("content"))
    if not _is_base64(data):
        return text_item(_outline(part, mime_type or modality, data))
    if modality == "audio" and mime_type in _AUDIO_FORMATS:
        return {"type": "input_audio", "input_audio": {"data": data, "format": _AUDIO_FORMATS[mime_type]}}
    url = f"data:{mime_type or 'application/octet-stream'};base64,{data}"
    if modality in _URL_ITEMS:
        return url_item(modality, url)
    return {"type": "file", "file": {"file_data": url}}


def _is_base64(data: str) -> bool:
    """Whether these may be bytes: what stands in place of them is empty, or begins with a bracket."""
    return data[:1] not in ("", "<", "[")


def _outline(part: dict[str, Any], kind: str, instead: str) -> str:
    """What is known of media whose bytes are not on the span, for a reader: an empty image would be a broken one."""
    said = [kind or "data"]
    if part.get("byte_count") is not None:
        said.append(f"{text_of(part['byte_count'])} bytes")
    if part.get("base64_sha256") is not None:
        said.append(f"base64_sha256 {text_of(part['base64_sha256'])}")
    if instead:
        said.append(instead)
    return f"[{', '.join(said)}]"


def _answer(part: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = {"role": "tool", "content": _answered(_first_of(part, "response", "result", "content"))}
    call_id = _first_of(part, "id", "tool_use_id")
    if call_id is not None:
        answer["tool_call_id"] = text_of(call_id)
    if isinstance(part.get("name"), str) and part["name"]:
        answer["name"] = part["name"]
    return answer


def _answered(content: Any) -> str:
    """A tool's answer as text; of blocks that are all text, their text."""
    if isinstance(content, list) and content:
        texts = [block.get("text") if isinstance(block, dict) else None for block in content]
        if all(isinstance(text, str) for text in texts):
            return "\n".join(text_of(text) for text in texts)
    return text_of(content)


# --- parts of Google, Bedrock and Vercel: most have no type, which key they have says what they are -----------------

_IDS: Final = ("id", "toolUseId", "toolCallId")


def is_typed(entry: dict[str, Any]) -> bool:
    """Whether it says what kind of part it is."""
    return "type" in entry


def is_part(entry: dict[str, Any]) -> bool:
    """Whether it is a part of a message, be it one without a type."""
    return "type" in entry or "text" in entry or not _UNTYPED.keys().isdisjoint(entry)


def _typed(part: dict[str, Any]) -> dict[str, Any]:
    """A part of theirs in the conventions' shape; any other as it is."""
    kind = part.get("type")
    if isinstance(kind, str):
        return _VERCEL[kind](part) if kind in _VERCEL else part
    for name, read in _UNTYPED.items():
        inner = part.get(name)
        if isinstance(inner, dict):
            return read(inner)
    if isinstance(part.get("text"), str):
        return {"type": "reasoning" if part.get("thought") is True else "text", "content": part["text"]}
    return part


def _called(inner: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "tool_call",
        "id": _first_of(inner, *_IDS),
        "name": _first_of(inner, "name", "toolName"),
        "arguments": _first_of(inner, "args", "input"),
    }


def _responded(inner: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "tool_call_response",
        "id": _first_of(inner, *_IDS),
        "name": _first_of(inner, "name", "toolName"),
        "response": _first_of(inner, "response", "content", "output", "result"),
    }


def _inline(inner: dict[str, Any]) -> dict[str, Any]:
    mime_type = text_of(_first_of(inner, "mime_type", "mimeType"))
    modality = mime_type.partition("/")[0]
    return {"type": "blob", "modality": modality, "mime_type": mime_type, "content": inner.get("data")}


def _elsewhere(inner: dict[str, Any]) -> dict[str, Any]:
    modality = text_of(_first_of(inner, "mime_type", "mimeType")).partition("/")[0]
    return {"type": "uri", "modality": modality, "uri": _first_of(inner, "file_uri", "fileUri")}


_UNTYPED: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "function_call": _called,
    "functionCall": _called,
    "toolUse": _called,
    "function_response": _responded,
    "functionResponse": _responded,
    "toolResult": _responded,
    "inline_data": _inline,
    "inlineData": _inline,
    "file_data": _elsewhere,
    "fileData": _elsewhere,
}
_VERCEL: Final = {"tool-call": _called, "tool-result": _responded}
