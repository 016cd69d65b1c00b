"""One call, one count: frameworks around clients, whichever family records either; and what content policy says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm import semconv
from tests.clients.elsewhere import Elsewhere, attributes_of
from tests.clients.jobs import FAMILIES, Job
from tests.recordings import oracle
from tests.recordings.recordings import interactions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PLAIN = ("openai-v2/test_async_chat_completion_metrics", 0)
STREAM = ("openai-v2/test_chat_completion_with_context_manager_streaming", 0)
TOOLS = ("openai/test_chat_tools", 0)
FAILED = ("openai-v2/test_async_chat_completion_404", 0)
ANTHROPIC = ("anthropic/test_anthropic_prompt_caching_legacy", 1)
ANTHROPIC_STREAM = ("anthropic/test_anthropic_tools_streaming_with_events_with_content", 0)
PAIRS = (
    ("OpenTelemetry",),
    ("OpenTelemetry openai", "OpenInference langchain"),
    ("OpenTelemetry openai", "OpenLLMetry langchain"),
    ("OpenInference openai", "OpenTelemetry langchain"),
    ("OpenInference",),
    ("OpenLLMetry openai", "OpenInference langchain"),
    ("OpenLLMetry",),
)
"""Who records the client and who the framework, where one word does not say both."""


def _spans(answer: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for told in answer["answers"].values():
        for span in told["spans"]:
            yield span["scope"], attributes_of(span)


def _counted(answer: dict[str, Any], exchanges: tuple[tuple[str, int], ...]) -> None:
    """The store has each call once, with the tokens of the recorded bodies; so has whoever adds spans up."""
    usages = [oracle.answer(interactions_of(name)[number]).usage for name, number in exchanges]
    totals = answer["usage"]["totals"]
    assert totals["calls"] == len(exchanges)
    assert totals["input_tokens"] == sum(usage.input or 0 for usage in usages)
    assert totals["output_tokens"] == sum(usage.output or 0 for usage in usages)
    counting = [said for _, said in _spans(answer) if semconv.USAGE_INPUT in said or semconv.COST in said]
    assert sum(said.get(semconv.USAGE_INPUT, 0) for said in counting) == totals["input_tokens"]
    for name, number in exchanges:
        spans = answer["answers"][f"{name}#{number}"]["spans"]
        calls = [said for said in map(attributes_of, spans) if semconv.OPERATION_NAME in said]
        assert len(calls) == 1, spans


@pytest.mark.parametrize("families", PAIRS, ids=lambda families: "+".join(families).replace(" ", "-"))
def test_langchain_around_openai_counts_once(families: tuple[str, ...], clients: Elsewhere) -> None:
    """With an instrumentation on LangChain and one on openai, a call, its stream and its failure count once each."""
    exchanges = (PLAIN, STREAM, TOOLS, FAILED)
    answer = clients.run(Job(("openai", "langchain"), exchanges, families, "langchain"))
    assert set(answer["by"]) == {"openai", "langchain"}
    _counted(answer, exchanges)
    assert answer["usage"]["totals"]["errors"] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_langchain_around_anthropics_own_tracing_counts_once(family: str, clients: Elsewhere) -> None:
    """Anthropic's library (2.0 and newer) traces itself: beside LangChain's record the call still counts once."""
    exchanges = (ANTHROPIC, ANTHROPIC_STREAM)
    answer = clients.run(Job(("langchain",), exchanges, (family,), "langchain"))
    _counted(answer, exchanges)


def test_anthropics_own_tracing_is_the_last_resort(clients: Elsewhere) -> None:
    """Without any instrumentation, Anthropic's library records itself: tokens and finish reasons, no messages."""
    exchanges = (ANTHROPIC, ANTHROPIC_STREAM)
    answer = clients.run(Job(("anthropic",), exchanges, ("built in",)))
    assert answer["by"]["anthropic"].startswith("anthropic ")
    _counted(answer, exchanges)
    for (name, number), (_, said) in zip(exchanges, _spans(answer), strict=True):
        recorded = oracle.answer(interactions_of(name)[number])
        assert tuple(said[semconv.FINISH_REASONS]) == recorded.finish_reasons
        assert said.get(semconv.USAGE_CACHE_READ) == (recorded.usage.cache_read or None)
        assert semconv.OUTPUT_MESSAGES not in said


