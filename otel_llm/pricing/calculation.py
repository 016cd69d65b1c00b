"""Quantities times rates.

Kinds of tokens are subsets: cached, written, audio and image tokens are part of the input, reasoning, audio and
image tokens part of the output. Each token is billed once, at the rate of its kind; a kind without a rate of its
own is billed as the ordinary tokens that it is part of.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.pricing.rates import CACHE_READ, INPUT, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_llm.pricing.rates import Rates

__all__ = ["Billed", "cost_of"]

_NOTHING: Final = Decimal(0)
_HOUR_FACTOR: Final = Decimal(2)
"""Anthropic's rule for cache writes that live an hour: twice the price of ordinary input."""


class Billed(NamedTuple):
    """What a call used, in the units that providers bill."""

    input: int = 0
    """All tokens of the prompt, cached ones included."""
    cache_read: int = 0
    audio_cache_read: int = 0
    """Those of them that are audio."""
    cache_write: int = 0
    """All tokens written to the prompt cache, whatever their lifetime."""
    cache_write_1h: int = 0
    """Those of them that live an hour."""
    audio_input: int = 0
    image_input: int = 0
    output: int = 0
    """All tokens of the answer, reasoning included."""
    reasoning: int = 0
    audio_output: int = 0
    image_output: int = 0
    searches: int = 0
    """Rerank searches."""
    seconds: Decimal = _NOTHING
    """Length of the audio that was transcribed."""
    characters: int = 0
    """Length of the text that was spoken."""
    images: int = 0
    """Images that were made."""
    pixels: int = 0
    """Pixels of all of them together."""

    @property
    def has_tokens(self) -> bool:
        """Whether any tokens are known."""
        return self.input > 0 or self.output > 0


def cost_of(billed: Billed, rates: Rates) -> Decimal | None:
    """USD for `billed`; None where something that was used has no price.

    A model that bills by searches, seconds, characters or images is billed so only where it does not (also)
    report tokens that have a price: providers bill one or the other.
    """
    units = _units(billed, rates)
    if billed.has_tokens:
        tokens = _sum((_input(billed, rates), _output(billed, rates)))
        if tokens is not None and (tokens > 0 or units is None):
            return tokens
    return units


def _input(billed: Billed, rates: Rates) -> Decimal | None:
    if not (billed.cache_read or billed.cache_write or billed.audio_input or billed.image_input):
        return _bill(billed.input, rates, INPUT, INPUT)
    read = min(billed.cache_read, billed.input)
    written = min(billed.cache_write, billed.input - read)
    written_1h = min(billed.cache_write_1h, written)
    fresh = billed.input - read - written
    read_audio = min(billed.audio_cache_read, read)
    audio = min(max(billed.audio_input - read_audio, 0), fresh)
    image = min(billed.image_input, fresh - audio)
    return _sum(
        (
            _bill(fresh - audio - image, rates, INPUT, INPUT),
            _bill(read - read_audio, rates, CACHE_READ, INPUT),
            _read_audio(read_audio, rates),
            _bill(written - written_1h, rates, "cache_creation_input_token_cost", INPUT),
            _hour_writes(written_1h, rates),
            _bill(audio, rates, "input_cost_per_audio_token", INPUT),
            _bill(image, rates, "input_cost_per_image_token", INPUT),
        )
    )


def _read_audio(count: int, rates: Rates) -> Decimal | None:
    own = rates.rate("cache_read_input_audio_token_cost", INPUT) if count else None
    return _bill(count, rates, CACHE_READ, INPUT) if own is None else count * own


def _hour_writes(count: int, rates: Rates) -> Decimal | None:
    own = rates.rate("cache_creation_input_token_cost_above_1hr", INPUT) if count else None
    return _bill(count, rates, INPUT, INPUT, _HOUR_FACTOR) if own is None else count * own


def _output(billed: Billed, rates: Rates) -> Decimal | None:
    if not (billed.audio_output or billed.image_output or billed.reasoning):
        return _bill(billed.output, rates, OUTPUT, OUTPUT)
    audio = min(billed.audio_output, billed.output)
    image = min(billed.image_output, billed.output - audio)
    reasoning = min(billed.reasoning, billed.output - audio - image)
    return _sum(
        (
            _bill(billed.output - audio - image - reasoning, rates, OUTPUT, OUTPUT),
            _bill(reasoning, rates, "output_cost_per_reasoning_token", OUTPUT),
            _bill(audio, rates, "output_cost_per_audio_token", OUTPUT),
            _bill(image, rates, "output_cost_per_image_token", OUTPUT),
        )
    )


def _bill(count: int, rates: Rates, name: str, family: str, factor: Decimal | None = None) -> Decimal | None:
    """USD for `count` tokens at the rate called `name`, else at the ordinary one; nothing is looked up for none."""
    if not count:
        return _NOTHING
    rate = rates.rate(name, family)
    if rate is None and name != family:
        rate = rates.rate(family, family)
    if rate is None:
        return None
    return count * rate if factor is None else count * rate * factor


def _units(billed: Billed, rates: Rates) -> Decimal | None:
    """USD for what is not tokens; None where nothing of the kind was used, or it has no price."""
    # Some rows of the table name a price per second twice, as input and as output; it is one price.
    if not (billed.searches or billed.seconds or billed.characters or billed.images):
        return None
    for count, names in (
        (billed.searches, ("input_cost_per_query",)),
        (billed.seconds, ("input_cost_per_second", "output_cost_per_second")),
        (billed.characters, ("input_cost_per_character",)),
    ):
        if count:
            rate = next((rate for rate in map(rates.plain, names) if rate is not None), None)
            return None if rate is None else count * rate
    return _images(billed, rates) if billed.images else None


def _images(billed: Billed, rates: Rates) -> Decimal | None:
    for name in ("output_cost_per_image", "input_cost_per_image"):
        rate = rates.plain(name)
        if rate:
            return billed.images * rate
    for name in ("output_cost_per_pixel", "input_cost_per_pixel"):
        rate = rates.plain(name)
        if rate and billed.pixels:
            return billed.pixels * rate
    return None


def _sum(parts: Iterable[Decimal | None]) -> Decimal | None:
    total = _NOTHING
    for part in parts:
        if part is None:
            return None
        total += part
    return total
