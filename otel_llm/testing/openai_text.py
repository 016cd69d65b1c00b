"""OpenAI's formats for text: chat completions, completions and responses, whole and streamed.

Written from the public API reference (platform.openai.com/docs/api-reference).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_llm.testing.generation import Event, Generation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otel_llm.testing.script import Usage

__all__ = [
    "chat_body",
    "chat_events",
    "completion_body",
    "completion_events",
    "response_body",
    "response_events",
]

_DONE = Event("[DONE]")


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0},
    }


def _wants_usage(request: Mapping[str, Any]) -> bool:
    return bool((request.get("stream_options") or {}).get("include_usage"))


# --- chat completions ------------------------------------------------------------------------------------


def _chat_frame(generation: Generation, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-fake-{generation.serial}",
        "object": kind,
        "created": generation.created,
        "model": generation.model,
        "system_fingerprint": "fp_fake",
    }


def chat_body(generation: Generation) -> dict[str, Any]:
    """The answer to `POST /v1/chat/completions`."""
    message: dict[str, Any] = {"role": "assistant", "content": generation.text or None, "refusal": None}
    if generation.thinking:
        message["reasoning_content"] = generation.thinking
    if generation.tool_calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in generation.tool_calls
        ]
    choices = [
        {"index": index, "message": message, "finish_reason": generation.finish_reason, "logprobs": None}
        for index in range(generation.choices)
    ]
    return {**_chat_frame(generation, "chat.completion"), "choices": choices, "usage": _usage(generation.usage)}


def chat_events(request: Mapping[str, Any], generation: Generation) -> Iterator[Event]:
    """The stream of `POST /v1/chat/completions`: a chunk with the role only, content, the finish, the usage.

    As at the real one, usage comes only if `stream_options.include_usage` asked for it, in a chunk of its own
    without choices, and then every other chunk carries `"usage": null`.
    """
    frame = _chat_frame(generation, "chat.completion.chunk")
    if _wants_usage(request):
        frame["usage"] = None

    def chunk(index: int, delta: dict[str, Any], *, content: bool = False, finish: str | None = None) -> Event:
        choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
        return Event({**frame, "choices": [choice]}, content=content)

    everyone = range(generation.choices)
    for index in everyone:
        yield chunk(index, {"role": "assistant", "content": "", "refusal": None})
    for delta in _chat_deltas(generation):
        for index in everyone:
            yield chunk(index, delta, content=True)
    for index in everyone:
        yield chunk(index, {}, finish=generation.finish_reason)
    if _wants_usage(request):
        yield Event({**frame, "choices": [], "usage": _usage(generation.usage)}, usage=True)
    yield _DONE


def _chat_deltas(generation: Generation) -> Iterator[dict[str, Any]]:
    if generation.thinking:
        yield {"reasoning_content": generation.thinking}
    for piece in generation.chunks:
        yield {"content": piece}
    for position, call in enumerate(generation.tool_calls):
        named = {"index": position, "id": call.id, "type": "function"}
        yield {"tool_calls": [{**named, "function": {"name": call.name, "arguments": ""}}]}
        for half in _halves(str(call.arguments)):
            yield {"tool_calls": [{"index": position, "function": {"arguments": half}}]}


def _halves(text: str) -> tuple[str, ...]:
    """`text` in two pieces, as clients must put a tool's arguments together again."""
    middle = len(text) // 2
    return tuple(piece for piece in (text[:middle], text[middle:]) if piece)


# --- completions -----------------------------------------------------------------------------------------


def _completion_frame(generation: Generation) -> dict[str, Any]:
    return {
        "id": f"cmpl-fake-{generation.serial}",
        "object": "text_completion",
        "created": generation.created,
        "model": generation.model,
    }


def completion_body(generation: Generation) -> dict[str, Any]:
    """The answer to `POST /v1/completions`."""
    choices = [
        {"index": index, "text": generation.text, "finish_reason": generation.finish_reason, "logprobs": None}
        for index in range(generation.choices)
    ]
    return {**_completion_frame(generation), "choices": choices, "usage": _usage(generation.usage)}


