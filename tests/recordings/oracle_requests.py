"""Recorded request bodies -> what was asked, one reader per API.

Read from the request as it was recorded, in the provider's own shape; the call that the test makes is built from the
same bytes by other code (`rebuild.py`), so a slip in either shows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.recordings.facts import Asking, Message, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.recordings.recordings import Exchange

__all__ = ["read"]

Json = dict[str, Any]

_PROVIDERS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.mistral.ai": "mistral_ai",
    "bedrock-runtime.us-east-1.amazonaws.com": "aws.bedrock",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "openrouter.ai": "openrouter",
    "127.0.0.1:11434": "ollama",
    "localhost:5002": "openai",
    "localhost:8000": "hosted_vllm",
}
"""Host -> the conventions' well-known name, or the vendor's own where they have none."""

_OPERATIONS = {
    "text": "text_completion",
    "embeddings": "embeddings",
    "gemini-embeddings": "embeddings",
    "rerank": "retrieval",
}
"""API -> the conventions' operation; `chat` for all others."""


def read(exchange: Exchange) -> Asking:
    """What the request asks for."""
    body: Json = exchange.request
    messages, tools = _READERS[exchange.api](body)
    return Asking(
        provider=_provider(exchange.host),
        model=_model(exchange),
        operation=_OPERATIONS.get(exchange.api, "chat"),
        stream="stream" in exchange.path or body.get("stream") is True,
        parameters=_parameters(body),
        messages=tuple(messages),
        tools=tuple(tools),
    )


def _provider(host: str) -> str:
    if host.endswith("openai.azure.com"):
        return "azure.ai.openai"
    return "gcp.vertex_ai" if host.endswith("aiplatform.googleapis.com") else _PROVIDERS[host]


def _model(exchange: Exchange) -> str:
    if exchange.api in {"converse", "invoke"}:
        return exchange.path.removeprefix("/model/").rpartition("/")[0]
    if "/models/" in exchange.path:
        return exchange.path.rpartition("/models/")[2].partition(":")[0]
    if "/deployments/" in exchange.path:
        return exchange.path.partition("/deployments/")[2].partition("/")[0]
    return str(exchange.request["model"])


# --- parameters ---------------------------------------------------------------------------------------------

_PARAMETERS = {
    "temperature": ("temperature",),
    "top_p": ("top_p", "topP"),
    "top_k": ("top_k", "topK"),
    "max_tokens": (
        *("max_tokens", "max_output_tokens", "maxTokens", "maxOutputTokens"),
        *("maxTokenCount", "max_tokens_to_sample", "max_gen_len", "max_new_tokens"),
    ),
    "dimensions": ("dimensions",),
}
"""What the convention calls it -> what providers call it."""


def _parameters(body: Json) -> Json:
    nested = ("inferenceConfig", "generationConfig", "textGenerationConfig")
    flat = {**body, **{name: value for key in nested for name, value in (body.get(key) or {}).items()}}
    found = {
        name: flat[spelling]
        for name, spellings in _PARAMETERS.items()
        for spelling in spellings
        if flat.get(spelling) is not None
    }
    stop = flat.get("stop") or flat.get("stopSequences")
    if stop:
        found["stop"] = [stop] if isinstance(stop, str) else stop
    if flat.get("n", 1) != 1:
        found["n"] = flat["n"]
    if (flat.get("reasoning") or {}).get("effort"):
        found["reasoning"] = flat["reasoning"]["effort"]
    output_type = _output_type(flat)
    if output_type is not None:
        found["output_type"] = output_type
    return found


def _output_type(flat: Json) -> str | None:
    asked = flat.get("response_format") or flat.get("output_format") or (flat.get("text") or {}).get("format") or {}
    if asked.get("type") == "json_schema" or "responseSchema" in flat:
        return "json"
    return asked.get("type")


# --- messages -----------------------------------------------------------------------------------------------

_Read = tuple[list[Message], list[str]]


def _nothing(body: Json) -> _Read:
    return [], []


