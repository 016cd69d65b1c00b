"""Every call form is one span with all its facts, and the program gets what litellm gives."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

import litellm
import pytest
from opentelemetry.trace import SpanKind

from otel_llm import semconv
from otel_llm.instrumentation.litellm import LitellmInstrumentor
from tests.unit.instrumentation.calls import CALLS, MESSAGES, ROUTED, arguments, comparable, router, run
from tests.unit.instrumentation.recorded import Spans, attributes

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A call of any form leaves one CLIENT span with operation, models, provider, server and finish reasons."""
    form = CALLS[name]
    run(getattr(litellm, name), **arguments(form, provider))
    span = spans.only
    assert span.name == f"{form.operation} {form.bare_model}"
    assert span.kind is SpanKind.CLIENT
    assert span.parent is None
    facts = attributes(span)
    port = int(provider.url.rpartition(":")[2])
    expected = {
        semconv.OPERATION_NAME: form.operation,
        semconv.PROVIDER_NAME: form.provider,
        semconv.REQUEST_MODEL: form.bare_model,
        semconv.SERVER_ADDRESS: "127.0.0.1",
        semconv.SERVER_PORT: port,
        semconv.OPERATION_DETAIL: name,
        semconv.CACHE_HIT: False,
        semconv.TENANT_ID: semconv.UNKNOWN_TENANT,
    }
    assert {key: facts.get(key) for key in expected} == expected
    assert facts.get(semconv.FINISH_REASONS) == ((form.finishes,) if form.finishes else None)
    assert not {semconv.ATTEMPTS, semconv.STREAM_END, semconv.ERROR_TYPE} & facts.keys()


