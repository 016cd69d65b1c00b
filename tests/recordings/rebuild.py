"""Recorded request bodies of other providers, rebuilt as the OpenAI-style arguments that litellm takes.

Each function takes the recorded JSON body and returns keyword arguments (messages, tools, max_tokens ...) without
model, address and key. What litellm calls by the provider's own name passes through as it is.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["from_anthropic", "from_cohere", "from_converse", "from_gemini", "from_ollama", "from_prompt"]

Body = dict[str, Any]
Message = dict[str, Any]


def _tool(name: str, description: str, parameters: Any) -> Body:
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def _call(call_id: str, name: str, arguments: Any) -> Body:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def _picked(body: Body, names: dict[str, str]) -> Body:
    """The entries of `body` that `names` renames, under their new names."""
    return {new: body[old] for old, new in names.items() if body.get(old) is not None}


def _assistant(text: str | list[Body] | None, calls: list[Body]) -> Message:
    return {"role": "assistant", "content": text or None, **({"tool_calls": calls} if calls else {})}


def _plain(parts: list[Body]) -> str | list[Body]:
    """A lone text as a string, as people write it; anything else as parts."""
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


# --- Anthropic messages (also inside Bedrock's InvokeModel) -------------------------------------------------


def from_anthropic(body: Body) -> Body:
    """Anthropic's Messages API: blocks, system apart, tools with `input_schema`."""
    names = {"max_tokens": "max_tokens", "temperature": "temperature", "stream": "stream", "thinking": "thinking"}
    arguments = _picked(body, names)
    system = [{"role": "system", "content": body["system"]}] if body.get("system") else []
    arguments["messages"] = system + [new for old in body["messages"] for new in _anthropic_message(old)]
    if body.get("tools"):
        arguments["tools"] = [_tool(tool["name"], tool["description"], tool["input_schema"]) for tool in body["tools"]]
    if body.get("output_format"):
        schema = {"name": "answer", "schema": body["output_format"]["schema"], "strict": True}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    return arguments


