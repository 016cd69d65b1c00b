"""Our backends as plain exporters of the SDK."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from otel_llm.control.sdk_exporters import ConsoleSpanExporter, FileSpanExporter, LocalSpanExporter
from otel_llm.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace.export import SpanExporter

    from otel_llm.delivery.exporter import DeliveryExporter


def _export_one_span(exporter: DeliveryExporter) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    provider.get_tracer("t").start_span("through the sdk").end()
    provider.shutdown()
    assert exporter.report.delivered == exporter.report.created == 1


def test_file_exporter_writes_where_the_settings_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own pipeline ends in the configured file."""
    monkeypatch.setenv("OTEL_LLM_FILE_PATH", str(tmp_path / "s.jsonl"))
    _export_one_span(FileSpanExporter())
    assert "through the sdk" in (tmp_path / "s.jsonl").read_text()


def test_local_exporter_fills_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK's own pipeline ends in the local store."""
    monkeypatch.setenv("OTEL_LLM_STORE_PATH", str(tmp_path / "store" / "s.db"))
    _export_one_span(LocalSpanExporter())
    connection = sqlite3.connect(tmp_path / "store" / "s.db")
    assert connection.execute("SELECT name FROM spans").fetchall() == [("through the sdk",)]
    connection.close()


def test_console_exporter_prints_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """The SDK's own pipeline ends on standard error, not on standard output."""
    _export_one_span(ConsoleSpanExporter())
    captured = capsys.readouterr()
    assert "through the sdk" in captured.err
    assert captured.out == ""


KEY = "sk-proj-abcdefghijklmnopqrstuvwx1234567890ABCD"


def _span_with_a_key(exporter: SpanExporter) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with provider.get_tracer("t").start_as_current_span("call", record_exception=True) as span:
        span.set_attribute("input.value", f"my key is {KEY}, keep it")
        span.record_exception(ValueError(f"refused: {KEY}"))
    provider.shutdown()


@pytest.mark.parametrize("name", ["file", "local", "console"])
def test_keys_do_not_get_through(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What other instrumentations recorded is kept, but for the keys in it."""
    monkeypatch.setenv("OTEL_LLM_FILE_PATH", str(tmp_path / "s.jsonl"))
    monkeypatch.setenv("OTEL_LLM_STORE_PATH", str(tmp_path / "store" / "s.db"))
    exporters = {"file": FileSpanExporter, "local": LocalSpanExporter, "console": ConsoleSpanExporter}
    _span_with_a_key(exporters[name]())
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    written += capsys.readouterr().err.encode()
    assert KEY.encode() not in written
    if name != "console":  # which shows names and numbers only
        assert b"keep it" in written


def test_a_span_that_cannot_be_searched_loses_its_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redaction that fails costs the span what could hold a key; the span itself arrives."""

    def broken(*_: object) -> None:
        raise RuntimeError("oops")

    monkeypatch.setenv("OTEL_LLM_FILE_PATH", str(tmp_path / "s.jsonl"))
    exporter = FileSpanExporter()
    monkeypatch.setattr(exporter, "_redaction", broken)
    _span_with_a_key(exporter)
    written = (tmp_path / "s.jsonl").read_text()
    assert exporter.report.delivered == 1
    assert KEY not in written
    assert "keep it" not in written


def test_wrong_setting_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in the environment is not discovered when spans are missing."""
    monkeypatch.setenv("OTEL_LLM_FIEL_PATH", "x")
    with pytest.raises(ConfigError, match="FILE_PATH"):
        FileSpanExporter()
