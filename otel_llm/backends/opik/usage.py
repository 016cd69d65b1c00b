"""Tokens and cost of a span, counted the way Opik bills.

Opik wants a flat map of 32-bit integers. Its own estimate takes `prompt_tokens` of Anthropic and Bedrock as the
uncached ones and adds the cached; of all others as all of them and subtracts the cached. The conventions
count cached tokens inside the input everywhere, so for the former they are taken out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.backends.opik.providers import EXCLUDES_CACHED

if TYPE_CHECKING:
    from otel_llm.backends.opik.values import Attributes

__all__ = ["cost_of", "ttft_ms_of", "usage_of"]

_INT32_MAX: Final = (1 << 31) - 1


def _names(*current: str) -> tuple[str, ...]:
    """The attributes for one count, in the order asked: today's name, its older spellings, then those of others."""
    older = tuple(old for old, new in semconv.OLDER_NAMES.items() if new == current[0])
    return (current[0], *older, *current[1:])


_INPUT: Final = _names(
    semconv.USAGE_INPUT, semconv.OI_TOKENS_PROMPT, semconv.VERCEL_TOKENS_INPUT, semconv.VERCEL_TOKENS_INPUT_OLD
)
_OUTPUT: Final = _names(
    semconv.USAGE_OUTPUT, semconv.OI_TOKENS_COMPLETION, semconv.VERCEL_TOKENS_OUTPUT, semconv.VERCEL_TOKENS_OUTPUT_OLD
)
_TOTAL: Final = (semconv.GEN_A_TOTAL_TOKENS, semconv.TRACELOOP_TOTAL_TOKENS, semconv.OI_TOKENS_TOTAL)
_CACHE_READ: Final = _names(semconv.USAGE_CACHE_READ, semconv.OI_TOKENS_CACHE_READ, semconv.VERCEL_TOKENS_CACHED)
_CACHE_WRITE: Final = _names(semconv.USAGE_CACHE_WRITE, semconv.OI_TOKENS_CACHE_WRITE)

_DETAILS: Final = (
    (
        "original_usage.completion_tokens_details.reasoning_tokens",
        _names(semconv.USAGE_REASONING, semconv.OI_TOKENS_REASONING, semconv.VERCEL_TOKENS_REASONING),
    ),
    ("original_usage.prompt_tokens_details.audio_tokens", (semconv.USAGE_AUDIO_INPUT, semconv.OI_TOKENS_AUDIO_INPUT)),
    (
        "original_usage.completion_tokens_details.audio_tokens",
        (semconv.USAGE_AUDIO_OUTPUT, semconv.OI_TOKENS_AUDIO_OUTPUT),
    ),
    ("original_usage.prompt_tokens_details.text_tokens", (semconv.USAGE_TEXT_INPUT,)),
    ("original_usage.completion_tokens_details.text_tokens", (semconv.USAGE_TEXT_OUTPUT,)),
    ("original_usage.prompt_tokens_details.image_tokens", (semconv.USAGE_IMAGE_INPUT,)),
    ("original_usage.completion_tokens_details.image_tokens", (semconv.USAGE_IMAGE_OUTPUT,)),
)
"""Opik's key (its SDK's spelling, which its price calculator reads) and the attributes it is taken from."""

_DETAIL_NAMES: Final = frozenset(name for _, names in _DETAILS for name in names)
_COUNTS: Final = frozenset({*_INPUT, *_OUTPUT, *_TOTAL, *_CACHE_READ, *_CACHE_WRITE}) | _DETAIL_NAMES

_COST_ATTRIBUTES: Final = (semconv.COST, semconv.OI_COST, semconv.LOGFIRE_COST, semconv.LITELLM_TOTAL_COST)


def usage_of(attributes: Attributes, provider: str | None) -> dict[str, int] | None:
    """Opik's usage map; None where the span reports no tokens."""
    if attributes.keys().isdisjoint(_COUNTS):
        return None
    given, completion = _count(attributes, _INPUT), _count(attributes, _OUTPUT)
    read, written = _count(attributes, _CACHE_READ), _count(attributes, _CACHE_WRITE)
    prompt = given
    if given is not None and provider in EXCLUDES_CACHED:
        prompt = _uncached(given, read, written)
    total = _count(attributes, _TOTAL)
    if total is None and (given is not None or completion is not None):
        total = (given or 0) + (completion or 0)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
    }
    if not attributes.keys().isdisjoint(_DETAIL_NAMES):
        usage |= {key: _count(attributes, names) for key, names in _DETAILS}
    kept = {key: count for key, count in usage.items() if count is not None and count <= _INT32_MAX}
    return kept or None


def cost_of(attributes: Attributes) -> float | int | None:
    """What the span cost in USD; None where nobody knows, which leaves the estimate to Opik.

    A response-cache hit cost nothing. Saying 0 is what keeps Opik from pricing its tokens again.
    """
    if attributes.get(semconv.CACHE_HIT) is True:
        return 0
    for name in _COST_ATTRIBUTES:
        cost = _measured(attributes.get(name))
        if cost is not None:
            return cost
    return None


def ttft_ms_of(attributes: Attributes) -> float | None:
    """Time to the first token in milliseconds, to the microsecond; None where it was not measured."""
    for name, per_ms in (
        (semconv.TIME_TO_FIRST_CHUNK, 1000.0),
        (semconv.SERVER_TTFT, 1000.0),
        (semconv.VERCEL_TIME_TO_FIRST_CHUNK_MS, 1.0),
    ):
        value = _measured(attributes.get(name))
        if value is not None:
            micros = value * per_ms * 1000.0
            return round(micros) / 1000.0 if math.isfinite(micros) else None
    return None


def _uncached(given: int, read: int | None, written: int | None) -> int:
    """Input without its cached part. A part larger than the whole was reported outside of it."""
    cached = (read or 0) + (written or 0)
    return given - cached if cached <= given else given


def _count(attributes: Attributes, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = attributes.get(name)
        if value is not None:
            count = _as_count(value)
            if count is not None:
                return count
    return None


def _as_count(value: Any) -> int | None:
    """A number of tokens; whole floats and digits in text are accepted, anything else is not a count."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value >= 0 else None
    if isinstance(value, float):
        return int(value) if value.is_integer() and value >= 0 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        return int(value)
    return None


def _measured(value: Any) -> float | int | None:
    """A finite number that is not negative; None for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
        return value
    return None
