"""One model's rates, as litellm's price table writes them: USD per unit, with variants by name.

A rate has up to two variants, and they combine: a higher one once the prompt exceeds a size
(`input_cost_per_token_above_200k_tokens`) and one per service tier (`input_cost_per_token_flex`). Tables leave
many combinations out, because providers publish them as multiples of the ordinary ones; those are worked out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final, TypeAlias

__all__ = ["CACHE_READ", "INPUT", "OUTPUT", "Entry", "Rates", "as_decimal"]

Entry: TypeAlias = Mapping[str, object]
"""One model's row of a price table."""

INPUT: Final = "input_cost_per_token"
OUTPUT: Final = "output_cost_per_token"
CACHE_READ: Final = "cache_read_input_token_cost"

_ABOVE: Final = re.compile(r"_cost_per_token(_above_(\d+)(k?)_tokens)$")


def as_decimal(value: object) -> Decimal | None:
    """A price as the decimal number that it prints as; None for what is not a price."""
    return _float_as_decimal(value) if type(value) is float else _as_decimal(value)


def _as_decimal(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        return None
    made = Decimal(str(value))
    return made if made.is_finite() and made >= 0 else None


_float_as_decimal: Final = lru_cache(maxsize=1024)(_as_decimal)
"""The same; there are only so many prices, and most calls are to the same few models."""


class Rates:
    """The rates of `entry` for a prompt of `tokens` (all of it, cached tokens too) in service tier `tier`.

    The tier is in the table's spelling; one that the entry has no prices for is billed as ordinary.
    `reaches` is True where the provider bills the higher rate from the threshold on, not only beyond it.
    """

    def __init__(self, entry: Entry, *, tokens: int = 0, tier: str | None = None, reaches: bool = False) -> None:
        self._entry = entry
        self._tier = _tiered(entry, tier)
        self._above = _crossed(entry, tokens, reaches=reaches)

    def plain(self, name: str) -> Decimal | None:
        """The rate called `name`, USD per unit, that has no variants; None where the table has none."""
        return as_decimal(self._entry.get(name))

    def rate(self, name: str, family: str) -> Decimal | None:
        """The rate called `name` that holds here; None where the table has none.

        A variant that the table leaves out is as much dearer or cheaper than the ordinary rate as the variant of
        `family` (`INPUT` or `OUTPUT`) is.
        """
        exact = self.plain(name + self._above + self._tier)
        if not self._above and not self._tier:
            return exact
        base = self.plain(name)
        if exact is not None or base is None:
            return exact
        larger, tiered = self._variant(name, self._above), self._variant(name, self._tier)
        result = base if larger is None else larger
        if larger is None:
            result *= self._ratio(family, self._above)
        if tiered is not None and base:
            return result * tiered / base
        if name == CACHE_READ and self._tier:
            return result  # providers that give no discount on cached tokens in a tier publish no price for them
        return result * self._ratio(family, self._tier)

    def _variant(self, name: str, suffix: str) -> Decimal | None:
        return self.plain(name + suffix) if suffix else None

    def _ratio(self, family: str, suffix: str) -> Decimal:
        base, variant = self.plain(family), self._variant(family, suffix)
        return variant / base if base and variant is not None else Decimal(1)


def _tiered(entry: Entry, tier: str | None) -> str:
    """The ending of the names of a tier's rates, empty where it has none: which tiers there are, the table knows."""
    if tier is None:
        return ""
    ending = f"_{tier}"
    return ending if any(name.endswith(ending) and rate is not None for name, rate in entry.items()) else ""


def _crossed(entry: Entry, tokens: int, *, reaches: bool) -> str:
    """The name's ending for the highest threshold that the prompt is beyond; empty for none."""
    best, suffix = -1, ""
    for name, threshold, ending in _thresholds(tuple(entry)):
        if entry[name] is None:
            continue
        if threshold > best and (tokens > threshold or (reaches and tokens == threshold)):
            best, suffix = threshold, ending
    return suffix


@lru_cache(maxsize=512)
def _thresholds(names: tuple[str, ...]) -> tuple[tuple[str, int, str], ...]:
    """Of the names of a row's members those of rates beyond a size of the prompt: name, size, ending of the name."""
    return tuple(
        (name, int(found[2]) * (1000 if found[3] else 1), found[1])
        for name in names
        if (found := _ABOVE.search(name)) is not None
    )
