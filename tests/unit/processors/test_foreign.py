"""Spans of other instrumentations: their names, old and new, become ours; usage of one call stands on one span."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_llm import semconv
from otel_llm.faults import fault_counts
from otel_llm.instrumentation.clients.gate import Gate
from otel_llm.pricing import NO_PRICES, PriceBook
from otel_llm.processors.chain import SpanPipeline
from otel_llm.processors.foreign import ForeignSpans, is_foreign_call
from otel_llm.processors.foreign.cost import ForeignCost
from otel_llm.processors.overlap import OverlapFilter
from otel_llm.processors.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry import trace

OPENLLMETRY = "opentelemetry.instrumentation.openai.v1"
OPENINFERENCE = "openinference.instrumentation.openai"
LANGCHAIN = "openinference.instrumentation.langchain"
GENAI = "opentelemetry.instrumentation.genai.openai"
ANTHROPIC = "com.anthropic.sdk.python"
TABLE = {
    "gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
    "llama3": {"litellm_provider": "ollama", "input_cost_per_token": 0, "output_cost_per_token": 0},
}


class Program:
    """Tracers of several instrumentations on one provider, with our stages and an exporter of the program's own."""

    def __init__(self, *, book: PriceBook = NO_PRICES, wants_content: bool = True) -> None:
        self._ours, self.own = InMemorySpanExporter(), InMemorySpanExporter()
        cost = ForeignCost(book, lambda: TABLE)
        self.foreign = ForeignSpans(lambda: cost, wants_content=wants_content)
        overlap = OverlapFilter(is_call=is_foreign_call, absorb=self.foreign.absorb)
        self.pipeline = SpanPipeline(
            SimpleSpanProcessor(self._ours),
            on_start=[overlap.on_start, self.foreign.on_start],
            on_end=[overlap, self.foreign],
        )
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(self.pipeline)
        self._provider.add_span_processor(SimpleSpanProcessor(self.own))

    @contextmanager
    def span(self, scope: str, name: str = "span", **attributes: Any) -> Iterator[trace.Span]:
        """A span that is the current one; double underscores in names stand for dots."""
        with self._provider.get_tracer(scope).start_as_current_span(name) as span:
            yield span
            span.set_attributes(_dotted(attributes))

    def alone(self, scope: str, name: str = "span", **attributes: Any) -> trace.Span:
        """A span that nothing finds as the current one; to be ended by hand."""
        span = self._provider.get_tracer(scope).start_span(name)
        span.set_attributes(_dotted(attributes))
        return span

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self._ours.get_finished_spans())

    def only(self) -> ReadableSpan:
        (span,) = self.spans
        return span


def _dotted(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in attributes.items()}


def _said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


USAGE = {"gen_ai__usage__input_tokens": 10, "gen_ai__usage__output_tokens": 5}
CHAT = {
    "gen_ai__operation__name": "chat",
    "gen_ai__provider__name": "openai",
    "gen_ai__request__model": "gpt-4o",
    **USAGE,
}


def test_the_first_generation_becomes_todays_names() -> None:
    """OpenLLMetry's flattened prompts, its token names and `gen_ai.system` become the conventions' of today."""
    program = Program()
    with program.span(
        OPENLLMETRY,
        "openai.chat",
        llm__request__type="chat",
        gen_ai__system="OpenAI",
        gen_ai__request__model="gpt-4o",
        gen_ai__prompt__0__role="system",
        gen_ai__prompt__0__content="Be kind.",
        gen_ai__prompt__1__role="user",
        gen_ai__prompt__1__content="Hi",
        gen_ai__completion__0__role="assistant",
        gen_ai__completion__0__finish_reason="tool_calls",
        gen_ai__completion__0__tool_calls__0__id="c1",
        gen_ai__completion__0__tool_calls__0__name="far",
        gen_ai__completion__0__tool_calls__0__arguments='{"to": "moon"}',
        gen_ai__usage__prompt_tokens=10,
        gen_ai__usage__completion_tokens=5,
        llm__usage__total_tokens=15,
        traceloop__association__properties__session_id="s1",
    ):
        pass
    span = program.only()
    said = _said(span)
    assert (span.name, said[semconv.OPERATION_NAME], said[semconv.PROVIDER_NAME]) == ("chat gpt-4o", "chat", "openai")
    assert (said[semconv.USAGE_INPUT], said[semconv.USAGE_OUTPUT]) == (10, 5)
    assert said[semconv.SESSION_ID] == "s1"
    assert [message["role"] for message in json.loads(said[semconv.INPUT_MESSAGES])] == ["system", "user"]
    (answer,) = json.loads(said[semconv.OUTPUT_MESSAGES])
    assert answer["parts"] == [{"type": "tool_call", "name": "far", "id": "c1", "arguments": {"to": "moon"}}]
    assert answer["finish_reason"] == "tool_call"
    assert said[semconv.COST] == pytest.approx(20e-6)
    assert not [key for key in said if key in semconv.OLDER_NAMES or key.startswith(("gen_ai.prompt", "llm."))]


