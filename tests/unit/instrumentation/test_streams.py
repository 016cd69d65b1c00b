"""A stream is one span that ends once, and the program reads what it would read without us."""

from __future__ import annotations

import asyncio
import gc
import inspect
import time
import weakref
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from opentelemetry.sdk.trace import SpanProcessor

from otel_llm import semconv
from otel_llm.faults import fault_counts
from otel_llm.testing import Usage
from tests.unit.instrumentation.calls import CALLS, MESSAGES, STREAMS, arguments, comparable, router, run
from tests.unit.instrumentation.programs import run_program
from tests.unit.instrumentation.recorded import Spans, attributes, failed, until

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider

PIECES = ["The ", "moon ", "is ", "far."]
ASKED = ("completion", "acompletion", "text_completion", "atext_completion")
"""Forms whose streams report usage only when asked."""


class Ends(SpanProcessor):
    """How often each span ended."""

    def __init__(self) -> None:
        self.of: dict[int, int] = {}

    def on_end(self, span: Any) -> None:
        self.of[span.context.span_id] = self.of.get(span.context.span_id, 0) + 1


async def _open(name: str, provider: FakeProvider, **more: Any) -> Any:
    made = getattr(litellm, name)(**arguments(CALLS[name], provider, stream=True, **more))
    return await made if inspect.isawaitable(made) else made


async def _read(name: str, stream: Any, most: int | None = None) -> list[Any]:
    found = []
    if CALLS[name].asynchronous:
        async for chunk in stream:
            found.append(chunk)
            if len(found) == most:
                break
    else:
        for chunk in stream:
            found.append(chunk)
            if len(found) == most:
                break
    return found


async def _read_all(name: str, provider: FakeProvider, **more: Any) -> list[Any]:
    return await _read(name, await _open(name, provider, **more))


def _streamed(name: str, provider: FakeProvider, **more: Any) -> list[Any]:
    return run(_read_all, name=name, provider=provider, **more)


def _text(span_facts: dict[str, Any]) -> str:
    return span_facts[semconv.OUTPUT_MESSAGES]


# --- read to the end ---


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_read_to_its_end_is_one_span(name: str, provider: FakeProvider, full_spans: Spans) -> None:
    """Tokens are the provider's, the text is whole, and nothing says that the stream ended in an odd way."""
    ends = Ends()
    full_spans.tracer_provider.add_span_processor(ends)
    provider.stream(PIECES, usage=Usage(21, 34))
    _streamed(name, provider)
    facts = full_spans.facts
    assert facts[semconv.REQUEST_STREAM] is True
    assert (facts[semconv.USAGE_INPUT], facts[semconv.USAGE_OUTPUT]) == (21, 34)
    assert facts[semconv.COST] > 0
    assert facts[semconv.COST_STATUS] == semconv.COST_PRICED
    assert facts[semconv.FINISH_REASONS] == ("stop",)
    assert facts[semconv.RESPONSE_MODEL] == CALLS[name].bare_model
    assert facts[semconv.TIME_TO_FIRST_CHUNK] > 0
    assert "The moon is far." in _text(facts)
    assert not {semconv.STREAM_END, semconv.USAGE_ESTIMATED, semconv.ERROR_TYPE} & facts.keys()
    assert not failed(full_spans.only)
    assert list(ends.of.values()) == [1]


@pytest.mark.parametrize("name", STREAMS)
def test_chunks_are_the_same_with_us(name: str, provider: FakeProvider) -> None:
    """The program reads the same chunks, of the same types, from the same type of stream."""
    provider.stream(PIECES, times=None)
    plain = run(_open, name=name, provider=provider)
    without = run(_read, name=name, stream=plain)
    with Spans(capture_content=True):
        stream = run(_open, name=name, provider=provider)
        recorded = run(_read, name=name, stream=stream)
    assert type(stream) is type(plain)
    assert [type(chunk) for chunk in recorded] == [type(chunk) for chunk in without]
    assert [comparable(chunk) for chunk in recorded] == [comparable(chunk) for chunk in without]


