"""`@otel_llm.trace` around every form of function: what is recorded, and that callers notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind, StatusCode, get_current_span

import otel_llm
from otel_llm import semconv

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from tests.unit.instrumentation.functions.conftest import Recorded


def attributes(recorded: Recorded, name: str) -> dict[str, Any]:
    """The attributes of the one span of that name."""
    return dict(recorded.one(name).attributes or {})


@otel_llm.trace
def module_level(x: int) -> int:
    """Doubles."""
    return 2 * x


def test_a_function_is_a_span_with_its_input_and_output(recorded: Recorded) -> None:
    """Arguments by name, the result, and the identity of the tenant."""

    @otel_llm.trace("add")
    def add(a: int, b: int = 2, *more: int, scale: int = 1, **others: object) -> int:
        return (a + b + sum(more)) * scale

    with otel_llm.tenant("acme"):
        assert add(1, 2, 3, scale=2, note="n") == 12
    found = attributes(recorded, "add")
    assert json.loads(found[semconv.PLAIN_INPUT]) == {"a": 1, "b": 2, "more": [3], "scale": 2, "note": "n"}
    assert found[semconv.PLAIN_OUTPUT] == "12"
    assert found[semconv.TENANT_ID] == "acme"
    assert recorded.one("add").kind is SpanKind.INTERNAL
    assert semconv.OPERATION_NAME not in found


def test_without_a_name_the_function_gives_it(recorded: Recorded) -> None:
    """Bare and called use name the span after the function, without `<locals>`; the function stays itself."""

    @otel_llm.trace()
    def inner() -> None:
        """Says nothing."""

    assert module_level(2) == 4
    inner()
    assert recorded.names == ["module_level", "inner"]
    assert module_level.__name__ == "module_level"
    assert module_level.__doc__ == "Doubles."
    assert str(inspect.signature(module_level)) == "(x: 'int') -> 'int'"
    assert pickle.loads(pickle.dumps(module_level)) is module_level


async def test_a_coroutine_function_stays_one(recorded: Recorded) -> None:
    """The span lasts until the coroutine is done, and nested spans are its children."""

    @otel_llm.trace("outer")
    async def outer() -> str:
        await asyncio.sleep(0)
        return await inner("x")

    @otel_llm.trace("inner")
    async def inner(text: str) -> str:
        return text.upper()

    assert inspect.iscoroutinefunction(outer)
    assert await outer() == "X"
    assert recorded.names == ["inner", "outer"]
    assert recorded.parent_name("inner") == "outer"
    assert attributes(recorded, "outer")[semconv.PLAIN_OUTPUT] == "X"


async def test_gathered_calls_do_not_mix(recorded: Recorded) -> None:
    """Each of several calls at once is the parent of its own children only."""

    @otel_llm.trace("parent")
    async def parent(number: int) -> None:
        await asyncio.sleep(0)
        with otel_llm.span(f"child {number}"):
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    await asyncio.gather(*(parent(number) for number in range(5)))
    parents = {span.context.span_id: span for span in recorded.all if span.name == "parent"}
    for number in range(5):
        above = parents[recorded.one(f"child {number}").parent.span_id]
        assert json.loads(above.attributes[semconv.PLAIN_INPUT]) == {"number": number}


def test_a_hidden_coroutine_function_is_followed_to_its_end(recorded: Recorded) -> None:
    """A plain function that returns a coroutine (another decorator's doing) has a span as long as the coroutine."""

    async def work() -> str:
        with otel_llm.span("inside"):
            return "done"

    @otel_llm.trace("hidden")
    def hidden() -> Any:
        return work()

    coroutine = hidden()
    assert not recorded.names
    assert inspect.iscoroutine(coroutine)
    assert asyncio.run(coroutine) == "done"
    assert recorded.parent_name("inside") == "hidden"


def test_a_generator_leaks_no_context_to_its_reader(recorded: Recorded) -> None:
    """The span is current while the generator runs, and not between its items; its own blocks stay open."""

    @otel_llm.trace("stream")
    def stream() -> Generator[str, str, int]:
        with otel_llm.tenant("inside"), otel_llm.span("block"):
            answer = yield "a"
            with otel_llm.span(f"child {answer}"):
                yield "b"
        return 7

    assert inspect.isgeneratorfunction(stream)
    before = otel_context.get_current()
    generator = stream()
    assert next(generator) == "a"
    assert otel_context.get_current() is before
    with otel_llm.span("reader"):
        assert generator.send("x") == "b"
    with pytest.raises(StopIteration) as end:
        next(generator)
    assert end.value.value == 7
    assert otel_context.get_current() is before
    assert recorded.parent_name("child x") == "block"
    assert recorded.parent_name("block") == "stream"
    assert recorded.one("reader").parent is None
    assert attributes(recorded, "stream")[semconv.PLAIN_OUTPUT] == "ab"
    assert attributes(recorded, "child x")[semconv.TENANT_ID] == "inside"


def test_two_generators_read_in_turns_keep_apart(recorded: Recorded) -> None:
    """Generators that are advanced in turns have their own children each."""

    @otel_llm.trace("numbers")
    def numbers(name: str) -> Generator[int, None, None]:
        for number in range(2):
            with otel_llm.span(f"{name} {number}"):
                yield number

    assert list(zip(numbers("a"), numbers("b"), strict=True)) == [(0, 0), (1, 1)]
    tops = {
        json.loads(span.attributes[semconv.PLAIN_INPUT])["name"]: span
        for span in recorded.all
        if span.name == "numbers"
    }
    for name in ("a", "b"):
        for number in range(2):
            assert recorded.one(f"{name} {number}").parent.span_id == tops[name].context.span_id


def test_a_generator_takes_what_is_thrown_and_closed(recorded: Recorded) -> None:
    """`throw` reaches the generator, `close` ends the span without an error, and both are as they were."""
    seen: list[str] = []

    @otel_llm.trace("careful")
    def careful() -> Generator[int, None, None]:
        try:
            try:
                yield 1
            except KeyError:
                yield 2
            yield 3
        finally:
            seen.append(otel_llm.current().trace_id)

    generator = careful()
    assert next(generator) == 1
    assert generator.throw(KeyError("k")) == 2
    generator.close()
    span = recorded.one("careful")
    assert span.status.status_code is StatusCode.UNSET
    assert (span.attributes or {})[semconv.STREAM_END] == "closed"
    assert seen == [f"{span.context.trace_id:032x}"]


def test_a_generator_that_fails_is_marked(recorded: Recorded) -> None:
    """An error in the middle goes through, and the span keeps what was yielded until then."""

    @otel_llm.trace("broken")
    def broken() -> Generator[str, None, None]:
        yield "one"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        list(broken())
    span = recorded.one("broken")
    assert (span.attributes or {})[semconv.ERROR_TYPE] == "ValueError"
    assert (span.attributes or {})[semconv.PLAIN_OUTPUT] == "one"


async def test_an_async_generator_is_all_that_it_was(recorded: Recorded) -> None:
    """Items, `asend`, `athrow`, `aclose` and the end behave as before; no context leaks to the reader."""

    @otel_llm.trace("chunks")
    async def chunks(count: int) -> AsyncGenerator[int, str]:
        for number in range(count):
            with otel_llm.span(f"chunk {number}"):
                await asyncio.sleep(0)
            try:
                said = yield number
            except KeyError:
                said = yield -1
            if said:
                with otel_llm.span(said):
                    await asyncio.sleep(0)

    assert inspect.isasyncgenfunction(chunks)
    before = otel_context.get_current()
    assert [item async for item in chunks(2)] == [0, 1]
    assert otel_context.get_current() is before
    whole = recorded.one("chunks")
    assert json.loads((whole.attributes or {})[semconv.PLAIN_OUTPUT]) == [0, 1]
    assert recorded.one("chunk 1").parent.span_id == whole.context.span_id

    generator = chunks(3)
    assert await generator.__anext__() == 0
    assert await generator.asend("said") == 1
    assert await generator.athrow(KeyError("k")) == -1
    await generator.aclose()
    assert otel_context.get_current() is before
    cut = recorded.all[-1]
    assert (cut.name, (cut.attributes or {})[semconv.STREAM_END]) == ("chunks", "closed")
    assert recorded.one("said").parent.span_id == cut.context.span_id


async def test_an_abandoned_async_generator_ends_its_span(recorded: Recorded) -> None:
    """A reader that breaks off leaves the generator to the event loop, which closes it: the span ends."""

    @otel_llm.trace("abandoned")
    async def abandoned() -> AsyncGenerator[int, None]:
        yield 1
        yield 2

    async with contextlib.aclosing(abandoned()) as generator:
        async for _ in generator:
            break
    assert recorded.names == ["abandoned"]


def test_methods_of_every_kind(recorded: Recorded) -> None:
    """Methods, class methods and static methods, with the decorator on either side; `self` and `cls` are no input."""

    class Service:
        @otel_llm.trace("method")
        def method(self, x: int) -> int:
            return x

        @otel_llm.trace("above class method")
        @classmethod
        def above(cls, x: int) -> type:
            return cls

        @classmethod
        @otel_llm.trace("below class method")
        def below(cls, x: int) -> type:
            return cls

        @otel_llm.trace("static")
        @staticmethod
        def static(x: int) -> int:
            return x

    assert Service().method(1) == 1
    assert Service.above(1) is Service
    assert Service().below(1) is Service
    assert Service.static(1) == 1
    for name in recorded.names:
        assert json.loads(attributes(recorded, name)[semconv.PLAIN_INPUT]) == {"x": 1}
    assert recorded.names == ["method", "above class method", "below class method", "static"]


async def test_a_class_has_its_public_methods_recorded(recorded: Recorded) -> None:
    """Every public method that the class defines itself, once; properties, private and inherited ones not."""

    class Base:
        def inherited(self) -> int:
            return 1

    @otel_llm.trace("Worker")
    class Worker(Base):
        def run(self) -> int:
            return self._private()

        async def arun(self) -> int:
            return 2

        @staticmethod
        def helper() -> int:
            return 3

        @otel_llm.trace("own name")
        def named(self) -> int:
            return 4

        def _private(self) -> int:
            return 5

        @property
        def state(self) -> int:
            return 6

        def __call__(self) -> int:
            return 7

    worker = Worker()
    assert isinstance(worker, Base)
    found = [
        worker.run(),
        await worker.arun(),
        worker.helper(),
        worker.named(),
        worker.state,
        worker.inherited(),
        worker(),
    ]
    assert found == [5, 2, 3, 4, 6, 1, 7]
    assert recorded.names == ["Worker.run", "Worker.arun", "Worker.helper", "own name", "Worker.__call__"]


def test_partials_and_callable_objects(recorded: Recorded) -> None:
    """What has no `__name__` can be recorded as well."""

    class Greeter:
        def __call__(self, name: str) -> str:
            return f"hi {name}"

    assert otel_llm.trace()(functools.partial(int, base=2))("101") == 5
    assert otel_llm.trace("greet")(Greeter())("ann") == "hi ann"
    assert recorded.names == ["int", "greet"]


@pytest.mark.parametrize(
    ("operation", "name", "subject"),
    [
        ("tool", "execute_tool weather", semconv.TOOL_NAME),
        ("agent", "invoke_agent weather", semconv.AGENT_NAME),
        ("workflow", "invoke_workflow weather", semconv.WORKFLOW_NAME),
        ("plan", "plan weather", semconv.AGENT_NAME),
        ("retrieval", "retrieval weather", None),
    ],
)
def test_operations_have_the_names_of_the_conventions(
    recorded: Recorded, operation: Any, name: str, subject: str | None
) -> None:
    """Span name, `gen_ai.operation.name` and the attribute that names the subject, there when a sampler looks."""

    @otel_llm.trace("weather", operation=operation)
    def work(query: str) -> list[str]:
        return [query]

    work("where")
    found = attributes(recorded, name)
    assert found[semconv.OPERATION_NAME] == name.removesuffix(" weather")
    if subject is not None:
        assert found[subject] == "weather"
    assert recorded.one(name).kind is (SpanKind.CLIENT if operation == "retrieval" else SpanKind.INTERNAL)


def test_content_goes_where_the_conventions_want_it(recorded: Recorded) -> None:
    """A tool has arguments and result as objects, a retrieval query and documents, an agent messages."""

    @otel_llm.trace("sum", operation="tool")
    def tool(a: int, b: int) -> int:
        return a + b

    @otel_llm.trace("docs", operation="retrieval")
    def retrieve(query: str, top_k: int = 2) -> list[Any]:
        return [{"id": "1", "score": 0.5}, ("text", 0.25), "plain"]

    @otel_llm.trace("support", operation="agent")
    def agent(question: str) -> str:
        return "an answer"

    tool(1, b=2)
    retrieve("where?")
    agent("why?")
    found = attributes(recorded, "execute_tool sum")
    assert json.loads(found[semconv.TOOL_CALL_ARGUMENTS]) == {"a": 1, "b": 2}
    assert json.loads(found[semconv.TOOL_CALL_RESULT]) == {"result": 3}
    found = attributes(recorded, "retrieval docs")
    assert found[semconv.RETRIEVAL_QUERY_TEXT] == "where?"
    assert json.loads(found[semconv.RETRIEVAL_DOCUMENTS]) == [
        {"id": "1", "score": 0.5},
        {"content": "text", "score": 0.25},
        {"content": "plain"},
    ]
    found = attributes(recorded, "invoke_agent support")
    assert json.loads(found[semconv.INPUT_MESSAGES]) == [
        {"role": "user", "parts": [{"type": "text", "content": "why?"}]}
    ]
    (answer,) = json.loads(found[semconv.OUTPUT_MESSAGES])
    assert (answer["role"], answer["parts"][0]["content"]) == ("assistant", "an answer")


def test_an_unknown_operation_is_said_where_it_stands() -> None:
    """A misspelt operation is an error when the module is imported, with the words that exist."""
    with pytest.raises(ValueError, match=r"operation='tools' is not known.*'tool'"):
        otel_llm.trace("x", operation="tools")  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("capture", "kept"),
    [
        (True, {semconv.PLAIN_INPUT, semconv.PLAIN_OUTPUT}),
        ("input", {semconv.PLAIN_INPUT}),
        ("output", {semconv.PLAIN_OUTPUT}),
        (False, set()),
    ],
)
def test_capture_narrows_what_the_policy_allows(recorded: Recorded, capture: Any, kept: set[str]) -> None:
    """`capture` records one side or none; `ignore` leaves out an argument."""

    @otel_llm.trace("work", capture=capture, ignore=["token"])
    def work(text: str, token: str) -> str:
        return text

    work("said", token="secret")
    found = attributes(recorded, "work")
    assert found.keys() & {semconv.PLAIN_INPUT, semconv.PLAIN_OUTPUT} == kept
    assert "secret" not in str(found)


