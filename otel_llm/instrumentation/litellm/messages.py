"""Conversations in the conventions' shape: role and parts, as the GenAI message schemas define them.

Reads OpenAI chat messages, text prompts and Responses items (what litellm takes and gives, whatever the
provider) and answers plain lists and dicts, ready for JSON. Inline binary data (base64 images, audio,
documents) is replaced by its type, size and hash: it is content nobody reads in a trace, and megabytes of it.

Source: gen-ai-input-messages, gen-ai-output-messages, gen-ai-system-instructions and gen-ai-tool-definitions
schemas of open-telemetry/semantic-conventions-genai.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from otel_llm.instrumentation.litellm.reading import get, items, members_of, path, readable, text
from otel_llm.store.media import offer

__all__ = [
    "chat_input",
    "chat_output",
    "finish_reason",
    "found_documents",
    "image_output",
    "prompt_input",
    "ranked_documents",
    "read_pages",
    "response_input",
    "response_output",
    "spoken_output",
    "system_instructions",
    "tool_definitions",
]

_FINISH_REASONS: Final = {
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "tool_use": "tool_call",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "content_filter",
}

Part = dict[str, Any]
Message = dict[str, Any]


def finish_reason(value: object) -> str | None:
    """A provider's finish reason in the conventions' word (`tool_call`, not `tool_calls`); others as they are."""
    reason = text(value)
    return _FINISH_REASONS.get(reason.lower(), reason) if reason else None


# --- chat ------------------------------------------------------------------------------------------------


def chat_input(messages: object) -> list[Message]:
    """OpenAI chat messages as input messages; a plain string counts as one user message."""
    if isinstance(messages, str):
        return [_message("user", [_text_part(messages)])]
    return [_chat_message(message) for message in items(messages)]


def chat_output(choices: object) -> list[Message]:
    """The choices of a chat or text completion as output messages, one per choice."""
    made = []
    for choice in items(choices):
        said = members_of(choice)
        message = said("message")
        if message is None:
            parts = [_text_part(said("text") or "")]
            role = "assistant"
        else:
            parts = _assistant_parts(message)
            role = text(get(message, "role")) or "assistant"
        entry = _message(role, parts)
        reason = finish_reason(said("finish_reason"))
        if reason:
            entry["finish_reason"] = reason
        made.append(entry)
    return made


def _chat_message(message: object) -> Message:
    said = members_of(message)
    role = text(said("role")) or "user"
    if role in {"tool", "function"}:
        parts = [_tool_response_part(said("tool_call_id"), said("content"))]
        role = "tool"
    elif role == "assistant":
        parts = _assistant_parts(message)
    else:
        parts = _content_parts(said("content"))
    made = _message(role, parts)
    name = text(said("name"))
    if name:
        made["name"] = name
    return made


def _assistant_parts(message: object) -> list[Part]:
    said = members_of(message)
    reasoning = text(said("reasoning_content"))
    parts: list[Part] = [{"type": "reasoning", "content": reasoning}] if reasoning else []
    parts += _content_parts(said("content"))
    refusal = text(said("refusal"))
    if refusal:
        parts.append(_text_part(refusal))
    for call in items(said("tool_calls")):
        parts.append(_tool_call_part(call))
    function_call = said("function_call")
    if function_call is not None:
        parts.append(_tool_call_part({"function": function_call}))
    audio = said("audio")
    if audio is not None:
        parts.append(_blob("audio", None, get(audio, "data")))
    for image in items(said("images")):
        parts.append(_media("image", path(image, "image_url", "url")))
    return parts


def _content_parts(content: object) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [_text_part(content)] if content else []
    if isinstance(content, (list, tuple)):
        return [_content_part(part) for part in content]
    return [_content_part(content)]


def _content_part(part: object) -> Part:
    if isinstance(part, str):
        return _text_part(part)
    kind = text(get(part, "type")) or ""
    if kind in {"text", "input_text", "output_text", "summary_text"}:
        return _text_part(get(part, "text") or "")
    if kind in {"image_url", "input_image", "image"}:
        url = get(part, "image_url")
        return _media("image", url if isinstance(url, str) else get(url, "url") or path(part, "source", "data"))
    if kind in {"input_audio", "output_audio", "audio"}:
        spoken = text(get(part, "transcript"))
        if spoken is not None:
            return _text_part(spoken)
        return _blob("audio", path(part, "input_audio", "format"), path(part, "input_audio", "data"))
    if kind in {"file", "input_file", "document"}:
        return _file(part)
    if kind in {"thinking", "reasoning"}:
        return {"type": "reasoning", "content": get(part, "thinking") or get(part, "text") or ""}
    if kind == "tool_use":
        return _tool_call_part(
            {"function": {"name": get(part, "name"), "arguments": get(part, "input")}, "id": get(part, "id")}
        )
    if kind == "tool_result":
        return _tool_response_part(get(part, "tool_use_id"), get(part, "content"))
    if kind == "refusal":
        return _text_part(get(part, "refusal") or "")
    return {"type": kind or "unknown"}


def _file(part: object) -> Part:
    file = get(part, "file") or part
    file_id = text(get(file, "file_id"))
    mime_type = text(get(file, "format"))
    modality = _modality(mime_type)
    if file_id and "://" in file_id:
        made: Part = {"type": "uri", "modality": modality, "uri": file_id}
    elif file_id:
        made = {"type": "file", "modality": modality, "file_id": file_id}
    else:
        return _media(modality, get(file, "file_data") or get(file, "file_url"))
    if mime_type:
        made["mime_type"] = mime_type
    return made


def _modality(mime_type: str | None) -> str:
    kind = (mime_type or "").partition("/")[0]
    return kind if kind in {"image", "audio", "video"} else "document"


def _tool_call_part(call: object) -> Part:
    function = get(call, "function") or call
    part: Part = {
        "type": "tool_call",
        "name": text(get(function, "name")) or "",
        "arguments": _arguments(get(function, "arguments")),
    }
    call_id = text(get(call, "id")) or text(get(call, "call_id"))
    if call_id:
        part["id"] = call_id
    return part


def _tool_response_part(call_id: object, response: object) -> Part:
    if readable(response) and isinstance(response, (list, tuple)):
        response = [_content_part(part) if _is_part(part) else part for part in response]
    part: Part = {"type": "tool_call_response", "response": response}
    identifier = text(call_id)
    if identifier:
        part["id"] = identifier
    return part


def _is_part(value: object) -> bool:
    """Whether an entry of a tool's answer is a content part, and not data of the tool's own."""
    return readable(value) and (isinstance(value, str) or text(get(value, "type")) is not None)


def _arguments(value: object) -> object:
    """Tool arguments as an object; text that is not JSON (a stream cut short, a sloppy model) stays text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value else {}
    except ValueError:
        return value