def test_message_events_become_messages() -> None:
    """The first generation's events, one per message, are put together as messages."""
    program = Program()
    with program.span(GENAI, "chat gpt-4o", **CHAT) as span:
        span.add_event("gen_ai.user.message", {"content": "Hi"})
        span.add_event("gen_ai.choice", {"role": "assistant", "content": "Hello", "finish_reason": "stop"})
    said = _said(program.only())
    assert json.loads(said[semconv.INPUT_MESSAGES])[0]["parts"] == [{"type": "text", "content": "Hi"}]
    assert json.loads(said[semconv.OUTPUT_MESSAGES])[0]["parts"] == [{"type": "text", "content": "Hello"}]


@pytest.mark.parametrize(
    ("kind", "operation"),
    [("TOOL", "execute_tool"), ("AGENT", "invoke_agent"), ("RETRIEVER", "retrieval"), ("CHAIN", None)],
)
def test_openinferences_kinds_become_operations(kind: str, operation: str | None) -> None:
    """Work around calls gets the conventions' operation where they have one, and keeps its input and output."""
    program = Program()
    with program.span(LANGCHAIN, "step", openinference__span__kind=kind, input__value="in", output__value="out"):
        pass
    said = _said(program.only())
    assert said.get(semconv.OPERATION_NAME) == operation
    assert (said["input.value"], said["output.value"]) == ("in", "out")
    assert semconv.COST_STATUS not in said


def test_a_cached_part_outside_the_input_is_counted_into_it() -> None:
    """Where cached tokens are more than the input, they were reported beside it: our input has them inside."""
    program = Program()
    counts = {**CHAT, "gen_ai__usage__input_tokens": 4, "gen_ai__usage__cache_read_input_tokens": 100}
    with program.span(OPENLLMETRY, **counts):
        pass
    said = _said(program.only())
    assert (said[semconv.USAGE_INPUT], said[semconv.USAGE_CACHE_READ]) == (104, 100)


def test_the_programs_own_exporter_sees_what_was_written() -> None:
    """Translating touches our copy alone."""
    program = Program()
    with program.span(OPENINFERENCE, "ChatCompletion", openinference__span__kind="LLM", llm__token_count__prompt=3):
        pass
    (own,) = program.own.get_finished_spans()
    assert own.name == "ChatCompletion"
    assert _said(own) == {"openinference.span.kind": "LLM", "llm.token_count.prompt": 3}


def test_without_content_messages_are_not_even_read() -> None:
    """Where no content may stay, nothing is parsed into messages; facts are there all the same."""
    program = Program(wants_content=False)
    with program.span(
        OPENINFERENCE,
        openinference__span__kind="LLM",
        llm__model_name="gpt-4o",
        llm__input_messages__0__message__role="user",
        llm__input_messages__0__message__content="secret",
        llm__token_count__prompt=3,
    ):
        pass
    said = _said(program.only())
    assert semconv.INPUT_MESSAGES not in said
    assert "secret" not in str(said)
    assert said[semconv.USAGE_INPUT] == 3


@pytest.mark.parametrize(
    "value", ["[", '{"a":', "[1, 2]", "null", "x" * 100, "[" * 2000, 7, '[{"role": 3, "parts": 4}]']
)
def test_odd_values_do_no_harm(value: Any) -> None:
    """Whatever stands where messages, answers or parameters should be, the span arrives and nothing is a fault."""
    before = fault_counts()
    program = Program()
    with program.span(
        OPENINFERENCE,
        openinference__span__kind="LLM",
        input__value=value,
        output__value=value,
        llm__invocation_parameters=value,
        llm__tools__0__tool__json_schema=value,
        llm__input_messages__0__message__content=value,
        gen_ai__output__messages=value,
        gen_ai__response__finish_reasons=value,
    ):
        pass
    assert program.only()
    assert fault_counts() == before


