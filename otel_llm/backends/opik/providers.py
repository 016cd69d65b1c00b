"""Provider names as Opik's price table knows them.

Opik looks a price up by (model, provider) and prices nothing under a name it does not know, so
`azure.ai.openai` must become `azure`. A name that the table lacks is sent as it is, in lower case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otel_llm import semconv

if TYPE_CHECKING:
    from otel_llm.backends.opik.values import Attributes

__all__ = ["CANONICAL", "CONSULTED", "UNCACHED_INPUT", "provider_of"]

_AMBIGUOUS_GOOGLE: Final = "google"
_CLAUDE_ON_VERTEX: Final = "anthropic_vertexai"
_VERTEX_HOST: Final = "aiplatform.googleapis.com"

CANONICAL: Final[dict[str, str]] = {
    "openai": "openai",
    "open_ai": "openai",
    "text-completion-openai": "openai",
    "azure": "azure",
    "azure_openai": "azure",
    "azure.ai.openai": "azure",
    "az.ai.openai": "azure",
    "azure-openai": "azure",
    "microsoft": "azure",
    "anthropic": "anthropic",
    "anthropic_vertexai": _CLAUDE_ON_VERTEX,
    "vertex_ai-anthropic_models": _CLAUDE_ON_VERTEX,
    "google.vertex.anthropic": _CLAUDE_ON_VERTEX,
    "aws": "bedrock",
    "aws.bedrock": "bedrock",
    "amazon_bedrock": "bedrock",
    "amazon-bedrock": "bedrock",
    "bedrock": "bedrock",
    "bedrock_converse": "bedrock",
    "gcp.gemini": "google_ai",
    "gemini": "google_ai",
    "google_ai": "google_ai",
    "google_genai": "google_ai",
    "google_ai_gemini": "google_ai",
    "google.generative-ai": "google_ai",
    "gcp.vertex_ai": "google_vertexai",
    "google_vertexai": "google_vertexai",
    "google-vertex": "google_vertexai",
    "google.vertex": "google_vertexai",
    "vertex_ai": "google_vertexai",
    "vertex_ai_beta": "google_vertexai",
    "vertex-ai": "google_vertexai",
    "vertexai": "google_vertexai",
    "gcp.gen_ai": _AMBIGUOUS_GOOGLE,
    "google": _AMBIGUOUS_GOOGLE,
    "mistral": "mistral",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "xai": "xai",
    "x_ai": "xai",
    "moonshot": "moonshot",
    "moonshot_ai": "moonshot",
    "groq": "groq",
    "jina": "jina_ai",
    "jina_ai": "jina_ai",
    "ibm.watsonx.ai": "watsonx",
    "cohere_chat": "cohere",
}
"""Lower-case name as instrumentations write it -> the name Opik prices under."""

UNCACHED_INPUT: Final = {
    "anthropic": "original_usage.input_tokens",
    _CLAUDE_ON_VERTEX: "original_usage.input_tokens",
    "bedrock": "original_usage.inputTokens",
}
"""Providers whose cached tokens Opik bills besides the input -> the key of the input without them."""

_PROVIDER_ATTRIBUTES: Final = (
    semconv.PROVIDER_NAME,
    semconv.GEN_A_PROVIDER,
    semconv.OI_PROVIDER,
    semconv.OI_SYSTEM,
)
CONSULTED: Final = frozenset({*_PROVIDER_ATTRIBUTES, semconv.VERCEL_PROVIDER, semconv.SERVER_ADDRESS})
"""All attributes that `provider_of` asks."""


def provider_of(attributes: Attributes, model: str | None) -> str | None:
    """The provider under Opik's name; None where the span names none."""
    for name in _PROVIDER_ATTRIBUTES:
        value = attributes.get(name)
        if isinstance(value, str) and value.strip():
            return _canonical(value.strip().lower(), attributes, model)
    value = attributes.get(semconv.VERCEL_PROVIDER)
    if isinstance(value, str) and value.strip():
        return _from_vercel(value.strip().lower(), attributes, model)
    return None


def _canonical(name: str, attributes: Attributes, model: str | None) -> str:
    provider = CANONICAL.get(name, name)
    if provider == _AMBIGUOUS_GOOGLE:
        address = str(attributes.get(semconv.SERVER_ADDRESS, ""))
        provider = "google_vertexai" if _VERTEX_HOST in address else "google_ai"
    if provider == "google_vertexai" and model is not None and "claude" in model.lower():
        return _CLAUDE_ON_VERTEX
    return provider


def _from_vercel(name: str, attributes: Attributes, model: str | None) -> str:
    """Vercel's names carry the kind of endpoint behind the provider: `openai.chat`, `google.vertex.chat`."""
    while name not in CANONICAL and "." in name:
        name = name.rpartition(".")[0]
    return _canonical(name, attributes, model)
