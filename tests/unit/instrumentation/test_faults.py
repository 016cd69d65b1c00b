"""With any hook of ours made to raise, every call returns, raises and streams exactly as without us."""

from __future__ import annotations

import gc
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from opentelemetry.sdk.trace import Span, SpanProcessor, Tracer
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.invocation import GenAIInvocation

from otel_llm import faults, semconv
from otel_llm.testing import FakeProvider
from tests.unit.instrumentation.recorded import SeenAtStart, Spans, until
from tests.unit.instrumentation.sabotage import hooks, observed, sabotaged
from tests.unit.instrumentation.scenes import SCENES, ContextLeftBehind, play, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

HOOKS = hooks()
_OF_OTHER_LIBRARIES = ("clients.", "http_gates:", "httpx_span:")
"""Rooms that run where another library is instrumented too, which no scene does."""
FEW = 5
"""Scenes that are played for each hook."""


class Census(SpanProcessor):
    """Counts spans that have begun and not ended."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.begun = 0

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.begun += 1
        self.open.add(span.context.span_id)

    def on_end(self, span: Any) -> None:
        self.open.discard(span.context.span_id)


@pytest.fixture(scope="module")
def steady() -> Iterator[FakeProvider]:
    """One provider for all scenes, so that clients and connections are made once."""
    with FakeProvider() as provider:
        prepare(provider)
        yield provider
    litellm.in_memory_llm_clients_cache.flush_cache()


@pytest.fixture(autouse=True)
def _clients_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients of the steady provider may outlive a test."""
    monkeypatch.setattr(litellm.in_memory_llm_clients_cache, "flush_cache", lambda: None)


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> Iterator[None]:
    """What is there already is left out of collections, so that those between tests are quick."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _no_collection_in_between(_frozen: None) -> Iterator[None]:
    """A stream that was left is collected between tests, not at any time.

    The client then closes its connection, for which it wants a lock of its pool. Within a request it has that lock
    already, and waits for itself: httpcore's, without us too.
    """
    gc.disable()
    yield
    gc.enable()
    gc.collect()


@pytest.fixture(scope="module")
def without_us(steady: FakeProvider) -> dict[str, Any]:
    """What a program sees of each scene when nothing is recorded."""
    return {name: play(name, steady) for name in SCENES}


def test_scenes_are_the_same_with_us(steady: FakeProvider, without_us: dict[str, Any]) -> None:
    """Recording, and nothing failing, the program sees what it sees without us, and every span ends."""
    census = Census()
    with Spans(capture_content=True) as spans:
        spans.tracer_provider.add_span_processor(census)
        for name in SCENES:
            assert play(name, steady) == without_us[name], name
        gc.collect()  # litellm's chat streams are part of a cycle of its own
        until(lambda: not census.open)
    assert census.begun >= len(SCENES)
    assert faults.fault_counts() == {}


@pytest.fixture(scope="module")
def recording(without_us: dict[str, Any]) -> Iterator[Spans]:
    """The recorder, on, with content, for all scenes that follow."""
    with Spans(capture_content=True) as spans:
        yield spans


@pytest.fixture(scope="module")
def reached(steady: FakeProvider, recording: Spans) -> dict[str, list[str]]:
    """For each hook the scenes in which it runs."""
    found: dict[str, list[str]] = {hook: [] for hook in HOOKS}
    for scene in SCENES:
        with observed(HOOKS) as seen:
            play(scene, steady)
            recording.clear()  # once it has been filled
        for hook in seen:
            found[hook].append(scene)
    return found


def test_scenes_run_nearly_every_hook(reached: dict[str, list[str]]) -> None:
    """The scenes are rich enough to run nearly all of the recorder that is not about turning it on or off."""
    recorder = [hook for hook in HOOKS if not hook.startswith(_OF_OTHER_LIBRARIES)]
    least = 0.65 if version("litellm").startswith("1.79.") else 0.75  # which has no place for the hooks of newer ones
    assert len([hook for hook in recorder if reached[hook]]) > least * len(recorder)


@pytest.mark.parametrize("after", [False, True], ids=["instead", "after"])
@pytest.mark.parametrize("room", sorted({hook.partition(":")[0] for hook in HOOKS}))
def test_a_fault_in_a_hook_is_not_noticed(
    room: str,
    after: bool,
    steady: FakeProvider,
    without_us: dict[str, Any],
    recording: Spans,
    reached: dict[str, list[str]],
) -> None:
    """A hook that raises, instead of its work or when it has done it, changes nothing that a program can see."""
    noticed = []
    for hook in HOOKS:
        if not hook.startswith(f"{room}:"):
            continue
        for scene in _a_few(reached[hook]):
            with sabotaged(HOOKS[hook], after=after):
                sight = _sight(scene, steady)
                recording.settle()
            if sight != without_us[scene]:
                noticed.append((hook, scene, str(sight)[:300]))
        recording.clear()
    assert not noticed


def _sight(scene: str, steady: FakeProvider) -> Any:
    try:
        return play(scene, steady)
    except ContextLeftBehind as left:
        return left


def _a_few(scenes: list[str]) -> list[str]:
    """Five of `scenes`, from all over the list: whole answers, streams, failures, routes."""
    return scenes if len(scenes) <= FEW else [scenes[index * (len(scenes) - 1) // (FEW - 1)] for index in range(FEW)]


UPSTREAM: dict[str, Any] = {
    "starting a span": Tracer.start_span,
    "setting attributes": Span.set_attributes,
    "ending a span": Span.end,
    "upstream's handler": TelemetryHandler.inference,
    "upstream's end": GenAIInvocation.stop,
    "upstream's failure": GenAIInvocation.fail,
    "a program's sampler": SeenAtStart.should_sample,
}


@pytest.mark.parametrize(
    ("place", "after"),
    [
        pytest.param(place, after, id=f"{place}-{'after' if after else 'instead'}")
        for place in UPSTREAM
        for after in (False, True)
    ],
)
def test_a_fault_below_us_is_not_noticed(
    place: str, after: bool, steady: FakeProvider, without_us: dict[str, Any], recording: Spans
) -> None:
    """What we stand on (the SDK, upstream's GenAI library, a sampler) may raise too, and nobody notices."""
    for scene in SCENES:
        with sabotaged(UPSTREAM[place], after=after):
            sight = _sight(scene, steady)
            recording.settle()
        assert sight == without_us[scene], scene


def test_a_fault_is_counted_and_said_once(
    steady: FakeProvider, recording: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of ours shows in the counts each time and in the log the first time, without a word of the prompt."""
    faults.reset_faults()
    with sabotaged(HOOKS["litellm.answer:fill_answer"], after=False):
        play("rich", steady)
        play("rich", steady)
        recording.settle()
    assert faults.fault_counts() == {"reading an answer": 2}
    said = [record.getMessage() for record in caplog.records if record.name.startswith("otel_llm")]
    assert len(said) == 1
    assert "reading an answer" in said[0]
    assert "What is this?" not in said[0]


def test_a_span_ends_though_reading_the_answer_failed(steady: FakeProvider, recording: Spans) -> None:
    """When the answer cannot be read the span still ends, with all that was known before."""
    recording.clear()
    with sabotaged(HOOKS["litellm.calls:LogicalCall.finish"], after=False):
        play("acompletion", steady)
        recording.settle()
    facts = recording.facts
    assert facts[semconv.REQUEST_MODEL] == "gpt-4o-mini"
    assert semconv.USAGE_INPUT not in facts


def test_no_span_is_left_open_when_starting_fails_half_way(steady: FakeProvider, recording: Spans) -> None:
    """A call whose recording fails after its span began leaves no span that never ends, and none that is current."""
    census = Census()
    recording.tracer_provider.add_span_processor(census)
    for hook in ("litellm.entry:Entry._logical", "litellm.calls:LogicalCall.__init__", "recorder:Recorder.start"):
        with sabotaged(HOOKS[hook], after=True):
            play("acompletion", steady)
    assert census.begun >= 3
    assert not census.open
