"""OpenLLMetry's vocabulary (`traceloop.*`, `llm.usage.*`) and the first generation of the conventions -> ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from otel_llm import semconv
from otel_llm.indexed import indexed_list
from otel_llm.processors.foreign.messages import messages_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import Event

    from otel_llm.processors.draft import SpanDraft

__all__ = ["from_openllmetry"]

_Json = dict[str, Any]

_REQUEST_TYPES: Final = {
    "chat": semconv.OP_CHAT,
    "completion": semconv.OP_TEXT_COMPLETION,
    "embedding": semconv.OP_EMBEDDINGS,
    "rerank": semconv.OP_RETRIEVAL,
}
_KINDS: Final = {
    "tool": (semconv.OP_EXECUTE_TOOL, semconv.TOOL_NAME),
    "agent": (semconv.OP_INVOKE_AGENT, semconv.AGENT_NAME),
    "workflow": (semconv.OP_INVOKE_WORKFLOW, semconv.WORKFLOW_NAME),
}
"""`traceloop.span.kind` -> operation, and the attribute that names what was run."""
_RENAMED: Final = {
    semconv.TRACELOOP_SESSION: semconv.SESSION_ID,
    semconv.TRACELOOP_USER: semconv.USER_ID,
    semconv.TRACELOOP_REASONING_LEVEL: semconv.REQUEST_REASONING_LEVEL,
    semconv.TRACELOOP_FINGERPRINT: semconv.OPENAI_SYSTEM_FINGERPRINT,
}
_FLATTENED: Final = (f"{semconv.GEN_A_PROMPT}.", f"{semconv.GEN_A_COMPLETION}.")


def from_openllmetry(draft: SpanDraft, *, wants_content: bool) -> None:
    """Translate one span, in place."""
    attributes = draft.attributes
    for theirs, ours in _RENAMED.items():
        if theirs in attributes:
            attributes.setdefault(ours, attributes.pop(theirs))
    operation = _REQUEST_TYPES.get(str(attributes.pop(semconv.TRACELOOP_REQUEST_TYPE, "")))
    if operation is not None:
        attributes.setdefault(semconv.OPERATION_NAME, operation)
    _of_kind(attributes)
    said = {attributes.pop(name, None) for name in semconv.TRACELOOP_STREAMING}
    if True in said:
        attributes.setdefault(semconv.REQUEST_STREAM, True)
    _put_server(attributes)
    if wants_content:
        _put_messages(attributes, draft.events)
    for name in [key for key in attributes if _is_flattened(key)]:
        del attributes[name]


def _of_kind(attributes: _Json) -> None:
    found = _KINDS.get(str(attributes.get(semconv.TRACELOOP_SPAN_KIND, "")))
    if found is None:
        return
    operation, name = found
    attributes.setdefault(semconv.OPERATION_NAME, operation)
    if isinstance(attributes.get(semconv.TRACELOOP_ENTITY), str):
        attributes.setdefault(name, attributes[semconv.TRACELOOP_ENTITY])


def _put_server(attributes: _Json) -> None:
    base = attributes.get(semconv.TRACELOOP_API_BASE)
    if not isinstance(base, str) or semconv.SERVER_ADDRESS in attributes:
        return
    try:
        parts = urlsplit(base)
        host, port = parts.hostname, parts.port
    except ValueError:
        return
    if host:
        del attributes[semconv.TRACELOOP_API_BASE]
        attributes[semconv.SERVER_ADDRESS] = host
        attributes[semconv.SERVER_PORT] = port or (80 if parts.scheme == "http" else 443)


def _put_messages(attributes: _Json, events: Sequence[Event]) -> None:
    given = messages_from(indexed_list(attributes, semconv.GEN_A_PROMPT), "user") or _of_events(events)
    answered = messages_from(indexed_list(attributes, semconv.GEN_A_COMPLETION), "assistant") or _choices(events)
    for name, value in ((semconv.INPUT_MESSAGES, given), (semconv.OUTPUT_MESSAGES, answered)):
        if value:
            attributes.setdefault(name, json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _of_events(events: Sequence[Event]) -> list[_Json]:
    """The first generation: an event for each message of the prompt."""
    raw = [
        {"role": semconv.GEN_A_MESSAGE_EVENTS[event.name], **dict(event.attributes or {})}
        for event in events
        if event.name in semconv.GEN_A_MESSAGE_EVENTS
    ]
    return messages_from(raw, "user")


def _choices(events: Sequence[Event]) -> list[_Json]:
    raw = [dict(event.attributes or {}) for event in events if event.name == semconv.GEN_A_CHOICE_EVENT]
    return messages_from(raw, "assistant")


def _is_flattened(key: str) -> bool:
    """`gen_ai.prompt.0.role` is part of a message; `gen_ai.prompt.name` is the name of a template."""
    return key.startswith(_FLATTENED) and key.split(".")[2].isdigit()
