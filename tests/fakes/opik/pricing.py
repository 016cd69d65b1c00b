"""Opik's own estimate of a span's cost, with a table just big enough for tests (opik.md section 3.8).

The prices of `gpt-4o-mini` and `claude-sonnet-4` follow from what the real server answered; the others are public
list prices, there to tell the provider families apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ESTIMATE_VERSION", "estimate_cost", "stored_cost"]

ESTIMATE_VERSION = "1.1"
"""What the server writes beside a cost of its own making."""
_TWELVE_DECIMALS = Decimal("1e-12")


@dataclass(frozen=True, slots=True)
class _Price:
    """USD per million tokens."""

    input: str
    output: str
    cache_read: str = "0"
    cache_write: str = "0"


_GPT_4O = _Price("2.50", "10.00", "1.25")
_GPT_4O_MINI = _Price("0.15", "0.60", "0.075")
_SONNET_4 = _Price("3.00", "15.00", "0.30", "3.75")
_GEMINI_FLASH = _Price("0.10", "0.40", "0.025")

_PRICES: dict[str, dict[str, _Price]] = {
    "openai": {"gpt-4o-mini": _GPT_4O_MINI, "gpt-4o": _GPT_4O, "text-embedding-3-small": _Price("0.02", "0")},
    "azure": {"gpt-4o-mini": _GPT_4O_MINI, "gpt-4o": _GPT_4O},
    "anthropic": {"claude-sonnet-4": _SONNET_4},
    "anthropic_vertexai": {"claude-sonnet-4": _SONNET_4},
    "bedrock": {"anthropic.claude-sonnet-4": _SONNET_4},
    "google_ai": {"gemini-2.0-flash": _GEMINI_FLASH},
    "google_vertexai": {"gemini-2.0-flash": _GEMINI_FLASH},
}
_ALIASES = {"gemini": "google_ai", "vertex-ai": "google_vertexai"}
_CACHED_INSIDE_PROMPT = frozenset({"openai", "azure", "google_ai", "google_vertexai"})
"""Providers whose `prompt_tokens` contain the cached ones; for the rest they are extra."""

_TAKES_TEXT_TOKENS = frozenset({"openai", "azure"})
"""Providers of which text tokens, where they are named, stand for input and output as a whole."""

_KEYS = {
    "input": {
        "anthropic": "input_tokens",
        "anthropic_vertexai": "input_tokens",
        "bedrock": "inputTokens",
        "google_ai": "prompt_token_count",
        "google_vertexai": "prompt_token_count",
        "": "prompt_tokens",
    },
    "output": {
        "anthropic": "output_tokens",
        "anthropic_vertexai": "output_tokens",
        "bedrock": "outputTokens",
        "": "completion_tokens",
    },
    "cache_read": {
        "anthropic": "cache_read_input_tokens",
        "anthropic_vertexai": "cache_read_input_tokens",
        "bedrock": "cacheReadInputTokens",
        "google_ai": "cached_content_token_count",
        "google_vertexai": "cached_content_token_count",
        "": "prompt_tokens_details.cached_tokens",
    },
    "cache_write": {
        "anthropic": "cache_creation_input_tokens",
        "anthropic_vertexai": "cache_creation_input_tokens",
        "bedrock": "cacheWriteInputTokens",
        "": "",
    },
}
"""Name of each count under `original_usage.`, by provider; read before the common name."""
_COMMON = {
    "input": "prompt_tokens",
    "output": "completion_tokens",
    "cache_read": "cache_read_input_tokens",
    "cache_write": "cache_creation_input_tokens",
}


def estimate_cost(fields: Mapping[str, Any]) -> Decimal:
    """What Opik would price this span at, in USD; 0 where it cannot."""
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict):
        metadata = {}
    model = fields.get("model") or metadata.get("model")
    provider = _ALIASES.get(fields.get("provider") or "", fields.get("provider") or "")
    price = _price(provider, model) if isinstance(model, str) else None
    cost = _charge(provider, price, fields.get("usage") or {}) if price is not None else Decimal(0)
    return cost or _cost_in_metadata(metadata)


def stored_cost(value: Any) -> Decimal:
    """A cost as the server stores it: twelve decimals."""
    return Decimal(str(value)).quantize(_TWELVE_DECIMALS)


def _price(provider: str, model: str) -> _Price | None:
    table = _PRICES.get(provider, {})
    return next((table[name] for name in _spellings(model) if name in table), None)


def _spellings(model: str) -> list[str]:
    """The names under which the server looks a model up, in its order."""
    bare = model.partition("/")[2] or model
    hyphened = bare.replace(".", "-").lower()
    undated = re.sub(r"-?(\d{4}-\d\d-\d\d|\d{8})$", "", bare)
    return [model, bare, hyphened, undated, re.sub(r":\d+$", "", bare), undated.replace(".", "-")]


def _charge(provider: str, price: _Price, usage: Mapping[str, int]) -> Decimal:
    counts = {kind: _count(provider, kind, usage) for kind in _COMMON}
    if provider in _CACHED_INSIDE_PROMPT:
        counts["input"] = max(counts["input"] - counts["cache_read"], 0)
    if provider in _TAKES_TEXT_TOKENS:  # SpanCostCalculator.textGenerationWithCacheCostOpenAI
        counts["input"] = usage.get("original_usage.prompt_tokens_details.text_tokens", counts["input"])
        counts["output"] = usage.get("original_usage.completion_tokens_details.text_tokens", counts["output"])
    total = sum((counts[kind] * Decimal(getattr(price, kind)) for kind in _COMMON), Decimal(0))
    return total / 1_000_000


def _count(provider: str, kind: str, usage: Mapping[str, int]) -> int:
    own = _KEYS[kind].get(provider, _KEYS[kind][""])
    return usage.get(f"original_usage.{own}", usage.get(_COMMON[kind], 0))  # a 0 that is said counts


def _cost_in_metadata(metadata: Mapping[str, Any]) -> Decimal:
    cost = metadata.get("cost")
    if isinstance(cost, dict) and cost.get("currency") == "USD" and isinstance(cost.get("total_cost"), (int, float)):
        return Decimal(str(cost["total_cost"]))
    return Decimal(0)
