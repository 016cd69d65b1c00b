"""The pipeline of stages over spans of a real provider."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm import faults, semconv
from otel_llm.ledger import Ledger
from otel_llm.processors.chain import SpanPipeline, strip_content
from otel_llm.processors.draft import SpanDraft
from tests.fakes.spans import make_span

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_old_faults() -> Iterator[None]:
    faults.reset_faults()
    yield
    faults.reset_faults()


class Program:
    """A program with a pipeline of ours and a processor of its own."""

    def __init__(self, *, sampler: sampling.Sampler = sampling.ALWAYS_ON, **pipeline: Any) -> None:
        self.ours, self.own = InMemorySpanExporter(), InMemorySpanExporter()
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False, span_limits=SpanLimits(max_attributes=3))
        self.pipeline = SpanPipeline(SimpleSpanProcessor(self.ours), **pipeline)
        provider.add_span_processor(self.pipeline)
        provider.add_span_processor(SimpleSpanProcessor(self.own))
        self.tracer = provider.get_tracer("program")

    def span(self, **attributes: Any) -> None:
        self.tracer.start_span("work", attributes=attributes).end()


def _raise(*_args: object) -> Any:
    raise RuntimeError("secret prompt")


def test_stages_change_our_copy_only() -> None:
    """What a stage writes reaches our backend; the program's other processors see their span untouched."""

    def rename(draft: SpanDraft) -> SpanDraft:
        draft.name, draft.attributes["added"] = "renamed", 1
        return draft

    program = Program(on_end=[rename])
    program.span(a=1)
    (ours,), (own,) = program.ours.get_finished_spans(), program.own.get_finished_spans()
    assert (ours.name, dict(ours.attributes or {})) == ("renamed", {"a": 1, "added": 1})
    assert (own.name, dict(own.attributes or {})) == ("work", {"a": 1})


class Full:
    """A queue that has no room, and counts in a ledger what is turned away, as the queue of a direct channel does."""

    has_room = False

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def turn_away(self, reason: str) -> None:
        self.ledger.dropped(1, reason)


def test_spans_that_are_too_large_to_wait_are_counted() -> None:
    """While a queue is full spans wait up to 128 MiB of texts; the rest is created and dropped in every ledger."""
    ledgers = Ledger("one"), Ledger("two")
    gates = [Full(ledger) for ledger in ledgers]
    program = Program(ledgers=ledgers, gates=gates, hand_over_delay=0.001)
    kept, text, texts = 128 * 1024 * 1024 // (1_000_000 + 1024), "x" * 400_000, ["y" * 300_000, "z" * 300_000]
    for _ in range(150):
        program.span(a=text, b=texts, c=1)
    assert program.pipeline.waiting == kept
    for ledger in ledgers:
        report = ledger.report()
        assert (report.created, report.dropped) == (150 - kept, {"queue_full": 150 - kept})
    assert program.ours.get_finished_spans() == (), "no stage has seen them"
    for gate in gates:
        gate.has_room = True
    assert program.pipeline.settle(30)
    assert len(program.ours.get_finished_spans()) == kept
    assert all(ledger.report().created == 150 for ledger in ledgers)
    program.pipeline.shutdown()


def test_copy_keeps_everything_else() -> None:
    """Ids, clocks, kind, status, events, links, resource, scope and dropped counts survive the copy."""
    program = Program()
    link = trace.Link(trace.SpanContext(5, 6, is_remote=False))
    with program.tracer.start_as_current_span("outer"):
        span = program.tracer.start_span(
            "s", kind=trace.SpanKind.CLIENT, links=[link], attributes=dict.fromkeys("abcde", 1)
        )
        span.add_event("e", {"k": 1})
        span.set_status(trace.StatusCode.ERROR, "bad")
        span.end()
    ours, own = program.ours.get_finished_spans()[0], program.own.get_finished_spans()[0]
    assert ours.to_json() == own.to_json()
    assert ours.instrumentation_scope is own.instrumentation_scope
    assert (ours.dropped_attributes, ours.dropped_events, ours.dropped_links) == (2, 0, 0)


def test_events_and_links_that_a_span_keeps_in_its_own_way_are_copied_too() -> None:
    """A program's own kind of span answers both as it likes; what the SDK would have kept of them says nothing."""

    class OwnSpan(ReadableSpan):
        @property
        def events(self) -> tuple[Event, ...]:
            return (Event("mine"),)

        @property
        def links(self) -> tuple[trace.Link, ...]:
            return (trace.Link(trace.SpanContext(5, 6, is_remote=False)),)

    usual = make_span("s", attributes={"k": 1})
    own = OwnSpan("s", context=usual.context, attributes=BoundedAttributes(attributes={"k": 1}))
    copied = SpanDraft(own).to_span()
    assert [event.name for event in copied.events] == ["mine"]
    assert [link.context.span_id for link in copied.links] == [6]


