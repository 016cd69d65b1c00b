"""Over the price table of the installed litellm: what we make of a call's tokens is what litellm makes of them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import litellm
import pytest

from otel_llm.instrumentation.litellm.forms import FORMS
from otel_llm.instrumentation.litellm.pricing import price
from otel_llm.instrumentation.litellm.request import Request
from otel_llm.instrumentation.litellm.usage import read_usage

pytestmark = pytest.mark.skipif(version("litellm").startswith("1.79."), reason="this litellm is wrong in places")

SELLERS = (
    "openai",
    "azure",
    "anthropic",
    "gemini",
    "bedrock",
    "bedrock_converse",
    "vertex_ai",
    "mistral",
    "xai",
    "deepseek",
    "groq",
)
EACH = 3
"""Every so manieth model of a seller's is looked at; all of them take minutes."""


def _usage(prompt: int = 1000, completion: int = 200, *, written: int = 0, **kinds: int) -> litellm.Usage:
    cached, heard, said = (kinds.get(name, 0) for name in ("cached", "heard", "said"))
    prompt_details: dict[str, Any] = {"cached_tokens": cached, "audio_tokens": heard, "cache_creation_tokens": written}
    if kinds.get("heard_before"):
        prompt_details["cached_tokens_details"] = {"audio_tokens": kinds["heard_before"]}
    prompt_details["text_tokens"] = prompt - heard
    thought = kinds.get("thought", 0)
    completion_details = {"reasoning_tokens": thought, "audio_tokens": said, "text_tokens": completion - thought - said}
    return litellm.Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        prompt_tokens_details=prompt_details,
        completion_tokens_details=completion_details,
        **({"cache_creation_input_tokens": written} if written else {}),
        **({"cache_read_input_tokens": cached} if cached else {}),
    )


CASES = {
    "plain": _usage(),
    "cached": _usage(cached=400),
    "written": _usage(written=300, cached=100),
    "thought": _usage(thought=120),
    "spoken": _usage(heard=300, said=80),
    "spoken and cached": _usage(cached=200, heard=300, heard_before=150, said=80),
    "long": _usage(300_000, 1000, cached=100_000, thought=300),
}


def _models(seller: str) -> list[str]:
    def is_meant(name: str, row: Any) -> bool:
        listed = str(row.get("litellm_provider", ""))
        return (listed == seller or listed.startswith(f"{seller}-")) and row.get("mode") in {"chat", "responses"}

    found = sorted(name for name, row in litellm.model_cost.items() if is_meant(name, row))
    return found[::EACH]


def _is_written(row: Any, case: str) -> bool:
    """Whether tokens can be written to a cache at all: where they cannot, nobody has a price for it."""
    return case != "written" or bool(row.get("cache_creation_input_token_cost"))


@pytest.mark.parametrize("seller", SELLERS)
def test_our_figure_is_litellms(seller: str) -> None:
    """The cost of cached, written, thought and spoken tokens, and beyond thresholds, is litellm's to 1e-9."""
    compared, different = 0, []
    for name in _models(seller):
        request = Request(FORMS["completion"], (), {"model": name})
        if request.provider is None:
            continue
        for case, usage in CASES.items():
            if not _is_written(litellm.model_cost[name], case):
                continue
            answer = litellm.ModelResponse(model=name, usage=usage)
            theirs = litellm.completion_cost(
                completion_response=answer, model=request.model, custom_llm_provider=request.provider
            )
            ours = price(request, answer, read_usage(usage), fresh=False).usd
            compared += 1
            if (theirs or ours) and abs(float(ours or 0) - theirs) > 1e-9 * max(1.0, theirs):
                different.append((name, case, ours, theirs))
    assert not different
    assert compared
