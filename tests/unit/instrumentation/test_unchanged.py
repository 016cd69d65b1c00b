"""litellm's functions stay the objects they are, reach us however they were come by, and get everything back."""

from __future__ import annotations

import functools
import importlib
import inspect
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from litellm import acompletion as imported_acompletion
from litellm import completion as alias
from litellm import completion as imported_completion
from litellm.litellm_core_utils.streaming_handler import CustomStreamWrapper

from otel_llm import faults
from otel_llm.instrumentation.divert import divert
from otel_llm.instrumentation.litellm import LitellmInstrumentor, routers
from otel_llm.instrumentation.litellm.forms import FORMS, RETRY_DRIVERS
from tests.unit.instrumentation.calls import CALLS, MESSAGES, arguments, router, run
from tests.unit.instrumentation.recorded import Spans

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.testing import FakeProvider

partial = functools.partial(litellm.completion, model="openai/gpt-4o-mini", messages=MESSAGES)


class Kept:
    """A program that keeps litellm's functions in places of its own."""

    from_class = staticmethod(litellm.completion)

    def __init__(self, call: Any = litellm.completion) -> None:
        self.call = call


def _functions() -> dict[str, Any]:
    named = {name: getattr(litellm, name) for name in (*FORMS, *RETRY_DRIVERS) if hasattr(litellm, name)}
    routed = [method for method, _ in routers.router_methods(litellm)]
    if not routed:
        routed = [method for method, _ in routers.core_methods(importlib.import_module(routers.CORE))]
    assert routed
    return {**named, **{f"Router.{method.__name__}": method for method in routed}}


def _codes() -> dict[str, list[Any]]:
    """The code of every function and of all that it wraps, and the methods of litellm's stream class."""
    found: dict[str, list[Any]] = {}
    for name, function in _functions().items():
        layers = [function]
        while hasattr(layers[-1], "__wrapped__"):
            layers.append(layers[-1].__wrapped__)
        found[name] = [layer.__code__ for layer in layers]
    found["stream"] = [vars(CustomStreamWrapper)[name] for name in ("__next__", "__anext__")]
    return found


def _looks(function: Any) -> tuple[Any, ...]:
    return (
        id(function),
        type(function),
        function.__name__,
        function.__qualname__,
        function.__module__,
        function.__doc__,
        function.__defaults__,
        function.__kwdefaults__,
        inspect.signature(function),
        inspect.iscoroutinefunction(function),
        inspect.isfunction(function),
        getattr(function, "__wrapped__", None),
    )


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(imported_completion, id="imported before"),
        pytest.param(alias, id="alias"),
        pytest.param(Kept.from_class, id="static method"),
        pytest.param(Kept().call, id="default argument"),
        pytest.param(litellm.main.completion, id="litellm.main"),
    ],
)
def test_a_function_taken_before_is_recorded(call: Callable[..., Any], provider: FakeProvider, spans: Spans) -> None:
    """References to litellm's functions that a program took before we came reach us."""
    call(**arguments(CALLS["completion"], provider))
    assert spans.only.name == "chat gpt-4o-mini"


def test_a_partial_made_before_is_recorded(provider: FakeProvider, spans: Spans) -> None:
    """A `functools.partial` made before we came reaches us."""
    partial(api_base=provider.openai_base, api_key="k")
    assert spans.only.name == "chat gpt-4o-mini"


def test_positional_arguments_are_read(provider: FakeProvider, spans: Spans) -> None:
    """Arguments given by position mean what litellm takes them for."""
    litellm.completion("openai/gpt-4o-mini", MESSAGES, api_base=provider.openai_base, api_key="k")
    litellm.embedding("openai/text-embedding-3-small", ["x"], api_base=provider.openai_base, api_key="k")
    assert [span.name for span in spans.llm] == ["chat gpt-4o-mini", "embeddings text-embedding-3-small"]


def test_a_coroutine_function_taken_before_is_recorded(provider: FakeProvider, spans: Spans) -> None:
    """The same for a coroutine function."""
    run(imported_acompletion, **arguments(CALLS["acompletion"], provider))
    assert spans.only.name == "chat gpt-4o-mini"


def test_a_router_made_before_is_recorded(provider: FakeProvider) -> None:
    """A Router that existed before we came, and its bound methods, reach us."""
    routing = router(provider, CALLS["completion"])
    bound = routing.acompletion
    with Spans() as spans:
        run(bound, model="group-gpt-4o-mini", messages=MESSAGES)
        routing.completion(model="group-gpt-4o-mini", messages=MESSAGES)
    assert [span.name for span in spans.llm] == ["chat group-gpt-4o-mini"] * 2


