"""What a recorded exchange costs, worked out from its body and the price table alone, sharing no code with otel_llm."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.recordings import oracle

if TYPE_CHECKING:
    from tests.recordings.recordings import Exchange

__all__ = ["expected_cost"]

_MILLION = Decimal(1_000_000)


@cache
def _table() -> dict[str, Any]:
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.submodule_search_locations
    folder = Path(next(iter(spec.submodule_search_locations)))
    return json.loads((folder / "model_prices_and_context_window_backup.json").read_text(encoding="utf-8"))


_SELLERS = {
    "chat": "openai",
    "text": "text-completion-openai",
    "responses": "openai",
    "embeddings": "openai",
    "anthropic": "anthropic",
    "gemini": "gemini",
    "converse": "bedrock",
    "invoke": "bedrock",
    "ollama": "ollama",
    "ollama-generate": "ollama",
}


def _row(exchange: Exchange, model: str, answered: str | None) -> dict[str, Any] | None:
    """The row of the model asked for, else of the one that answered, if this provider sells it."""
    seller = _SELLERS.get(exchange.api, "")
    for name in (model, f"{seller}/{model}", answered, f"{seller}/{answered}"):
        row = _table().get(name or "")
        if row is not None and row["litellm_provider"].startswith(seller.partition("-")[0]):
            return row
        if row is not None and seller.startswith("text-completion") and "openai" in row["litellm_provider"]:
            return row
    return None


def expected_cost(exchange: Exchange, said: dict[str, Any]) -> Decimal | None:
    """USD of the recorded usage; None where the body has none, or the table no price.

    `said` are the span's attributes: which name of the model the library gave is its own business.
    """
    usage = oracle.answer(exchange).usage
    model, answered = said.get("gen_ai.request.model", ""), said.get("gen_ai.response.model")
    row = _row(exchange, model, answered)
    if row is None or not (usage.input or usage.output) or exchange.response.status >= 400:
        return None
    rate = {key: Decimal(str(value)) for key, value in row.items() if "cost" in key and isinstance(value, (int, float))}
    if not rate.get("input_cost_per_token"):
        return None
    read, written = usage.cache_read or 0, usage.cache_write or 0
    fresh = (usage.input or 0) - read - written
    cost = fresh * rate["input_cost_per_token"]
    cost += read * rate.get("cache_read_input_token_cost", rate["input_cost_per_token"])
    cost += written * rate.get("cache_creation_input_token_cost", rate["input_cost_per_token"])
    reasoning = usage.reasoning or 0
    output = rate.get("output_cost_per_token", Decimal(0))
    return (
        cost
        + ((usage.output or 0) - reasoning) * output
        + reasoning * rate.get("output_cost_per_reasoning_token", output)
    )
