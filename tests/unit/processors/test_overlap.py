"""Duplicates of our calls by other instrumentations: which are dropped, and where their children go."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm import semconv
from otel_llm.context import ACTIVE_CALL_KEY
from otel_llm.processors import overlap
from otel_llm.processors.chain import SpanPipeline
from otel_llm.processors.overlap import OverlapFilter, is_llm_scope

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = "otel_llm.instrumentation.litellm"


class Program:
    """A program with several instrumentations, our pipeline, and a processor of its own."""

    def __init__(self, *, records_litellm: bool = True) -> None:
        self._ours, self._own = InMemorySpanExporter(), InMemorySpanExporter()
        self.filter = OverlapFilter(lambda: records_litellm)
        self.pipeline = SpanPipeline(
            SimpleSpanProcessor(self._ours), on_start=[self.filter.on_start], on_end=[self.filter]
        )
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(self.pipeline)
        self._provider.add_span_processor(SimpleSpanProcessor(self._own))

    @contextmanager
    def span(self, scope: str, name: str, **options: Any) -> Iterator[trace.Span]:
        with self._provider.get_tracer(scope).start_as_current_span(name, **options) as span:
            yield span

    @contextmanager
    def our_call(self) -> Iterator[None]:
        with self.span(OURS, "ours"):
            token = otel_context.attach(otel_context.set_value(ACTIVE_CALL_KEY, object))
            try:
                yield
            finally:
                otel_context.detach(token)

    @property
    def ours(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self._ours.get_finished_spans()}

    @property
    def own(self) -> set[str]:
        return {span.name for span in self._own.get_finished_spans()}

    def parent_of(self, name: str) -> str | None:
        """Name of the span that our backends see as the parent."""
        parent = self.ours[name].parent
        by_id = {span.context.span_id: span.name for span in self.ours.values() if span.context}
        return None if parent is None else by_id[parent.span_id]


@pytest.mark.parametrize(
    "scope",
    [
        "openinference.instrumentation.openai",
        "opentelemetry.instrumentation.openai.v1",
        "opentelemetry.instrumentation.openai_v2",
        "opentelemetry.instrumentation.anthropic",
        "opentelemetry.instrumentation.google_genai",
        "opentelemetry.instrumentation.botocore.bedrock-runtime",
        "opentelemetry.instrumentation.genai.openai",
        "openlit.instrumentation.openai",
        "langtrace_python_sdk.instrumentation.openai.instrumentation",
        "traceloop.tracer",
        "logfire.openai",
        "litellm",
    ],
)
def test_client_span_inside_our_call_is_dropped_and_its_child_moves_up(scope: str) -> None:
    """The HTTP span below another instrumentation's span becomes a child of our own."""
    program = Program()
    with program.our_call(), program.span(scope, "theirs"), program.span("http", "POST"):
        pass
    assert set(program.ours) == {"ours", "POST"}
    assert program.parent_of("POST") == "ours"
    assert program.own == {"ours", "theirs", "POST"}
    assert program.pipeline.dropped == {"duplicate": 1}


def test_client_span_outside_of_our_calls_is_kept() -> None:
    """A call that the program makes without litellm is recorded by its own instrumentation and shipped."""
    program = Program()
    with program.span("opentelemetry.instrumentation.openai.v1", "theirs"):
        pass
    assert set(program.ours) == {"theirs"}


@pytest.mark.parametrize("scope", ["opentelemetry.instrumentation.httpx", "app", "opik", OURS])
def test_other_spans_inside_our_call_are_kept(scope: str) -> None:
    """Only LLM instrumentations duplicate; everything else under a call belongs to it."""
    program = Program()
    with program.our_call(), program.span(scope, "inner"):
        pass
    assert program.parent_of("inner") == "ours"


@pytest.mark.parametrize(
    "scope",
    [
        "openinference.instrumentation.litellm",
        "opentelemetry.instrumentation.litellm",
        "openlit.instrumentation.litellm",
        "litellm",
    ],
)
def test_span_around_our_call_is_dropped_and_our_span_moves_up(scope: str) -> None:
    """An instrumentation of litellm that wraps ours loses its span; ours keeps the program's span as parent."""
    program = Program()
    with program.span("app", "request"), program.span(scope, "theirs"), program.our_call():
        pass
    assert set(program.ours) == {"request", "ours"}
    assert program.parent_of("ours") == "request"


