"""litellm itself, as a guest: looked up where the program has loaded it, never imported by us."""

from __future__ import annotations

import importlib
import os
import sys
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from otel_llm.clock import monotonic
from otel_llm.errors import InstrumentationError
from otel_llm.faults import let_through
from otel_llm.instrumentation.litellm.reading import text

__all__ = ["PROVIDER_NAMES", "asked_at", "guest", "load_guest", "locate", "provider_name", "resolve", "vendor_model"]

PROVIDER_NAMES: Final = {
    "azure": "azure.ai.openai",
    "azure_text": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "sagemaker": "aws.sagemaker",
    "sagemaker_chat": "aws.sagemaker",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "codestral": "mistral_ai",
    "text-completion-codestral": "mistral_ai",
    "xai": "x_ai",
    "watsonx": "ibm.watsonx.ai",
    "watsonx_text": "ibm.watsonx.ai",
    "cohere_chat": "cohere",
    "text-completion-openai": "openai",
    "moonshot": "moonshot_ai",
    "ollama_chat": "ollama",
}
"""litellm's provider -> the conventions' well-known name; what is not listed is the vendor's own name already."""
_OPENAI: Final = "https://api.openai.com"

_GOOD_SECONDS: Final = 1.0
_MOST_ANSWERS: Final = 256
_answers: dict[tuple[Any, str, Any, Any], tuple[float, tuple[Any, Any, Any]]] = {}
"""Until when (monotonic seconds) an answer of `get_llm_provider` is good, and the answer."""

_BEDROCK_ROUTES: Final = frozenset({"invoke", "converse", "converse_like", "async_invoke", "agent"})


def guest() -> Any:
    """The loaded litellm module; None before the program has imported it."""
    return sys.modules.get("litellm")


def load_guest() -> Any:
    """Load litellm, for a client that stands on it. Raises InstrumentationError where it is missing."""
    try:
        return importlib.import_module("litellm")
    except ImportError as error:
        raise InstrumentationError(
            f"litellm cannot be imported ({error}), and LLMClient stands on it. Most likely it is not installed: "
            "pip install 'otel-llm[litellm]'."
        ) from error


def provider_name(provider: str | None) -> str | None:
    """The conventions' name for a provider as litellm calls it."""
    return PROVIDER_NAMES.get(provider, provider) if provider else None


def resolve(model: str, kwargs: dict[str, Any]) -> tuple[str, str | None, str | None]:
    """(model without router prefix, litellm's provider, API base) of a call, as litellm itself resolves them.

    Where litellm cannot tell the provider (it will say so to the caller in its own words), the model stays
    as it was given.
    """
    given = text(kwargs.get("custom_llm_provider"))
    base = _first_text(kwargs, ("api_base", "base_url", "aws_bedrock_runtime_endpoint"))
    try:
        named, found, found_base = _asked(guest().get_llm_provider, model, given, base)
    except Exception as error:  # noqa: BLE001  (an unknown provider is the caller's error, raised again by the call itself)
        let_through(error)
        prefix, slash, rest = model.partition("/")
        return (rest, prefix, base) if slash and not given else (model, given, base)
    provider = found or given
    return vendor_model(str(named), provider), provider, base or found_base


def _first_text(kwargs: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """What a program hands over in place of an address (httpx's URL, a mistake) is not looked into."""
    for name in names:
        value = kwargs.get(name)
        if value is not None and (found := text(value)) is not None:
            return found
    return None


def _asked(ask: Any, model: str, given: Any, base: Any) -> tuple[Any, Any, Any]:
    """Model, provider and API base, as litellm's `get_llm_provider` (`ask`) has told them within the last second.

    It compares a name with hundreds, and a busy program asks for the same one all the time. It also looks at the
    environment and at lists that the program may change, so that no answer is good for long.
    """
    key = (ask, model, given, base)
    plain = type(model) is str and (given is None or type(given) is str) and (base is None or type(base) is str)
    known = _answers.get(key) if plain else None
    if known is not None and known[0] > monotonic():
        return known[1]
    found = ask(model=model, custom_llm_provider=given, api_base=base)
    answer = found[0], found[1], found[3]  # the third is a key
    if plain:
        if len(_answers) >= _MOST_ANSWERS:
            _answers.clear()
        _answers[key] = monotonic() + _GOOD_SECONDS, answer
    return answer


def vendor_model(model: str, provider: str | None) -> str:
    """The vendor's own name of a model, without litellm's provider and route before it."""
    if provider and model.startswith(f"{provider}/"):
        model = model[len(provider) + 1 :]
    if provider == "bedrock":
        route, slash, rest = model.partition("/")
        if slash and route in _BEDROCK_ROUTES:
            return rest
    return model


def asked_at(said: object) -> object:
    """The API base that a call went to, of what litellm `said` on its answer.

    It says OpenAI's own where the call names none, though it asks at `litellm.api_base`, `OPENAI_BASE_URL` or
    `OPENAI_API_BASE` then, in this order.
    """
    if said != _OPENAI:
        return said
    chosen = getattr(guest(), "api_base", None)
    return chosen or os.environ.get("OPENAI_BASE_URL") or os.environ.get("OPENAI_API_BASE") or said


def locate(api_base: object) -> tuple[str | None, int | None]:
    """Host and port of an API base; the scheme's own port where the URL names none."""
    return _located(str(api_base)) if isinstance(api_base, str) and "://" in api_base else (None, None)


@lru_cache(maxsize=256)
def _located(api_base: str) -> tuple[str | None, int | None]:
    try:
        parts = urlsplit(api_base)
        port = parts.port
    except ValueError:
        return None, None
    if parts.hostname is None:
        return None, None
    return parts.hostname, port or {"https": 443, "http": 80}.get(parts.scheme)
