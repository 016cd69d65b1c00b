"""Sampling from call to store: which spans are kept, what they say, and that totals do not change."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, TraceIdRatioBased
from opentelemetry.trace import Status, StatusCode

import otel_llm
from otel_llm import semconv
from otel_llm.control.running import tally_report
from otel_llm.processors.probability import randomness_of, threshold_of
from otel_llm.store.queries import calls, spans, usage
from otel_llm.testing import FakeProvider, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def model() -> Iterator[FakeProvider]:
    """A provider of language models on loopback."""
    with FakeProvider() as serving:
        yield serving
    litellm.in_memory_llm_clients_cache.flush_cache()


def make_spans(provider: TracerProvider, number: int, **facts: Any) -> None:
    """So many finished calls of a dollar each, each a trace of its own."""
    tracer = provider.get_tracer("app")
    for _ in range(number):
        given = {semconv.OPERATION_NAME: "chat", semconv.REQUEST_MODEL: "m", semconv.COST: 1.0, semconv.USAGE_INPUT: 10}
        tracer.start_span("chat m", attributes={**given, **facts}).end()


def whole(path: Path) -> list[dict[str, Any]]:
    """Spans of the store that were kept as such."""
    return [span for span in spans(path, limit=10_000) if span["attributes"] is not None]


def test_totals_are_those_of_all_calls_whatever_the_ratio(provider: TracerProvider, tmp_path: Path) -> None:
    """At a tenth, a tenth of the spans is kept; usage, tally and cost are those of all of them."""
    store = tmp_path / "store.db"
    otel_llm.configure(tracer_provider=provider, store_path=store, sampling_ratio=0.1)
    make_spans(provider, 600)
    report = tally_report()
    assert otel_llm.flush(30)
    left_out = otel_llm.status().dropped_before_queue["sampled"]
    kept = whole(store)
    assert 20 <= len(kept) <= 120  # a billion to one that a fair choice stays within
    assert len(kept) + left_out == 600
    for span in kept:
        assert span["attributes"][semconv.SAMPLING_RATE] == pytest.approx(0.1)
        assert span["attributes"][semconv.SAMPLING_REASON] == "ratio"
    totals = usage(store).totals
    assert (totals.calls, totals.input_tokens, totals.cost_nano_usd) == (600, 6000, 600 * 10**9)
    assert report is not None
    assert sum(sums.cost_usd for sums in report.usage.values()) == 600
    assert len(calls(store, limit=1000)) == 600


def test_a_left_out_call_leaves_no_text_behind(provider: TracerProvider, tmp_path: Path) -> None:
    """What the store keeps of it are names and numbers: no prompt, no tag, no event, no attribute."""
    store = tmp_path / "store.db"
    otel_llm.configure(tracer_provider=provider, store_path=store, sampling_ratio=0, content="on")
    canary = "CANARY-7731"
    make_spans(provider, 3, **{semconv.INPUT_MESSAGES: canary, "otel_llm.metadata.note": canary, "my.words": canary})
    otel_llm.flush(30)
    assert whole(store) == []
    assert usage(store).totals.calls == 3
    otel_llm.shutdown()
    assert canary.encode() not in store.read_bytes()


def test_tenants_have_ratios_of_their_own(provider: TracerProvider, tmp_path: Path) -> None:
    """One tenant is kept whole, another not at all, all are counted."""
    store = tmp_path / "store.db"
    otel_llm.configure(
        tracer_provider=provider, store_path=store, sampling_ratio=0, sampling_tenants={"acme": "1", "zero": "0"}
    )
    for tenant in ("acme", "zero", "else"):
        with otel_llm.tenant(tenant):
            make_spans(provider, 5)
    otel_llm.flush(30)
    assert {span["tenant"] for span in whole(store)} == {"acme"}
    assert {row.labels["tenant"]: row.calls for row in usage(store).rows} == {"acme": 5, "zero": 5, "else": 5}


def test_errors_slow_and_expensive_calls_are_always_kept(provider: TracerProvider, tmp_path: Path) -> None:
    """At ratio 0 these are what is left; each says why, and that all of its kind are kept."""
    store = tmp_path / "store.db"
    otel_llm.configure(
        tracer_provider=provider, store_path=store, sampling_ratio=0, sampling_slow=2.0, sampling_expensive=0.5
    )
    tracer = provider.get_tracer("app")
    call = {semconv.OPERATION_NAME: "chat"}
    tracer.start_span("plain", attributes={**call, semconv.COST: 0.49}).end()
    tracer.start_span("dear", attributes={**call, semconv.COST: 0.5}).end()
    tracer.start_span("slow", attributes=call, start_time=10**18).end(10**18 + 2 * 10**9)
    failing = tracer.start_span("failing", attributes=call)
    failing.set_status(Status(StatusCode.ERROR))
    failing.end()
    otel_llm.flush(30)
    reasons = {span["name"]: span["attributes"][semconv.SAMPLING_REASON] for span in whole(store)}
    assert reasons == {"dear": "expensive", "slow": "slow", "failing": "error"}
    assert {span["attributes"][semconv.SAMPLING_RATE] for span in whole(store)} == {1.0}


def test_the_trace_of_a_failed_call_is_kept_whole(provider: TracerProvider, tmp_path: Path) -> None:
    """What ended before the failure and what ends after it are both there; other traces are not."""
    store = tmp_path / "store.db"
    otel_llm.configure(tracer_provider=provider, store_path=store, sampling_ratio=0)
    tracer = provider.get_tracer("app")
    for fails in (True, False):
        with tracer.start_as_current_span(f"agent {fails}"):
            with tracer.start_as_current_span("tool"):
                pass
            with tracer.start_as_current_span("chat", attributes={semconv.OPERATION_NAME: "chat"}) as span:
                if fails:
                    span.set_status(Status(StatusCode.ERROR))
            with tracer.start_as_current_span("afterwards"):
                pass
    otel_llm.flush(30)
    reasons = {span["name"]: span["attributes"][semconv.SAMPLING_REASON] for span in whole(store)}
    assert reasons == {"agent True": "trace", "tool": "trace", "chat": "error", "afterwards": "trace"}
    assert otel_llm.status().dropped_before_queue == {"sampled": 4}
    assert usage(store).totals.calls == 2


def test_a_kept_span_says_its_threshold_in_tracestate(provider: TracerProvider, tmp_path: Path) -> None:
    """Backends get `ot=th:...` as OpenTelemetry has it: by ratio its threshold, by rule none (0)."""
    otel_llm.configure(
        tracer_provider=provider,
        backend="file",
        file_path=tmp_path / "s.jsonl",
        sampling_ratio=0.5,
        sampling_errors=True,
    )
    make_spans(provider, 60)
    make_spans(provider, 1, **{semconv.ERROR_TYPE: "Oops"})
    otel_llm.flush(30)
    text = (tmp_path / "s.jsonl").read_text()
    assert '"ot=th:8"' in text
    assert '"ot=th:0"' in text


def test_content_is_sampled_apart_from_spans(provider: TracerProvider, tmp_path: Path) -> None:
    """All spans are kept; content only on those whose trace is in, and the others say that it is missing."""
    store = tmp_path / "store.db"
    otel_llm.configure(tracer_provider=provider, store_path=store, sampling_content_ratio=0.5, content="on")
    make_spans(provider, 80, **{semconv.INPUT_MESSAGES: '[{"role":"user","parts":[]}]'})
    otel_llm.flush(30)
    found = whole(store)
    assert len(found) == 80
    with_content = [span for span in found if semconv.INPUT_MESSAGES in span["attributes"]]
    without = [span for span in found if span["attributes"].get(semconv.SAMPLING_CONTENT_LEFT_OUT)]
    assert len(with_content) + len(without) == 80
    assert with_content
    assert without
    assert all(int(span["trace_id"], 16) % 2**56 >= threshold_of(0.5) for span in with_content)


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, TraceIdRatioBased(0.0)], ids=["off", "ratio"])
def test_calls_count_that_the_programs_own_sampler_leaves_out(
    sampler: Any, model: FakeProvider, tmp_path: Path
) -> None:
    """Its decision stands for every backend and processor, and tokens and cost are known all the same."""
    theirs = InMemorySpanExporter()
    joined = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    joined.add_span_processor(SimpleSpanProcessor(theirs))
    store, file = tmp_path / "store.db", tmp_path / "spans.jsonl"
    otel_llm.configure(tracer_provider=joined, backend="local,file", store_path=store, file_path=file)
    model.answer("Paris", usage=Usage(100, 10))
    litellm.completion(
        "openai/gpt-4o", [{"role": "user", "content": "hi"}], api_base=model.openai_base, api_key="k", max_retries=0
    )
    otel_llm.flush(30)
    assert theirs.get_finished_spans() == ()
    assert not file.exists() or file.read_text() == ""
    assert whole(store) == []
    totals = usage(store).totals
    assert (totals.calls, totals.input_tokens, totals.output_tokens) == (1, 100, 10)
    assert totals.cost_nano_usd == 100 * 2500 + 10 * 10_000
    assert otel_llm.status().dropped_before_queue == {"not_sampled": 1}
    assert type(joined.sampler) is type(sampler)


def test_real_calls_of_one_trace_share_one_decision(model: FakeProvider, tmp_path: Path) -> None:
    """Of ten traces of a program span and two calls each, all of a trace are kept or none, by the trace's own bits."""
    joined = TracerProvider(shutdown_on_exit=False)
    store = tmp_path / "store.db"
    otel_llm.configure(tracer_provider=joined, store_path=store, sampling_ratio=0.5, http_spans=False)
    expected = set()
    for _ in range(10):
        with joined.get_tracer("app").start_as_current_span("work") as span:
            for _ in range(2):
                litellm.completion(
                    "openai/gpt-4o",
                    [{"role": "user", "content": "hi"}],
                    api_base=model.openai_base,
                    api_key="k",
                    max_retries=0,
                )
        if randomness_of(span.get_span_context()) >= threshold_of(0.5):
            expected.add(f"{span.get_span_context().trace_id:032x}")
    otel_llm.flush(30)
    found = [span["trace_id"] for span in whole(store)]
    assert set(found) == expected
    assert len(found) == 3 * len(expected)
    assert usage(store).totals.calls == 20


