"""Tokens of every kind out of litellm's usage objects, in the conventions' sense.

`input_tokens` includes what the provider read from or wrote to its prompt cache, and `output_tokens`
includes reasoning; the kinds are subsets. A kind the provider did not report is None, never 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from otel_llm import semconv
from otel_llm.instrumentation.litellm.reading import get, members_of, number, path, tokens

if TYPE_CHECKING:
    from otel_llm.instrumentation.recorder import Recording

__all__ = ["Usage", "fill_saved", "fill_usage", "read_usage"]


class Usage(NamedTuple):
    """Counts of tokens; None where the provider said nothing."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    """The part of `cache_write` that lives an hour, which costs more."""
    reasoning: int | None = None
    audio_input: int | None = None
    audio_cache_read: int | None = None
    """The part of `cache_read` that is audio."""
    image_input: int | None = None
    text_input: int | None = None
    audio_output: int | None = None
    image_output: int | None = None
    text_output: int | None = None
    provider_cost: float | None = None
    """USD that the provider says it charged, as some gateways do among the tokens."""
    estimated: bool = False

    @property
    def empty(self) -> bool:
        """Whether nothing was counted. litellm answers zeros where the provider reported no usage."""
        return not self.input and not self.output


def read_usage(usage: object) -> Usage | None:
    """Read a chat, text, embedding, Responses, image or transcription usage; None where there is none."""
    if usage is None:
        return None
    said = members_of(usage)
    prompt = members_of(
        said("prompt_tokens_details")
        or said("input_tokens_details")
        or said("input_token_details")  # of images
        or said("prompt_token_details")  # of an assistant's runs
    )
    completion = members_of(
        said("completion_tokens_details") or said("output_tokens_details") or said("output_token_details")
    )
    found = Usage(
        input=_first(said("prompt_tokens"), said("input_tokens")),
        output=_first(said("completion_tokens"), said("output_tokens")),
        cache_read=_best(prompt("cached_tokens"), said("cache_read_input_tokens")),
        cache_write=_best(
            said("cache_creation_input_tokens"), prompt("cache_creation_tokens"), prompt("cache_write_tokens")
        ),
        cache_write_1h=tokens(path(prompt("cache_creation_token_details"), "ephemeral_1h_input_tokens")),
        reasoning=tokens(completion("reasoning_tokens")),
        audio_input=tokens(prompt("audio_tokens")),
        audio_cache_read=tokens(path(prompt("cached_tokens_details"), "audio_tokens")),
        image_input=tokens(prompt("image_tokens")),
        text_input=tokens(prompt("text_tokens")),
        audio_output=tokens(completion("audio_tokens")),
        image_output=tokens(completion("image_tokens")),
        text_output=tokens(completion("text_tokens")),
        provider_cost=_provider_cost(usage),
    )
    if found.input == 0 and found.output:
        # litellm fills in a 0 where the provider said nothing; no answer comes from an empty prompt.
        found = found._replace(input=None)
    return None if found.empty else found


def rerank_usage(meta: object) -> Usage | None:
    """Tokens that a rerank answer reports under `meta`; most rerankers bill searches and report none."""
    counted = get(meta, "tokens") or get(meta, "billed_units")
    found = Usage(input=tokens(get(counted, "input_tokens")), output=tokens(get(counted, "output_tokens")))
    total = tokens(path(meta, "billed_units", "total_tokens"))
    if found.empty and total is not None:
        return Usage(input=total)
    return None if found.empty else found


def fill_usage(recording: Recording, usage: Usage, *, generates: bool = True) -> None:
    """Put counts on the span. Kinds of zero tokens are left out, except the prompt cache where it was reported.

    Some providers report zero tokens of output of an embedding; the conventions know none (`generates` is false).
    """
    recording.set(
        {
            semconv.USAGE_INPUT: usage.input,
            semconv.USAGE_OUTPUT: usage.output if generates else None,
            semconv.USAGE_CACHE_READ: usage.cache_read or None,
            semconv.USAGE_CACHE_WRITE: usage.cache_write or None,
            semconv.USAGE_REASONING: usage.reasoning or None,
            semconv.USAGE_AUDIO_INPUT: usage.audio_input or None,
            semconv.USAGE_AUDIO_CACHE_READ: usage.audio_cache_read or None,
            semconv.USAGE_IMAGE_INPUT: usage.image_input or None,
            semconv.USAGE_TEXT_INPUT: usage.text_input if usage.audio_input or usage.image_input else None,
            semconv.USAGE_AUDIO_OUTPUT: usage.audio_output or None,
            semconv.USAGE_IMAGE_OUTPUT: usage.image_output or None,
            semconv.USAGE_TEXT_OUTPUT: usage.text_output if usage.audio_output or usage.image_output else None,
            semconv.USAGE_ESTIMATED: True if usage.estimated else None,
        }
    )


def fill_saved(recording: Recording, usage: Usage | None, bought: Usage | None = None) -> None:
    """Put on the span what came out of the response cache: all of `usage`, or what of it was not `bought`.

    Under names of its own: who adds up the conventions' tokens gets those that were billed.
    """
    if usage is not None:
        recording.set(
            {
                semconv.SAVED_INPUT: _less(usage.input, bought.input if bought is not None else None),
                semconv.SAVED_OUTPUT: _less(usage.output, bought.output if bought is not None else None),
            }
        )


def _less(count: int | None, part: int | None) -> int | None:
    return None if count is None else max(0, count - (part or 0)) or None


def _provider_cost(usage: object) -> float | None:
    """USD that the provider says it charged; Perplexity splits it into parts and a total.

    With a key of the user's own, OpenRouter's figure is its fee, and the model is billed by whoever runs it.
    """
    said = get(usage, "cost")
    cost = None if said is None else number(said)
    if cost is None and said is not None:
        cost = number(get(said, "total_cost"))
    if get(usage, "is_byok") is not True:
        return cost
    upstream = number(path(usage, "cost_details", "upstream_inference_cost"))
    return None if upstream is None else upstream + (cost or 0.0)


def _first(*values: object) -> int | None:
    """The first report of one count; a 0 only where no other says more (litellm 1.79 has one beside a batch's own)."""
    first = None
    for value in values:
        count = None if value is None else tokens(value)
        if count:
            return count
        first = count if first is None else first
    return first


def _best(*values: object) -> int | None:
    """The largest of several reports of one count: litellm fills some of them with 0 for want of knowledge."""
    best = None
    for value in values:
        count = None if value is None else tokens(value)
        if count is not None and (best is None or count > best):
            best = count
    return best
