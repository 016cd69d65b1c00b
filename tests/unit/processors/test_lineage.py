"""Of a provider that is not ours, backends get LLM work and what leads to it, each span below one that they have."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otel_llm import semconv
from otel_llm.context import ACTIVE_CALL_KEY, HEARD_SPAN_KEY
from otel_llm.processors import lineage as module
from otel_llm.processors.chain import SpanPipeline
from otel_llm.processors.lineage import Lineage, is_llm_work


class Joined:
    """A provider of the program's with our pipeline on it."""

    def __init__(self, *, llm_only: bool = True, joined: bool = True) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.tracer = self.provider.get_tracer("app")
        self.ours = self.provider.get_tracer("otel_llm")
        self.lineage = Lineage(llm_only=llm_only, joined=joined)
        self.pipeline = SpanPipeline(
            SimpleSpanProcessor(self.exporter), on_start=[self.lineage.on_start], on_end=[self.lineage]
        )

    def join(self) -> Joined:
        """Add the pipeline."""
        self.provider.add_span_processor(self.pipeline)
        return self

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """What our backends got, by name."""
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def below(self, name: str) -> str | None:
        """The name of the span that `name` hangs below; None for a root. Anything else is missing, which fails."""
        parent = self.spans[name].parent
        if parent is None:
            return None
        return {span.context.span_id: span.name for span in self.spans.values()}[parent.span_id]


def under(span: trace.Span) -> otel_context.Context:
    """A context with `span` as the current one."""
    return trace.set_span_in_context(span, otel_context.Context())


def test_only_llm_work_and_its_ancestors_are_sent() -> None:
    """A request with a call in it is sent with all that leads to the call; its other children and requests are not."""
    joined = Joined().join()
    with joined.tracer.start_as_current_span("request"):
        with joined.tracer.start_as_current_span("query"):
            pass
        with joined.tracer.start_as_current_span("answer"), joined.ours.start_as_current_span("chat"):
            pass
    with joined.tracer.start_as_current_span("other request"), joined.tracer.start_as_current_span("other query"):
        pass
    assert set(joined.spans) == {"request", "answer", "chat"}
    assert (joined.below("chat"), joined.below("answer"), joined.below("request")) == ("answer", "request", None)
    assert joined.pipeline.dropped == {"not_llm": 3}


def test_without_the_filter_everything_is_sent() -> None:
    """On a provider of ours every span goes on."""
    joined = Joined(llm_only=False, joined=False).join()
    with joined.tracer.start_as_current_span("request"), joined.tracer.start_as_current_span("query"):
        pass
    assert set(joined.spans) == {"request", "query"}
    assert joined.pipeline.dropped == {}


def test_what_runs_inside_a_call_is_part_of_it() -> None:
    """The HTTP request of a call is sent, whoever records it; one beside the call is not."""
    joined = Joined().join()
    http = joined.provider.get_tracer("opentelemetry.instrumentation.requests")
    with joined.ours.start_as_current_span("chat"):
        inside = otel_context.set_value(ACTIVE_CALL_KEY, object)
        http.start_span("attempt", context=inside).end()
    http.start_span("beside").end()
    assert set(joined.spans) == {"attempt", "chat"}


@pytest.mark.parametrize(
    ("scope", "facts", "expected"),
    [
        ("app", {}, False),
        ("otel_llm", {}, True),
        ("otel_llm.temporal", {}, True),
        ("otel_llmish", {}, False),
        ("openinference.instrumentation.langchain", {}, True),
        ("app", {semconv.OPERATION_NAME: "invoke_agent"}, True),
        ("app", {semconv.GEN_A_PROVIDER: "openai"}, True),
        ("app", {semconv.OI_SPAN_KIND: "TOOL"}, True),
        ("langfuse-sdk", {semconv.LANGFUSE_TYPE: "generation"}, True),
        ("langfuse-sdk", {semconv.LANGFUSE_TYPE: "span"}, False),
        ("app", {"db.system": "postgresql", "http.route": "/"}, False),
    ],
)
def test_what_counts_as_llm_work(scope: str, facts: dict[str, Any], expected: bool) -> None:
    """Our own scopes, those of LLM instrumentations, and attributes by which others mark calls, agents and tools."""
    assert is_llm_work(scope, facts) is expected