def test_an_sdk_ratio_chooses_evenly_among_our_own_trace_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`OTEL_TRACES_SAMPLER=traceidratio` keeps its share of UUIDv7 trace ids, whose fixed bits it reads as a number."""
    from otel_llm.config import load
    from otel_llm.control.home import _made_provider

    for ratio in ("0.1", "0.5", "0.9"):
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
        monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
        made = _made_provider(load({"state_dir": tmp_path}))
        tracer = made.get_tracer("app")
        kept = sum(tracer.start_span("x").get_span_context().trace_flags.sampled for _ in range(2000))
        assert abs(kept / 2000 - float(ratio)) < 0.1


def test_without_settings_nothing_is_sampled_or_marked(provider: TracerProvider, tmp_path: Path) -> None:
    """The default keeps every span as it is."""
    store = tmp_path / "store.db"
    otel_llm.configure(tracer_provider=provider, store_path=store)
    make_spans(provider, 3)
    assert otel_llm.flush(30)
    assert [set(span["attributes"]) & {semconv.SAMPLING_RATE, semconv.SAMPLING_REASON} for span in whole(store)] == [
        set()
    ] * 3
    connection = sqlite3.connect(store)
    assert connection.execute("SELECT count(*) FROM span_bodies").fetchone() == (3,)
    connection.close()


def test_the_start_line_says_that_spans_are_left_out(
    provider: TracerProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever misses spans finds the reason in the first line of the log; without sampling it says nothing."""
    with caplog.at_level("INFO", "otel_llm"):
        otel_llm.configure(tracer_provider=provider, state_dir=tmp_path, sampling_ratio=0.1)
        assert "; sampling 0.1; service" in caplog.text
        caplog.clear()
        otel_llm.configure(tracer_provider=provider, state_dir=tmp_path)
        assert "content off; service" in caplog.text