def test_an_error_has_its_full_type_and_status() -> None:
    """`error.type` is the exception's full name, the HTTP status comes from its text, nobody's model answered."""
    program = Program()
    asked = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "gpt-4o", "gen_ai__response__model": "gpt-4o"}
    with program.span(OPENLLMETRY, **asked, error__type="NotFoundError") as span:
        span.add_event(
            "exception", {"exception.type": "openai.NotFoundError", "exception.message": "Error code: 404 - x"}
        )
        span.set_status(Status(StatusCode.ERROR, "Error code: 404 - x"))
    said = _said(program.only())
    assert (said[semconv.ERROR_TYPE], said[semconv.HTTP_STATUS_CODE]) == ("openai.NotFoundError", 404)
    assert semconv.RESPONSE_MODEL not in said
    assert semconv.COST_STATUS not in said


# --- cost -------------------------------------------------------------------------------------------------------


def test_cost_statuses() -> None:
    """Priced by the table, free where it says so, unknown without a price or tokens, and never 0 for unknown."""
    for model, provider, usage, cost, status in (
        ("gpt-4o", "openai", USAGE, 20e-6, semconv.COST_PRICED),
        ("llama3", "ollama", USAGE, 0.0, semconv.COST_FREE),
        ("nobody", "openai", USAGE, None, semconv.COST_UNKNOWN),
        ("gpt-4o", "openai", {}, None, semconv.COST_UNKNOWN),
        ("gpt-4o", "groq", USAGE, None, semconv.COST_UNKNOWN),
    ):
        program = Program()
        facts = {**CHAT, "gen_ai__request__model": model, "gen_ai__provider__name": provider}
        kept = {name: value for name, value in facts.items() if name not in USAGE}
        with program.span(GENAI, **kept, **usage):
            pass
        said = _said(program.only())
        assert said.get(semconv.COST) == (None if cost is None else pytest.approx(cost)), model
        assert said[semconv.COST_STATUS] == status, model


def test_names_without_a_price_make_no_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that names prices by the hour without any, as litellm's Router leaves it, is an ordinary one: `priced`."""
    row = {**TABLE["gpt-4o"], "off_peak_pricing": None, "tiered_pricing": None}
    monkeypatch.setitem(TABLE, "gpt-4o", row)
    program = Program()
    with program.span(GENAI, **CHAT):
        pass
    assert _said(program.only())[semconv.COST_STATUS] == semconv.COST_PRICED


def test_a_cost_of_somebody_elses_is_an_estimate() -> None:
    """Where only the instrumentation knows a price, its figure is taken and said to be an estimate."""
    program = Program()
    with program.span("pydantic-ai", **{**CHAT, "gen_ai__request__model": "nobody"}, operation__cost=0.5):
        pass
    said = _said(program.only())
    assert (said[semconv.COST], said[semconv.COST_STATUS]) == (0.5, semconv.COST_ESTIMATED)


def test_tokens_missing_from_their_sum_make_the_cost_an_estimate() -> None:
    """An instrumentation that says more tokens in total than of each kind has lost some: the cost says `estimated`."""
    program = Program()
    with program.span(OPENLLMETRY, **CHAT, gen_ai__usage__total_tokens=40):
        pass
    assert _said(program.only())[semconv.COST_STATUS] == semconv.COST_ESTIMATED


# --- one call, one count ----------------------------------------------------------------------------------------


def _counting(program: Program) -> list[ReadableSpan]:
    return [span for span in program.spans if semconv.USAGE_INPUT in _said(span) or semconv.COST in _said(span)]


def test_the_inner_of_two_nested_calls_counts() -> None:
    """A framework's span around a client's is kept, under its own name, without what would count twice."""
    program = Program()
    with (
        program.span(LANGCHAIN, "ChatOpenAI", openinference__span__kind="LLM", llm__token_count__prompt=10),
        program.span("my.app", "in between"),
        program.span(GENAI, "chat gpt-4o", **CHAT),
    ):
        pass
    assert [span.name for span in _counting(program)] == ["chat gpt-4o"]
    outer = next(span for span in program.spans if span.name == "ChatOpenAI")
    assert _said(outer)[semconv.REPEATS] is True
    assert semconv.OPERATION_NAME not in _said(outer)
    assert outer.kind is SpanKind.INTERNAL


