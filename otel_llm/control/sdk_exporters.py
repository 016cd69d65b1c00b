"""Backends on this machine as exporters of the OpenTelemetry SDK (`OTEL_TRACES_EXPORTER=otel_llm_file` and its like).

Each is made without arguments and reads the settings as everything else does. Spans are redacted, and
otherwise come as the SDK hands them over: identity, content policy and limits belong to `otel_llm.configure`.
"""

from __future__ import annotations

from typing import ClassVar

from otel_llm import backends
from otel_llm.config import load
from otel_llm.control.redacted_exporter import RedactedExporter

__all__ = ["ConsoleSpanExporter", "FileSpanExporter", "LocalSpanExporter"]


class _ConfiguredExporter(RedactedExporter):
    """An exporter over the backend of this name. Raises `ConfigError` or `BackendError`."""

    backend_name: ClassVar[str]

    def __init__(self) -> None:
        config = load()
        super().__init__(backends.build(self.backend_name, config), config, timeout=config.export_timeout)


class ConsoleSpanExporter(_ConfiguredExporter):
    """`otel_llm_console`: one line per span on standard error."""

    backend_name = "console"


class FileSpanExporter(_ConfiguredExporter):
    """`otel_llm_file`: OTLP/JSON lines in `OTEL_LLM_FILE_PATH`."""

    backend_name = "file"


class LocalSpanExporter(_ConfiguredExporter):
    """`otel_llm_local`: the SQLite store in `OTEL_LLM_STORE_PATH`, which `otel-llm usage` reads."""

    backend_name = "local"
