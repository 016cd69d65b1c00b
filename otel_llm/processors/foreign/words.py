"""Words of other instrumentations and of providers -> the conventions' words."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["finish_reason", "is_model_call", "parameters_in", "parsed", "provider_name", "role_name", "token_count"]

_PROVIDERS: Final = {
    "aws": "aws.bedrock",
    "aws_bedrock": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "az.ai.openai": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "gemini": "gcp.gemini",
    "google_ai": "gcp.gemini",
    "google": "gcp.gen_ai",
    "google_genai": "gcp.gen_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "google_vertexai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Lower-case name, `-` as `_` -> the well-known name; what is not listed is the vendor's own."""

_FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "complete": "stop",
    "finish": "stop",
    "eos": "stop",
    "done": "stop",
    "completed": "stop",
    "max_tokens": "length",
    "model_length": "length",
    "incomplete": "length",
    "tool_calls": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
    "safety": "content_filter",
    "guardrail_intervened": "content_filter",
    "refusal": "content_filter",
}
"""Providers' words in lower case -> the conventions'; other words stay as they are, in lower case."""

_ROLES: Final = {"model": "assistant", "ai": "assistant", "human": "user", "function": "tool"}
_UNKNOWN_ROLES: Final = frozenset({"", "unknown"})

_PARAMETERS: Final = {
    "temperature": semconv.REQUEST_TEMPERATURE,
    "top_p": semconv.REQUEST_TOP_P,
    "topP": semconv.REQUEST_TOP_P,
    "top_k": semconv.REQUEST_TOP_K,
    "topK": semconv.REQUEST_TOP_K,
    "max_tokens": semconv.REQUEST_MAX_TOKENS,
    "max_completion_tokens": semconv.REQUEST_MAX_TOKENS,
    "max_output_tokens": semconv.REQUEST_MAX_TOKENS,
    "maxTokens": semconv.REQUEST_MAX_TOKENS,
    "maxOutputTokens": semconv.REQUEST_MAX_TOKENS,
    "seed": semconv.REQUEST_SEED,
    "frequency_penalty": semconv.REQUEST_FREQUENCY_PENALTY,
    "presence_penalty": semconv.REQUEST_PRESENCE_PENALTY,
    "dimensions": semconv.EMBEDDINGS_DIMENSION_COUNT,
}
"""What providers call a parameter that is a number -> its attribute."""
_WHOLE: Final = frozenset(
    {
        semconv.REQUEST_TOP_K,
        semconv.REQUEST_MAX_TOKENS,
        semconv.REQUEST_SEED,
        semconv.EMBEDDINGS_DIMENSION_COUNT,
    }
)
_TEXTS: Final = {
    "service_tier": semconv.OPENAI_REQUEST_SERVICE_TIER,
    "previous_response_id": semconv.REQUEST_PREVIOUS_RESPONSE_ID,
    "reasoning_effort": semconv.REQUEST_REASONING_LEVEL,
}
_STOPS: Final = ("stop", "stop_sequences", "stopSequences")
_OUTPUT_TYPES: Final = {"json_schema": "json", "json_object": "json", "json": "json", "text": "text"}
_MOST_JSON_READ: Final = 4 * 1024 * 1024
"""Characters of JSON that are parsed at most: it happens on the program's thread."""


def is_model_call(attributes: Mapping[str, Any]) -> bool:
    """Whether a span is a call to a model; a retrieval that names none is the program's own work."""
    operation = attributes.get(semconv.OPERATION_NAME)
    if operation == semconv.OP_RETRIEVAL:
        return semconv.REQUEST_MODEL in attributes or semconv.RESPONSE_MODEL in attributes
    return operation in semconv.LLM_OPERATIONS


def provider_name(name: str) -> str:
    """The conventions' well-known name of a provider."""
    key = name.strip().lower()
    return _PROVIDERS.get(key.replace("-", "_"), key)


def finish_reason(word: object) -> str | None:
    """The conventions' word for why a model stopped; None where nothing was said."""
    if not isinstance(word, str):
        return None
    plain = word.rpartition("FinishReason.")[2].strip().lower()
    return _FINISH_REASONS.get(plain, plain) or None


def role_name(word: object, default: str) -> str:
    """The conventions' word for whose a message is."""
    plain = word.strip().lower() if isinstance(word, str) else ""
    return default if plain in _UNKNOWN_ROLES else _ROLES.get(plain, plain)


def token_count(value: object) -> int | None:
    """A number of tokens; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return None
    return int(value)


def parsed(value: object) -> Any:
    """What a JSON text of an object or a list says; any other value itself; None where it cannot be read."""
    if not isinstance(value, str):
        return value
    if len(value) > _MOST_JSON_READ or value.lstrip()[:1] not in {"{", "["}:
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def parameters_in(request: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The conventions' attributes for what a request asks for, as far as it carries it."""
    for name, attribute in _PARAMETERS.items():
        value = request.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield attribute, int(value) if attribute in _WHOLE else float(value)
    for name, attribute in _TEXTS.items():
        if isinstance(request.get(name), str) and request[name]:
            yield attribute, request[name]
    yield from _composed(request)


def _composed(request: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    stop = next((request[name] for name in _STOPS if request.get(name)), None)
    if isinstance(stop, (str, list)):
        yield semconv.REQUEST_STOP_SEQUENCES, [stop] if isinstance(stop, str) else [str(one) for one in stop]
    choices = request.get("n")
    if isinstance(choices, int) and choices != 1:
        yield semconv.REQUEST_CHOICE_COUNT, choices
    if request.get("stream") is True:
        yield semconv.REQUEST_STREAM, True
    effort = request.get("reasoning")
    if isinstance(effort, dict) and isinstance(effort.get("effort"), str):
        yield semconv.REQUEST_REASONING_LEVEL, effort["effort"]
    if isinstance(request.get("encoding_format"), str):
        yield semconv.REQUEST_ENCODING_FORMATS, [request["encoding_format"]]
    output = _output_type(request)
    if output is not None:
        yield semconv.OUTPUT_TYPE, output


def _output_type(request: Mapping[str, Any]) -> str | None:
    text, config = request.get("text"), request.get("output_config")
    asked = (
        request.get("response_format")
        or request.get("output_format")
        or (text.get("format") if isinstance(text, dict) else None)
        or (config.get("format") if isinstance(config, dict) else None)
    )
    if isinstance(asked, dict):
        return _OUTPUT_TYPES.get(str(asked.get("type")))
    if request.get("response_schema") or request.get("response_mime_type") == "application/json":
        return "json"
    return None
