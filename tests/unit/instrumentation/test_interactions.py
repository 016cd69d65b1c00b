"""Gemini's Interactions are one span each: whole, streamed, in the background, or answered by way of Responses."""

from __future__ import annotations

import inspect
import json
from typing import TYPE_CHECKING, Any

import litellm
import pytest

import otel_llm
from otel_llm import semconv
from otel_llm.instrumentation.litellm.answers import reader_for
from otel_llm.instrumentation.litellm.forms import FORMS
from otel_llm.instrumentation.litellm.request import Request
from tests.unit.instrumentation.calls import run
from tests.unit.instrumentation.recorded import failed

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans

pytest.importorskip("litellm.interactions.main", reason="this litellm has no interactions")

USAGE = {"total_input_tokens": 100, "total_output_tokens": 20, "total_thought_tokens": 10, "total_cached_tokens": 40,
         "total_tokens": 130, "input_tokens_by_modality": [{"modality": "text", "tokens": 100}]}  # fmt: skip
COST = (60 * 0.3 + 40 * 0.03 + 30 * 2.5) / 1e6
"""USD that those cost with gemini-2.5-flash."""
NAMES = ("create", "acreate")
STEPS = [
    {"type": "thought", "summary": [{"type": "text", "text": "Hm"}]},
    {"type": "model_output", "content": [{"type": "text", "text": "Far."}]},
]


def _interaction(status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"id": "i1", "object": "interaction", "model": "gemini-2.5-flash", "status": status, "steps": STEPS,
            "usage": USAGE, **more}  # fmt: skip


