"""Which instrumentations there are for each client library, the best kept first.

OpenTelemetry's own write the newest names, silence each other where they nest and are kept beside the conventions;
OpenInference follows new versions of the libraries fastest; OpenLLMetry comes after them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CLIENTS", "Client", "Family", "Upstream"]


class Family(Enum):
    """Who keeps an instrumentation; each family has one way to say whether content is wanted."""

    OPENTELEMETRY = "OpenTelemetry"
    OPENINFERENCE = "OpenInference"
    OPENLLMETRY = "OpenLLMetry"
    BUILT_IN = "built in"


@dataclass(frozen=True, slots=True)
class Upstream:
    """One instrumentation of one library."""

    family: Family
    distribution: str
    """The package that holds it, as pip knows it."""
    module: str
    instrumentor: str
    """Name of the class in `module`."""
    needs: str = ""
    """Versions of the library that it is for, where its package does not say."""
    silences: str = ""
    """Variable that stops the library from recording itself, where both would count and nothing tells it."""


@dataclass(frozen=True, slots=True)
class Client:
    """One library that `instrument` may name."""

    name: str
    distributions: tuple[str, ...]
    """Packages of the library; the first is what pip installs."""
    module: str
    """The module whose import turns recording on: the last that the library needs before it can call a model."""
    upstreams: tuple[Upstream, ...]


def _otel(client: str, instrumentor: str, distribution: str | None = None, module: str | None = None) -> Upstream:
    module = module or f"genai.{client.replace('-', '_')}"
    return Upstream(
        Family.OPENTELEMETRY,
        f"opentelemetry-instrumentation-{distribution or f'genai-{client}'}",
        f"opentelemetry.instrumentation.{module}",
        instrumentor,
    )


def _openinference(client: str, instrumentor: str) -> Upstream:
    return Upstream(
        Family.OPENINFERENCE,
        f"openinference-instrumentation-{client}",
        f"openinference.instrumentation.{client.replace('-', '_')}",
        instrumentor,
    )


def _openllmetry(client: str, instrumentor: str, silences: str = "") -> Upstream:
    return Upstream(
        Family.OPENLLMETRY,
        f"opentelemetry-instrumentation-{client}",
        f"opentelemetry.instrumentation.{client.replace('-', '_')}",
        instrumentor,
        silences=silences,
    )


_BUILTIN: Final = "otel_llm.instrumentation.clients.builtin"

_ALL: Final = (
    Client(
        "openai",
        ("openai",),
        "openai",
        (
            _otel("openai", "OpenAIInstrumentor"),
            _openinference("openai", "OpenAIInstrumentor"),
            _openllmetry("openai", "OpenAIInstrumentor"),
        ),
    ),
    Client(
        "anthropic",
        ("anthropic",),
        "anthropic",
        (
            _otel("anthropic", "AnthropicInstrumentor"),
            _openinference("anthropic", "AnthropicInstrumentor"),
            # Its span is not the current one while the library works, which traces itself from 2.0 on.
            _openllmetry("anthropic", "AnthropicInstrumentor", "ANTHROPIC_OPEN_TELEMETRY"),
            Upstream(Family.BUILT_IN, "anthropic", _BUILTIN, "AnthropicSDK", needs="anthropic>=2"),
        ),
    ),
    Client(
        "google-genai",
        ("google-genai",),
        "google.genai",
        (
            _otel("google-genai", "GoogleGenAiSdkInstrumentor", "google-genai", "google_genai"),
            _openinference("google-genai", "GoogleGenAIInstrumentor"),
            _openllmetry("google-generativeai", "GoogleGenerativeAiInstrumentor"),
        ),
    ),
    Client(
        "mistralai",
        ("mistralai",),
        "mistralai.client",
        (_openinference("mistralai", "MistralAIInstrumentor"), _openllmetry("mistralai", "MistralAiInstrumentor")),
    ),
    Client(
        "bedrock",
        ("boto3", "botocore"),
        "botocore.client",
        (
            _otel("bedrock", "BedrockInstrumentor"),
            _openinference("bedrock", "BedrockInstrumentor"),
            _openllmetry("bedrock", "BedrockInstrumentor"),
        ),
    ),
    Client(
        "ollama",
        ("ollama",),
        "ollama",
        (_openinference("ollama", "OllamaInstrumentor"), _openllmetry("ollama", "OllamaInstrumentor")),
    ),
    Client(
        "langchain",
        # OpenTelemetry's asks for `langchain` and touches only `langchain-core`, which is what most programs have.
        ("langchain-core", "langchain"),
        "langchain_core.language_models.chat_models",
        (
            _otel("langchain", "LangChainInstrumentor"),
            _openinference("langchain", "LangChainInstrumentor"),
            _openllmetry("langchain", "LangchainInstrumentor"),
        ),
    ),
    Client(
        "llama-index",
        ("llama-index-core",),
        "llama_index.core",
        (
            # OpenTelemetry's records agents, workflows and tools, and no call to a model.
            _openinference("llama-index", "LlamaIndexInstrumentor"),
            _otel("llama-index", "LlamaIndexInstrumentor"),
            _openllmetry("llamaindex", "LlamaIndexInstrumentor"),
        ),
    ),
    Client(
        "pydantic-ai",
        ("pydantic-ai-slim", "pydantic-ai"),
        "pydantic_ai",
        (Upstream(Family.BUILT_IN, "pydantic-ai-slim", _BUILTIN, "PydanticAI"),),
    ),
    Client(
        "openai-agents",
        ("openai-agents",),
        "agents",
        (
            # As above: OpenTelemetry's records no call to a model.
            _openinference("openai-agents", "OpenAIAgentsInstrumentor"),
            _otel("openai-agents", "OpenAIAgentsInstrumentor"),
            _openllmetry("openai-agents", "OpenAIAgentsInstrumentor"),
        ),
    ),
    Client(
        "dspy",
        ("dspy",),
        "dspy",
        (_otel("dspy", "DSPyInstrumentor"), _openinference("dspy", "DSPyInstrumentor")),
    ),
)

CLIENTS: Final[Mapping[str, Client]] = MappingProxyType({client.name: client for client in _ALL})
"""Name in the setting `instrument` -> the library and its instrumentations in the order in which they are tried."""
