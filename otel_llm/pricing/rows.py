"""Which row of a price table a call is billed by: the names that a call goes by, and who sells under them.

The table is litellm's; its names and its providers are what these functions speak of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from otel_llm.pricing.rates import CACHE_READ, INPUT, as_decimal

if TYPE_CHECKING:
    from otel_llm.pricing.book import PriceBook

__all__ = [
    "AZURE", "XAI", "PriceTable", "goes_by_size", "goes_by_the_hour", "is_free", "names_for", "row_for", "sellers",
    "tier_named",
]  # fmt: skip

PriceTable: TypeAlias = Mapping[str, Any]
"""Name of a model -> its row."""

AZURE: Final = frozenset({"azure", "azure_text"})
XAI: Final = "xai"
_FIREWORKS: Final = "fireworks_ai"
_FIREWORKS_CACHED: Final = Decimal("0.5")
"""Fireworks' rule for cached input of a model whose price list says nothing else: half of what input costs."""
_BY_THE_HOUR: Final = frozenset({"off_peak_pricing", "tiered_pricing"})
"""What rows have whose prices go by the hour or by brackets, which is more than rates can say."""

_SIZED_RATE: Final = re.compile(r"output_cost_per_image_\d")

_ROUTES: Final = ("converse/", "invoke/", "responses/")
"""Ways to one and the same model, which litellm takes as part of its name."""
_SELLERS: Final = {
    "aws.bedrock": ("bedrock",),
    "azure.ai.inference": ("azure_ai", "azure"),
    "azure.ai.openai": ("azure",),
    "gcp.gemini": ("gemini",),
    "gcp.gen_ai": ("gemini", "vertex_ai"),
    "gcp.vertex_ai": ("vertex_ai",),
    "ibm.watsonx.ai": ("watsonx",),
    "mistral_ai": ("mistral",),
    "moonshot_ai": ("moonshot",),
    "x_ai": (XAI,),
}
"""The conventions' name of a provider -> the table's; all others are the same in both."""

_TIER_NAMES: Final = {"batch": "batches", "on_demand_priority": "priority", "on_demand_flex": "flex"}
"""What providers call a service tier, in lower case -> the table's name, where that is another."""
_ORDINARY: Final = frozenset({"default", "standard", "auto"})


def tier_named(tier: str | None) -> str | None:
    """The table's name for what a provider calls a service tier; None for the ordinary one, and for what names none."""
    if tier is None:
        return None
    name = tier.lower()
    name = _TIER_NAMES.get(name, name)
    return name if name not in _ORDINARY and name.isascii() and name.isalpha() else None


def sellers(provider: str | None) -> tuple[str | None, ...]:
    """The table's names for who sold a call, most likely first."""
    return (None,) if provider is None else _SELLERS.get(provider, (provider,))


def names_for(
    provider: str | None, model: str | None, region: str | None = None, *, first: Sequence[str | None] = ()
) -> list[str]:
    """Every name that the table may have a model under: `first`, then as its seller has it, then bare."""
    return list(_names_for(provider, model, region, tuple(first)))


@lru_cache(maxsize=512)
def _names_for(
    provider: str | None, model: str | None, region: str | None, first: tuple[str | None, ...]
) -> tuple[str, ...]:
    names: list[str | None] = [*first]
    if model is not None:
        for route in _ROUTES:
            model = model.removeprefix(route)
        names += [
            f"{provider}/{region}/{model}" if region else None,
            f"{provider}/{model}" if provider else None,
            model,
        ]
    return tuple(dict.fromkeys(name for name in names if name))


def row_for(
    table: PriceTable, book: PriceBook, provider: str | None, asked: Sequence[str], served: Sequence[str]
) -> Mapping[str, Any] | None:
    """The table's row for a call; an alias first, then the name asked for, then the one that answered.

    Azure calls models by the names of deployments, which say nothing: there, what answered goes first.
    """
    behind = book.model_behind(asked)
    if behind is not None:
        return table.get(behind)
    for name in [*served, *asked] if provider in AZURE else [*asked, *served]:
        row = table.get(name)
        if (
            row is not None
            and (type(row) is dict or isinstance(row, Mapping))  # `Mapping` is asked by way of `abc`, which is slow
            and _is_of(provider, row.get("litellm_provider"), name)
            and _has_prices(row)
        ):
            return _with_cached(row) if provider == _FIREWORKS else row
    return None


def _with_cached(row: Mapping[str, Any]) -> Mapping[str, Any]:
    rate = as_decimal(row.get(INPUT))
    if rate is None or row.get(CACHE_READ) is not None:
        return row
    return {**row, CACHE_READ: rate * _FIREWORKS_CACHED}


def _has_prices(row: Mapping[str, Any]) -> bool:
    """Whether a row says anything about money. litellm's Router makes rows of nothing for models that have none."""
    if row.get(INPUT) is not None:
        return True
    return any(value is not None and ("cost" in key or key in _BY_THE_HOUR) for key, value in row.items())


def _is_of(provider: str | None, listed: object, name: str) -> bool:
    """Whether a row that the table lists under a provider is meant for this one: a model has a price per seller."""
    if provider is None or not isinstance(listed, str) or not listed or name.startswith(f"{provider}/"):
        return True
    return _family(provider) == _family(listed)


@lru_cache(maxsize=512)
def _family(provider: str) -> str:
    """`bedrock_converse` and `bedrock` sell the same; so do `vertex_ai-language-models` and `vertex_ai`."""
    return provider.removeprefix("text-completion-").replace("-", "_").partition("_")[0]


def goes_by_the_hour(row: Mapping[str, Any]) -> bool:
    """Whether a row's prices go by the hour or by brackets. A Router writes these names too, for None."""
    return not _BY_THE_HOUR.isdisjoint(row) and any(row.get(name) for name in _BY_THE_HOUR)


def goes_by_size(table: PriceTable, row: Mapping[str, Any], model: str | None) -> bool:
    """Whether images of a model cost by size or quality, which the table says in names of rates or of further rows.

    Such a rate is `output_cost_per_image_4K`, and such a row `fal_ai/low/1024-x-1024/openai/gpt-image-2`.
    """
    if any(rate is not None and _SIZED_RATE.match(name) for name, rate in row.items()):
        return True
    ending = f"/{model}"
    return model is not None and any("-x-" in name and name.endswith(ending) for name in table)


def is_free(row: Mapping[str, Any] | None) -> bool:
    """Whether the table says that a model costs nothing, as opposed to not saying what it costs."""
    prices = [
        value
        for key, value in (row or {}).items()
        if "cost" in key and isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    return bool(prices) and not any(prices)
