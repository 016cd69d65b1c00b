"""Whatever a program hands to a call: the call is what it is without us, and the span survives, marked."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from typing import TYPE_CHECKING, Any

import litellm
import pydantic
import pytest

from otel_llm import semconv
from otel_llm.faults import fault_counts
from otel_llm.processors.limits import SizeLimits
from tests.unit.instrumentation.calls import CALLS, arguments, comparable, run
from tests.unit.instrumentation.recorded import Spans, attributes, failed

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider


class Person(pydantic.BaseModel):
    """A model as programs put it into metadata."""

    name: str = "Ann"


class Hostile:
    """Everything about it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def _cyclic() -> list[Any]:
    made: list[Any] = ["a"]
    made.append(made)
    return made


def _deep() -> list[Any]:
    made: list[Any] = []
    for _ in range(5000):
        made = [made]
    return made


ODD: dict[str, Any] = {
    "nan": math.nan,
    "infinity": -math.inf,
    "bytes": b"\xff\x00",
    "model": Person(),
    "lone surrogate": "moon \ud800 rise",
    "null character": "a\x00b",
    "set": {1, 2},
    "decimal": decimal.Decimal("1.5"),
    "date": dt.date(2026, 11, 22),
    "huge integer": 10**400,
    "class": Person,
    "function": len,
    "generator": (number for number in range(3)),
    "cyclic": _cyclic(),
    "deep": _deep(),
    "hostile": Hostile(),
    "nothing": None,
}


def _outcome(call: dict[str, Any]) -> Any:
    try:
        answer = litellm.completion(**call)
    except Exception as error:
        return type(error)
    return comparable(answer)


def _recorded(call: dict[str, Any]) -> tuple[Any, Spans]:
    with Spans(capture_content=True) as spans:
        return _outcome(call), spans


@pytest.mark.parametrize("odd", [odd for odd in ODD if odd not in {"hostile", "deep", "cyclic", "generator"}])
def test_odd_metadata(odd: str, provider: FakeProvider) -> None:
    """Odd values in a call's metadata change nothing for the call, and the span has all else."""
    call = arguments(CALLS["completion"], provider, metadata={"odd": ODD[odd], "tenant_id": "acme", "plain": 7})
    without = _outcome(call)
    recorded, spans = _recorded(call)
    assert recorded == without
    facts = spans.facts
    assert facts[semconv.TENANT_ID] == "acme"
    assert facts[semconv.METADATA_PREFIX + "plain"] == 7
    assert fault_counts() == {}


PLACES = ("user", "temperature", "stop", "seed", "n", "tools", "dimensions", "metadata")
FOR_EVER = [("n", "huge integer")]
"""litellm's mock makes as many choices as it is asked for."""


@pytest.mark.parametrize(
    ("place", "odd"), [(place, odd) for place in PLACES for odd in ODD if (place, odd) not in FOR_EVER]
)
def test_odd_arguments(place: str, odd: str, provider: FakeProvider) -> None:
    """An odd value for any argument fails or works as it does without us, and leaves one span."""
    call = arguments(CALLS["completion"], provider, mock_response="ok", **{place: ODD[odd]})
    recorded, spans = _recorded(call)
    assert recorded == _outcome(call)
    span = spans.only
    assert failed(span) == isinstance(recorded, type)
    assert attributes(span)[semconv.REQUEST_MODEL] == "gpt-4o-mini"


