"""What a span says, in the oracle's words, so that the two can be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from otel_llm import semconv
from tests.recordings.facts import Answer, Asking, Message, ToolCall, Usage

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["answer_in", "asking_in", "server_in"]

_PARAMETERS = {
    "temperature": semconv.REQUEST_TEMPERATURE,
    "top_p": semconv.REQUEST_TOP_P,
    "top_k": semconv.REQUEST_TOP_K,
    "max_tokens": semconv.REQUEST_MAX_TOKENS,
    "stop": semconv.REQUEST_STOP_SEQUENCES,
    "n": semconv.REQUEST_CHOICE_COUNT,
    "reasoning": semconv.REQUEST_REASONING_LEVEL,
    "dimensions": semconv.EMBEDDINGS_DIMENSION_COUNT,
    "output_type": semconv.OUTPUT_TYPE,
}
"""The oracle's word -> the attribute."""


def _content_of(span: ReadableSpan, key: str) -> Any:
    """A content attribute as JSON; an empty list where the span has none."""
    value = _attributes(span).get(key)
    return [] if value is None else json.loads(value)


def asking_in(span: ReadableSpan) -> Asking:
    """What the span says was asked."""
    said = _attributes(span)
    instructions = [part["content"] for part in _content_of(span, semconv.SYSTEM_INSTRUCTIONS)]
    system = [Message("system", "".join(instructions))] if instructions else []
    return Asking(
        provider=said.get(semconv.PROVIDER_NAME, ""),
        model=said.get(semconv.REQUEST_MODEL, ""),
        operation=said.get(semconv.OPERATION_NAME, ""),
        stream=said.get(semconv.REQUEST_STREAM, False),
        parameters={name: _plain(said[key]) for name, key in _PARAMETERS.items() if key in said},
        messages=tuple(system + [_message(raw) for raw in _content_of(span, semconv.INPUT_MESSAGES)]),
        tools=tuple(tool.get("name") for tool in _content_of(span, semconv.TOOL_DEFINITIONS)),
    )


def server_in(span: ReadableSpan) -> tuple[str | None, int | None]:
    """Address and port that the span says were asked."""
    said = _attributes(span)
    return said.get(semconv.SERVER_ADDRESS), said.get(semconv.SERVER_PORT)


def answer_in(span: ReadableSpan) -> Answer:
    """What the span says was answered."""
    said = _attributes(span)
    return Answer(
        model=said.get(semconv.RESPONSE_MODEL),
        id=said.get(semconv.RESPONSE_ID),
        finish_reasons=tuple(said.get(semconv.FINISH_REASONS, ())),
        usage=Usage(
            input=said.get(semconv.USAGE_INPUT),
            output=said.get(semconv.USAGE_OUTPUT),
            cache_read=said.get(semconv.USAGE_CACHE_READ),
            cache_write=said.get(semconv.USAGE_CACHE_WRITE),
            reasoning=said.get(semconv.USAGE_REASONING),
            audio_input=said.get(semconv.USAGE_AUDIO_INPUT),
            audio_output=said.get(semconv.USAGE_AUDIO_OUTPUT),
        ),
        messages=tuple(_message(raw) for raw in _content_of(span, semconv.OUTPUT_MESSAGES)),
        error_status=said.get(semconv.HTTP_STATUS_CODE) if semconv.ERROR_TYPE in said else None,
    )


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def _plain(value: Any) -> Any:
    """Lists where OpenTelemetry gives tuples."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _message(raw: dict[str, Any]) -> Message:
    parts = raw["parts"]

    def of(kind: str) -> list[dict[str, Any]]:
        return [part for part in parts if part["type"] == kind]

    return Message(
        role=raw["role"],
        text="".join(part["content"] for part in of("text")),
        reasoning="".join(part["content"] for part in of("reasoning")),
        calls=tuple(ToolCall(part["name"], part.get("arguments"), part.get("id")) for part in of("tool_call")),
        results=tuple((part.get("id"), _as_text(part["response"])) for part in of("tool_call_response")),
        media=tuple(part["modality"] for kind in ("blob", "uri", "file") for part in of(kind)),
    )


def _as_text(response: Any) -> str:
    """A tool's result as text: as it is, the text of its parts, or its JSON."""
    if isinstance(response, str):
        return response
    if isinstance(response, list):
        return "".join(part.get("text", part.get("content", "")) for part in response)
    return json.dumps(response)