# --- text prompts ----------------------------------------------------------------------------------------


def prompt_input(prompt: object) -> list[Message]:
    """The prompt of a text completion, image, speech or moderation call as user messages, one per prompt."""
    if isinstance(prompt, str):
        return [_message("user", [_text_part(prompt)])]
    if prompt is None:
        return []
    entries = items(prompt)
    if entries and all(isinstance(entry, int) for entry in entries):
        return [_message("user", [{"type": "token_ids", "count": len(entries)}])]
    return [_message("user", [_content_part(entry)]) for entry in entries]


# --- Responses -------------------------------------------------------------------------------------------


def response_input(value: object) -> list[Message]:
    """The input of a Responses call as input messages."""
    if isinstance(value, str):
        return [_message("user", [_text_part(value)])]
    return [_response_item(item) for item in items(value)]


def response_output(output: object) -> list[Message]:
    """The output items of a Responses answer as one assistant message."""
    parts: list[Part] = []
    for item in items(output):
        parts.extend(_response_item(item)["parts"])
    return [_message("assistant", parts)] if parts else []


def _response_item(item: object) -> Message:
    kind = text(get(item, "type")) or "message"
    if kind == "message":
        return _message(text(get(item, "role")) or "assistant", _content_parts(get(item, "content")))
    if kind == "function_call":
        call = {"function": item, "id": text(get(item, "call_id")) or text(get(item, "id"))}
        return _message("assistant", [_tool_call_part(call)])
    if kind == "function_call_output":
        return _message("tool", [_tool_response_part(get(item, "call_id"), get(item, "output"))])
    if kind == "reasoning":
        content = [get(part, "text") or "" for part in (*items(get(item, "summary")), *items(get(item, "content")))]
        return _message("assistant", [{"type": "reasoning", "content": "\n".join(content)}] if any(content) else [])
    if kind.endswith("_call"):
        name = kind.removesuffix("_call")
        call = {"type": name, "status": text(get(item, "status"))}
        part: Part = {"type": "server_tool_call", "name": name, "server_tool_call": call}
        if text(get(item, "id")):
            part["id"] = get(item, "id")
        return _message("assistant", [part])
    return _message(text(get(item, "role")) or "assistant", [{"type": kind}])