def test_attributes_are_made_recordable(recorded: Recorded) -> None:
    """Attributes of any type are set on every span; None is left out."""

    @otel_llm.trace("work", attributes={"team": "a", "sizes": [1, 2], "nested": {"x": 1}, "nothing": None})
    def work() -> None: ...

    work()
    found = attributes(recorded, "work")
    assert (found["team"], found["sizes"], found["nested"]) == ("a", (1, 2), '{"x":1}')
    assert "nothing" not in found


def test_an_exception_is_the_same_outside_and_told_inside(recorded: Recorded) -> None:
    """The very exception reaches the caller; the span has its type, message, event and status."""
    error = LookupError("gone")

    @otel_llm.trace("failing")
    def failing() -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        failing()
    assert caught.value is error
    span = recorded.one("failing")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "gone"
    assert (span.attributes or {})[semconv.ERROR_TYPE] == "LookupError"
    assert [event.name for event in span.events] == ["exception"]


async def test_a_cancelled_call_is_marked_and_cancelled(recorded: Recorded) -> None:
    """Cancellation goes through, and the span says so."""
    begun = asyncio.Event()

    @otel_llm.trace("slow")
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(slow())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "CancelledError" in str((recorded.one("slow").attributes or {})[semconv.ERROR_TYPE])