@pytest.mark.parametrize("name", STREAMS)
def test_a_streams_attributes_are_kept(name: str, provider: FakeProvider) -> None:
    """The stream object has the attributes that it has without us, with litellm's own values."""
    plain = run(_open, name=name, provider=provider)
    with Spans():
        stream = run(_open, name=name, provider=provider)
        assert set(vars(plain)) <= set(vars(stream))
        for attribute in ("model", "custom_llm_provider", "send_stream_usage"):
            assert getattr(stream, attribute, None) == getattr(plain, attribute, None)
        run(_read, name=name, stream=stream)
    run(_read, name=name, stream=plain)


@pytest.mark.parametrize("name", ASKED)
def test_usage_is_asked_for_on_the_wire(name: str, provider: FakeProvider, spans: Spans) -> None:
    """The request asks for usage on the program's behalf, and the program's arguments stay its own."""
    call = arguments(CALLS[name], provider, stream=True)
    before = dict(call)

    async def program() -> None:
        made = getattr(litellm, name)(**call)
        await _read(name, await made if inspect.isawaitable(made) else made)

    run(program)
    assert provider.requests[-1].json["stream_options"] == {"include_usage": True}
    assert call == before


@pytest.mark.parametrize("name", ASKED)
def test_a_program_that_asks_for_usage_gets_its_chunk(name: str, provider: FakeProvider) -> None:
    """Who asks for usage himself sees the usage chunk as ever, and it is on the span as well."""
    provider.stream(PIECES, usage=Usage(21, 34), times=None)
    options = {"stream_options": {"include_usage": True}}
    without = [comparable(chunk) for chunk in _streamed(name, provider, **options)]
    with Spans() as spans:
        recorded = [comparable(chunk) for chunk in _streamed(name, provider, **options)]
    assert recorded == without
    assert recorded[-1]["usage"]["completion_tokens"] == 34
    assert spans.facts[semconv.USAGE_OUTPUT] == 34


@pytest.mark.parametrize("name", ASKED)
def test_a_program_that_declines_usage_is_not_overruled(name: str, provider: FakeProvider, spans: Spans) -> None:
    """`include_usage: False` goes out as it is; tokens are counted and marked as an estimate."""
    _streamed(name, provider, stream_options={"include_usage": False})
    assert provider.requests[-1].json["stream_options"] == {"include_usage": False}
    facts = spans.facts
    assert facts[semconv.USAGE_ESTIMATED] is True
    assert facts[semconv.COST_STATUS] == semconv.COST_ESTIMATED


