"""Which of Opik's four span types a span is, which model it called, and whether it is billed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm import semconv

if TYPE_CHECKING:
    from otel_llm.backends.opik.values import Attributes

__all__ = ["CONSULTED", "GENERAL", "GUARDRAIL", "LLM", "TOOL", "model_of", "type_of"]

LLM: Final = "llm"
TOOL: Final = "tool"
GENERAL: Final = "general"
GUARDRAIL: Final = "guardrail"
_TYPES: Final = frozenset({LLM, TOOL, GENERAL, GUARDRAIL})


class _Names(NamedTuple):
    """An attribute that names a kind of work, and the span type for each of its (lower-case) values."""

    attribute: str
    types: dict[str, str]
    otherwise: str | None
    """Type for a value that the table lacks; None leaves it to the next attribute."""


_BY_NAME: Final = (
    _Names(
        semconv.OPERATION_NAME,
        {
            **dict.fromkeys(semconv.LLM_OPERATIONS - {semconv.OP_RETRIEVAL}, LLM),
            "fetch_response": LLM,
            semconv.OP_EXECUTE_TOOL: TOOL,
            semconv.OP_INVOKE_AGENT: GENERAL,
            semconv.OP_INVOKE_WORKFLOW: GENERAL,
            semconv.OP_REALTIME: GENERAL,
            "create_agent": GENERAL,
            "plan": GENERAL,
            "search_memory": TOOL,
            "create_memory": TOOL,
            "update_memory": TOOL,
            "upsert_memory": TOOL,
            "delete_memory": TOOL,
            "guardrail": GUARDRAIL,
            "apply_guardrail": GUARDRAIL,
        },
        None,
    ),
    _Names(
        semconv.OI_SPAN_KIND,
        {
            "llm": LLM,
            "embedding": LLM,
            "reranker": LLM,
            "tool": TOOL,
            "retriever": TOOL,
            "guardrail": GUARDRAIL,
        },
        GENERAL,
    ),
    _Names(semconv.TRACELOOP_SPAN_KIND, {"tool": TOOL}, GENERAL),
    _Names(semconv.TRACELOOP_REQUEST_TYPE, {}, LLM),
    _Names(
        semconv.VERCEL_OPERATION,
        {
            "ai.generatetext.dogenerate": LLM,
            "ai.streamtext.dostream": LLM,
            "ai.generateobject.dogenerate": LLM,
            "ai.streamobject.dostream": LLM,
            "ai.embed.doembed": LLM,
            "ai.embedmany.doembed": LLM,
            "ai.toolcall": TOOL,
        },
        GENERAL,
    ),
)
"""Asked in this order; the first attribute that gives a type decides."""

_MODEL_ATTRIBUTES: Final = (
    semconv.RESPONSE_MODEL,
    semconv.REQUEST_MODEL,
    semconv.OI_MODEL,
    semconv.OI_EMBEDDING_MODEL,
    semconv.OI_RERANKER_MODEL,
    semconv.VERCEL_RESPONSE_MODEL,
    semconv.VERCEL_MODEL,
)

CONSULTED: Final = frozenset(
    {semconv.OPIK_SPAN_TYPE, semconv.TOOL_NAME, *(names.attribute for names in _BY_NAME), *_MODEL_ATTRIBUTES}
)
"""All attributes that can make a span anything but `general`, or name its model."""


def type_of(attributes: Attributes) -> str:
    """`llm`, `tool`, `guardrail` or `general`."""
    if attributes.keys().isdisjoint(CONSULTED):
        return GENERAL
    said = attributes.get(semconv.OPIK_SPAN_TYPE)
    if isinstance(said, str) and said in _TYPES:
        return said
    if attributes.get(semconv.OPERATION_NAME) == semconv.OP_RETRIEVAL:
        return LLM if model_of(attributes) else TOOL
    for names in _BY_NAME:
        value = attributes.get(names.attribute)
        if isinstance(value, str) and value:
            found = names.types.get(value.lower(), names.otherwise)
            if found is not None:
                return found
    return _by_evidence(attributes)


def model_of(attributes: Attributes) -> str | None:
    """The model that answered, else the one that was asked for; None where neither is named."""
    for name in _MODEL_ATTRIBUTES:
        value = attributes.get(name)
        if isinstance(value, str) and value:
            return value
    return None


def _by_evidence(attributes: Attributes) -> str:
    """Spans that name no operation: a tool's name makes a tool, a model makes a model call."""
    if semconv.TOOL_NAME in attributes:
        return TOOL
    return LLM if model_of(attributes) else GENERAL