def test_what_is_around_a_call_says_so(clients: Elsewhere) -> None:
    """The framework's span keeps its name and messages, and is marked; usage, cost and model are the call's alone."""
    families = ("OpenTelemetry openai", "OpenInference langchain")
    answer = clients.run(Job(("openai", "langchain"), (PLAIN, STREAM, TOOLS, FAILED), families, "langchain"))
    around = [said for scope, said in _spans(answer) if scope.endswith("langchain")]
    assert len(around) == 4
    for said in around:
        assert said[semconv.REPEATS] is True
        assert semconv.INPUT_MESSAGES in said
        gone = {semconv.USAGE_INPUT, semconv.COST, semconv.COST_STATUS, semconv.REQUEST_MODEL, semconv.OPERATION_NAME}
        assert gone.isdisjoint(said)


_FOR_THE_OLDER_LIBRARY = ("google-genai", "OpenTelemetry")
WORDS = {"openai": "San Francisco", "anthropic": "New York", "google-genai": "Boston", "langchain": "weather like"}
"""What a prompt below says, and no name of a tool does."""
CONTENT = {
    "openai": (TOOLS, ("openai-v2/test_responses_create_basic_content_mode0_", 0), ("openai/test_embeddings", 0)),
    "anthropic": (ANTHROPIC_STREAM, ("anthropic/test_anthropic_tools_legacy", 0)),
    "google-genai": (("google-genai/test_response_with_multiple_tool_calls_False_", 0),),
    "langchain": (TOOLS, STREAM),
}


@pytest.mark.parametrize(
    ("client", "family"),
    [(client, family) for client in CONTENT for family in FAMILIES if (client, family) != _FOR_THE_OLDER_LIBRARY],
)
def test_without_content_no_word_of_it_leaves_anywhere(client: str, family: str, clients: Elsewhere) -> None:
    """With content off, neither our backends nor the program's own exporter get a prompt; the numbers stay right."""
    through = "langchain" if client == "langchain" else None
    answer = clients.run(Job((client,), CONTENT[client], (family,), through, content="off"))
    ours = json.dumps([said for _, said in _spans(answer)])
    assert WORDS[client] not in ours
    assert WORDS[client] not in json.dumps(answer["own"]), "the program's own exporter got a prompt"
    assert semconv.INPUT_MESSAGES not in ours
    usages = [oracle.answer(interactions_of(name)[number]).usage for name, number in CONTENT[client]]
    totals = answer["usage"]["totals"]
    assert totals["calls"] == len(usages)
    assert totals["input_tokens"] == sum(usage.input or 0 for usage in usages)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_programs_own_exporter_gets_what_upstream_wrote(family: str, clients: Elsewhere) -> None:
    """Translation happens on our copy: the program's own exporter sees the instrumentation's own names, no cost."""
    answer = clients.run(Job(("openai",), (TOOLS,), (family,)))
    (own,) = answer["own"]
    assert semconv.COST not in own
    assert semconv.COST_STATUS not in own
    foreign = {"OpenTelemetry": semconv.USAGE_INPUT, "OpenInference": "llm.token_count.prompt"}
    assert foreign.get(family, "gen_ai.usage.total_tokens") in own


def test_agreed_prices_hold_for_direct_calls(clients: Elsewhere) -> None:
    """A tenant's own price in `prices_file` goes before the table, with the status `overridden`."""
    prices = {"tenants": {"acme": {"models": {"gpt-3.5-turbo": {"input_per_million": 1, "output_per_million": 2}}}}}
    answer = clients.run(Job(("openai",), (TOOLS,), ("OpenTelemetry",), prices=prices))
    ((_, said),) = _spans(answer)
    assert said[semconv.COST_STATUS] == semconv.COST_OVERRIDDEN
    assert said[semconv.COST] == pytest.approx((68 * 1 + 16 * 2) / 1e6)


def test_without_litellm_only_agreed_prices_are_known(older_google: Elsewhere) -> None:
    """Where litellm is not installed there is no table: a price is the agreed one, or unknown and never 0."""
    exchange = ("google-genai/test_response_with_multiple_tool_calls_False_", 0)
    answer = older_google.run(Job(("google-genai",), (exchange,), ("OpenTelemetry",)))
    ((_, said),) = _spans(answer)
    assert said[semconv.COST_STATUS] == semconv.COST_UNKNOWN
    assert semconv.COST not in said
    agreed = {"models": {"gemini-2.0-flash": {"input_per_million": 1, "output_per_million": 2}}}
    answer = older_google.run(Job(("google-genai",), (exchange,), ("OpenTelemetry",), prices=agreed))
    ((_, said),) = _spans(answer)
    assert said[semconv.COST_STATUS] == semconv.COST_OVERRIDDEN
    assert said[semconv.COST] == pytest.approx((64 * 1 + 11 * 2) / 1e6)