def test_a_call_of_ours_inside_a_framework_counts_once() -> None:
    """Our own span inside a framework's record of the same call is the one that counts."""
    program = Program()
    with program.span(LANGCHAIN, "ChatLiteLLM", openinference__span__kind="LLM", llm__token_count__prompt=10):
        tracer = program._provider.get_tracer(semconv.OWN_SCOPE)
        with tracer.start_as_current_span("chat gpt-4o", kind=SpanKind.CLIENT, attributes=_dotted(CHAT)):
            pass
    assert [span.name for span in _counting(program)] == ["chat gpt-4o"]


ADK = "gcp.vertex.agent"
CALL_LLM = {
    "gen_ai__system": ADK,
    "gen_ai__request__model": "openai/gpt-4o",
    "gen_ai__usage__input_tokens": 10,
    "gen_ai__usage__output_tokens": 5,
    "gcp__vertex__agent__session_id": "s1",
}


def test_google_adks_span_around_a_call_counts_once() -> None:
    """ADK's `call_llm` says the tokens of the call inside of it, ours (LiteLlm) or its own, which alone counts."""
    program = Program()
    with program.span(ADK, "invocation"), program.span(ADK, "call_llm", **CALL_LLM):
        tracer = program._provider.get_tracer(semconv.OWN_SCOPE)
        with tracer.start_as_current_span("chat gpt-4o", kind=SpanKind.CLIENT, attributes=_dotted(CHAT)):
            pass
    with program.span(ADK, "call_llm", **CALL_LLM) as around:
        around.set_attribute("gcp.vertex.agent.llm_request", "{}")
        with program.span(ADK, "generate_content gpt-4o", **{**CHAT, "gen_ai__operation__name": "generate_content"}):
            pass
    assert [span.name for span in _counting(program)] == ["chat gpt-4o", "generate_content gpt-4o"]
    outer = [span for span in program.spans if span.name == "call_llm"]
    assert [_said(span).get(semconv.REPEATS) for span in outer] == [True, True]
    assert _said(outer[1])[semconv.CONVERSATION_ID] == "s1"
    assert "gcp.vertex.agent.llm_request" not in _said(outer[1])


def test_google_adks_span_is_the_call_where_there_is_no_other() -> None:
    """Alone (older ADK, Gemini), `call_llm` is a call like others: operation, model, provider and cost."""
    program = Program()
    program.alone(ADK, "call_llm", **CALL_LLM).end()
    said = _said(program.only())
    assert said[semconv.OPERATION_NAME] == "generate_content"
    assert (said[semconv.PROVIDER_NAME], said[semconv.REQUEST_MODEL]) == ("openai", "gpt-4o")
    assert said[semconv.COST] == pytest.approx(20e-6)
    assert ADK not in said.values()


def test_google_adks_tools_say_what_they_were_given() -> None:
    """Arguments and result of a tool are those of the conventions."""
    program = Program()
    given = {"gcp__vertex__agent__tool_call_args": '{"city":"Rome"}', "gcp__vertex__agent__tool_response": '{"t":12}'}
    program.alone(ADK, "execute_tool weather", gen_ai__operation__name="execute_tool", **given).end()
    said = _said(program.only())
    assert said[semconv.TOOL_CALL_ARGUMENTS] == '{"city":"Rome"}'
    assert said[semconv.TOOL_CALL_RESULT] == '{"t":12}'


FACTS = {"openinference__span__kind": "LLM", "llm__model_name": "gpt-4o", "llm__token_count__completion": 5}


def test_siblings_are_told_by_what_they_say() -> None:
    """A framework that never makes its span current: time, model, outcome and tokens tell that it repeats a call."""
    program = Program()
    outer = program.alone(LANGCHAIN, "ChatOpenAI", **FACTS, llm__token_count__prompt=10)
    with program.span(GENAI, "chat gpt-4o", **CHAT):
        pass
    outer.end()
    assert [span.name for span in _counting(program)] == ["chat gpt-4o"]


