"""Which tracer provider spans begin on, whichever of the program and us comes first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

import otel_llm
from otel_llm.control.running import current_pipeline, current_provider
from tests.fakes.shipped import shipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_provider_yet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A program that has set no global provider."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.setattr(trace, "_TRACER_PROVIDER_SET_ONCE", Once())
    yield
    otel_llm.shutdown()


class Theirs:
    """A provider of the program's, with an exporter of its own."""

    def __init__(self, provider: Any = None) -> None:
        self.provider = provider or TracerProvider(shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def names(self) -> list[str]:
        """Spans that its exporter got."""
        return [span.name for span in self._exporter.get_finished_spans()]


def configure(path: Path, **settings: Any) -> None:
    """Start, with our backend writing to `path`."""
    otel_llm.configure(backend="file", file_path=path, spans="all", **settings)


def test_a_provider_that_is_set_later_takes_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The program may set its provider after us: it is not refused, and our spans begin there from then on."""
    configure(tmp_path / "spans")
    with otel_llm.span("before"):
        pass
    theirs = Theirs()
    trace.set_tracer_provider(theirs.provider)
    assert trace.get_tracer_provider() is theirs.provider
    assert current_provider() is theirs.provider
    with trace.get_tracer("app").start_as_current_span("request"), otel_llm.span("work"):
        pass
    assert theirs.names == ["work", "request"]
    assert [span["name"] for span in shipped(tmp_path / "spans")] == ["before", "work", "request"]
    assert "Overriding" not in caplog.text


def test_both_orders_end_alike(tmp_path: Path) -> None:
    """A provider set before us and one set after us get one processor each."""
    before, after = Theirs(), Theirs()
    trace.set_tracer_provider(before.provider)
    configure(tmp_path / "one")
    otel_llm.shutdown()
    trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, Once()
    configure(tmp_path / "two")
    trace.set_tracer_provider(after.provider)
    counts = [len(each.provider._active_span_processor._span_processors) for each in (before, after)]
    assert counts == [2, 2]


def test_tracers_that_were_taken_before_follow(tmp_path: Path) -> None:
    """A tracer of the time before the program's provider is no dead end: neither the API's nor one taken from ours."""
    early = trace.get_tracer("early")
    configure(tmp_path / "spans")
    between = trace.get_tracer("between")
    between.start_span("ours so far").end()
    theirs = Theirs()
    trace.set_tracer_provider(theirs.provider)
    early.start_span("early").end()
    with between.start_as_current_span("between"):
        pass
    assert theirs.names == ["early", "between"]
    assert [span["name"] for span in shipped(tmp_path / "spans")] == ["ours so far", "early", "between"]


def test_who_looks_before_setting_one_finds_none(tmp_path: Path) -> None:
    """Ours passes for OpenTelemetry's proxy, by which programs know that they have to make a provider."""
    configure(tmp_path / "spans")
    found = trace.get_tracer_provider()
    assert isinstance(found, trace.ProxyTracerProvider)
    assert not isinstance(found, TracerProvider)


def test_a_processor_that_the_program_adds_sees_all_spans(tmp_path: Path) -> None:
    """A program without a provider can add processors to the global one; they stay when it sets its own later."""
    configure(tmp_path / "spans")
    added = InMemorySpanExporter()
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(added))  # type: ignore[attr-defined]
    trace.get_tracer("app").start_span("one").end()
    trace.set_tracer_provider(Theirs().provider)
    trace.get_tracer("app").start_span("two").end()
    otel_llm.shutdown()
    trace.get_tracer("app").start_span("three").end()
    assert [span.name for span in added.get_finished_spans()] == ["one", "two", "three"]


def test_a_trace_goes_on_over_the_change(tmp_path: Path) -> None:
    """A span that began before the program set its provider is the parent of those that begin after."""
    configure(tmp_path / "spans")
    with otel_llm.span("outer"):
        trace.set_tracer_provider(Theirs().provider)
        with otel_llm.span("inner"):
            pass
    inner, outer = shipped(tmp_path / "spans")
    assert (inner["traceId"], inner["parentSpanId"]) == (outer["traceId"], outer["spanId"])


def test_a_later_provider_that_takes_no_processors_is_left_alone(tmp_path: Path) -> None:
    """A provider like ddtrace's becomes the global one, and our spans stay on ours."""
    configure(tmp_path / "spans")
    vendor = trace.NoOpTracerProvider()
    trace.set_tracer_provider(vendor)
    assert trace.get_tracer_provider() is vendor
    with otel_llm.span("work"):
        trace.get_tracer("app").start_span("theirs").end()
    assert [span["name"] for span in shipped(tmp_path / "spans")] == ["work"]


