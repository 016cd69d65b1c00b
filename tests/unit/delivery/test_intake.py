"""The exporter that the SDK sees keeps spans, or counts them, and never raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult

from otel_llm.delivery import intake
from otel_llm.delivery.courier import Courier
from otel_llm.delivery.intake import SpoolExporter
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_types import SpoolSettings
from tests.crash.kit import Sink, counts

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def build(directory: Path, **settings: object) -> tuple[Sink, Spool, SpoolExporter]:
    """A sink, a spool and the exporter over them."""
    sink, spool = Sink(), Spool(directory, SpoolSettings(**settings))  # type: ignore[arg-type]
    return sink, spool, SpoolExporter(spool, Courier(spool, {"sink": sink}))


def test_spans_of_the_sdk_arrive(tmp_path: Path) -> None:
    """Through the SDK's own batch processor every span arrives, and its shutdown delivers the last ones."""
    sink, spool, exporter = build(tmp_path / "s")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    spans = []
    for _ in range(100):
        with provider.get_tracer("t").start_as_current_span("call") as span:
            spans.append(f"{span.get_span_context().span_id:016x}")
    provider.shutdown()
    assert sorted(sink.ids) == sorted(spans)
    assert counts(spool.report()) == (100, 100, 0, {}, {})


def test_success_means_durably_ours(tmp_path: Path) -> None:
    """With the backend hanging `export` succeeds, and what it was given is on disk when it returns."""
    sink, _, exporter = build(tmp_path / "s")
    sink.answers = [RuntimeError("down")] * 1000
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("t").start_as_current_span("call"):
        pass
    assert counts(Spool(tmp_path / "s").report()) == (1, 0, 1, {}, {})
    assert not exporter.force_flush(50)
    exporter.shutdown()


def test_a_span_that_does_not_fit_fails_and_is_counted(tmp_path: Path) -> None:
    """What is dropped is FAILURE to the SDK, and counted."""
    _, spool, exporter = build(tmp_path / "s", max_bytes=300_000)
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("t").start_as_current_span("call", attributes={"big": "x" * 1_000_000}) as span:
        pass
    assert exporter.export([span]) is SpanExportResult.FAILURE  # type: ignore[list-item]
    assert counts(spool.report()) == (1, 0, 0, {}, {"spool_full": 1})
    exporter.shutdown()


def test_a_span_of_ten_megabytes_arrives(tmp_path: Path) -> None:
    """A very large span is a batch of its own and is delivered whole."""
    sink, _, exporter = build(tmp_path / "s")
    provider = TracerProvider(shutdown_on_exit=False)
    with provider.get_tracer("t").start_as_current_span("call", attributes={"big": "x" * 10_000_000}) as span:
        pass
    assert exporter.export([span]) is SpanExportResult.SUCCESS  # type: ignore[list-item]
    assert exporter.force_flush(20_000)
    assert len(sink.ids) == 1
    exporter.shutdown()


def test_a_fault_of_ours_is_counted_and_does_not_reach_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the encoder raise, the spans are counted as dropped."""
    _, spool, exporter = build(tmp_path / "s")
    monkeypatch.setattr(intake, "encode", lambda *args, **kwargs: 1 / 0)
    assert exporter.export([object(), object()]) is SpanExportResult.FAILURE  # type: ignore[list-item]
    assert counts(spool.report()) == (2, 0, 0, {}, {"internal": 2})
    exporter.shutdown()


def test_spans_that_cannot_be_encoded_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the encoder leaves out is FAILURE and counted, the rest is kept."""
    _, spool, exporter = build(tmp_path / "s")
    monkeypatch.setattr(intake, "encode", lambda spans, max_bytes: [])
    assert exporter.export([object()] * 3) is SpanExportResult.FAILURE  # type: ignore[list-item]
    assert counts(spool.report()) == (3, 0, 0, {}, {"not_encodable": 3})
    exporter.shutdown()
