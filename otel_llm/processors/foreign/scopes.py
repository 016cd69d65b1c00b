"""Whose spans are about calls to models, besides our own."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import get_current_span

from otel_llm import semconv
from otel_llm.processors.overlap import BUILT_IN_SCOPES, CLIENT_SCOPES, is_llm_scope

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["begins_call", "in_foreign_call", "is_client_scope", "is_foreign_call", "is_foreign_scope"]

_FRAMEWORKS: Final = frozenset(
    {
        *(
            f"opentelemetry.instrumentation.{name}"
            for name in ("agno", "crewai", "haystack", "langchain", "llamaindex", "openai_agents")
        ),
        "pydantic-ai",
        semconv.ADK_SCOPE,
    }
)
"""Scopes of frameworks that are not of a family whose scopes all begin alike."""
_CLIENT_ENDINGS: Final = (
    "anthropic",
    "bedrock",
    "cohere",
    "google_genai",
    "groq",
    "mistralai",
    "ollama",
    "openai",
    "together",
    "vertexai",
)
"""Last words of the scopes of client libraries in OpenInference's and OpenTelemetry's families."""
_MOST_SCOPES: Final = 512


@lru_cache(maxsize=_MOST_SCOPES)
def is_foreign_scope(name: str) -> bool:
    """Whether spans of this instrumentation scope are somebody else's record of work with models."""
    return name != semconv.OWN_SCOPE and (is_llm_scope(name) or name in _FRAMEWORKS or name in BUILT_IN_SCOPES)


@lru_cache(maxsize=_MOST_SCOPES)
def is_client_scope(name: str) -> bool:
    """Whether it records a client library: its calls to models are the real ones, with nothing of the kind inside."""
    if name in CLIENT_SCOPES or name in BUILT_IN_SCOPES:
        return True
    return is_foreign_scope(name) and name.rpartition(".")[2] in _CLIENT_ENDINGS


def begins_call(scope: str, attributes: Mapping[str, Any]) -> bool:
    """Whether a span of this scope is known, when it begins, to be a call of a client library (or of ours)."""
    operation = attributes.get(semconv.OPERATION_NAME)
    if operation is not None:
        return operation in semconv.LLM_OPERATIONS and (scope == semconv.OWN_SCOPE or is_client_scope(scope))
    return is_client_scope(scope)


def is_foreign_call(span: ReadableSpan) -> bool:
    """Whether an open span is somebody else's record of a call to a model, of a framework's or a client's."""
    scope, attributes = span.instrumentation_scope, span.attributes or {}
    if scope is None or scope.name in BUILT_IN_SCOPES or not is_foreign_scope(scope.name):
        return False
    return begins_call(scope.name, attributes) or attributes.get(semconv.OPERATION_NAME) in semconv.LLM_OPERATIONS


def in_foreign_call() -> bool:
    """Whether a call is under way here that somebody else records."""
    current: object = get_current_span()
    return isinstance(current, ReadableSpan) and is_foreign_call(current)
