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


def test_wrong_setting_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error in the environment is not discovered when spans are missing."""
    monkeypatch.setenv("OTEL_LLM_FIEL_PATH", "x")
    with pytest.raises(ConfigError, match="FILE_PATH"):
        FileSpanExporter()