def test_a_router_of_another_kind_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Router that we do not know is a fault that is counted: its retries would pass for calls of their own."""
    monkeypatch.setattr(routers, "METHODS", ())
    monkeypatch.setattr(routers, "CORE", "litellm.router_of_tomorrow.core")
    with Spans():
        assert faults.fault_counts() == {"instrumenting litellm's Router": 1}


def test_functions_look_the_same_while_recorded() -> None:
    """Identity, type, names, signature, defaults and kind of every function are what they were."""
    before = {name: _looks(function) for name, function in _functions().items()}
    with Spans():
        during = {name: _looks(function) for name, function in _functions().items()}
    assert during == before
    assert {name: _looks(function) for name, function in _functions().items()} == before


def test_everything_is_given_back(provider: FakeProvider) -> None:
    """After `uninstrument` every function has its very own code again, and so have the stream classes."""
    before, dicts = _codes(), {name: set(vars(function)) for name, function in _functions().items()}
    with Spans():
        during = _codes()
        for _ in litellm.completion(**arguments(CALLS["completion"], provider, stream=True)):
            pass
    assert all(before[name][0] is not during[name][0] for name in ("completion", "acompletion", "arerank"))
    after = _codes()
    for name, codes in before.items():
        assert len(after[name]) == len(codes)
        assert all(old is new for old, new in zip(codes, after[name], strict=True)), name
    assert {name: set(vars(function)) for name, function in _functions().items()} == dicts


def test_nothing_is_recorded_after_uninstrument(provider: FakeProvider) -> None:
    """A call after `uninstrument` leaves no span."""
    with Spans() as spans:
        pass
    litellm.completion(**arguments(CALLS["completion"], provider))
    assert spans.all == []


def test_a_call_under_way_when_recording_is_turned_off_finishes(provider: FakeProvider) -> None:
    """A stream that is being read while recording is turned off is read on, and nothing is raised."""
    with Spans():
        stream = litellm.completion(**arguments(CALLS["completion"], provider, stream=True))
        first = next(iter(stream))
    assert [first, *stream][-1].choices[0].finish_reason == "stop"


def test_instrumenting_twice_is_instrumenting_once(provider: FakeProvider, spans: Spans) -> None:
    """A second `instrument` adds no second span."""
    LitellmInstrumentor().instrument(tracer_provider=spans.tracer_provider)
    litellm.completion(**arguments(CALLS["completion"], provider))
    assert len(spans.llm) == 1


def test_turning_on_again_works(provider: FakeProvider) -> None:
    """On, off and on again records into the latest recorder."""
    with Spans():
        pass
    with Spans() as again:
        litellm.completion(**arguments(CALLS["completion"], provider))
    assert len(again.llm) == 1


def test_a_diverted_closure_keeps_its_variables() -> None:
    """A function with free variables, defaults and keyword-only arguments works through its diversion and after."""
    secret = ["a"]

    def function(first: str, second: str = "b", *rest: str, named: str = "n", **more: str) -> list[str]:
        return [*secret, first, second, *rest, named, *more]

    seen = []

    def handler(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        seen.append((args, kwargs))
        return original(*args, **kwargs)

    diversion = divert(function, handler)
    assert diversion is not None
    assert divert(function, handler) is None
    assert function("1", "2", "3", named="4", other="5") == ["a", "1", "2", "3", "4", "other"]
    secret.append("z")
    diversion.restore()
    diversion.restore()
    assert function("1") == ["a", "z", "1", "b", "n"]
    assert seen == [(("1", "2", "3"), {"named": "4", "other": "5"})]


@pytest.mark.parametrize("thing", [len, dict, object(), functools.partial(print)])
def test_what_has_no_code_cannot_be_diverted(thing: object) -> None:
    """Builtins, classes and callable objects are refused."""
    with pytest.raises(TypeError, match="not a plain Python function"):
        divert(thing, lambda original, args, kwargs: None)


def _program(text: str, *arguments_: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(text), *arguments_],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ":".join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


AFTERWARDS = """
    import sys
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter

    class Printed(SpanExporter):
        def export(self, spans):
            for span in spans:
                print(span.name)

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Printed()))
    from otel_llm.instrumentation.litellm import LitellmInstrumentor
    LitellmInstrumentor().instrument(tracer_provider=provider)
    assert "litellm" not in sys.modules
    {how}
    call("openai/gpt-4o-mini", [{{"role": "user", "content": "x"}}], api_base=sys.argv[1], api_key="k")
"""


@pytest.mark.parametrize("how", ["from litellm import completion as call", "import litellm; call = litellm.completion",
                                 "from litellm.main import completion as call"])  # fmt: skip
def test_litellm_imported_afterwards_is_recorded(how: str, provider: FakeProvider) -> None:
    """Recording is turned on in a process that has not imported litellm, which is not imported for it."""
    assert _program(AFTERWARDS.format(how=how), provider.openai_base).split("\n")[0] == "chat gpt-4o-mini"
