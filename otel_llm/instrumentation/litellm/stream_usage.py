"""Have the provider count the tokens of a stream, without the user's stream showing it.

OpenAI's wire format sends usage with a stream only when asked (`stream_options.include_usage`). Where the
provider is known to take that, it is asked on the user's behalf; `unasked.py` keeps the answer out of sight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_llm.instrumentation.litellm.guest import guest
from otel_llm.instrumentation.litellm.unasked import WITHHELD

if TYPE_CHECKING:
    from otel_llm.instrumentation.litellm.request import Request

__all__ = ["ask_for_usage", "usage_chunks"]

_PROVIDERS: Final = frozenset(
    {
        "openai",
        "text-completion-openai",
        "azure",
        "groq",
        "deepseek",
        "xai",
        "openrouter",
        "together_ai",
        "fireworks_ai",
        "hosted_vllm",
        "litellm_proxy",
    }
)
"""litellm's names of providers that document `stream_options`. Others either send usage unasked (Anthropic,
Gemini, Bedrock, Cohere, Mistral) or are not known to take the parameter, and a call must not fail for it."""

_OLD_AZURE: Final = "2024-09-01"
"""Azure takes `stream_options` from this API version on and refuses the call before."""


def ask_for_usage(request: Request, kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Keyword arguments that ask for usage too; None where nothing is to be changed."""
    if not request.stream or request.form.raw or request.form.family not in {"completion", "text_completion"}:
        return None
    if kwargs.get("stream_options") is not None or "mock_response" in kwargs:
        return None
    if request.provider not in _PROVIDERS or _old_azure(request):
        return None
    if not _supported(request):
        return None
    return {**kwargs, "stream_options": {"include_usage": True}}


def usage_chunks(stream: object) -> list[Any] | None:
    """Chunks in which the usage of `stream` can be found once it has been read, those hidden from the user too."""
    withheld = getattr(stream, WITHHELD, None)
    if isinstance(withheld, list):
        return withheld
    for layer in (stream, getattr(stream, "completion_stream", None)):
        chunks = getattr(layer, "chunks", None)
        if isinstance(chunks, list):
            return chunks
    return None


def _supported(request: Request) -> bool:
    if request.form.family == "text_completion":
        return True
    names = guest().get_supported_openai_params(model=request.model, custom_llm_provider=request.provider)
    return names is not None and "stream_options" in names


def _old_azure(request: Request) -> bool:
    version = request.arguments.get("api_version")
    return request.provider == "azure" and isinstance(version, str) and version < _OLD_AZURE