def test_hostile_values_hurt_nobody(recorded: Recorded) -> None:
    """Arguments and results whose methods raise are passed through untouched and recorded as placeholders."""

    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

        __str__ = __len__ = __iter__ = __repr__  # type: ignore[assignment]

    hostile = Hostile()

    @otel_llm.trace("odd")
    def odd(value: Any) -> Any:
        return value

    assert odd(hostile) is hostile
    assert "Hostile" in attributes(recorded, "odd")[semconv.PLAIN_INPUT]


def test_the_items_of_a_generator_can_be_aggregated(recorded: Recorded) -> None:
    """`aggregate` makes one output of all items; one that fails costs the output only."""

    @otel_llm.trace("sum", aggregate=sum)
    def numbers() -> Generator[int, None, None]:
        yield from (1, 2, 3)

    assert list(numbers()) == [1, 2, 3]
    assert attributes(recorded, "sum")[semconv.PLAIN_OUTPUT] == "6"


def test_an_endless_generator_is_kept_within_bounds(recorded: Recorded) -> None:
    """Of many items a bounded number is kept; all of them reach the reader."""

    @otel_llm.trace("many")
    def many() -> Generator[int, None, None]:
        yield from range(5_000)

    assert sum(1 for _ in many()) == 5_000
    assert len(json.loads(attributes(recorded, "many")[semconv.PLAIN_OUTPUT])) == 1_000


def test_before_configure_and_after_shutdown_nothing_happens(recorded: Recorded) -> None:
    """A decorated function is the plain one while nothing runs, in every form."""
    otel_llm.shutdown()

    @otel_llm.trace("plain")
    def plain() -> str:
        assert not get_current_span().get_span_context().is_valid
        return "p"

    @otel_llm.trace("generator")
    def generator() -> Generator[int, str, str]:
        said = yield 1
        return said

    @otel_llm.trace("async generator")
    async def agenerator() -> AsyncGenerator[int, str]:
        said = yield 1
        assert said == "s"
        yield 2

    async def drive() -> list[int]:
        running = agenerator()
        return [await running.__anext__(), await running.asend("s")]

    assert plain() == "p"
    running = generator()
    assert next(running) == 1
    with pytest.raises(StopIteration) as end:
        running.send("back")
    assert end.value.value == "back"
    assert asyncio.run(drive()) == [1, 2]
    with otel_llm.span("block", input="x") as handle:
        handle.set(a=1)
        handle.output("y")
        assert not handle
    assert not otel_llm.current()
    assert recorded.names == []