def _anthropic_message(message: Message) -> list[Message]:
    if isinstance(message["content"], str):
        return [message]
    blocks: list[Body] = message["content"]
    results = [
        {"role": "tool", "tool_call_id": block["tool_use_id"], "content": block["content"]}
        for block in blocks
        if block["type"] == "tool_result"
    ]
    calls = [_call(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    rest = [_anthropic_block(block) for block in blocks if block["type"] in {"text", "image"}]
    if message["role"] == "assistant":
        return [_assistant(rest, calls)]
    return results + ([{"role": "user", "content": rest}] if rest else [])


def _anthropic_block(block: Body) -> Body:
    if block["type"] == "text":
        return block
    source = block["source"]
    return {"type": "image_url", "image_url": {"url": f"data:{source['media_type']};base64,{source['data']}"}}


# --- Bedrock Converse (Nova's InvokeModel has the same bodies) ----------------------------------------------

_INFERENCE_NAMES = {
    "maxTokens": "max_tokens",
    "max_new_tokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "stopSequences": "stop",
}


def from_converse(body: Body) -> Body:
    """Bedrock's Converse API: untyped blocks, `inferenceConfig`, `toolConfig`, `guardrailConfig`."""
    arguments = _picked(body.get("inferenceConfig") or {}, _INFERENCE_NAMES)
    system = [{"role": "system", "content": block["text"]} for block in body.get("system") or []]
    arguments["messages"] = system + [new for old in body["messages"] for new in _converse_message(old)]
    if body.get("toolConfig"):
        specs = [tool["toolSpec"] for tool in body["toolConfig"]["tools"]]
        arguments["tools"] = [_tool(spec["name"], spec["description"], spec["inputSchema"]["json"]) for spec in specs]
    arguments.update(_picked(body, {"guardrailConfig": "guardrailConfig"}))
    return arguments


def _converse_message(message: Message) -> list[Message]:
    blocks: list[Body] = message["content"]
    results = [
        {
            "role": "tool",
            "tool_call_id": block["toolResult"]["toolUseId"],
            "content": block["toolResult"]["content"][0]["text"],
        }
        for block in blocks
        if "toolResult" in block
    ]
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    calls = [_call(use["toolUseId"], use["name"], use["input"]) for use in uses]
    texts = [{"type": "text", "text": text} for text in map(_converse_text, blocks) if text is not None]
    if message["role"] == "assistant":
        return [_assistant(_plain(texts), calls)]
    return results + ([{"role": message["role"], "content": _plain(texts)}] if texts else [])


def _converse_text(block: Body) -> str | None:
    guarded: str | None = block.get("guardContent", {}).get("text", {}).get("text")
    return block.get("text", guarded)


# --- Gemini and Vertex --------------------------------------------------------------------------------------

_GEMINI_TYPES = {1: "string", 2: "number", 3: "integer", 4: "boolean", 5: "array", 6: "object"}
"""Vertex's own client sends the types of a schema as numbers of the protobuf enum."""

_GENERATION_NAMES = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
}


def from_gemini(body: Body) -> Body:
    """Gemini's generateContent: `contents` with parts, `systemInstruction`, `functionDeclarations`."""
    config = body.get("generationConfig") or {}
    arguments = _picked(config, _GENERATION_NAMES)
    system = "".join(part["text"] for part in (body.get("systemInstruction") or {"parts": []})["parts"])
    arguments["messages"] = [{"role": "system", "content": system}] if system else []
    for content in body["contents"]:
        arguments["messages"] += _gemini_message(content)
    if body.get("tools"):
        arguments["tools"] = [new for old in body["tools"] for new in _gemini_tools(old)]
    if config.get("responseSchema"):
        schema = {"name": "answer", "schema": _gemini_schema(config["responseSchema"])}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    if config.get("thinkingConfig"):
        arguments["thinking"] = {"type": "enabled", "budget_tokens": config["thinkingConfig"]["thinking_budget"]}
    return arguments


def _gemini_message(content: Body) -> list[Message]:
    parts: list[Body] = content["parts"]
    # Gemini has no ids: calls and answers are paired by their order.
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    answers = [part["functionResponse"] for part in parts if "functionResponse" in part]
    texts = [_gemini_part(part) for part in parts if "text" in part or "fileData" in part]
    if content["role"] == "model":
        made = [_call(f"call_{number}", call["name"], call["args"]) for number, call in enumerate(calls)]
        return [_assistant(_plain(texts), made)]
    results = [
        {
            "role": "tool",
            "tool_call_id": f"call_{number}",
            "name": answer["name"],
            "content": json.dumps(answer["response"]),
        }
        for number, answer in enumerate(answers)
    ]
    return results + ([{"role": content["role"], "content": _plain(texts)}] if texts else [])


def _gemini_part(part: Body) -> Body:
    if "text" in part:
        return {"type": "text", "text": part["text"]}
    file = part["fileData"]
    return {"type": "file", "file": {"file_id": file["fileUri"], "format": file["mimeType"]}}


def _gemini_tools(tool: Body) -> list[Body]:
    if "functionDeclarations" not in tool:
        return [tool]
    return [
        _tool(declared["name"], declared["description"], _gemini_schema(declared["parameters"]))
        for declared in tool["functionDeclarations"]
    ]


def _gemini_schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_gemini_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    new = {name: _gemini_schema(value) for name, value in schema.items() if name != "propertyOrdering"}
    if isinstance(schema.get("type"), (int, str)):
        new["type"] = _GEMINI_TYPES.get(schema["type"]) or str(schema["type"]).lower()
    return new


# --- Cohere and Ollama --------------------------------------------------------------------------------------


def from_cohere(body: Body) -> Body:
    """Cohere's v2 chat: already OpenAI's shapes."""
    return {name: value for name, value in body.items() if name != "model" and value is not None}


def from_ollama(body: Body) -> Body:
    """Ollama's chat: OpenAI's messages, with arguments as objects and without ids."""
    arguments = _picked(body, {"stream": "stream"})
    arguments["messages"] = [_ollama_message(message) for message in body["messages"]]
    return arguments


def _ollama_message(message: Message) -> Message:
    if message["role"] == "tool":
        return {**message, "tool_call_id": "call_0"}
    functions = [call["function"] for call in message.get("tool_calls") or []]
    if not functions:
        return message
    calls = [_call(f"call_{number}", made["name"], made["arguments"]) for number, made in enumerate(functions)]
    return _assistant(message["content"], calls)


# --- Bedrock's InvokeModel for models without messages ------------------------------------------------------

_PROMPT_NAMES = {
    "max_tokens": "max_tokens",
    "max_tokens_to_sample": "max_tokens",
    "maxTokenCount": "max_tokens",
    "max_gen_len": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "top_p": "top_p",
}


def from_prompt(body: Body) -> Body:
    """A bare prompt (Claude 2, Titan, Llama 2, imported models) as one user message."""
    flat = {**body, **body.get("textGenerationConfig", {})}
    prompt = flat.get("prompt") or flat["inputText"]
    return {**_picked(flat, _PROMPT_NAMES), "messages": [{"role": "user", "content": prompt}]}
