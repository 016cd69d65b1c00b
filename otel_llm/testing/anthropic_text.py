"""Anthropic's format for text: messages, whole and streamed.

Written from the public API reference (docs.anthropic.com/en/api/messages and .../messages-streaming).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from otel_llm.testing.generation import Event, Generation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.testing.script import ToolCall, Usage

__all__ = ["message_body", "message_events"]

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_SIGNATURE = "ZmFrZSBzaWduYXR1cmU="


def _usage(usage: Usage) -> dict[str, Any]:
    """Anthropic counts the prompt in three parts that do not overlap."""
    return {
        "input_tokens": max(0, usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens),
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "output_tokens": usage.output_tokens,
    }


def _frame(generation: Generation) -> dict[str, Any]:
    return {
        "id": f"msg_fake_{generation.serial}",
        "type": "message",
        "role": "assistant",
        "model": generation.model,
        "stop_sequence": None,
    }


def message_body(generation: Generation) -> dict[str, Any]:
    """The answer to `POST /v1/messages`."""
    return {
        **_frame(generation),
        "content": [block for block, _ in _blocks(generation)],
        "stop_reason": _STOP_REASONS.get(generation.finish_reason, generation.finish_reason),
        "usage": _usage(generation.usage),
    }


def _blocks(generation: Generation) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each content block as a whole, and the deltas that a stream makes it of."""
    if generation.thinking:
        yield (
            {"type": "thinking", "thinking": generation.thinking, "signature": _SIGNATURE},
            [
                {"type": "thinking_delta", "thinking": generation.thinking},
                {"type": "signature_delta", "signature": _SIGNATURE},
            ],
        )
    if generation.chunks:
        yield (
            {"type": "text", "text": generation.text},
            [{"type": "text_delta", "text": piece} for piece in generation.chunks],
        )
    for call in generation.tool_calls:
        yield (
            {"type": "tool_use", "id": call.id, "name": call.name, "input": _parsed(call)},
            [{"type": "input_json_delta", "partial_json": str(call.arguments)}],
        )


def _parsed(call: ToolCall) -> Any:
    """A tool's input as an object, which this format cannot do without; broken JSON becomes a string in one."""
    try:
        return json.loads(str(call.arguments))
    except ValueError:
        return {"unparsable": call.arguments}


_OPENED: dict[str, dict[str, Any]] = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}


def message_events(generation: Generation) -> Iterator[Event]:
    """The stream of `POST /v1/messages`: input tokens in its first event, output tokens in the last but one."""
    begun = {**_frame(generation), "content": [], "stop_reason": None}
    yield _event("message_start", message={**begun, "usage": {**_usage(generation.usage), "output_tokens": 1}})
    for index, (block, deltas) in enumerate(_blocks(generation)):
        yield _event("content_block_start", index=index, content_block={**block, **_OPENED[block["type"]]})
        if index == 0:
            yield _event("ping")
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    stop = _STOP_REASONS.get(generation.finish_reason, generation.finish_reason)
    yield _event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage=_usage(generation.usage))
    yield _event("message_stop")


def _event(kind: str, **fields: Any) -> Event:
    return Event(
        {"type": kind, **fields},
        name=kind,
        content=kind == "content_block_delta",
        usage=kind == "message_delta",
    )