def test_an_ancestor_that_ends_before_the_call_does_is_sent() -> None:
    """A request that answers while a call it has begun goes on (a task of its own) is known to lead to it."""
    joined = Joined().join()
    request = joined.tracer.start_span("request")
    work = joined.tracer.start_span("work", context=under(request))
    call = joined.ours.start_span("chat", context=under(work))
    work.end()
    request.end()
    call.end()
    assert joined.below("chat") == "work"
    assert joined.below("work") == "request"


def test_a_call_begun_after_its_ancestors_ended_hangs_below_one_that_was_sent() -> None:
    """What ended without LLM work below it is gone: the call moves up past it, in the same trace."""
    joined = Joined().join()
    request = joined.tracer.start_span("request")
    work = joined.tracer.start_span("work", context=under(request))
    work.end()
    joined.ours.start_span("early", context=under(work)).end()
    request.end()
    joined.ours.start_span("late", context=under(work)).end()
    assert joined.below("early") == "request"
    assert joined.below("late") == "request"
    lonely = joined.tracer.start_span("lonely")
    lonely.end()
    joined.ours.start_span("alone", context=under(lonely)).end()
    assert joined.below("alone") is None
    assert joined.spans["alone"].context.trace_id == lonely.get_span_context().trace_id


def test_an_ancestor_that_began_before_us_is_sent() -> None:
    """Started in the middle of a request, we still send the request when it ends."""
    joined = Joined()
    request = joined.tracer.start_span("request")
    joined.join()
    joined.lineage._since = 2**63
    joined.ours.start_span("chat", context=under(request)).end()
    request.end()
    assert joined.below("chat") == "request"


def test_a_parent_on_another_provider_is_passed_over() -> None:
    """A span of a provider that we are no part of never comes: its child hangs below the nearest that does."""
    joined, elsewhere = Joined().join(), TracerProvider(shutdown_on_exit=False).get_tracer("vendor")
    request = joined.tracer.start_span("request")
    theirs = elsewhere.start_span("theirs", context=under(request))
    joined.ours.start_span("chat", context=under(theirs)).end()
    request.end()
    assert joined.below("chat") == "request"
    joined.ours.start_span("root", context=under(elsewhere.start_span("theirs alone"))).end()
    assert joined.below("root") is None


def test_a_parent_of_another_kind_of_tracer_is_passed_over() -> None:
    """Where another tracer has the current span (ddtrace's), the last span of ours is the parent."""
    joined = Joined(llm_only=False, joined=False).join()
    outer = joined.ours.start_span("outer")
    foreign = NonRecordingSpan(
        SpanContext(outer.get_span_context().trace_id, 7, is_remote=False, trace_flags=TraceFlags(1))
    )
    around = otel_context.set_value(HEARD_SPAN_KEY, outer, under(foreign))
    joined.ours.start_span("inner", context=around).end()
    joined.ours.start_span("root", context=under(foreign)).end()
    outer.end()
    assert joined.below("inner") == "outer"
    assert joined.below("root") is None


def test_a_remote_parent_stays() -> None:
    """A parent in another service is that service's to send."""
    joined = Joined().join()
    remote = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))
    joined.ours.start_span("chat", context=under(NonRecordingSpan(remote))).end()
    assert joined.spans["chat"].parent == remote


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither spans that never end, nor dropped ones, nor parents that never come add up."""
    monkeypatch.setattr(module, "_CAPACITY", 50)
    joined = Joined().join()
    root = joined.tracer.start_span("root")
    joined.ours.start_span("chat", context=under(root)).end()
    for number in range(200):
        joined.tracer.start_span("never ended")
        joined.tracer.start_span("dropped").end()
        joined.lineage._await((1, number))
    lineage = joined.lineage
    assert max(map(len, (lineage._open, lineage._gone, lineage._awaited))) <= 50
    assert joined.pipeline.dropped == {"not_llm": 200}


def test_a_forgotten_ancestor_is_still_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """More open spans than are remembered cost no ancestor of a call its place."""
    monkeypatch.setattr(module, "_CAPACITY", 50)
    joined = Joined().join()
    root = joined.tracer.start_span("root")
    joined.ours.start_span("chat", context=under(root)).end()
    for _ in range(100):
        joined.tracer.start_span("open")
    root.end()
    assert joined.below("chat") == "root"


def test_a_span_that_was_begun_unsampled_is_no_burden() -> None:
    """What the program's sampler leaves out is not remembered."""
    joined = Joined().join()
    unsampled = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(0))
    joined.tracer.start_span("left out", context=under(NonRecordingSpan(unsampled))).end()
    assert not joined.lineage._open
    assert not joined.spans