def test_span_around_our_call_at_the_root_leaves_a_root() -> None:
    """When the duplicate had no parent, our span has none either."""
    program = Program()
    with program.span("openinference.instrumentation.litellm", "theirs"), program.our_call():
        pass
    assert program.parent_of("ours") is None


def test_nested_duplicates_are_all_climbed() -> None:
    """A chain of duplicates is skipped as a whole."""
    program = Program()
    with (
        program.span("openinference.instrumentation.litellm", "theirs 1"),
        program.span("opentelemetry.instrumentation.litellm", "theirs 2"),
        program.our_call(),
        program.span("openinference.instrumentation.openai", "theirs 3"),
        program.span("opentelemetry.instrumentation.openai_v2", "theirs 4"),
        program.span("http", "POST"),
    ):
        pass
    assert set(program.ours) == {"ours", "POST"}
    assert program.parent_of("POST") == "ours"
    assert program.parent_of("ours") is None


def test_child_that_ends_after_the_duplicate_moves_up_too() -> None:
    """A stream's HTTP span may outlive the span of the instrumentation that opened it."""
    program = Program()
    with program.our_call():
        with program.span("openinference.instrumentation.openai", "theirs") as theirs:
            late = program._provider.get_tracer("http").start_span("late")
        assert not theirs.is_recording()
        late.end()
    assert program.parent_of("late") == "ours"


def test_instrumentations_of_litellm_are_kept_when_ours_is_off() -> None:
    """Without our own litellm instrumentation theirs is the only record."""
    program = Program(records_litellm=False)
    with program.span("litellm", "litellm_request"):
        pass
    assert set(program.ours) == {"litellm_request"}


def test_litellm_proxy_request_is_kept() -> None:
    """The proxy's server span is work around calls, not a call."""
    program = Program()
    with program.span("litellm", "Received Proxy Server Request", kind=trace.SpanKind.SERVER), program.our_call():
        pass
    assert program.parent_of("ours") == "Received Proxy Server Request"


def test_memory_of_duplicates_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest duplicates are forgotten; dropping the newest still works."""
    monkeypatch.setattr(overlap, "_CAPACITY", 10)
    program = Program()
    with program.our_call():
        for _ in range(50):
            with program.span("openinference.instrumentation.openai", "theirs"):
                pass
    assert len(program.filter._parents) == 10
    assert set(program.ours) == {"ours"}


def test_scopes_are_told_apart_by_their_whole_name() -> None:
    """A scope that merely begins like a client's is not taken for one."""
    assert is_llm_scope("opentelemetry.instrumentation.openai")
    assert not is_llm_scope("opentelemetry.instrumentation.openai_thing_of_mine")
    assert not is_llm_scope("litellm_wrapper")


def test_a_second_record_of_a_call_that_is_over_is_dropped_too() -> None:
    """Logfire records a stream when it is over, below what it knew as the parent: our call, or its own record."""
    program = Program()
    facts = {
        semconv.OPERATION_NAME: semconv.OP_CHAT,
        semconv.PROVIDER_NAME: "openai",
        semconv.REQUEST_MODEL: "m",
        semconv.TENANT_ID: "acme",
    }
    kind = trace.SpanKind.CLIENT
    with program.span(semconv.OWN_SCOPE, "chat m", attributes=facts, kind=kind) as ours:
        token = otel_context.attach(otel_context.set_value(ACTIVE_CALL_KEY, object))
        with program.span("logfire.openai", "theirs") as theirs:
            pass
        otel_context.detach(token)
    for name, parent in (("below ours", ours), ("below theirs", theirs)):
        context = trace.SpanContext(*parent.get_span_context()[:2], is_remote=True, trace_flags=trace.TraceFlags(1))
        around = trace.set_span_in_context(trace.NonRecordingSpan(context), otel_context.Context())
        with program.span("logfire.openai", name, context=around):
            pass
        with program.span("app", f"app {name}", context=around):
            pass
    assert set(program.ours) == {"chat m", "app below ours", "app below theirs"}
    assert program.parent_of("app below theirs") == "chat m"