def test_configuring_again_leaves_one_processor(tmp_path: Path) -> None:
    """However often settings change, the program's provider has one processor of ours: each span is shipped once."""
    theirs = Theirs()
    trace.set_tracer_provider(theirs.provider)
    for number in range(3):
        configure(tmp_path / "spans", service_name=f"s{number}")
        trace.get_tracer("app").start_span(f"{number}").end()
    assert len(theirs.provider._active_span_processor._span_processors) == 2
    assert [span["name"] for span in shipped(tmp_path / "spans")] == ["0", "1", "2"]


def test_configuring_again_on_our_own_provider(tmp_path: Path) -> None:
    """Without a provider of the program's, new settings get a new provider: the service's name is the new one."""
    for number in range(2):
        configure(tmp_path / "spans", service_name=f"s{number}")
        trace.get_tracer("app").start_span("work").end()
    found = [span["resource"]["service.name"] for span in shipped(tmp_path / "spans")]
    assert found == ["s0", "s1"]


def test_a_provider_that_its_program_shuts_down_loses_nothing(tmp_path: Path) -> None:
    """Shutting its provider down is the program's business: what ended before is delivered, and what ends after."""
    theirs = Theirs()
    trace.set_tracer_provider(theirs.provider)
    configure(tmp_path / "spans")
    trace.get_tracer("app").start_span("before").end()
    theirs.provider.shutdown()
    trace.get_tracer("app").start_span("after").end()
    assert [span["name"] for span in shipped(tmp_path / "spans")] == ["before", "after"]


class Shell:
    """A provider around one that is exchanged, as Logfire's is."""

    def __init__(self) -> None:
        self.provider = TracerProvider(shutdown_on_exit=False)

    def set_provider(self, provider: TracerProvider) -> None:
        self.provider = provider

    def add_span_processor(self, processor: Any) -> None:
        self.provider.add_span_processor(processor)

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        return self.provider.get_tracer(*args, **kwargs)

    @property
    def resource(self) -> Any:
        return self.provider.resource


def test_a_provider_whose_inside_is_exchanged_is_joined_again(tmp_path: Path) -> None:
    """Logfire makes a new provider inside its own with each configuration: our processor is on that one too."""
    shell: Any = Shell()
    trace.set_tracer_provider(shell)
    configure(tmp_path / "spans")
    trace.get_tracer("app").start_span("one").end()
    shell.set_provider(TracerProvider(shutdown_on_exit=False))
    trace.get_tracer("app").start_span("two").end()
    assert [span["name"] for span in shipped(tmp_path / "spans")] == ["one", "two"]


class Choosy(TracerProvider):
    """A provider that takes its own processor away for the next one unless told otherwise, as Phoenix's does."""

    def __init__(self) -> None:
        super().__init__(shutdown_on_exit=False)
        self.replaced = False

    def add_span_processor(self, *args: Any, replace_default_processor: bool = True, **kwargs: Any) -> None:
        self.replaced |= replace_default_processor
        super().add_span_processor(*args, **kwargs)


def test_phoenix_keeps_its_own_exporter(tmp_path: Path) -> None:
    """Joining a provider that replaces its default processor does not replace it."""
    choosy = Choosy()
    trace.set_tracer_provider(choosy)
    configure(tmp_path / "spans")
    assert not choosy.replaced


def test_our_own_stand_in_may_be_named(tmp_path: Path) -> None:
    """Who hands us the global provider, which is ours, gets what he has."""
    configure(tmp_path / "spans")
    found: Any = trace.get_tracer_provider()
    otel_llm.configure(backend="none", tracer_provider=found)
    pipeline = current_pipeline()
    assert pipeline is not None
    assert pipeline.home.owned


def test_the_start_says_that_spans_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who joins a provider reads that only LLM work is sent; who is joined later reads that spans begin there."""
    with caplog.at_level("INFO", "otel_llm"):
        otel_llm.configure(backend="none")
        assert "LLM work only" not in caplog.text
        trace.set_tracer_provider(Theirs().provider)
        assert "The program has set a tracer provider (opentelemetry.sdk.trace)" in caplog.text
        otel_llm.configure(backend="file", file_path=tmp_path / "spans")
    assert "spans of LLM work only (the tracer provider is not ours)" in caplog.text


def test_only_llm_work_is_sent_from_a_provider_of_the_programs(tmp_path: Path) -> None:
    """On a provider of ours everything is sent, and from the moment on in which the program sets its own, LLM work."""
    otel_llm.configure(backend="file", file_path=tmp_path / "spans")
    trace.get_tracer("app").start_span("query on ours").end()
    trace.set_tracer_provider(Theirs().provider)
    with trace.get_tracer("app").start_as_current_span("request"):
        trace.get_tracer("app").start_span("query").end()
        with otel_llm.span("work"):
            pass
    trace.get_tracer("app").start_span("other request").end()
    assert [span["name"] for span in shipped(tmp_path / "spans")] == ["query on ours", "work", "request"]
    assert otel_llm.status().dropped_before_queue == {"not_llm": 2}
    (backend,) = otel_llm.status().backends
    assert (backend.created, backend.delivered, backend.waiting) == (3, 3, 0)