def _arguments(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _modality(media_type: str) -> str:
    kind = media_type.partition("/")[0]
    return kind if kind in {"image", "audio", "video"} else "document"


def _joined(content: Any) -> str:
    """Text of a string or of blocks that hold `text`."""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


def _openai_message(raw: Json) -> Message:
    role, content = raw["role"], raw.get("content") or ""
    if role == "tool":
        return Message(role, results=((raw.get("tool_call_id"), _joined(content)),))
    media = () if isinstance(content, str) else tuple("image" for part in content if part["type"] == "image_url")
    made = [(call.get("id"), call["function"]) for call in raw.get("tool_calls") or []]
    calls = tuple(ToolCall(call["name"], _arguments(call["arguments"]), call_id) for call_id, call in made)
    return Message(role, _joined(content), calls=calls, media=media)


def _openai(body: Json) -> _Read:
    functions = [tool["function"] for tool in body.get("tools") or []] + (body.get("functions") or [])
    return [_openai_message(raw) for raw in body["messages"]], [function["name"] for function in functions]


def _text(body: Json) -> _Read:
    prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
    return [Message("user", prompt) for prompt in prompts], []


def _responses(body: Json) -> _Read:
    system = [Message("system", body["instructions"])] if body.get("instructions") else []
    items = [{"role": "user", "content": body["input"]}] if isinstance(body["input"], str) else body["input"]
    tools = [tool.get("name", tool["type"]) for tool in body.get("tools") or []]
    return system + [_responses_item(item) for item in items], tools


def _responses_item(item: Json) -> Message:
    if item.get("type") == "reasoning":
        return Message("assistant", reasoning="".join(part["text"] for part in item["summary"]))
    return Message(item["role"], _joined(item["content"]))


def _anthropic(body: Json) -> _Read:
    system = [Message("system", _joined(body["system"]))] if body.get("system") else []
    messages = [message for raw in body["messages"] for message in _anthropic_message(raw)]
    return system + messages, [tool["name"] for tool in body.get("tools") or []]


def _anthropic_message(raw: Json) -> list[Message]:
    blocks: list[Json] = (
        [{"type": "text", "text": raw["content"]}] if isinstance(raw["content"], str) else raw["content"]
    )
    results = [block for block in blocks if block["type"] == "tool_result"]
    rest = [block for block in blocks if block["type"] != "tool_result"]
    messages = [Message("tool", results=((block["tool_use_id"], _joined(block["content"])),)) for block in results]
    if rest:
        uses = [block for block in rest if block["type"] == "tool_use"]
        media = tuple(_modality(block["source"]["media_type"]) for block in rest if block["type"] == "image")
        calls = tuple(ToolCall(use["name"], use["input"], use["id"]) for use in uses)
        messages.append(Message(raw["role"], _joined(rest), calls=calls, media=media))
    return messages


def _converse(body: Json) -> _Read:
    system = [Message("system", block["text"]) for block in body.get("system") or []]
    messages = [message for raw in body["messages"] for message in _converse_message(raw)]
    tools = [tool["toolSpec"]["name"] for tool in (body.get("toolConfig") or {"tools": []})["tools"]]
    return system + messages, tools


def _converse_message(raw: Json) -> list[Message]:
    results = [block["toolResult"] for block in raw["content"] if "toolResult" in block]
    rest = [block for block in raw["content"] if "toolResult" not in block]
    messages = [Message("tool", results=((result["toolUseId"], _joined(result["content"])),)) for result in results]
    if rest:
        text = "".join(
            block.get("text") or block.get("guardContent", {}).get("text", {}).get("text", "") for block in rest
        )
        uses = [block["toolUse"] for block in rest if "toolUse" in block]
        calls = tuple(ToolCall(use["name"], use["input"], use["toolUseId"]) for use in uses)
        messages.append(Message(raw["role"], text, calls=calls))
    return messages


def _invoke(body: Json) -> _Read:
    if "anthropic_version" in body:
        return _anthropic(body)
    if "messages" in body:
        return _converse(body)
    return [Message("user", body.get("prompt") or body["inputText"])], []


def _gemini(body: Json) -> _Read:
    system = [Message("system", _joined(body["systemInstruction"]["parts"]))] if "systemInstruction" in body else []
    messages = [message for raw in body["contents"] for message in _gemini_message(raw)]
    declared = [function for tool in body.get("tools") or [] for function in tool.get("functionDeclarations", [])]
    builtin = [name for tool in body.get("tools") or [] for name in tool if name != "functionDeclarations"]
    return system + messages, [function["name"] for function in declared] + builtin


def _gemini_message(raw: Json) -> list[Message]:
    parts: list[Json] = raw["parts"]
    # Gemini pairs calls and answers by order, not by id: ids are left out of the comparison.
    answers = [part["functionResponse"] for part in parts if "functionResponse" in part]
    messages = [Message("tool", results=((None, json.dumps(answer["response"])),)) for answer in answers]
    if len(answers) < len(parts):
        calls = tuple(
            ToolCall(part["functionCall"]["name"], part["functionCall"]["args"])
            for part in parts
            if "functionCall" in part
        )
        media = tuple(_modality(part["fileData"]["mimeType"]) for part in parts if "fileData" in part)
        role = "assistant" if raw["role"] == "model" else raw["role"]
        messages.append(Message(role, _joined(parts), calls=calls, media=media))
    return messages


def _ollama(body: Json) -> _Read:
    return [_openai_message(raw) for raw in body["messages"]], []


_READERS: dict[str, Callable[[Json], _Read]] = {
    "chat": _openai,
    "text": _text,
    "responses": _responses,
    "embeddings": _nothing,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "gemini-embeddings": _nothing,
    "converse": _converse,
    "invoke": _invoke,
    "cohere": _openai,
    "rerank": _nothing,
    "ollama": _ollama,
    "ollama-generate": _text,
}
"""API -> reader of (messages, names of tools); embeddings and rerank carry no messages by the conventions."""