@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_a_provider_that_sends_no_usage_is_estimated(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Where no usage comes, tokens are counted by litellm's tokenizer, and both tokens and cost say so."""
    _streamed(name, provider, stream_options={"include_usage": False})
    facts = spans.facts
    assert facts[semconv.USAGE_INPUT] > 0
    assert facts[semconv.USAGE_OUTPUT] > 0
    assert facts[semconv.USAGE_ESTIMATED] is True
    assert facts[semconv.COST] > 0
    assert facts[semconv.COST_STATUS] == semconv.COST_ESTIMATED


@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_an_anthropic_stream_reports_usage_unasked(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Anthropic's usage is read from its events; nothing is asked for, and the prompt cache is counted."""
    provider.stream(PIECES, usage=Usage(50, 7, cache_read_tokens=20, cache_write_tokens=10))
    call = {"model": "anthropic/claude-3-haiku-20240307", "api_base": provider.anthropic_base}
    _streamed(name, provider, **call)
    facts = spans.facts
    assert "stream_options" not in provider.requests[-1].json
    assert (facts[semconv.USAGE_INPUT], facts[semconv.USAGE_OUTPUT]) == (50, 7)
    assert (facts[semconv.USAGE_CACHE_READ], facts[semconv.USAGE_CACHE_WRITE]) == (20, 10)
    assert facts[semconv.PROVIDER_NAME] == "anthropic"


def test_a_tool_call_in_pieces_is_put_together(provider: FakeProvider, full_spans: Spans) -> None:
    """A tool call that comes in pieces is one part of the answer."""
    provider.tool_call("look", {"where": "up"})
    _streamed("completion", provider)
    facts = full_spans.facts
    assert '"name": "look"' in _text(facts) or '"name":"look"' in _text(facts)
    assert '"where"' in _text(facts)
    assert facts[semconv.FINISH_REASONS] == ("tool_call",)


# --- ended otherwise ---


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_left_early_ends_when_it_is_collected(
    name: str, provider: FakeProvider, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """`break` and forget: one span, `abandoned`, not an error, with what was heard estimated where nothing else is."""
    ends = Ends()
    spans.tracer_provider.add_span_processor(ends)
    provider.stream(PIECES)

    async def program() -> None:
        stream = await _open(name, provider)
        assert await _read(name, stream, most=3)
        del stream

    run(program)
    litellm.completion(**arguments(CALLS["completion"], provider, metadata={"which": "other"}))  # it lets go

    def both_ended() -> bool:
        gc.collect()  # more than once: a thread of litellm's may hold the stream a moment longer
        return len(spans.llm) == 2

    until(both_ended)
    (span,) = [span for span in spans.llm if semconv.METADATA_PREFIX + "which" not in attributes(span)]
    facts = attributes(span)
    assert facts[semconv.STREAM_END] == "abandoned"
    assert not failed(span)
    assert set(ends.of.values()) == {1}
    assert not [record for record in caplog.records if "detach" in record.getMessage()]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_never_read_ends_when_it_is_collected(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A stream that nobody reads at all is one span, `abandoned`."""

    async def program() -> None:
        await _open(name, provider)

    run(program)
    litellm.completion(**arguments(CALLS["completion"], provider, metadata={"which": "other"}))  # it lets go
    gc.collect()
    until(lambda: len(spans.llm) == 2)
    (span,) = [span for span in spans.llm if semconv.METADATA_PREFIX + "which" not in attributes(span)]
    assert attributes(span)[semconv.STREAM_END] == "abandoned"
    assert semconv.TIME_TO_FIRST_CHUNK not in attributes(span)


@pytest.mark.parametrize("name", STREAMS)
def test_a_closed_stream_ends_at_once(name: str, provider: FakeProvider, spans: Spans) -> None:
    """`close` or `aclose`, where the object has one, ends the span there and then."""
    provider.stream(PIECES)

    async def program() -> bool:
        stream = await _open(name, provider)
        await _read(name, stream, most=2)
        for way in ("aclose", "close"):
            if hasattr(type(stream), way):
                closed = getattr(stream, way)()
                if inspect.isawaitable(closed):
                    await closed
                return True
        return False

    if not run(program):
        pytest.skip(f"litellm's {name} stream has no close")
    assert spans.facts[semconv.STREAM_END] == "closed"
    assert not failed(spans.only)


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("how", ["cut", "error"])
def test_a_stream_that_breaks_is_an_error(name: str, how: str, provider: FakeProvider) -> None:
    """A connection cut or an error event in the middle: the program sees litellm's exception, the span has it."""
    provider.stream(PIECES, fail_after=2, fail_with=how, times=None)

    def outcome() -> tuple[int, Any]:
        seen: list[Any] = []

        async def program() -> None:
            stream = await _open(name, provider)
            if CALLS[name].asynchronous:
                async for chunk in stream:
                    seen.append(chunk)
            else:
                for chunk in stream:
                    seen.append(chunk)

        try:
            run(program)
        except Exception as error:
            return len(seen), type(error)
        return len(seen), None

    without = outcome()
    with Spans() as spans:
        recorded = outcome()
    assert recorded == without
    if recorded[1] is None:
        assert not failed(spans.only) or spans.facts[semconv.FINISH_REASONS] == ("error",)
        return
    assert failed(spans.only)
    facts = spans.facts
    assert facts[semconv.STREAM_END] == "error"
    assert facts[semconv.ERROR_TYPE].endswith(recorded[1].__name__)
    assert facts[semconv.TENANT_ID] == semconv.UNKNOWN_TENANT


@pytest.mark.parametrize("name", ["acompletion", "atext_completion", "aresponses"])
def test_a_task_cancelled_while_reading_ends_the_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A reader cancelled in the middle ends the span with the cancellation, and stays cancelled."""
    provider.stream(PIECES, chunk_delay=30)

    async def program() -> None:
        reading = asyncio.Event()

        async def read() -> None:
            async for _ in await _open(name, provider):
                reading.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(reading.wait(), 10)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(program)
    until(lambda: spans.llm)
    facts = spans.facts
    assert facts[semconv.STREAM_END] in {"cancelled", "closed"}
    assert facts[semconv.ERROR_TYPE].endswith("CancelledError")


def test_a_stream_never_read_ends_at_exit(provider: FakeProvider) -> None:
    """A program that ends with a stream open delivers its span before the tracer provider shuts down."""
    told = run_program(
        """
        kept = litellm.completion("openai/gpt-4o-mini", messages, api_base=base, api_key="k", stream=True)
        other = litellm.completion("openai/gpt-4o-mini", messages, api_base=base, api_key="k", stream=True)
        next(iter(other))
        """,
        provider,
    )
    assert [span["attributes"][semconv.STREAM_END] for span in told.spans] == ["abandoned", "abandoned"]
    assert told.stderr == ""


# --- while it is read ---


@pytest.mark.parametrize("name", STREAMS)
def test_spans_of_the_reader_are_not_children(name: str, provider: FakeProvider, spans: Spans) -> None:
    """What a program does between two chunks belongs to the program, not to the call."""

    async def program() -> None:
        stream = await _open(name, provider)
        with spans.tracer.start_as_current_span("before"):
            pass
        if CALLS[name].asynchronous:
            async for _ in stream:
                with spans.tracer.start_as_current_span("between"):
                    pass
        else:
            for _ in stream:
                with spans.tracer.start_as_current_span("between"):
                    pass

    run(program)
    mine = [span for span in spans.all if span.name in {"before", "between"}]
    assert len(mine) > 3
    assert all(span.parent is None for span in mine)


def test_a_stream_is_a_child_of_where_it_was_opened(provider: FakeProvider, spans: Spans) -> None:
    """A stream opened in one span and read in another belongs to the first."""
    with spans.tracer.start_as_current_span("opening") as opening:
        stream = litellm.completion(**arguments(CALLS["completion"], provider, stream=True))
    with spans.tracer.start_as_current_span("reading"):
        list(stream)
    parent = spans.only.parent
    assert parent is not None
    assert parent.span_id == opening.get_span_context().span_id


def test_a_stream_read_in_another_task_is_quiet(
    provider: FakeProvider, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """A stream opened in one task, read in a second and finished in a third leaves one span and no noise."""

    async def program() -> None:
        stream = await asyncio.create_task(_open("acompletion", provider))
        await asyncio.create_task(_read("acompletion", stream, most=2))
        await asyncio.create_task(_read("acompletion", stream))

    run(program)
    assert semconv.STREAM_END not in spans.facts
    assert not [record for record in caplog.records if "detach" in record.getMessage()]
    assert fault_counts() == {}


def test_a_generator_around_a_stream_left_early_is_quiet(
    provider: FakeProvider, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """A program's own async generator over a stream, dropped half-way, logs no failure to detach."""

    async def words() -> Any:
        async for chunk in await _open("acompletion", provider):
            yield chunk

    async def program() -> None:
        async for _ in words():
            break
        gc.collect()
        await asyncio.sleep(0)

    run(program)
    assert not [record for record in caplog.records if "detach" in record.getMessage()]
    assert fault_counts() == {}


@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_the_first_chunk_is_the_first_with_content(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A chunk with the role only is not the first chunk; the time is that of the first word."""
    delay = 0.3
    provider.stream(PIECES, first_chunk_delay=delay, chunk_delay=0.05)
    _streamed(name, provider)
    span = spans.only
    first = attributes(span)[semconv.TIME_TO_FIRST_CHUNK]
    assert first >= delay * 0.95
    assert first < (span.end_time - span.start_time) / 1e9


def test_a_slow_reader_does_not_change_the_time_to_the_first_chunk(provider: FakeProvider, spans: Spans) -> None:
    """A program that takes its time after the first word makes the span longer, not the first chunk later."""
    for chunk in litellm.completion(**arguments(CALLS["completion"], provider, stream=True)):
        if chunk.choices[0].delta.content:
            time.sleep(0.05)
    span = spans.only
    assert attributes(span)[semconv.TIME_TO_FIRST_CHUNK] < (span.end_time - span.start_time) / 1e9 / 2


# --- Router, generators ---


@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_a_routed_stream_is_one_span(name: str, provider: FakeProvider) -> None:
    """A Router's stream reads the same with us, and is one span with usage and the group's name."""
    provider.stream(PIECES, usage=Usage(21, 34), times=None)
    routing = router(provider, CALLS["completion"])

    async def program() -> list[Any]:
        made = getattr(routing, name)(model="group-gpt-4o-mini", messages=MESSAGES, stream=True)
        stream = await made if inspect.isawaitable(made) else made
        return [
            type(stream).__qualname__,
            type(stream).__mro__[1],
            [comparable(chunk) for chunk in await _read(name, stream)],
        ]

    without = run(program)
    with Spans() as spans:
        recorded = run(program)
    assert recorded == without
    assert spans.only.name == "chat group-gpt-4o-mini"
    assert (spans.facts[semconv.USAGE_INPUT], spans.facts[semconv.USAGE_OUTPUT]) == (21, 34)


def test_routed_streams_do_not_pile_up(provider: FakeProvider, spans: Spans) -> None:
    """A Router's stream is not kept once it was read, nor is its class where the Router makes one for every stream."""
    routing = router(provider, CALLS["completion"])

    async def program() -> list[weakref.ref[Any]]:
        stream = await routing.acompletion(model="group-gpt-4o-mini", messages=MESSAGES, stream=True)
        await _read("acompletion", stream)
        made = type(stream)
        return [weakref.ref(stream), *([weakref.ref(made)] if "<locals>" in made.__qualname__ else [])]

    first = run(program)
    run(program)
    gc.collect()
    assert [kept() for kept in first] == [None] * len(first)


@pytest.mark.parametrize("end", ["read", "close", "throw", "drop"])
def test_a_native_generator_stays_one(end: str, provider: FakeProvider, spans: Spans) -> None:
    """A call that answers with a plain generator gives the program a plain generator, closed with its own."""
    from otel_llm.instrumentation.litellm.entry import Entry
    from otel_llm.instrumentation.litellm.forms import FORMS

    closed = []

    def chunks(*_: object, **__: object) -> Any:
        try:
            yield {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
            yield {"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}]}
        finally:
            closed.append(True)

    call = {**arguments(CALLS["completion"], provider), "stream": True}
    stream = Entry(spans.recorder).sync_handler(FORMS["completion"], door=False)(chunks, (), call)
    assert inspect.isgenerator(stream)
    assert next(stream)["choices"][0]["delta"]["content"] == "a"
    if end == "read":
        assert len(list(stream)) == 1
    elif end == "close":
        stream.close()
    elif end == "throw":
        with pytest.raises(KeyError):
            stream.throw(KeyError("x"))
    else:
        del stream
    until(lambda: spans.llm)
    assert closed == [True]
    assert (
        spans.facts.get(semconv.STREAM_END)
        == {"read": None, "drop": "abandoned", "throw": "closed", "close": "closed"}[end]
    )


def test_an_async_generator_stays_one(provider: FakeProvider, spans: Spans) -> None:
    """The same for an async generator."""
    from otel_llm.instrumentation.litellm.entry import Entry
    from otel_llm.instrumentation.litellm.forms import FORMS

    async def chunks() -> Any:
        yield {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
        yield {"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}]}

    async def original(*_: object, **__: object) -> Any:
        return chunks()

    async def program() -> None:
        call = {**arguments(CALLS["acompletion"], provider), "stream": True}
        stream = await Entry(spans.recorder).async_handler(FORMS["acompletion"], door=False)(original, (), call)
        assert inspect.isasyncgen(stream)
        await stream.__anext__()
        await stream.aclose()

    run(program)
    assert spans.facts[semconv.STREAM_END] == "closed"
