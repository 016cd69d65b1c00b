"""litellm's response cache: a hit costs nothing, says so, and says what it saved."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import litellm
import pytest

from otel_llm import semconv
from tests.unit.instrumentation.calls import CALLS, MESSAGES, arguments, router, run
from tests.unit.instrumentation.recorded import Spans, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.testing import FakeProvider

CACHED = ("completion", "acompletion", "text_completion", "atext_completion", "embedding", "aembedding")


@pytest.fixture(autouse=True)
def _cache() -> Iterator[None]:
    """A response cache in this process."""
    before, litellm.cache = litellm.cache, litellm.Cache()
    callbacks = [list(kept) for kept in (litellm.input_callback, litellm.success_callback)]
    yield
    litellm.cache = before
    litellm.input_callback, litellm.success_callback = callbacks
    litellm.logging_callback_manager._reset_all_callbacks()


def _twice(name: str, provider: FakeProvider, **more: Any) -> None:
    """Call twice with the same arguments; skips where this litellm cannot answer from its cache at all."""
    form = CALLS[name]

    async def once() -> None:
        made = getattr(litellm, name)(**arguments(form, provider, caching=True, **more))
        answer = await made if inspect.isawaitable(made) else made
        if not more.get("stream"):
            return
        if form.asynchronous:
            async for _ in answer:
                pass
        else:
            list(answer)

    run(once)
    try:
        run(once)
    except (ImportError, ModuleNotFoundError) as error:
        pytest.skip(f"this litellm needs its proxy's packages for a cache hit: {error}")
    if len(provider.requests) == 2:
        pytest.skip(f"this litellm does not cache {name}{' streams' if more else ''}")


@pytest.mark.parametrize("name", CACHED)
def test_a_hit_costs_nothing_and_says_what_it_saved(name: str, provider: FakeProvider, spans: Spans) -> None:
    """The second of two equal calls is a hit: cost 0 with its status, and the first one's cost as saved."""
    _twice(name, provider)
    missed, hit = (attributes(span) for span in spans.llm)
    assert (missed[semconv.CACHE_HIT], hit[semconv.CACHE_HIT]) == (False, True)
    assert missed[semconv.COST] > 0
    assert semconv.COST_SAVED not in missed
    assert hit[semconv.COST] == 0
    assert hit[semconv.COST_STATUS] == semconv.COST_CACHE_HIT
    assert hit[semconv.COST_SAVED] == pytest.approx(missed[semconv.COST])
    assert hit[semconv.RESPONSE_MODEL] == missed[semconv.RESPONSE_MODEL]
    assert hit.get(semconv.FINISH_REASONS) == missed.get(semconv.FINISH_REASONS)
    assert hit[semconv.SAVED_INPUT] == missed[semconv.USAGE_INPUT]
    assert hit.get(semconv.SAVED_OUTPUT) == (missed.get(semconv.USAGE_OUTPUT) or None)
    assert not [fact for fact in hit if fact.startswith("gen_ai.usage.") and fact != semconv.COST]
    assert not {semconv.SAVED_INPUT, semconv.SAVED_OUTPUT} & missed.keys()


