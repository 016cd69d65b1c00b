"""However a span is opened and whenever it is filled, it says the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import litellm
import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.util.genai.handler import TelemetryHandler

from otel_llm import semconv
from otel_llm.backends.opik.trace_time import TraceTimeSampler
from otel_llm.context import tenant
from otel_llm.instrumentation.record_all import reads_attributes
from otel_llm.testing import Usage
from tests.unit.instrumentation.calls import CALLS, ROUTED, STREAMS, arguments, run
from tests.unit.instrumentation.recorded import Spans, attributes, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes

    from otel_llm.testing import FakeProvider


class ByTenant(Sampler):
    """Takes the calls of one tenant."""

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        taken = (attributes or {}).get(semconv.TENANT_ID) == "acme"
        answers = ALWAYS_ON if taken else ALWAYS_OFF
        return answers.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return "by tenant"


WAYS: dict[str, dict[str, Any]] = {
    "later": {},
    "later, unread": {"sampler": DEFAULT_ON},
    "at once": {"at_once": True},
    "upstream": {"upstream": True},
}
_TIMES = {semconv.TIME_TO_FIRST_CHUNK}
_OWN = {semconv.SERVER_PORT, semconv.RESPONSE_ID}


def told(way: str, program: Callable[[], Any]) -> list[tuple[Any, ...]]:
    """Everything but times and ids that the spans of a program say."""
    with Spans(capture_content=True, **WAYS[way]) as spans:
        program()
        return [
            (
                span.name,
                span.kind,
                failed(span),
                span.status.description,
                [event.name for event in span.events],
                {key: value for key, value in attributes(span).items() if key not in _TIMES | _OWN},
                sorted(_TIMES & attributes(span).keys()),
            )
            for span in spans.llm
        ]


def same_in_all(program: Callable[[], Any]) -> list[tuple[Any, ...]]:
    """What the spans say, which must be the same however they are recorded."""
    first, *others = (told(way, program) for way in WAYS)
    for other in others:
        assert other == first
    return first


def _consumed(name: str, provider: FakeProvider) -> None:
    form = CALLS[name]
    if not form.asynchronous:
        for _ in getattr(litellm, name)(**arguments(form, provider, stream=True)):
            pass
        return

    async def program() -> None:
        async for _ in await getattr(litellm, name)(**arguments(form, provider, stream=True)):
            pass

    run(program)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_every_form(name: str, provider: FakeProvider) -> None:
    """A call of each form, for a tenant, with parameters and content."""

    def program() -> None:
        with tenant("acme", user="u1", session="s1"):
            form = CALLS[name]
            more = {"metadata": {"tags": ["a"], "feature": "search"}} if name in ROUTED else {}
            run(getattr(litellm, name), **arguments(form, provider, **more))

    (span,) = same_in_all(program)
    assert span[5][semconv.TENANT_ID] == "acme"


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_every_stream(name: str, provider: FakeProvider) -> None:
    """A stream of each form, read to its end."""

    def program() -> None:
        provider.stream(["Par", "is"], usage=Usage(20, 4))
        _consumed(name, provider)

    (span,) = same_in_all(program)
    assert span[6] == sorted(_TIMES)


def test_failures_and_retries(provider: FakeProvider) -> None:
    """A failed call, and one that is tried twice before it is answered."""

    def program() -> None:
        provider.error(401)
        with pytest.raises(litellm.AuthenticationError):
            litellm.completion(**arguments(CALLS["completion"], provider))
        provider.error(500)
        litellm.completion(**arguments(CALLS["completion"], provider, fallbacks=["openai/gpt-4o"]))

    spans = same_in_all(program)
    assert [span[2] for span in spans] == [True, True, False, False]


def test_what_the_program_does_next_is_not_recorded(provider: FakeProvider) -> None:
    """A program that goes on with its messages and its answer at once does not change what the call was."""
    with Spans(capture_content=True) as spans:
        messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "Where?"}]}]
        provider.answer("In Paris.")
        answer = litellm.completion(**arguments(CALLS["completion"], provider, messages=messages))
        messages[0]["content"][0]["text"] = "changed"
        messages.append({"role": "assistant", "content": "changed"})
        answer.choices[0].message.content = "changed"
        answer.usage.prompt_tokens = 10**6
        answer.choices.clear()
        facts = spans.facts
    assert "Where?" in facts[semconv.INPUT_MESSAGES]
    assert "In Paris." in facts[semconv.OUTPUT_MESSAGES]
    assert "changed" not in str(facts)
    assert facts[semconv.USAGE_INPUT] < 10**6


def test_the_programs_own_processors_see_whole_spans(provider: FakeProvider) -> None:
    """Where somebody else sees the spans too, nothing is put on them later."""
    seen: list[dict[str, Any]] = []

    class Theirs(SpanProcessor):
        def on_end(self, span: Any) -> None:
            seen.append(attributes(span))

    with Spans(capture_content=True) as spans:
        litellm.completion(**arguments(CALLS["completion"], provider))
        spans.tracer_provider.add_span_processor(Theirs())
        litellm.completion(**arguments(CALLS["completion"], provider))
        assert len(spans.llm) == 2
    (theirs,) = seen
    assert {semconv.USAGE_INPUT, semconv.OUTPUT_MESSAGES, semconv.RESPONSE_MODEL, semconv.COST} <= theirs.keys()


@pytest.mark.parametrize("sampler", [None, DEFAULT_ON, ByTenant()], ids=["of the program", "the SDK's", "ours around"])
def test_the_current_span_says_what_is_known_of_the_call(sampler: Sampler | None) -> None:
    """Who looks at the current span while a call runs finds operation, model and tenant, whoever samples."""
    seen: list[dict[str, Any]] = []

    class Client(litellm.CustomLLM):
        def completion(self, *_: Any, **__: Any) -> Any:
            seen.append(attributes(trace.get_current_span()))  # type: ignore[arg-type]  # the SDK's
            return litellm.ModelResponse(choices=[{"message": {"role": "assistant", "content": "hi"}}])

    with Spans(sampler=sampler), tenant("acme"):
        litellm.custom_provider_map = [{"provider": "own", "custom_handler": Client()}]
        try:
            litellm.completion("own/m", messages=[{"role": "user", "content": "x"}])
        finally:
            litellm.custom_provider_map = []
    (known,) = seen
    assert (
        known.items() >= {semconv.OPERATION_NAME: "chat", semconv.REQUEST_MODEL: "m", semconv.TENANT_ID: "acme"}.items()
    )


def test_a_sampler_that_decides_by_attributes_gets_them() -> None:
    """A sampler of the program's is asked with all that is known, also below one of the SDK's."""
    for sampler in (ByTenant(), ParentBased(ByTenant())):
        with Spans(sampler=sampler) as recorded:
            for name in ("acme", "other"):
                with tenant(name):
                    litellm.completion("gpt-4o-mini", messages=[{"role": "user", "content": "x"}], mock_response="hi")
            kept = {attributes(span)[semconv.TENANT_ID] for span in recorded.llm}
        assert kept == {"acme"}


def test_which_samplers_read_what_a_span_begins_with() -> None:
    """Those of the SDK do not, nor ours around them; any other may."""
    assert not any(map(reads_attributes, (ALWAYS_ON, DEFAULT_ON, TraceIdRatioBased(0.5), TraceTimeSampler(DEFAULT_ON))))
    own = ByTenant()
    assert all(map(reads_attributes, (own, ParentBased(own), TraceTimeSampler(ParentBased(own)), None)))
    assert reads_attributes(ParentBased(ALWAYS_ON, local_parent_sampled=own))


def test_a_nested_invocation_of_upstream_makes_no_span(provider: FakeProvider) -> None:
    """An instrumentation built on upstream that runs inside our call makes no second span of it."""
    inner: list[Any] = []

    class Client(litellm.CustomLLM):
        def completion(self, *_: Any, **__: Any) -> Any:
            invocation = TelemetryHandler(tracer_provider=recorded.tracer_provider).inference(
                "openai", request_model="m"
            )
            inner.append(invocation.span)
            invocation.stop()
            return litellm.ModelResponse(choices=[{"message": {"role": "assistant", "content": "hi"}}])

    with Spans() as recorded:
        litellm.custom_provider_map = [{"provider": "own", "custom_handler": Client()}]
        try:
            litellm.completion("own/m", messages=[{"role": "user", "content": "x"}])
        finally:
            litellm.custom_provider_map = []
        assert len(recorded.llm) == 1
        assert inner[0].get_span_context() == recorded.only.context


def test_inside_a_foreign_invocation_its_span_is_enriched(provider: FakeProvider) -> None:
    """A call inside an invocation that somebody else has begun through upstream gives its facts to that one's span."""
    with Spans() as recorded:
        handler = TelemetryHandler(tracer_provider=recorded.tracer_provider)
        outer = handler.inference("openai", request_model="gpt-4o-mini")
        litellm.completion(**arguments(CALLS["completion"], provider))
        outer.stop()
        facts = recorded.facts
    assert facts[semconv.USAGE_INPUT] > 0
    assert otel_context.get_current() == {}