@pytest.mark.parametrize(
    "other", [{"llm__token_count__prompt": 11}, {"llm__model_name": "gpt-4.1", "llm__token_count__prompt": 10}]
)
def test_what_says_otherwise_is_a_call_of_its_own(other: dict[str, Any]) -> None:
    """Other tokens or another model at the same time are another call: both count."""
    program = Program()
    outer = program.alone(LANGCHAIN, "ChatOpenAI", **{**FACTS, **other})
    with program.span(GENAI, "chat gpt-4o", **CHAT):
        pass
    outer.end()
    assert len(_counting(program)) == 2


def test_one_call_explains_one_span_around_it() -> None:
    """Of two equal spans around one call, only one repeats it."""
    program = Program()
    outers = [program.alone(LANGCHAIN, "ChatOpenAI", **FACTS, llm__token_count__prompt=10) for _ in range(2)]
    with program.span(GENAI, "chat gpt-4o", **CHAT):
        pass
    for outer in outers:
        outer.end()
    assert len(_counting(program)) == 2


def test_two_calls_of_one_instrumentation_are_two() -> None:
    """Equal calls of one scope, one within the time of the other, are different calls."""
    program = Program()
    outer = program.alone(GENAI, "chat gpt-4o", **CHAT)
    with program.span(GENAI, "chat gpt-4o", **CHAT):
        pass
    outer.end()
    assert len(_counting(program)) == 2


def test_calls_in_threads_are_all_counted_once() -> None:
    """Sixteen equal calls at once, each with a framework's sibling around it, count sixteen times."""
    program = Program()
    ready = threading.Barrier(16)

    def work() -> None:
        ready.wait()
        outer = program.alone(LANGCHAIN, "ChatOpenAI", **FACTS, llm__token_count__prompt=10)
        with program.span(GENAI, "chat gpt-4o", **CHAT):
            pass
        outer.end()

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(program.spans) == 32
    assert len(_counting(program)) == 16


def test_a_librarys_record_of_itself_is_absorbed() -> None:
    """Anthropic's own span inside another record of the call is dropped; what it alone knows goes onto that one."""
    program = Program()
    around = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "gpt-4o", "gen_ai__usage__input_tokens": 10}
    tracer = program._provider.get_tracer("opentelemetry.instrumentation.genai.anthropic")
    with tracer.start_as_current_span("chat gpt-4o", attributes=_dotted(around)):
        facts = {**CHAT, "gen_ai__usage__cache_write__input_tokens": 3, "gen_ai__response__id": "msg_1"}
        with program.span(ANTHROPIC, "anthropic.messages.create", **facts):
            pass
    said = _said(program.only())
    assert said[semconv.USAGE_CACHE_WRITE] == 3
    assert said[semconv.RESPONSE_ID] == "msg_1"
    assert program.pipeline.dropped == {"duplicate": 1}


def test_a_librarys_record_of_itself_is_the_call_where_there_is_no_other() -> None:
    """Nobody else recording it, Anthropic's own span is the call, with its reason in the conventions' words."""
    program = Program()
    with program.span(ANTHROPIC, "anthropic.messages.create", **CHAT, anthropic__message__stop_reason="end_turn"):
        pass
    span = program.only()
    assert span.name == "chat gpt-4o"
    assert tuple(_said(span)[semconv.FINISH_REASONS]) == ("stop",)


def test_spans_of_others_are_left_alone() -> None:
    """What is no instrumentation of models passes as it is."""
    program = Program()
    with program.span("my.app", "work", llm__token_count__prompt=3):
        pass
    assert _said(program.only()) == {"llm.token_count.prompt": 3}


def test_what_the_programs_sampler_leaves_out_is_counted() -> None:
    """A call that the program's sampler drops is sent nowhere, and counted, where we turned its instrumentation on."""
    exporter, tally = InMemorySpanExporter(), Tally()
    foreign = ForeignSpans(lambda: ForeignCost(NO_PRICES, lambda: TABLE))
    pipeline = SpanPipeline(SimpleSpanProcessor(exporter), on_start=[foreign.on_start], on_end=[foreign, tally])
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(pipeline)
    for tracer in (Gate(provider).get_tracer(OPENINFERENCE), provider.get_tracer(OPENINFERENCE)):
        with tracer.start_as_current_span("ChatCompletion") as span:
            span.set_attributes(_dotted({**FACTS, "llm__provider": "openai", "llm__token_count__prompt": 10}))
    assert exporter.get_finished_spans() == ()
    (usage,) = tally.report().usage.values()
    assert (usage.calls, usage.input_tokens, usage.cost_usd) == (1, 10, pytest.approx(20e-6))
