"""Messages in whatever shape -> the conventions': a role and parts.

The shapes: the conventions' own (with slips), OpenAI's chat format, OpenLLMetry's flattened one, and OpenInference's,
which wraps every message, content and tool call once more.
"""

from __future__ import annotations

import json
from typing import Any, Final

from otel_llm.processors.foreign.words import finish_reason, parsed, role_name

__all__ = ["as_tool", "as_tools", "messages_from", "parts_from"]

Json = dict[str, Any]

_KEYS_OF_MESSAGE: Final = ("role", "parts", "name", "finish_reason")
_IMAGE: Final = "image"
_TOOL_ANSWER: Final = "tool_call_response"
_GEMINI_TYPES: Final = frozenset({"ARRAY", "BOOLEAN", "INTEGER", "NUMBER", "OBJECT", "STRING"})
_RUN_BY_PROVIDER: Final = frozenset(
    {"code_interpreter_call", "file_search_call", "image_generation_call", "mcp_call", "web_search_call"}
)


def messages_from(raw: object, default_role: str) -> list[Json]:
    """Messages of the conventions; what holds nothing is left out."""
    made = [_message(item, default_role) for item in (raw if isinstance(raw, list) else [raw])]
    return [part for message in made if message is not None for part in _answers_apart(message)]


def _answers_apart(message: Json) -> list[Json]:
    """Answers of tools as messages of their own, role `tool`; Anthropic and Bedrock put them into the user's."""
    parts = message["parts"]
    answers = [part for part in parts if part.get("type") == _TOOL_ANSWER]
    if not answers or message["role"] == "tool":
        return [message]
    rest = [part for part in parts if part.get("type") != _TOOL_ANSWER]
    apart: list[Json] = [{"role": "tool", "parts": [answer]} for answer in answers]
    return [*apart, {**message, "parts": rest}] if rest else apart


def _message(item: object, default_role: str) -> Json | None:
    if not isinstance(item, dict):
        return None
    inner = item.get("message")
    if isinstance(inner, dict):
        item = {**item, **inner}
    role = role_name(item.get("role"), default_role)
    given = item.get("parts")
    parts = [_tidy(part) for part in given if isinstance(part, dict)] if isinstance(given, list) else _parts(item, role)
    if not parts:
        return None
    message: Json = {"role": role, "parts": parts}
    if isinstance(item.get("name"), str) and item["name"] and role != "tool":
        message["name"] = item["name"]
    reason = finish_reason(item.get("finish_reason"))
    if reason is not None:
        message["finish_reason"] = reason
    return message


def parts_from(raw: object) -> list[Json]:
    """The parts of system instructions: a list of parts, or text."""
    if isinstance(raw, str):
        return [{"type": "text", "content": raw}] if raw else []
    return [_tidy(part) for part in raw if isinstance(part, dict)] if isinstance(raw, list) else []


def _tidy(part: Json) -> Json:
    """A part that is (nearly) in the conventions' shape: nothing that is null, arguments as an object."""
    made = {key: value for key, value in part.items() if value is not None}
    kind = made.get("type")
    if kind == "thinking":
        made["type"] = kind = "reasoning"
    if kind in {"text", "reasoning"} and "content" not in made:
        made["content"] = made.pop("text", "")
    if kind == "reasoning":
        made["content"] = _joined(made["content"])
    if kind == "tool_call":
        made["arguments"] = _arguments(made.get("arguments"))
        if not made.get("id"):
            made.pop("id", None)
    if kind == _TOOL_ANSWER and "response" not in made:
        made["response"] = made.pop("result", made.pop("content", ""))
    return made


def _joined(content: Any) -> Any:
    """Reasoning that stands as the JSON of OpenAI's summary, a list of texts, as one text."""
    pieces = parsed(content) if isinstance(content, str) else content
    if not isinstance(pieces, list) or not all(isinstance(piece, dict) and "text" in piece for piece in pieces):
        return content
    return "\n".join(str(piece["text"]) for piece in pieces)


def _arguments(value: Any) -> Any:
    """Arguments as an object where they are JSON; the text itself where a model wrote something else."""
    if value in (None, ""):
        return {}
    if not isinstance(value, str):
        return value
    found = parsed(value)
    return value if found is None else found


# --- from the chat format and OpenInference -----------------------------------------------------------------------


def _parts(item: Json, role: str) -> list[Json]:
    if role == "tool":
        return [_tool_answer(item)]
    parts: list[Json] = []
    for content in _contents(item):
        part = _part(content)
        if part is not None:
            parts.append(part)
    calls = item.get("tool_calls")
    parts += [_tool_call(call) for call in (calls if isinstance(calls, list) else ()) if isinstance(call, dict)]
    if isinstance(item.get("function_call_name"), str):
        arguments = _arguments(item.get("function_call_arguments_json"))
        parts.append({"type": "tool_call", "name": item["function_call_name"], "arguments": arguments})
    elif isinstance(item.get("function_call"), dict):
        parts.append(_tool_call({"function": item["function_call"]}))
    return parts


def _contents(item: Json) -> list[Any]:
    """Text, or a list of blocks, under any of the names that it has."""
    reasoning = item.get("reasoning_content") or item.get("reasoning")
    found: list[Any] = [{"type": "reasoning", "text": reasoning}] if isinstance(reasoning, str) else []
    contents = item.get("contents")
    if isinstance(contents, list):
        return [*found, *contents]
    content = item.get("content", item.get("text"))
    blocks = parsed(content) if isinstance(content, str) and content.lstrip()[:2] in {"[{", "[ "} else content
    if isinstance(blocks, list) and all(isinstance(block, dict) and "type" in block for block in blocks):
        return found + blocks
    return [*found, content] if content not in (None, "", []) else found


