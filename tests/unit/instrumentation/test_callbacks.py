"""litellm's callbacks run where the program called; functions that others wrapped before us are found all the same."""

from __future__ import annotations

import functools
import threading
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otel_llm.context import active_call
from tests.unit.instrumentation.calls import CALLS, arguments, run
from tests.unit.instrumentation.recorded import Spans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.testing import FakeProvider


class Witness(CustomLogger):
    """Takes down what is current while litellm runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: tuple[trace.Span, object] | None = None
        self.done = threading.Event()
        self.call = ""
        """Name of the call that is meant, in its metadata: callbacks of earlier ones may come late."""

    def await_call(self, call: str) -> None:
        """Look again, at the call of this name."""
        self.seen, self.call = None, call
        self.done.clear()

    def _see(self, kwargs: dict[str, Any]) -> None:
        metadata = (kwargs.get("litellm_params") or {}).get("metadata") or {}
        if not self.done.is_set() and metadata.get("call") == self.call:
            self.seen = (trace.get_current_span(), active_call())
            self.done.set()

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._see(kwargs)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._see(kwargs)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._see(kwargs)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._see(kwargs)


@pytest.fixture
def witness() -> Iterator[Witness]:
    """A callback of the program's."""
    made = Witness()
    before = list(litellm.callbacks)
    litellm.callbacks.append(made)
    yield made
    litellm.logging_callback_manager._reset_all_callbacks()
    litellm.callbacks.extend(before)


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_a_callback_runs_where_the_program_called(
    name: str, status: int, provider: FakeProvider, witness: Witness
) -> None:
    """In a callback the current span is the one that it is without us: the caller's, but for the oldest litellm."""
    if status != 200:
        provider.error(status, times=None)

    async def program() -> None:
        import asyncio

        try:
            made = getattr(litellm, name)(**arguments(CALLS[name], provider, metadata={"call": witness.call}))
            if name == "acompletion":
                await made
        except litellm.NotFoundError:
            assert status == 404
        await asyncio.to_thread(witness.done.wait, 30)

    def seen(call: str, tracer: trace.Tracer) -> tuple[bool, object]:
        witness.await_call(call)
        with tracer.start_as_current_span("caller") as caller:
            run(program)
        assert witness.seen is not None
        current, call = witness.seen
        return current is caller, call

    without = seen("without us", TracerProvider().get_tracer("the program"))
    with Spans() as spans:
        assert seen("with us", spans.tracer) == without
    assert without == (litellms_threads_keep_the_context(name, status), None)
    assert len(spans.llm) == 1


def litellms_threads_keep_the_context(name: str, status: int) -> bool:
    """Whether callbacks have the caller's context at all: litellm 1.79 runs those of a sync answer without it."""
    return (name, status) != ("completion", 200) or tuple(map(int, version("litellm").split(".")[:2])) >= (1, 85)


@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_callbacks_are_left_alone_after_us(name: str, provider: FakeProvider, witness: Witness) -> None:
    """Once we are off, callbacks still run, and nothing of ours is in their way."""
    with Spans() as spans:
        pass

    async def program() -> None:
        import asyncio

        made = getattr(litellm, name)(**arguments(CALLS[name], provider, metadata={"call": witness.call}))
        if name == "acompletion":
            await made
        await asyncio.to_thread(witness.done.wait, 30)

    run(program)
    assert witness.seen is not None
    assert spans.all == []


class Foreign:
    """An instrumentation that puts a bound method in the place of litellm's function, as OpenInference does."""

    def __init__(self, original: Any) -> None:
        self.original, self.calls = original, 0

    def call(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.original(*args, **kwargs)


class CallableObject:
    """One that wraps with an object, as wrapt does."""

    def __init__(self, original: Any) -> None:
        self.__wrapped__, self.calls = original, 0
        functools.update_wrapper(self, original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.__wrapped__(*args, **kwargs)


@pytest.mark.parametrize("kind", [Foreign, CallableObject])
@pytest.mark.parametrize("name", ["completion", "acompletion", "embedding", "responses", "rerank"])
def test_a_function_that_another_tool_wrapped_first_is_recorded(
    name: str, kind: type, provider: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in the place of litellm's function when we begin, the call is recorded once."""
    form = CALLS[name]
    other = kind(getattr(litellm, name))
    call, asynchronous = arguments(form, provider), form.asynchronous
    monkeypatch.setattr(litellm, name, other.call if kind is Foreign else other)

    async def program() -> None:
        made = getattr(litellm, name)(**call)
        if asynchronous:
            await made

    with Spans() as spans:
        run(program)
    assert len(spans.llm) == 1
    assert other.calls == 1
