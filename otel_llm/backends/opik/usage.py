"""Tokens and cost of a span, counted the way Opik bills.

Opik wants a flat map of 32-bit integers. Its pages show `prompt_tokens` as the input, cached tokens included, for every
provider, as its SDK sends it. Its own estimate adds the cached tokens to the input of Anthropic and Bedrock, and
subtracts them from that of all others; the former's uncached input it takes from `original_usage.*`, and from
`prompt_tokens` only where that is missing. The conventions count cached tokens inside the input everywhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm import semconv
from otel_llm.backends.opik.providers import UNCACHED_INPUT

if TYPE_CHECKING:
    from otel_llm.backends.opik.values import Attributes

__all__ = ["UsageNames", "cost_of", "ttft_ms_of", "usage_names", "usage_of"]

_INT32_MAX: Final = (1 << 31) - 1
_MAX_COST: Final = 1e9
"""USD. More is a mistake of whoever said it, and Opik's column for it (12 decimals) does not hold every number."""


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
    ("original_usage.prompt_tokens_details.image_tokens", (semconv.USAGE_IMAGE_INPUT,)),
    ("original_usage.completion_tokens_details.image_tokens", (semconv.USAGE_IMAGE_OUTPUT,)),
)
"""Opik's key (its SDK's spelling, which its price calculator reads) and the attributes it is taken from.

Not text tokens: no page of Opik shows them, and its estimate would take them for all that is neither audio nor cached,
so that cached text is billed twice and reasoning not at all.
"""

_FIRST_TOKEN: Final = (
    (semconv.TIME_TO_FIRST_CHUNK, 1000.0),
    (semconv.SERVER_TTFT, 1000.0),
    (semconv.VERCEL_TIME_TO_FIRST_CHUNK_MS, 1.0),
)
"""Attribute, and how many milliseconds one of its units is."""
_COST_ATTRIBUTES: Final = (semconv.COST, semconv.OI_COST, semconv.LOGFIRE_COST, semconv.LITELLM_TOTAL_COST)


class UsageNames(NamedTuple):
    """Which of a span's attributes are counts, cost and time to the first token, in the order asked."""

    prompt: tuple[str, ...]
    completion: tuple[str, ...]
    total: tuple[str, ...]
    read: tuple[str, ...]
    written: tuple[str, ...]
    details: tuple[tuple[str, tuple[str, ...]], ...]
    cost: tuple[str, ...]
    first_token: tuple[tuple[str, float], ...]
    cache_hit: bool

    @property
    def counts(self) -> bool:
        """Whether there are counts at all."""
        return bool(self.prompt or self.completion or self.total or self.read or self.written or self.details)


def usage_names(present: frozenset[str]) -> UsageNames:
    """What can be read of a span with attributes of these names."""

    def of(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name in present)

    return UsageNames(
        of(_INPUT),
        of(_OUTPUT),
        of(_TOTAL),
        of(_CACHE_READ),
        of(_CACHE_WRITE),
        tuple((key, of(names)) for key, names in _DETAILS if not present.isdisjoint(names)),
        of(_COST_ATTRIBUTES),
        tuple((name, per_ms) for name, per_ms in _FIRST_TOKEN if name in present),
        semconv.CACHE_HIT in present,
    )


def usage_of(attributes: Attributes, names: UsageNames, provider: str | None) -> dict[str, int] | None:
    """Opik's usage map; None where the span reports no tokens."""
    if not names.counts:
        return None
    given, completion = _count(attributes, names.prompt), _count(attributes, names.completion)
    read = _count(attributes, names.read) if names.read else None
    written = _count(attributes, names.written) if names.written else None
    prompt, uncached, uncached_key = given, None, UNCACHED_INPUT.get(provider or "")
    if given is not None and uncached_key is not None and (read or written):
        prompt, uncached = _divided(given, (read or 0) + (written or 0))
    total = _count(attributes, names.total) if names.total and prompt == given else None
    if total is None and (prompt is not None or completion is not None):
        total = (prompt or 0) + (completion or 0)
    usage: dict[str, int] = {}
    _put(usage, "prompt_tokens", prompt)
    _put(usage, "completion_tokens", completion)
    _put(usage, "total_tokens", total)
    if names.read or names.written:
        _put(usage, "cache_read_input_tokens", read)
        _put(usage, "cache_creation_input_tokens", written)
    if uncached_key is not None:
        _put(usage, uncached_key, uncached)
    for key, sources in names.details:
        _put(usage, key, _count(attributes, sources))
    return usage or None


def _put(usage: dict[str, int], key: str, count: int | None) -> None:
    if count is not None and count <= _INT32_MAX:
        usage[key] = count


def cost_of(attributes: Attributes, names: UsageNames) -> float | int | None:
    """What the span cost in USD; None where nobody knows, which leaves the estimate to Opik.

    A response-cache hit cost nothing. Saying 0 is what keeps Opik from pricing its tokens again.
    """
    if names.cache_hit and attributes[semconv.CACHE_HIT] is True:
        return 0
    for name in names.cost:
        cost = _measured(attributes[name])
        if cost is not None and cost <= _MAX_COST:
            return cost
    return None


def ttft_ms_of(attributes: Attributes, names: UsageNames) -> float | None:
    """Time to the first token in milliseconds, to the microsecond; None where it was not measured."""
    for name, per_ms in names.first_token:
        value = _measured(attributes[name])
        if value is not None:
            micros = value * per_ms * 1000.0
            return round(micros) / 1000.0 if math.isfinite(micros) else None
    return None


def _divided(given: int, cached: int) -> tuple[int, int]:
    """All input, and the part that no cache held. A cached part larger than `given` was reported outside of it."""
    return (given, given - cached) if cached <= given else (given + cached, given)


def _count(attributes: Attributes, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = attributes[name]
        count = value if type(value) is int and value >= 0 else _as_count(value)
        if count is not None:
            return count
    return None


def _as_count(value: Any) -> int | None:
    """A number of tokens; whole floats and digits in text are accepted, anything else is not a count."""
    if type(value) is int:
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