@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_a_streamed_hit_costs_nothing(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A stream that litellm plays back from its cache is a hit too."""
    _twice(name, provider, stream=True)
    missed, hit = (attributes(span) for span in spans.llm)
    assert (missed[semconv.CACHE_HIT], hit[semconv.CACHE_HIT]) == (False, True)
    assert (hit[semconv.COST], hit[semconv.COST_STATUS]) == (0, semconv.COST_CACHE_HIT)
    assert hit[semconv.COST_SAVED] > 0
    assert hit[semconv.SAVED_OUTPUT] > 0
    assert not {semconv.USAGE_INPUT, semconv.USAGE_OUTPUT} & hit.keys()


def test_of_a_part_that_was_cached_only_the_rest_was_bought(provider: FakeProvider, spans: Spans) -> None:
    """Of a list of embeddings with some in the cache the span has tokens and price of those that were asked for."""
    call = arguments(CALLS["aembedding"], provider, caching=True)

    def embed(*texts: str) -> dict[str, Any]:
        run(litellm.aembedding, **{**call, "input": list(texts)})
        return attributes(spans.llm[-1])

    first = embed("the moon")
    second = embed("the moon", "is far away from here")
    assert second[semconv.CACHE_HIT] is False
    assert second[semconv.USAGE_INPUT] == provider.requests[1].usage.input_tokens
    assert second[semconv.COST] == pytest.approx(second[semconv.USAGE_INPUT] * 2e-8)
    assert second[semconv.COST_STATUS] == semconv.COST_PRICED
    assert second[semconv.SAVED_INPUT] == first[semconv.USAGE_INPUT]
    assert second[semconv.COST_SAVED] == pytest.approx(first[semconv.COST])
    third = embed("is far away from here", "the moon")
    assert len(provider.requests) == 2
    assert (third[semconv.CACHE_HIT], third[semconv.COST]) == (True, 0)
    assert semconv.USAGE_INPUT not in third


def test_of_a_part_that_was_cached_the_providers_figure_is_that_of_the_rest(
    provider: FakeProvider, spans: Spans
) -> None:
    """Where a provider says what it charged, the cost of a list that was cached in part is what it said of the rest."""
    asked = {**CALLS["aembedding"].inputs, "model": "litellm_proxy/text-embedding-3-small", "caching": True}
    for texts, charged in ((["the moon"], "0.25"), (["the moon", "is far away from here"], "0.5")):
        body = {
            "object": "list",
            "model": "text-embedding-3-small",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}],
            "usage": {"prompt_tokens": 5, "total_tokens": 5},
        }
        provider.error(
            200, json.dumps(body), headers={"Content-Type": "application/json", "x-litellm-response-cost": charged}
        )
        run(litellm.aembedding, **{**asked, "input": texts, "api_base": provider.openai_base, "api_key": "sk-test"})
    first, second = (attributes(span) for span in spans.llm)
    assert len(provider.requests) == 2
    assert (first[semconv.COST], second[semconv.COST]) == (0.25, 0.5)
    assert second[semconv.USAGE_INPUT] == 5
    assert second[semconv.COST_SAVED] > 0


def test_of_a_part_that_was_cached_nothing_is_made_up_where_the_rest_has_no_usage(
    provider: FakeProvider, spans: Spans
) -> None:
    """A provider that counts no tokens for the rest: those of the cached part are not taken for what was bought."""
    call = arguments(CALLS["aembedding"], provider, caching=True)
    run(litellm.aembedding, **{**call, "input": ["the moon"]})
    data = [{"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}]
    provider.json({"object": "list", "model": "text-embedding-3-small", "data": data})
    run(litellm.aembedding, **{**call, "input": ["the moon", "is far away from here"]})
    second = attributes(spans.llm[-1])
    assert len(provider.requests) == 2
    assert second[semconv.CACHE_HIT] is False
    assert not second.get(semconv.USAGE_INPUT)
    assert not second.get(semconv.COST)


@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_a_routed_hit_costs_nothing(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A Router whose answers are cached says of the second what a plain call says."""
    routing = router(provider, CALLS["completion"], cache_responses=True)
    for _ in range(2):
        try:
            run(getattr(routing, name), model="group-gpt-4o-mini", messages=MESSAGES)
        except (ImportError, ModuleNotFoundError) as error:
            pytest.skip(f"this litellm needs its proxy's packages for a cache hit: {error}")
    assert len(provider.requests) == 1
    hit = attributes(spans.llm[1])
    assert (hit[semconv.CACHE_HIT], hit[semconv.COST]) == (True, 0)
    assert hit[semconv.SAVED_OUTPUT] > 0
    assert semconv.USAGE_OUTPUT not in hit


def test_a_miss_is_an_ordinary_call(provider: FakeProvider, spans: Spans) -> None:
    """Another question is no hit."""
    litellm.completion(**arguments(CALLS["completion"], provider, caching=True))
    litellm.completion(**arguments(CALLS["completion"], provider, caching=True,
                                   messages=[{"role": "user", "content": "else"}]))  # fmt: skip
    assert [attributes(span)[semconv.CACHE_HIT] for span in spans.llm] == [False, False]
    assert all(attributes(span)[semconv.COST] > 0 for span in spans.llm)


def test_a_hit_makes_no_request(provider: FakeProvider, spans: Spans) -> None:
    """A hit is recorded though the provider was never asked."""
    _twice("completion", provider)
    assert len(provider.requests) == 1
    assert len(spans.llm) == 2