@pytest.mark.parametrize("odd", ODD)
def test_odd_messages(odd: str, provider: FakeProvider) -> None:
    """An odd value as content: the span has the conversation, with what could not be kept replaced and marked."""
    messages = [{"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "odd", "value": ODD[odd]}]},
                {"role": "tool", "tool_call_id": "c", "content": ODD[odd]}]  # fmt: skip
    call = arguments(CALLS["completion"], provider, messages=messages, mock_response="ok")
    recorded, spans = _recorded(call)
    assert recorded == _outcome(call)
    facts = spans.facts
    written = facts.get(semconv.INPUT_MESSAGES)
    if written is not None:
        assert json.loads(written)[0]["parts"][0] == {"type": "text", "content": "look"}
        written.encode("utf-8")
    if odd in {"nan", "bytes", "class", "function", "generator", "cyclic", "deep", "hostile", "lone surrogate"}:
        assert semconv.INPUT_MESSAGES in facts[semconv.REPLACED]


def test_a_generator_is_not_consumed(provider: FakeProvider, full_spans: Spans) -> None:
    """What can be read once is left for the program to read."""
    once = (number for number in range(3))
    litellm.completion(**arguments(CALLS["completion"], provider, mock_response="ok", metadata={"once": once}))
    assert list(once) == [0, 1, 2]


def test_a_prompt_of_thirty_megabytes(provider: FakeProvider) -> None:
    """A prompt of 30 MB goes out whole; the span is kept within its limits and says what was cut."""
    huge = "moon " * 6_000_000
    provider.answer("yes")
    with Spans(capture_content=True) as spans:
        messages = [{"role": "user", "content": huge}]
        litellm.completion(**arguments(CALLS["completion"], provider, messages=messages))
    assert provider.requests[-1].json["messages"][0]["content"] == huge
    facts = spans.facts
    assert facts[semconv.RESPONSE_MODEL] == "gpt-4o-mini"
    written = facts[semconv.INPUT_MESSAGES]
    assert len(written) < 2_000_000
    marked = [*facts.get(semconv.REPLACED, ()), *facts.get(semconv.TRUNCATED, ())]
    assert semconv.INPUT_MESSAGES in marked


def test_a_huge_answer_stays_within_the_spans_limits(provider: FakeProvider) -> None:
    """An answer of a megabyte reaches the program whole and the exporter shortened and marked."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from otel_llm.processors.chain import SpanPipeline

    provider.answer("moon " * 200_000)
    exporter = InMemorySpanExporter()
    with Spans(capture_content=True) as spans:
        limits = SizeLimits(max_value_bytes=10_000, max_span_bytes=20_000)
        spans.tracer_provider.add_span_processor(SpanPipeline(SimpleSpanProcessor(exporter), on_end=[limits]))
        answer = litellm.completion(**arguments(CALLS["completion"], provider))
    assert len(answer.choices[0].message.content) == 999_999 or len(answer.choices[0].message.content) == 1_000_000
    (span,) = exporter.get_finished_spans()
    facts = attributes(span)
    assert len(facts[semconv.OUTPUT_MESSAGES]) <= 10_000
    assert semconv.OUTPUT_MESSAGES in [*facts.get(semconv.TRUNCATED, ()), *facts.get(semconv.REPLACED, ())]
    assert facts[semconv.USAGE_INPUT] > 0


@pytest.mark.parametrize("name", ["embedding", "text_completion", "responses", "rerank", "moderation", "speech"])
def test_odd_inputs_of_other_forms(name: str, provider: FakeProvider) -> None:
    """Bytes, a lone surrogate or nothing as input: the same outcome as without us, and one span."""
    form = CALLS[name]
    (place, *_) = form.inputs
    for odd in ("bytes", "nothing", "nan", "lone surrogate"):
        call = {**arguments(form, provider), place: ODD[odd]}

        def outcome(call: dict[str, Any] = call) -> Any:
            try:
                return comparable(run(getattr(litellm, name), **call))
            except Exception as error:
                return type(error)

        without = outcome()
        with Spans(capture_content=True) as spans:
            assert outcome() == without
        assert len(spans.llm) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": []},
        {"choices": [{"message": None, "finish_reason": None}], "usage": None},
        {"choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "odd"}], "usage": {}},
        {"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": -1, "completion_tokens": 10**30}},
        {"choices": [{"message": {"content": ["a", 1]}}], "model": 7, "id": 7},
        {"error": {"message": "all is not well"}},
        [],
    ],
    ids=str,
)
def test_odd_answers(answer: Any, provider: FakeProvider) -> None:
    """An answer that is not what it should be: the same outcome as without us, and one span that has ended."""
    provider.json(answer, times=None)
    call = arguments(CALLS["completion"], provider)
    without = _outcome(call)
    recorded, spans = _recorded(call)
    assert recorded == without
    assert failed(spans.only) == isinstance(recorded, type)
    assert fault_counts() == {}


class Raising(dict[str, Any]):
    """A dict of the program's that cannot be asked."""

    def get(self, *_: Any) -> Any:
        raise RuntimeError

    __len__ = keys = items = get  # type: ignore[assignment]


class Shouting(str):
    """A text of the program's that cannot be measured."""

    __slots__ = ()

    def __len__(self) -> int:
        raise RuntimeError


@pytest.mark.parametrize(
    "odd",
    [{"metadata": Raising()}, {"user": 10**5000}, {"user": Shouting("u")}, {"model": Shouting("openai/gpt-4o-mini")},
     {"custom_llm_provider": {"a"}}, {"custom_llm_provider": Raising()}, {"api_base": Raising(a=1)}],
    ids=["metadata", "giant user", "user", "model", "provider set", "provider", "address"],
)  # fmt: skip
def test_an_argument_that_cannot_be_read_costs_no_span(odd: dict[str, Any], provider: FakeProvider) -> None:
    """A call with an argument whose class raises, or that is no text, has its span with what else it says."""
    call = {**arguments(CALLS["completion"], provider), "mock_response": "ok", "seed": 7, **odd}
    recorded, spans = _recorded(call)
    assert recorded == _outcome(call)
    facts = spans.facts
    assert facts[semconv.REQUEST_SEED] == 7
    assert facts[semconv.OPERATION_NAME] == "chat"


def test_what_cannot_be_read_costs_only_itself(provider: FakeProvider) -> None:
    """A temperature beyond all numbers and a tool that raises cost neither messages nor the other parameters."""
    call = arguments(CALLS["completion"], provider, mock_response="ok", seed=7, temperature=10**400, tools=[Raising()])
    recorded, spans = _recorded(call)
    assert recorded == _outcome(call)
    facts = spans.facts
    assert facts[semconv.REQUEST_SEED] == 7
    assert "How far is the moon?" in facts[semconv.INPUT_MESSAGES]
    assert fault_counts() == {"reading a request": 1}