def test_none_drops_the_span_and_counts_the_reason() -> None:
    """A stage that answers None ends the span's way, in our pipeline only."""

    class Sieve:
        name = "sieve"
        drop_reason = "boring"

        def __call__(self, draft: SpanDraft) -> SpanDraft | None:
            return None if draft.attributes.get("boring") else draft

    ledger = Ledger("b")
    program = Program(on_end=[Sieve()], ledgers=[ledger])
    program.span(boring=True)
    program.span(boring=False)
    assert program.pipeline.dropped == {"boring": 1}
    assert ledger.report().created == len(program.ours.get_finished_spans()) == 1
    assert len(program.own.get_finished_spans()) == 2


def test_failing_stage_costs_the_stage_not_the_span(caplog: pytest.LogCaptureFixture) -> None:
    """A raising stage is skipped, counted each time, logged once without values; the later ones still run."""

    def mark(draft: SpanDraft) -> SpanDraft:
        draft.attributes["later"] = True
        return draft

    program = Program(on_start=[_raise], on_end=[_raise, mark])
    with caplog.at_level(logging.INFO):
        program.span(a=1)
        program.span(a=2)
    assert [dict(span.attributes or {}) for span in program.ours.get_finished_spans()] == [
        {"a": 1, "later": True},
        {"a": 2, "later": True},
    ]
    assert faults.fault_counts() == {"start stage _raise": 2, "end stage _raise": 2}
    assert len(caplog.records) == 2
    assert "secret prompt" not in caplog.text


def test_failing_redaction_costs_the_content() -> None:
    """When a stage that fails closed raises, no content leaves, and the span says so."""

    class Redaction:
        name = "redaction"
        fails_closed = True

        def __call__(self, draft: SpanDraft) -> SpanDraft:
            raise RuntimeError("bug")

    program = Program(on_end=[Redaction()])
    program.span(**{semconv.INPUT_MESSAGES: "my secret", semconv.USAGE_INPUT: 3})
    attributes = dict(program.ours.get_finished_spans()[0].attributes or {})
    assert attributes == {semconv.USAGE_INPUT: 3, semconv.REPLACED: [semconv.INPUT_MESSAGES]}


def test_content_in_events_is_stripped_as_well() -> None:
    """Content that an instrumentation put into an event goes too; the event stays."""
    event = Event("gen_ai.choice", {semconv.OUTPUT_MESSAGES: "secret", "index": 0}, timestamp=4)
    draft = SpanDraft(make_span(events=(event,), attributes={semconv.REPLACED: ["x"]}))
    strip_content(draft)
    assert draft.events[0].attributes == {"index": 0}
    assert draft.attributes[semconv.REPLACED] == ["x", "events"]


def test_span_that_is_not_sampled_goes_nowhere() -> None:
    """Recorded but unsampled spans end here, as in the SDK's BatchSpanProcessor, before any stage sees them."""

    class RecordOnly(sampling.Sampler):
        def should_sample(self, *args: Any, **kwargs: Any) -> sampling.SamplingResult:
            return sampling.SamplingResult(sampling.Decision.RECORD_ONLY)

        def get_description(self) -> str:
            return "record only"

    seen: list[SpanDraft] = []
    ledger = Ledger("b")
    program = Program(sampler=RecordOnly(), on_end=[lambda draft: seen.append(draft) or draft], ledgers=[ledger])
    program.span()
    assert seen == []
    assert ledger.report().created == 0


def test_failing_inner_processor_does_not_reach_the_program() -> None:
    """Even if the SDK's processor raises, ending a span does not."""

    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("broken")

    pipeline = SpanPipeline(Broken())
    pipeline.on_end(make_span())
    assert pipeline.dropped == {"pipeline_error": 1}


def test_cancellation_passes_through_stages() -> None:
    """KeyboardInterrupt is the program's own and is not swallowed."""

    def interrupted(_draft: SpanDraft) -> SpanDraft:
        raise KeyboardInterrupt

    pipeline = SpanPipeline(SimpleSpanProcessor(InMemorySpanExporter()), on_end=[interrupted])
    with pytest.raises(KeyboardInterrupt):
        pipeline.on_end(make_span())


def test_flush_and_shutdown_reach_the_inner_processor() -> None:
    """The pipeline is transparent for the SDK's life cycle calls."""
    calls: list[object] = []

    class Inner(SpanProcessor):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            calls.append(timeout_millis)
            return False

        def shutdown(self) -> None:
            calls.append("shutdown")

    pipeline = SpanPipeline(Inner())
    assert pipeline.force_flush(1234) is False
    pipeline.shutdown()
    assert calls == [1234, "shutdown"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_child_process_counts_from_zero_with_a_free_lock() -> None:
    """After a fork, even in the middle of counting, the child can count its own drops."""
    pipeline = SpanPipeline(SimpleSpanProcessor(InMemorySpanExporter()), on_end=[lambda _draft: None])
    pipeline.on_end(make_span())
    with pipeline._lock:
        child = os.fork()
        if child == 0:
            pipeline.on_end(make_span())
            os._exit(0 if sum(pipeline.dropped.values()) == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