def _part(content: Any) -> Json | None:
    if isinstance(content, dict) and isinstance(content.get("message_content"), dict):
        content = content["message_content"]
    if not isinstance(content, dict):
        plain = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
        return {"type": "text", "content": plain}
    kind = content.get("type")
    if kind in {"tool_use", "tool_call", "function_call"}:
        return None  # stands among the tool calls as well
    text = content.get("text") or content.get("content") or content.get("thinking")
    if kind in {"reasoning", "thinking"}:
        return {"type": "reasoning", "content": text} if isinstance(text, str) and text else None
    url = _url_in(content)
    if url is not None:
        return _media(url)
    return {"type": "text", "content": text} if isinstance(text, str) and text else None


def _url_in(content: Json) -> str | None:
    for name in ("image", "image_url"):
        found = content.get(name)
        while isinstance(found, dict):
            found = found.get("url", found.get("image"))
        if isinstance(found, str):
            return found
    source = content.get("source")
    if isinstance(source, dict) and isinstance(source.get("data"), str):
        return f"data:{source.get('media_type', '')};base64,{source['data']}"
    return None


def _media(url: str) -> Json:
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not comma:
        return {"type": "uri", "modality": _IMAGE, "uri": url}
    mime_type = head[len("data:") :].partition(";")[0]
    modality = mime_type.partition("/")[0]
    part = {"type": "blob", "modality": modality if modality in {_IMAGE, "audio", "video"} else "document"}
    return {**part, **({"mime_type": mime_type} if mime_type else {}), "content": data}


def _tool_call(call: Json) -> Json:
    inner = call.get("tool_call")
    call = inner if isinstance(inner, dict) else call
    function = call.get("function")
    function = function if isinstance(function, dict) else call
    name = function.get("name")
    if name in _RUN_BY_PROVIDER:
        return _server_call(call, name, function.get("arguments"))
    made: Json = {"type": "tool_call", "name": name if isinstance(name, str) else ""}
    if isinstance(call.get("id"), str) and call["id"]:
        made["id"] = call["id"]
    made["arguments"] = _arguments(function.get("arguments", function.get("args")))
    return made


def _server_call(call: Json, name: str, arguments: Any) -> Json:
    """OpenAI's items for tools that it ran itself, which OpenInference writes among the calls of the program's."""
    made: Json = {"type": "server_tool_call", "name": name.removesuffix("_call")}
    if isinstance(call.get("id"), str):
        made["id"] = call["id"]
    given = _arguments(arguments)
    return {**made, "server_tool_call": {"type": name, **(given if isinstance(given, dict) else {})}}


def _tool_answer(item: Json) -> Json:
    texts = [text for part in map(_part, _contents(item)) if part is not None and (text := part.get("content"))]
    content = item.get("content")
    answer = content if isinstance(content, str) else "".join(map(str, texts))
    made: Json = {"type": _TOOL_ANSWER, "response": answer}
    call_id = item.get("tool_call_id")
    return {**made, "id": call_id} if isinstance(call_id, str) and call_id else made


# --- tools ----------------------------------------------------------------------------------------------------


def as_tools(raw: object) -> list[Json]:
    """Definitions of tools, each with a type and a name of its own."""
    made: list[Json] = []
    for tool in raw if isinstance(raw, list) else ():
        found = parsed(tool)
        if not isinstance(found, dict):
            continue
        declared = found.get("function_declarations") or found.get("functionDeclarations")
        made += [as_tool(one) for one in declared] if isinstance(declared, list) else [as_tool(found)]
    return made


def as_tool(raw: Json) -> Json:
    """One definition in the conventions' shape, whoever wrote it."""
    inner = raw.get("tool")
    if isinstance(inner, dict):  # OpenInference: llm.tools.N.tool.json_schema
        schema = parsed(inner.get("json_schema"))
        return as_tool(schema) if isinstance(schema, dict) else {"type": "function", "name": ""}
    inner = raw.get("function") or raw.get("toolSpec")
    flat = {**raw, **inner} if isinstance(inner, dict) else raw
    name = flat.get("name")
    if not isinstance(name, str):
        only = next(iter(flat), "")  # Gemini's own tools: {"code_execution": {}}
        own = str(flat.get("type") or only)
        return {"type": own, "name": own}
    kind = flat.get("type")
    made: Json = {"type": kind if isinstance(kind, str) and kind else "function", "name": name}
    if isinstance(flat.get("description"), str):
        made["description"] = flat["description"]
    parameters = parsed(flat.get("parameters", flat.get("input_schema", flat.get("inputSchema"))))
    if isinstance(parameters, dict) and parameters.keys() == {"json"}:  # Bedrock
        parameters = parameters["json"]
    if isinstance(parameters, dict):
        made["parameters"] = _json_schema(parameters)
    return made


def _json_schema(schema: Any) -> Any:
    """Gemini writes the types of JSON Schema in capitals."""
    if isinstance(schema, list):
        return [_json_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _json_schema(value) for key, value in schema.items()}
    kind = made.get("type")
    return {**made, "type": kind.lower()} if isinstance(kind, str) and kind in _GEMINI_TYPES else made
