"""What there is to bill in an answer: quantities, service tier, the provider's own figure, and extras.

Extras are what our own calculation does not know how to bill: built-in tools, grounding, surcharges by region.
Where an answer has any, litellm's figure is taken instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from otel_llm.instrumentation.litellm.forms import BATCH
from otel_llm.instrumentation.litellm.reading import get, hidden_of, items, members_of, number, path, text, tokens
from otel_llm.pricing import Billed
from otel_llm.pricing.rows import tier_named

if TYPE_CHECKING:
    from otel_llm.instrumentation.litellm.request import Request
    from otel_llm.instrumentation.litellm.usage import Usage

__all__ = ["billed_of", "has_extras", "has_unpriced_searches", "own_figure", "service_tier_of"]

_RESPONSE_COST: Final = "llm_provider-x-litellm-response-cost"
"""Where litellm puts the cost that a provider (or a litellm proxy) sent with its answer."""
_SENDS_COST: Final = frozenset({"openrouter", "perplexity", "vercel_ai_gateway", "litellm_proxy"})
"""litellm's names of providers whose `usage.cost` is what they charge, in USD."""
_ANTHROPIC: Final = "anthropic"
_XAI_TICKS: Final = Decimal(10) ** 10
"""Ticks in one USD in xAI's `cost_in_usd_ticks`."""

_PLAIN_TOOLS: Final = frozenset({None, "function", "custom"})
"""Types of tools that the program runs itself; all others the provider runs, and may bill."""
_PLAIN_OUTPUT: Final = frozenset({None, "message", "reasoning", "function_call", "custom_tool_call", "compaction"})


# --- quantities ------------------------------------------------------------------------------------------


def billed_of(request: Request, answer: object, usage: Usage | None) -> Billed:
    """The quantities of an answer, in the units that providers bill."""
    billed = _NOTHING if usage is None else _tokens_of(usage)
    add = _BEYOND_TOKENS.get(request.form.family)
    return billed if add is None else add(billed, request, answer)


def _tokens_of(usage: Usage) -> Billed:
    return Billed(
        input=usage.input or 0,
        cache_read=usage.cache_read or 0,
        audio_cache_read=usage.audio_cache_read or 0,
        cache_write=usage.cache_write or 0,
        cache_write_1h=usage.cache_write_1h or 0,
        audio_input=usage.audio_input or 0,
        image_input=usage.image_input or 0,
        output=usage.output or 0,
        reasoning=usage.reasoning or 0,
        audio_output=usage.audio_output or 0,
        image_output=usage.image_output or 0,
    )


def _with_searches(billed: Billed, _: Request, answer: object) -> Billed:
    return billed._replace(searches=tokens(path(answer, "meta", "billed_units", "search_units")) or 1)


def _with_characters(billed: Billed, request: Request, _: object) -> Billed:
    return billed._replace(characters=len(text(request.arguments.get("input")) or ""))


def _with_images(billed: Billed, request: Request, answer: object) -> Billed:
    images = len(items(get(answer, "data")))
    return billed._replace(
        images=images,
        # Image models that report tokens do not always say of which kind; what they make is images.
        image_output=billed.image_output or billed.output,
        pixels=images * _pixels(get(answer, "size") or request.arguments.get("size")),
    )


def _with_seconds(billed: Billed, _: Request, answer: object) -> Billed:
    return billed._replace(seconds=_seconds(answer))


_NOTHING: Final = Billed()
_BEYOND_TOKENS: Final = {
    "rerank": _with_searches,
    "speech": _with_characters,
    "image_generation": _with_images,
    "image_edit": _with_images,
    "image_variation": _with_images,
    "transcription": _with_seconds,
}
"""Family of calls -> what adds the units that are billed beside tokens, or in their place."""