def _events(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def _call(provider: FakeProvider, name: str, **asked: Any) -> Any:
    function = getattr(litellm.interactions, name)
    target = {"model": "gemini/gemini-2.5-flash", "input": "How far?", "api_base": provider.url, "api_key": "k"}
    given = {key: value for key, value in {**target, **asked}.items() if value is not None}

    async def call() -> Any:
        made = await function(**given)
        return [event async for event in made] if hasattr(made, "__anext__") else made

    if inspect.iscoroutinefunction(function):
        return run(call)
    made = function(**given)
    return list(made) if hasattr(made, "__next__") else made


STREAMED = (
    {"event_type": "interaction.created", "interaction": {"id": "i1", "status": "in_progress"}},
    {"event_type": "step.start", "index": 0, "step": {"type": "thought"}},
    {"event_type": "step.delta", "index": 0, "delta": {"type": "thought_summary", "content": {"text": "Hm"}}},
    {"event_type": "step.stop", "index": 0},
    {"event_type": "step.start", "index": 1, "step": {"type": "model_output", "content": []}},
    {"event_type": "step.delta", "index": 1, "delta": {"type": "text", "text": "Fa"}},
    {"event_type": "step.delta", "index": 1, "delta": {"type": "text", "text": "r."}},
    {"event_type": "step.stop", "index": 1},
    {"event_type": "interaction.completed",
     "interaction": {"id": "i1", "model": "gemini-2.5-flash", "status": "completed", "usage": USAGE}},
)  # fmt: skip
OLDER = (
    {"event_type": "interaction.start", "interaction": {"id": "i1", "model": "gemini-2.5-flash"}},
    {"event_type": "content.start", "index": 0, "content": {"type": "text"}},
    {"event_type": "content.delta", "index": 0, "delta": {"type": "text", "text": "Far."}},
    {"event_type": "content.stop", "index": 0},
    {"event_type": "interaction.complete", "interaction": {"id": "i1", "status": "completed", "usage": USAGE}},
)


def _expect(spans: Spans, **more: Any) -> None:
    facts = spans.facts
    expected = {
        semconv.OPERATION_NAME: semconv.OP_CHAT,
        semconv.PROVIDER_NAME: "gcp.gemini",
        semconv.REQUEST_MODEL: "gemini-2.5-flash",
        semconv.RESPONSE_MODEL: "gemini-2.5-flash",
        semconv.RESPONSE_ID: "i1",
        semconv.FINISH_REASONS: ("stop",),
        semconv.USAGE_INPUT: 100,
        semconv.USAGE_OUTPUT: 30,
        semconv.USAGE_CACHE_READ: 40,
        semconv.USAGE_REASONING: 10,
        semconv.COST_STATUS: semconv.COST_PRICED,
        **more,
    }
    assert {key: facts.get(key) for key in expected} == expected
    assert facts[semconv.COST] == pytest.approx(COST)


@pytest.mark.parametrize("name", NAMES)
def test_an_interaction_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """An interaction is one span: target, parameters, ids, tokens (what was thought is output), their cost, tenant."""
    provider.json(_interaction())
    with otel_llm.tenant("acme"):
        _call(provider, name, generation_config={"temperature": 0.5, "max_output_tokens": 9})
    assert spans.only.name == "chat gemini-2.5-flash"
    _expect(
        spans,
        **{
            semconv.REQUEST_TEMPERATURE: 0.5,
            semconv.REQUEST_MAX_TOKENS: 9,
            semconv.OPERATION_DETAIL: f"interactions.{name}",
            semconv.SERVER_ADDRESS: "127.0.0.1",
            semconv.TENANT_ID: "acme",
        },
    )
    assert not semconv.CONTENT_ATTRIBUTES & spans.facts.keys()


@pytest.mark.parametrize("events", [STREAMED, OLDER], ids=["steps", "contents"])
@pytest.mark.parametrize("name", NAMES)
def test_a_stream_is_one_span(
    name: str, events: tuple[dict[str, Any], ...], provider: FakeProvider, full_spans: Spans
) -> None:
    """A stream ends its span once, with the time to the first word, and says what a whole answer says."""
    provider.malformed(_events(*events))
    assert len(_call(provider, name, stream=True)) == len(events)
    _expect(full_spans, **{semconv.REQUEST_STREAM: True})
    assert full_spans.facts[semconv.TIME_TO_FIRST_CHUNK] > 0
    assert "Far." in full_spans.facts[semconv.OUTPUT_MESSAGES]
    assert ("Hm" in full_spans.facts[semconv.OUTPUT_MESSAGES]) is (events is STREAMED)


def test_content_is_in_the_conventions_words(provider: FakeProvider, full_spans: Spans) -> None:
    """Turns, instructions, thoughts, words, and the call of a tool stand on the span as those of chat do."""
    call = {"type": "function_call", "id": "c1", "name": "look", "arguments": {"at": "it"}}
    provider.json(_interaction("requires_action", steps=[*STEPS, call]))
    turns = [
        {"type": "user_input", "content": [{"type": "text", "text": "How far?"}]},
        {"type": "model_output", "content": [{"type": "text", "text": "What?"}]},
        {"type": "function_result", "call_id": "c0", "name": "look", "result": "there"},
    ]
    tool = {"type": "function", "name": "look", "description": "looks", "parameters": {"type": "object"}}
    _call(provider, "create", input=turns, system_instruction="Be brief", tools=[tool])
    facts = full_spans.facts
    asked = json.loads(facts[semconv.INPUT_MESSAGES])
    assert [(message["role"], message["parts"][0]["type"]) for message in asked] == [
        ("user", "text"),
        ("assistant", "text"),
        ("user", "tool_call_response"),
    ]
    assert "Be brief" in facts[semconv.SYSTEM_INSTRUCTIONS]
    assert json.loads(facts[semconv.TOOL_DEFINITIONS])[0]["name"] == "look"
    (message,) = json.loads(facts[semconv.OUTPUT_MESSAGES])
    assert message["parts"] == [
        {"type": "reasoning", "content": "Hm"},
        {"type": "text", "content": "Far."},
        {"type": "tool_call", "name": "look", "arguments": {"at": "it"}, "id": "c1"},
    ]
    assert facts[semconv.FINISH_REASONS] == ("tool_call",)


@pytest.mark.parametrize("prefix", ["", "a"])
def test_an_interaction_in_the_background_is_billed_when_it_is_done(
    prefix: str, provider: FakeProvider, spans: Spans
) -> None:
    """What asks for an agent's work has no tokens; the first answer that says it is done has them, once."""
    agent, name = "deep-research-pro-preview-12-2025", f"{prefix}get"
    asked = {"model": None, "agent": agent, "background": True}
    provider.json(_interaction("in_progress", usage=None, steps=[], model=None, agent=agent))
    with otel_llm.tenant("acme"):
        _call(provider, f"{prefix}create", **asked)
    assert semconv.USAGE_INPUT not in spans.facts
    assert spans.facts[semconv.REQUEST_MODEL] == agent
    spans.clear()
    back = {"model": None, "input": None, "interaction_id": "i1"}
    provider.json(_interaction("in_progress", usage=None))
    _call(provider, name, **back)
    assert spans.llm == []
    provider.json(_interaction(model=None, agent=agent), times=2)
    _call(provider, name, **back)
    _call(provider, name, **back)
    assert spans.facts[semconv.USAGE_OUTPUT] == 30
    assert spans.facts[semconv.TENANT_ID] == "acme"
    assert spans.facts[semconv.OPERATION_DETAIL] == f"interactions.{name}"
    assert spans.facts[semconv.COST] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_failure_is_an_error(name: str, provider: FakeProvider, spans: Spans) -> None:
    """An interaction that says it failed, an error in a stream, and a refusal are errors on their spans."""
    provider.json(_interaction("failed"))
    _call(provider, name)
    assert failed(spans.only)
    spans.clear()
    provider.malformed(_events(STREAMED[0], {"event_type": "error", "error": {"code": "quota", "message": "Too many"}}))
    _call(provider, name, stream=True)
    assert spans.facts[semconv.ERROR_TYPE] == "quota"
    spans.clear()
    provider.error(429, times=None)
    with pytest.raises(Exception, match=r"429|ate"):
        _call(provider, name)
    assert failed(spans.only)


@pytest.mark.parametrize("name", NAMES)
def test_one_that_is_answered_by_way_of_responses_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A model that is not Gemini's is asked by way of Responses: one span, of what was called."""
    _call(provider, name, model="openai/gpt-4o-mini", api_base=provider.openai_base)
    assert spans.facts[semconv.OPERATION_DETAIL] == f"interactions.{name}"
    assert spans.facts[semconv.PROVIDER_NAME] == "openai"
    assert spans.facts[semconv.USAGE_OUTPUT] > 0
    assert spans.facts[semconv.COST_STATUS] == semconv.COST_PRICED
    spans.clear()
    _call(provider, name, model="openai/gpt-4o-mini", api_base=provider.openai_base, stream=True)
    assert spans.facts[semconv.USAGE_OUTPUT] > 0


@pytest.mark.parametrize("index", [[1], {"a": 1}, "0", None])
@pytest.mark.parametrize(
    ("name", "beginning", "growing"),
    [
        ("create", {"event_type": "step.start", "step": {}}, {"event_type": "step.delta", "delta": {"type": "text"}}),
        (
            "anthropic_messages",
            {"type": "content_block_start", "content_block": {"type": "text"}},
            {"type": "content_block_delta", "delta": {"type": "text_delta"}},
        ),
    ],
)
def test_an_odd_index_is_no_fault(name: str, beginning: dict[str, Any], growing: dict[str, Any], index: object) -> None:
    """What counts the parts of a stream may be anything: the words count all the same."""
    form = FORMS[name]
    reader = reader_for(form)(Request(form, (), {"model": "gemini/gemini-2.5-flash"}))
    delta = {**growing["delta"], "text": "Far."}
    assert not reader.feed({**beginning, "index": index})
    assert reader.feed({**growing, "index": index, "delta": delta})
    assert "Far." in str(reader.answer())
