"""Retries and fallbacks: one logical span, its attempts below it, and only the billed one carries tokens and cost."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from opentelemetry.trace import StatusCode

import otel_llm.context as identity
from otel_llm import semconv
from otel_llm.testing import Usage
from tests.unit.instrumentation.calls import CALLS, MESSAGES, CallForm, arguments, router, run
from tests.unit.instrumentation.recorded import Spans, attributes, failed, until

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider

BOTH = pytest.mark.parametrize("name", ["completion", "acompletion"])
SOON = {"retry-after-ms": "1", "retry-after": "0"}
GPT_4 = CallForm("completion", "openai/gpt-4", semconv.OP_CHAT, {"messages": MESSAGES})
GPT_4O = CALLS["completion"]
BILLING = {semconv.USAGE_INPUT, semconv.USAGE_OUTPUT, semconv.COST, semconv.COST_STATUS}


def _tree(spans: Spans, *, statuses: list[int | None], fallback: bool = False) -> None:
    """One logical span over attempts with these HTTP statuses (None: it answered)."""
    (logical,) = spans.logical
    facts = attributes(logical)
    attempts = spans.attempts
    assert [attributes(attempt)[semconv.ATTEMPT] for attempt in attempts] == list(range(1, len(statuses) + 1))
    assert facts[semconv.ATTEMPTS] == len(statuses)
    assert facts.get(semconv.FALLBACK) == (True if fallback else None)
    assert not BILLING & facts.keys()
    for attempt, status in zip(attempts, statuses, strict=True):
        said = attributes(attempt)
        assert attempt.parent is not None
        assert attempt.parent.span_id == logical.context.span_id
        assert logical.start_time <= attempt.start_time <= attempt.end_time <= logical.end_time
        assert said[semconv.OPERATION_NAME] == facts[semconv.OPERATION_NAME]
        assert said[semconv.PROVIDER_NAME] in {"openai", "anthropic"}
        assert said[semconv.SERVER_ADDRESS] == "127.0.0.1"
        assert said[semconv.CACHE_HIT] is False
        assert said.get(semconv.HTTP_STATUS_CODE) == status
        assert failed(attempt) == (status is not None)
        assert (semconv.ERROR_TYPE in said) == (status is not None)
        assert bool(BILLING & said.keys()) == (status is None)
    ends = [attempt.end_time for attempt in attempts]
    starts = [attempt.start_time for attempt in attempts]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def _call(name: str, provider: FakeProvider, model: str = "openai/gpt-4o-mini", **more: Any) -> dict[str, Any]:
    return {**arguments(CALLS[name], provider), "model": model, **more}


def _claude(name: str, provider: FakeProvider, **more: Any) -> dict[str, Any]:
    """A call whose retries are litellm's own: OpenAI's client would retry below it, unseen by litellm."""
    pytest.importorskip("tenacity", reason="litellm retries with tenacity, which it does not install")
    model = "anthropic/claude-3-haiku-20240307"
    call = {"model": model, "messages": MESSAGES, "api_base": provider.anthropic_base, "api_key": "k"}
    return {**call, **more}


def _statuses(provider: FakeProvider) -> list[int]:
    return [request.status for request in provider.requests]


@BOTH
def test_a_retried_call_is_one_span_with_its_attempts(name: str, provider: FakeProvider, spans: Spans) -> None:
    """`num_retries`: the failed attempt has its error, the second the usage, the logical span neither."""
    provider.error(500)
    provider.answer("Paris", usage=Usage(12, 3))
    run(getattr(litellm, name), **_claude(name, provider), num_retries=2)
    assert _statuses(provider) == [500, 200]
    _tree(spans, statuses=[500, None])
    assert not failed(spans.logical[0])
    billed = attributes(spans.attempts[1])
    assert (billed[semconv.USAGE_INPUT], billed[semconv.USAGE_OUTPUT]) == (12, 3)
    assert attributes(spans.logical[0])[semconv.FINISH_REASONS] == ("stop",)


@BOTH
def test_retries_that_all_fail_end_in_the_last_error(name: str, provider: FakeProvider, spans: Spans) -> None:
    """When every attempt fails each has its error, and the logical span has what the program caught."""
    provider.error(500, times=None)
    with pytest.raises(litellm.InternalServerError) as caught:
        run(getattr(litellm, name), **_claude(name, provider), num_retries=2)
    assert len(spans.attempts) == len(provider.requests) == 3
    _tree(spans, statuses=[500, 500, 500])
    assert attributes(spans.logical[0])[semconv.ERROR_TYPE].endswith(type(caught.value).__name__)
    assert failed(spans.logical[0])


@BOTH
def test_retries_of_the_providers_client_are_http_requests(name: str, provider: FakeProvider, spans: Spans) -> None:
    """OpenAI's own client retries below litellm, which sees one attempt; so do we: one span, with usage and cost."""
    provider.error(500, headers=SOON)
    run(getattr(litellm, name), **_call(name, provider), num_retries=2)
    assert _statuses(provider) == [500, 200]
    assert spans.facts[semconv.COST] > 0
    assert semconv.ATTEMPTS not in spans.facts