@pytest.mark.parametrize("name", [name for name, form in CALLS.items() if form.counts_tokens])
def test_tokens_are_the_providers(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Tokens on the span are those that the provider reported, and what they cost is known."""
    run(getattr(litellm, name), **arguments(CALLS[name], provider))
    said = provider.requests[-1].usage
    assert said is not None
    facts = spans.facts
    assert facts[semconv.USAGE_INPUT] == said.input_tokens
    if said.output_tokens:
        assert facts[semconv.USAGE_OUTPUT] == said.output_tokens
    assert facts[semconv.COST] > 0
    assert facts[semconv.COST_STATUS] == semconv.COST_PRICED
    assert semconv.USAGE_ESTIMATED not in facts


@pytest.mark.parametrize("name", ["rerank", "arerank", "speech", "aspeech"])
def test_what_is_not_billed_by_tokens_has_a_cost(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Searches and characters are priced by litellm's table, and no tokens are made up for them."""
    run(getattr(litellm, name), **arguments(CALLS[name], provider))
    facts = spans.facts
    assert facts[semconv.COST] > 0
    assert facts[semconv.COST_STATUS] == semconv.COST_PRICED
    assert semconv.USAGE_INPUT not in facts


@pytest.mark.parametrize("name", [name for name, form in CALLS.items() if not form.counts_tokens])
def test_tokens_are_not_made_up(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Where the provider reports no tokens there are none on the span, not even zeros."""
    run(getattr(litellm, name), **arguments(CALLS[name], provider))
    assert not {semconv.USAGE_INPUT, semconv.USAGE_OUTPUT} & spans.facts.keys()


@pytest.mark.parametrize("name", CALLS)
def test_a_sampler_sees_what_is_known_before_the_call(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Operation, provider, model, server and tenant are on the span when it starts, before the request is sent."""
    form = CALLS[name]
    run(getattr(litellm, name), **arguments(form, provider))
    seen = [facts for _, facts in spans.at_start.spans if facts.get(semconv.OPERATION_NAME) == form.operation]
    assert len(seen) == 1
    assert seen[0][semconv.PROVIDER_NAME] == form.provider
    assert seen[0][semconv.REQUEST_MODEL] == form.bare_model
    assert seen[0][semconv.SERVER_ADDRESS] == "127.0.0.1"
    assert f"127.0.0.1:{seen[0][semconv.SERVER_PORT]}" in provider.url
    assert seen[0][semconv.TENANT_ID] == semconv.UNKNOWN_TENANT


@pytest.mark.parametrize("name", CALLS)
def test_the_program_gets_what_litellm_gives(name: str, provider: FakeProvider) -> None:
    """The answer has the same type and content as without us."""
    form = CALLS[name]
    without = run(getattr(litellm, name), **arguments(form, provider))
    with Spans(capture_content=True):
        recorded = run(getattr(litellm, name), **arguments(form, provider))
    assert type(recorded) is type(without)
    assert comparable(recorded) == comparable(without)


@pytest.mark.parametrize("name", CALLS)
def test_the_request_on_the_wire_is_the_same(name: str, provider: FakeProvider) -> None:
    """A call that is not a stream sends the same body with and without us."""
    form = CALLS[name]
    run(getattr(litellm, name), **arguments(form, provider))
    with Spans(capture_content=True):
        run(getattr(litellm, name), **arguments(form, provider))
    without, recorded = (request.json for request in provider.requests)
    assert recorded == without


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_a_child_of_the_span_that_it_was_made_in(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A call made inside another span is that span's child."""
    with spans.tracer.start_as_current_span("the caller") as caller:
        run(getattr(litellm, name), **arguments(CALLS[name], provider))
    parent = spans.only.parent
    assert parent is not None
    assert parent.span_id == caller.get_span_context().span_id


@pytest.mark.parametrize("name", ROUTED)
def test_a_router_call_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A Router's call is one logical span with the group's name, the deployment's facts, and what it cost."""
    form = CALLS[name]
    routing = router(provider, form)
    if not hasattr(routing, name):
        pytest.skip(f"this version's Router has no {name}")
    if name == "text_completion":
        pytest.skip("litellm's Router.text_completion sends the group's name as the model, and fails without us too")
    run(getattr(routing, name), model=f"group-{form.bare_model}", **form.inputs)
    facts = spans.facts
    assert spans.only.name == f"{form.operation} group-{form.bare_model}"
    assert facts[semconv.OPERATION_NAME] == form.operation
    assert facts[semconv.PROVIDER_NAME] == form.provider
    assert facts[semconv.SERVER_ADDRESS] == "127.0.0.1"
    assert facts[semconv.COST] > 0
    if form.counts_tokens:
        assert facts[semconv.USAGE_INPUT] == provider.requests[-1].usage.input_tokens


@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_a_router_call_has_the_provider_that_was_chosen(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Of a group with deployments at two providers the span names the one that answered, and its price."""
    claude = {"model": "anthropic/claude-sonnet-4-5", "api_base": provider.anthropic_base, "api_key": "k"}
    gpt_4 = {"model": "openai/gpt-4", "api_base": provider.openai_base, "api_key": "k", "max_retries": 0}
    routing = litellm.Router([{"model_name": "any", "litellm_params": chosen} for chosen in (gpt_4, claude)])
    for _ in range(100):
        run(getattr(routing, name), model="any", messages=MESSAGES)
        if {attributes(span)[semconv.PROVIDER_NAME] for span in spans.llm} == {"openai", "anthropic"}:
            break
    for request, span in zip(provider.requests, spans.llm, strict=True):
        asked = request.json["model"]
        assert span.name == "chat any"
        assert attributes(span)[semconv.RESPONSE_MODEL] == asked
        assert attributes(span)[semconv.PROVIDER_NAME] == ("openai" if asked == "gpt-4" else "anthropic")
        assert attributes(span)[semconv.COST] > 0
    assert len({attributes(span)[semconv.PROVIDER_NAME] for span in spans.llm}) == 2


@pytest.mark.parametrize("name", [name for name in ROUTED if inspect.iscoroutinefunction(getattr(litellm, name))])
def test_a_routed_answer_is_litellms(name: str, provider: FakeProvider) -> None:
    """What a Router returns has the same type and content as without us."""
    form = CALLS[name]
    routing = router(provider, form)
    model = f"group-{form.bare_model}"
    without = run(getattr(routing, name), model=model, **form.inputs)
    with Spans():
        recorded = run(getattr(routing, name), model=model, **form.inputs)
    assert type(recorded) is type(without)
    assert comparable(recorded) == comparable(without)


def test_the_very_object_is_returned(provider: FakeProvider, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """What litellm made is what the program gets: no copy, no wrapper."""
    made = []
    convert = litellm.utils.convert_to_model_response_object

    def converting(*args: object, **kwargs: object) -> object:
        made.append(convert(*args, **kwargs))
        return made[-1]

    for module in ("litellm.llms.openai.openai", "litellm.utils"):
        monkeypatch.setattr(f"{module}.convert_to_model_response_object", converting)
    answer = litellm.completion(**arguments(CALLS["completion"], provider))
    assert [answer is one for one in made] == [True]


def test_a_call_inside_a_callback_of_litellm_is_a_call_of_its_own(
    provider: FakeProvider, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Litellm's callbacks run in the context of a call that is over; what they call is recorded as well."""
    call = arguments(CALLS["acompletion"], provider)
    judged = asyncio.Event()

    class Judge(litellm.integrations.custom_logger.CustomLogger):
        async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
            if kwargs["model"] == "gpt-4.1-mini":
                await litellm.acompletion(**{**call, "model": "openai/gpt-4.1"})
                judged.set()

    async def program() -> None:
        await litellm.acompletion(**{**call, "model": "openai/gpt-4.1-mini"})
        await asyncio.wait_for(judged.wait(), 10)

    monkeypatch.setattr(litellm, "callbacks", [Judge()])
    try:
        run(program)
    finally:
        litellm.logging_callback_manager._reset_all_callbacks()
    assert sorted(span.name for span in spans.llm) == ["chat gpt-4.1", "chat gpt-4.1-mini"]
    assert not spans.attempts


def test_content_stays_off_the_span_unless_asked_for(provider: FakeProvider, spans: Spans) -> None:
    """Neither prompt nor answer is on a span by default."""
    for name in ("completion", "embedding", "responses", "rerank", "text_completion", "moderation"):
        run(getattr(litellm, name), **arguments(CALLS[name], provider))
    assert not [key for span in spans.all for key in attributes(span) if key in semconv.CONTENT_ATTRIBUTES]
    assert "moon" not in str([attributes(span) for span in spans.all])


def test_content_is_on_the_span_where_asked_for(provider: FakeProvider, full_spans: Spans) -> None:
    """With content on, question and answer are there as the conventions shape them."""
    provider.answer("Far.")
    litellm.completion(**arguments(CALLS["completion"], provider, messages=MESSAGES))
    facts = full_spans.facts
    assert "How far is the moon?" in facts[semconv.INPUT_MESSAGES]
    assert "Far." in facts[semconv.OUTPUT_MESSAGES]


def test_nothing_is_recorded_while_instrumentation_is_suppressed(provider: FakeProvider, spans: Spans) -> None:
    """Inside OpenTelemetry's own `suppress_instrumentation` no span is made."""
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    with suppress_instrumentation():
        litellm.completion(**arguments(CALLS["completion"], provider))
    assert spans.all == []


def test_without_a_provider_the_global_one_is_used(provider: FakeProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """`LitellmInstrumentor().instrument()` alone joins the program's global tracer provider."""
    from opentelemetry import trace

    spans = Spans()
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", spans.tracer_provider)
    LitellmInstrumentor().instrument()
    try:
        litellm.completion(**arguments(CALLS["completion"], provider))
    finally:
        LitellmInstrumentor().uninstrument()
    assert spans.only.name == "chat gpt-4o-mini"


def test_cached_audio_is_told_apart(provider: FakeProvider, spans: Spans) -> None:
    """Of the cached input the part that is audio has the conventions' name of its own."""
    said = {"cached_tokens": 50, "audio_tokens": 80, "cached_tokens_details": {"audio_tokens": 40, "text_tokens": 10}}
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 105, "prompt_tokens_details": said}
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    provider.json(
        {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    )
    run(litellm.completion, **arguments(CALLS["completion"], provider))
    facts = spans.facts
    kinds = (semconv.USAGE_CACHE_READ, semconv.USAGE_AUDIO_INPUT, semconv.USAGE_AUDIO_CACHE_READ)
    assert [facts[kind] for kind in kinds] == [50, 80, 40]


@pytest.mark.parametrize("said_in", ["OPENAI_BASE_URL", "OPENAI_API_BASE", "litellm.api_base"])
@pytest.mark.parametrize("name", ["completion", "embedding", "responses"])
def test_the_server_is_the_one_that_was_asked(
    name: str, said_in: str, provider: FakeProvider, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where environment or litellm's own setting name the address, litellm says OpenAI's on the answer; we do not."""
    if said_in == "litellm.api_base":
        monkeypatch.setattr(litellm, "api_base", provider.openai_base)
    else:
        monkeypatch.setenv(said_in, provider.openai_base)
    form = CALLS[name]
    given = {key: value for key, value in arguments(form, provider).items() if key not in {"api_base", "base_url"}}
    run(getattr(litellm, name), **given)
    assert provider.requests
    facts = spans.facts
    assert (facts[semconv.SERVER_ADDRESS], facts[semconv.SERVER_PORT]) == (
        "127.0.0.1",
        int(provider.url.rpartition(":")[2]),
    )


@pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}], ids=["text", "object"])
def test_the_conversation_of_a_response_is_on_its_span(
    conversation: object, provider: FakeProvider, spans: Spans
) -> None:
    """What a Responses call is a turn of stands on its span, which is the thread in Opik."""
    litellm.responses(**arguments(CALLS["responses"], provider), conversation=conversation)
    assert spans.facts[semconv.CONVERSATION_ID] == "conv_1"