# --- around the conversation -----------------------------------------------------------------------------


def system_instructions(value: object) -> list[Part]:
    """Instructions given apart from the history (Responses `instructions`)."""
    return [part for part in _content_parts(value) if part["type"] == "text"]


def tool_definitions(tools: object) -> list[dict[str, Any]]:
    """Tool definitions with their required members, and description and parameters where given."""
    made = []
    for tool in items(tools):
        function = get(tool, "function") or tool
        name = text(get(function, "name"))
        kind = text(get(tool, "type")) or ("function" if name else _provider_tool(tool))
        entry = {"type": kind, "name": name or kind}
        for member, names in _TOOL_MEMBERS.items():
            value = next((found for found in (get(function, name) for name in names) if found is not None), None)
            if value is not None:
                entry[member] = value
        made.append(entry)
    return made


_TOOL_MEMBERS: Final = {
    "description": ("description",),
    "parameters": ("parameters", "input_schema", "parametersJsonSchema"),
}
"""Member of a definition -> what OpenAI, Anthropic and Gemini call it."""


def _provider_tool(tool: object) -> str:
    """The name of a provider's own tool, which some write as its only key: `{"codeExecution": {}}`."""
    keys = [key for key in tool if isinstance(key, str)] if isinstance(tool, dict) else []
    return keys[0] if keys else "function"


def _message(role: str, parts: list[Part]) -> Message:
    return {"role": role, "parts": parts}


def _text_part(content: object) -> Part:
    return {"type": "text", "content": content if isinstance(content, str) else str(content)}


def _media(modality: str, location: object) -> Part:
    url = text(location)
    if url is None:
        return {"type": modality}
    if url.startswith("data:"):
        header, _, data = url[len("data:") :].partition(",")
        return _blob(modality, header.split(";", 1)[0] or None, data)
    if "://" in url:
        return {"type": "uri", "modality": modality, "uri": url}
    return _blob(modality, None, url)


def _blob(modality: str, mime_type: object, data: object) -> Part:
    """Inline data as a blob part without its bytes: modality, type, size in bytes, hash of the base64 text."""
    part: Part = {"type": "blob", "modality": modality, "content": ""}
    kind = text(mime_type)
    if kind:
        part["mime_type"] = kind if "/" in kind else f"{modality}/{kind}"
    encoded = text(data)
    if encoded:
        part["byte_count"] = len(encoded) * 3 // 4 - encoded[-2:].count("=")
        digest = hashlib.sha256(encoded.encode("utf-8", "replace")).hexdigest()
        part["base64_sha256"] = digest
        offer(digest, encoded, str(part.get("mime_type", "")))
    return part


# --- other answers ---------------------------------------------------------------------------------------


def spoken_output(transcript: object) -> list[Message]:
    """A transcription as one assistant message."""
    words = text(transcript)
    return [_message("assistant", [_text_part(words)])] if words else []


def image_output(images: object) -> list[Message]:
    """Generated images as one assistant message: addresses as they are, inline bytes by size and hash."""
    parts = [_media("image", text(get(image, "url")) or get(image, "b64_json")) for image in items(images)]
    return [_message("assistant", parts)] if parts else []


def read_pages(pages: object) -> list[Message]:
    """The pages that were read as one assistant message, a part each."""
    parts = [_text_part(get(page, "markdown") or "") for page in items(pages)]
    return [_message("assistant", parts)] if parts else []


def found_documents(results: object) -> list[dict[str, Any]]:
    """Search results as retrieval documents: the address as id, and the score where there is one."""
    made: list[dict[str, Any]] = []
    for result in items(results):
        made.append({"id": str(get(result, "url"))})
        if get(result, "score") is not None:
            made[-1]["score"] = get(result, "score")
    return made


def ranked_documents(results: object) -> list[dict[str, Any]]:
    """Rerank results as retrieval documents: the index asked about as id, and its relevance as score."""
    return [{"id": str(get(result, "index")), "score": get(result, "relevance_score")} for result in items(results)]