def _seconds(answer: object) -> Decimal:
    """Length of the audio: as the provider bills it, as it says it, or as litellm measured the file."""
    for value in (
        path(answer, "usage", "seconds"),
        get(answer, "duration"),
        hidden_of(answer).get("audio_transcription_duration"),
    ):
        found = number(value)
        if found is not None and found > 0:
            return Decimal(repr(found))
    return Decimal(0)


def _pixels(size: object) -> int:
    found = re.fullmatch(r"(\d{1,5})\s*x\s*(\d{1,5})", size) if isinstance(size, str) else None
    return int(found[1]) * int(found[2]) if found else 0


# --- how it is billed ------------------------------------------------------------------------------------


def service_tier_of(request: Request, answer: object) -> str | None:
    """The price table's name of the tier that served (else, where nobody says, was asked for); None: ordinary."""
    if request.form.family == BATCH:
        return tier_named(BATCH)
    tier = (
        text(get(answer, "service_tier"))
        or text(get(get(answer, "usage"), "service_tier"))
        or text(get(hidden_of(answer).get("provider_specific_fields"), "traffic_type"))
        or text(request.arguments.get("service_tier"))
    )
    return tier_named(tier)


def own_figure(request: Request, answer: object, usage: Usage | None) -> Decimal | None:
    """USD that the provider itself says it charged; None where it says nothing."""
    sent: object = usage.provider_cost if usage is not None and request.provider in _SENDS_COST else None
    if sent is None and not _is_partial(answer):
        sent = get(hidden_of(answer).get("additional_headers"), _RESPONSE_COST)
    ticks = tokens(path(answer, "usage", "cost_in_usd_ticks")) if request.provider == "xai" else None
    if ticks:
        return ticks / _XAI_TICKS
    found = None if sent is None else number(_as_number(sent))
    return Decimal(repr(found)) if found is not None and found > 0 else None


def _is_partial(answer: object) -> bool:
    """Whether the figure in the answer leaves out what the provider behind a gateway bills by itself."""
    return path(answer, "usage", "is_byok") is True


def _as_number(value: object) -> object:
    """A header's value is text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return None


def has_extras(request: Request, answer: object) -> bool:
    """Whether the call has (or may have) a part that is not billed by the quantities that we know."""
    arguments = request.arguments
    if request.provider == "perplexity" or arguments.get("web_search_options") is not None:
        return True
    tools, output = items(arguments.get("tools")), items(get(answer, "output"))
    if tools and any(_runs_elsewhere(tool) for tool in tools):
        return True
    if output and any(text(get(item, "type")) not in _PLAIN_OUTPUT for item in output):
        return True
    usage = get(answer, "usage")
    said = members_of(usage)
    prompt = said("prompt_tokens_details") or said("input_tokens_details")
    return (
        said("server_tool_use") is not None
        or (prompt is not None and _has_extras_among(prompt))
        or (request.provider == _ANTHROPIC and _has_surcharge(usage))
    )


def has_unpriced_searches(row: Mapping[str, object] | None, answer: object) -> bool:
    """Whether an answer searched the web, and its model's row has no price for that: litellm adds nothing then."""
    if row is None or row.get("search_context_cost_per_query"):
        return False
    return any(text(get(item, "type")) == "web_search_call" for item in items(get(answer, "output")))


def _has_extras_among(prompt: object) -> bool:
    """Whether details of the prompt's tokens name any whose price we do not know."""
    said = members_of(prompt)
    return bool(said("web_search_requests")) or bool(said("video_tokens"))


def _has_surcharge(usage: object) -> bool:
    """Whether Anthropic served the call in fast mode or from a region that costs more."""
    region = text(get(usage, "inference_geo"))
    return text(get(usage, "speed")) == "fast" or region not in {None, "global", "not_available"}


def _runs_elsewhere(tool: object) -> bool:
    """Whether the provider runs this tool. Gemini's own have no type, but a name such as `googleSearch`."""
    kind = text(get(tool, "type"))
    if kind not in _PLAIN_TOOLS:
        return True
    return kind is None and isinstance(tool, Mapping) and not {"function", "name", "input_schema"} & set(tool)