def completion_events(request: Mapping[str, Any], generation: Generation) -> Iterator[Event]:
    """The stream of `POST /v1/completions`; usage as in `chat_events`."""
    frame = _completion_frame(generation)

    def chunk(index: int, text: str, finish: str | None) -> Event:
        choice = {"index": index, "text": text, "finish_reason": finish, "logprobs": None}
        return Event({**frame, "choices": [choice]}, content=bool(text))

    for piece in generation.chunks:
        for index in range(generation.choices):
            yield chunk(index, piece, None)
    for index in range(generation.choices):
        yield chunk(index, "", generation.finish_reason)
    if _wants_usage(request):
        yield Event({**frame, "choices": [], "usage": _usage(generation.usage)}, usage=True)
    yield _DONE


# --- responses -------------------------------------------------------------------------------------------


def response_body(request: Mapping[str, Any], generation: Generation, *, done: bool = True) -> dict[str, Any]:
    """The answer to `POST /v1/responses`; with `done=False` as it looks when its stream begins."""
    return {
        "id": f"resp_fake_{generation.serial}",
        "object": "response",
        "created_at": generation.created,
        "status": "completed" if done else "in_progress",
        "model": generation.model,
        "output": _response_items(generation) if done else [],
        "usage": _response_usage(generation.usage) if done else None,
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "metadata": request.get("metadata") or {},
        "parallel_tool_calls": True,
        "previous_response_id": request.get("previous_response_id"),
        "store": bool(request.get("store", True)),
        "temperature": request.get("temperature", 1.0),
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice") or "auto",
        "tools": request.get("tools") or [],
        "top_p": request.get("top_p", 1.0),
        "truncation": "disabled",
    }


def _response_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _response_items(generation: Generation) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if generation.thinking:
        summary = [{"type": "summary_text", "text": generation.thinking}]
        items.append({"id": f"rs_fake_{generation.serial}", "type": "reasoning", "summary": summary})
    if generation.chunks:
        items.append(
            {
                "id": f"msg_fake_{generation.serial}",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [_text_part(generation.text)],
            }
        )
    items.extend(
        {
            "id": f"fc_{call.id}",
            "type": "function_call",
            "status": "completed",
            "call_id": call.id,
            "name": call.name,
            "arguments": call.arguments,
        }
        for call in generation.tool_calls
    )
    return items


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def response_events(request: Mapping[str, Any], generation: Generation) -> Iterator[Event]:
    """The stream of `POST /v1/responses`; the usage is in its last event, always."""
    begun, done = response_body(request, generation, done=False), response_body(request, generation)
    frames: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
    ]
    for index, item in enumerate(done["output"]):
        frames += _item_frames(index, item, generation)
    frames.append({"type": "response.completed", "response": done})
    for number, frame in enumerate(frames):
        kind = frame["type"]
        yield Event(
            {**frame, "sequence_number": number},
            name=kind,
            content=kind.endswith(".delta"),
            usage=kind == "response.completed",
        )


def _item_frames(index: int, item: dict[str, Any], generation: Generation) -> Iterator[dict[str, Any]]:
    at = {"output_index": index, "item_id": item["id"]}
    opened = {**item, "status": "in_progress"}
    if item["type"] == "message":
        opened["content"] = []
    elif item["type"] == "function_call":
        opened["arguments"] = ""
    yield {"type": "response.output_item.added", "output_index": index, "item": opened}
    if item["type"] == "message":
        yield from _text_frames({**at, "content_index": 0}, generation)
    elif item["type"] == "function_call":
        for half in _halves(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", **at, "delta": half}
        yield {"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"]}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _text_frames(at: dict[str, Any], generation: Generation) -> Iterator[dict[str, Any]]:
    yield {"type": "response.content_part.added", **at, "part": _text_part("")}
    for piece in generation.chunks:
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": generation.text, "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": _text_part(generation.text)}