@BOTH
def test_one_attempt_is_not_told_apart(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A call that could have retried and did not need to is one span with usage and cost, without attempts."""
    run(getattr(litellm, name), **_call(name, provider), num_retries=3)
    assert semconv.ATTEMPTS not in spans.facts
    assert spans.facts[semconv.COST] > 0


@BOTH
def test_a_retried_stream_is_one_span_with_its_attempts(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A stream whose first attempt was refused: usage is on the attempt that streamed."""
    provider.error(500)
    provider.stream(["a ", "b"], usage=Usage(12, 3))

    async def program() -> None:
        made = getattr(litellm, name)(**_claude(name, provider), num_retries=1, stream=True)
        if inspect.isawaitable(made):
            async for _ in await made:
                pass
        else:
            list(made)

    try:
        run(program)
    except litellm.InternalServerError:
        pytest.skip("this litellm does not retry an async stream")
    _tree(spans, statuses=[500, None])
    billed = attributes(spans.attempts[1])
    assert (billed[semconv.USAGE_INPUT], billed[semconv.USAGE_OUTPUT]) == (12, 3)
    assert semconv.TIME_TO_FIRST_CHUNK in attributes(spans.logical[0])


@BOTH
def test_a_fallback_is_one_span_with_its_attempts(name: str, provider: FakeProvider, spans: Spans) -> None:
    """`fallbacks=[...]`: the model asked for is on the logical span, the one that answered on its attempt."""
    provider.when(model="gpt-4").error(404, times=None)
    call = _call(name, provider, "openai/gpt-4")
    run(getattr(litellm, name), **call, fallbacks=["openai/gpt-4o-mini"])
    _tree(spans, statuses=[404, None], fallback=True)
    (logical,), (first, second) = spans.logical, spans.attempts
    assert logical.name == "chat gpt-4"
    assert attributes(logical)[semconv.RESPONSE_MODEL] == "gpt-4o-mini"
    assert (first.name, second.name) == ("chat gpt-4", "chat gpt-4o-mini")
    assert attributes(second)[semconv.FALLBACK] is True
    assert semconv.FALLBACK not in attributes(first)


@BOTH
def test_a_router_that_retries_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Router retries: one logical span under the group's name, its attempts under the model's."""
    provider.error(500, headers=SOON)
    routing = router(provider, GPT_4O, num_retries=1, retry_after=0)
    run(getattr(routing, name), model="group-gpt-4o-mini", messages=MESSAGES)
    assert _statuses(provider) == [500, 200]
    _tree(spans, statuses=[500, None])
    assert spans.logical[0].name == "chat group-gpt-4o-mini"
    assert [attempt.name for attempt in spans.attempts] == ["chat gpt-4o-mini"] * 2


@BOTH
def test_a_router_that_falls_back_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Router fallbacks: the attempt in the other group is marked."""
    provider.when(model="gpt-4").error(404, times=None)
    routing = router(provider, GPT_4, GPT_4O, fallbacks=[{"group-gpt-4": ["group-gpt-4o-mini"]}])
    run(getattr(routing, name), model="group-gpt-4", messages=MESSAGES)
    _tree(spans, statuses=[404, None], fallback=True)
    assert spans.logical[0].name == "chat group-gpt-4"
    assert attributes(spans.attempts[1])[semconv.REQUEST_MODEL] == "gpt-4o-mini"


@BOTH
def test_a_router_whose_fallbacks_fail_is_an_error(name: str, provider: FakeProvider, spans: Spans) -> None:
    """When the fallback fails as well both attempts have their error, and the logical span the one that was raised."""
    provider.error(404, times=None)
    routing = router(provider, GPT_4, GPT_4O, fallbacks=[{"group-gpt-4": ["group-gpt-4o-mini"]}])
    with pytest.raises(litellm.NotFoundError):
        run(getattr(routing, name), model="group-gpt-4", messages=MESSAGES)
    assert failed(spans.logical[0])
    assert all(failed(attempt) for attempt in spans.attempts)
    assert {attempt.name for attempt in spans.attempts} == {"chat gpt-4", "chat gpt-4o-mini"}


TOO_LONG = {
    "error": {
        "message": "This model's maximum context length is 8192 tokens, your messages resulted in 9000 tokens.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    }
}


@BOTH
def test_a_context_window_fallback_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A Router that goes to a model with more room after the provider said that the prompt is too long."""
    provider.when(model="gpt-4").error(400, TOO_LONG, times=None)
    routing = router(provider, GPT_4, GPT_4O, context_window_fallbacks=[{"group-gpt-4": ["group-gpt-4o-mini"]}])
    run(getattr(routing, name), model="group-gpt-4", messages=MESSAGES)
    _tree(spans, statuses=[400, None], fallback=True)
    assert attributes(spans.attempts[0])[semconv.ERROR_TYPE].endswith("ContextWindowExceededError")


@pytest.mark.parametrize("how", ["cut", "error"])
@BOTH
def test_a_routed_stream_that_breaks_before_its_first_word_falls_back(
    name: str, how: Any, provider: FakeProvider, spans: Spans
) -> None:
    """A stream that broke off before it said anything is an attempt that failed, with the provider's own error."""
    provider.when(model="gpt-4").stream(["a "], fail_after=0, fail_with=how)
    provider.when(model="gpt-4").error(404, times=None)
    provider.when(model="gpt-4o-mini").stream(["b ", "c"], usage=Usage(12, 3), times=None)
    routing = router(provider, GPT_4, GPT_4O, fallbacks=[{"group-gpt-4": ["group-gpt-4o-mini"]}])

    async def program() -> None:
        made = getattr(routing, name)(model="group-gpt-4", messages=MESSAGES, stream=True)
        if inspect.isawaitable(made):
            async for _ in await made:
                pass
        else:
            list(made)

    try:
        run(program)
    except litellm.APIConnectionError:
        assert len(provider.requests) == 1
        pytest.skip("this litellm does not fall back from a stream")
    asked = [request.json["model"] for request in provider.requests]
    if len(asked) == 1:
        pytest.skip("this litellm takes a connection that was cut for the end of the stream")
    facts = attributes(spans.logical[0])
    assert facts[semconv.ATTEMPTS] == len(asked)
    assert facts[semconv.FALLBACK] is True
    assert facts[semconv.RESPONSE_MODEL] == "gpt-4o-mini"
    assert [attributes(attempt)[semconv.REQUEST_MODEL] for attempt in spans.attempts] == asked
    assert [failed(attempt) for attempt in spans.attempts] == [True] * (len(asked) - 1) + [False]
    assert attributes(spans.attempts[0])[semconv.ERROR_TYPE] == "litellm.exceptions.APIConnectionError"
    assert not BILLING & facts.keys()
    billed = [attributes(attempt) for attempt in spans.attempts if semconv.USAGE_OUTPUT in attributes(attempt)]
    assert sum(facts[semconv.USAGE_OUTPUT] for facts in billed) == 3


@BOTH
def test_a_router_tries_deployments_of_a_group(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Each attempt has the model and the provider of its own deployment."""
    provider.when(model="gpt-4").error(429, headers=SOON, times=None)
    claude = {"model": "anthropic/claude-3-haiku-20240307", "api_base": provider.anthropic_base, "api_key": "k"}
    gpt_4 = {"model": "openai/gpt-4", "api_base": provider.openai_base, "api_key": "k", "max_retries": 0}
    routing = litellm.Router(
        model_list=[{"model_name": "any", "litellm_params": parameters} for parameters in (gpt_4, claude)],
        num_retries=30,
        retry_after=0,
    )
    while not spans.attempts:  # until the one that fails is chosen first
        spans.clear()
        run(getattr(routing, name), model="any", messages=MESSAGES)
    names = {"gpt-4": "openai", "claude-3-haiku-20240307": "anthropic"}
    tried = [attributes(attempt)[semconv.REQUEST_MODEL] for attempt in spans.attempts]
    assert tried == ["gpt-4"] * (len(tried) - 1) + ["claude-3-haiku-20240307"]
    assert [attributes(attempt)[semconv.PROVIDER_NAME] for attempt in spans.attempts] == [names[one] for one in tried]
    logical = spans.logical[0]
    assert logical.name == "chat any"
    assert attributes(logical)[semconv.PROVIDER_NAME] == "anthropic"
    assert attributes(logical)[semconv.ATTEMPTS] == len(tried)
    assert semconv.FALLBACK not in attributes(logical)


@BOTH
def test_what_a_router_notes_is_not_the_programs_metadata(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A Router writes what it does into the call's metadata; the spans have what the program wrote, time and again."""
    provider.when(model="gpt-4").error(500, headers=SOON, times=None)
    routing = router(provider, GPT_4, GPT_4O, num_retries=1, retry_after=0, disable_cooldowns=True,
                     fallbacks=[{"group-gpt-4": ["group-gpt-4o-mini"]}])  # fmt: skip
    metadata = {"tenant_id": "acme", "feature": "search"}
    for _ in range(2):
        run(getattr(routing, name), model="group-gpt-4", messages=MESSAGES, metadata=metadata)
    assert len(spans.logical) == 2
    found = {key for span in spans.llm for key in attributes(span) if key.startswith(semconv.METADATA_PREFIX)}
    assert found == {semconv.METADATA_PREFIX + "feature"}


@BOTH
def test_a_call_that_a_router_mirrors_is_a_call_of_its_own(name: str, provider: FakeProvider, spans: Spans) -> None:
    """`silent_model`: what the Router sends to another model, to try it out, is no attempt of the program's call."""
    parameters = {"api_base": provider.openai_base, "api_key": "k", "max_retries": 0}
    mirrored = {"model": "openai/gpt-4", "silent_model": "group-gpt-4o-mini", **parameters}
    models = {"group-gpt-4": mirrored, "group-gpt-4o-mini": {"model": "openai/gpt-4o-mini", **parameters}}
    routing = litellm.Router(model_list=[{"model_name": name, "litellm_params": models[name]} for name in models])

    async def program() -> None:
        with spans.tracer.start_as_current_span("caller"):
            made = getattr(routing, name)(model="group-gpt-4", messages=MESSAGES)
            if inspect.isawaitable(made):
                await made
        await asyncio.to_thread(until, lambda: len(spans.logical) == 2 or _sent_on(provider))

    run(program)
    if _sent_on(provider):
        pytest.skip("this litellm has no silent_model, and sends it to the provider")
    assert not spans.attempts
    assert {span.name for span in spans.logical} == {"chat group-gpt-4", "chat group-gpt-4o-mini"}
    assert all(attributes(span)[semconv.USAGE_OUTPUT] > 0 for span in spans.logical)
    models = {span.context.span_id for span in spans.logical}
    assert not [span for span in spans.logical if span.parent is not None and span.parent.span_id in models]


def _sent_on(provider: FakeProvider) -> bool:
    return "silent_model" in provider.requests[0].json


def test_a_sync_router_inside_a_running_loop_is_one_span(provider: FakeProvider, spans: Spans) -> None:
    """A sync Router called where a loop runs already (litellm goes to a thread) keeps its attempts together."""
    provider.when(model="gpt-4").error(404, times=None)
    routing = router(provider, GPT_4, GPT_4O, fallbacks=[{"group-gpt-4": ["group-gpt-4o-mini"]}])

    async def program() -> None:
        with spans.tracer.start_as_current_span("caller"), identity.tenant("acme"):
            routing.completion(model="group-gpt-4", messages=MESSAGES)

    run(program)
    _tree(spans, statuses=[404, None], fallback=True)
    assert all(attributes(span)[semconv.TENANT_ID] == "acme" for span in spans.llm)


@pytest.mark.parametrize("routed", [False, True], ids=["plain", "routed"])
@BOTH
def test_attempts_are_nested_in_the_callers_span(name: str, routed: bool, provider: FakeProvider, spans: Spans) -> None:
    """The logical span is the child of the caller's span, and all of it is one trace of one tenant."""
    provider.error(500, headers=SOON)
    routing = router(provider, GPT_4O, num_retries=1, retry_after=0)
    with spans.tracer.start_as_current_span("caller") as caller, identity.tenant("acme", user="u1"):
        if routed:
            run(getattr(routing, name), model="group-gpt-4o-mini", messages=MESSAGES)
        else:
            run(getattr(litellm, name), **_claude(name, provider), num_retries=1)
    _tree(spans, statuses=[500, None])
    parent = spans.logical[0].parent
    assert parent is not None
    assert parent.span_id == caller.get_span_context().span_id
    assert len({span.context.trace_id for span in spans.all}) == 1
    assert {attributes(span)[semconv.TENANT_ID] for span in spans.llm} == {"acme"}
    assert {attributes(span)[semconv.USER_ID] for span in spans.llm} == {"u1"}


def test_routed_calls_side_by_side_are_not_mixed(provider: FakeProvider, spans: Spans) -> None:
    """Twenty Router calls at once, each with a fallback, make twenty trees of three spans."""
    provider.when(model="gpt-4").error(404, times=None)
    routing = router(provider, GPT_4, GPT_4O, fallbacks=[{"group-gpt-4": ["group-gpt-4o-mini"]}],
                     disable_cooldowns=True)  # fmt: skip

    async def one(number: int) -> None:
        with identity.tenant(f"t{number}"):
            await routing.acompletion(model="group-gpt-4", messages=MESSAGES)

    async def program() -> None:
        await asyncio.gather(*(one(number) for number in range(20)))

    run(program)
    assert len(spans.logical) == 20
    for logical in spans.logical:
        own = [span for span in spans.attempts if span.parent.span_id == logical.context.span_id]
        assert len(own) == 2
        tenants = {attributes(span)[semconv.TENANT_ID] for span in (logical, *own)}
        assert len(tenants) == 1
    assert len({attributes(span)[semconv.TENANT_ID] for span in spans.logical}) == 20


def test_an_error_that_the_program_is_handling_is_no_attempt(provider: FakeProvider, spans: Spans) -> None:
    """A call made in an `except` block, and retried, does not take the program's own error for an attempt."""
    provider.error(500, headers=SOON)
    try:
        raise ValueError("the program's own")
    except ValueError:
        litellm.completion(**_claude("completion", provider), num_retries=1)
    _tree(spans, statuses=[500, None])
    assert all("ValueError" not in str(attributes(span)) for span in spans.all)


@pytest.mark.parametrize("name", ["embedding", "aembedding"])
def test_an_embedding_that_falls_back_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Attempts of embeddings work as those of chat."""
    provider.when(model="text-embedding-ada-002").error(404, times=None)
    ada = CallForm("embedding", "openai/text-embedding-ada-002", semconv.OP_EMBEDDINGS)
    names = ["group-text-embedding-ada-002", "group-text-embedding-3-small"]
    routing = router(provider, ada, CALLS["embedding"], fallbacks=[{names[0]: [names[1]]}])
    run(getattr(routing, name), model=names[0], input=["x"])
    _tree(spans, statuses=[404, None], fallback=True)
    assert spans.logical[0].status.status_code is not StatusCode.ERROR


@BOTH
def test_every_attempt_says_what_it_asked_for(name: str, provider: FakeProvider) -> None:
    """The first attempt, which is written down when it is over, says it like those that follow; none has content."""
    provider.error(500, headers=SOON)
    with Spans(capture_content=True) as spans:
        run(getattr(litellm, name), **_claude(name, provider, num_retries=1, temperature=0.5, max_tokens=7))
        until(lambda: spans.logical)
        first, second = map(attributes, spans.attempts)
    asked = (semconv.REQUEST_TEMPERATURE, semconv.REQUEST_MAX_TOKENS, semconv.OPERATION_DETAIL, semconv.CACHE_HIT)
    assert [first.get(key) for key in asked[:2]] == [0.5, 7]
    assert {key: first[key] for key in asked} == {key: second[key] for key in asked}
    assert not semconv.CONTENT_ATTRIBUTES & (first.keys() | second.keys())
