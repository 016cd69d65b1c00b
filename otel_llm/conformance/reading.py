"""Spans out of a file: OTLP/JSON lines, one OTLP/JSON document, or the local store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TextIO

from otel_llm.conformance.spans import SpanFacts, spans_of
from otel_llm.errors import ConfigError
from otel_llm.otlp_json import from_otlp_json
from otel_llm.wire import IllFormedPayloadError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["read"]

_SQLITE_MAGIC: Final = b"SQLite format 3\x00"
_ANOTHER: Final = (
    "It should be OTLP/JSON lines (as the backend `file` and the Collector's file exporter write), one OTLP/JSON "
    "document, or a local store (`store.db`)."
)


def read(path: Path) -> Iterator[SpanFacts]:
    """Every span in the file at `path`, one after the other.

    Raises `ConfigError` when there is no such file or (on the way) when it is none of the three; `StoreError` for a
    store that cannot be read.
    """
    try:
        with path.open("rb") as file:
            begins_with = file.read(len(_SQLITE_MAGIC))
        if begins_with == _SQLITE_MAGIC:
            yield from _of_store(path)
            return
        with path.open(encoding="utf-8") as text:
            yield from _of_json(text, str(path))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror or error}. Check the name and the rights."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text. {_ANOTHER}") from error


def _of_json(file: TextIO, name: str) -> Iterator[SpanFacts]:
    """Lines where the first one is a whole document, else the file as one document."""
    number, first = 0, ""
    for first in file:
        number += 1
        if first.strip():
            break
    if not first.strip():
        raise ConfigError(f"{name} is empty. {_ANOTHER}")
    try:
        document = json.loads(first)
    except (ValueError, RecursionError):
        yield from _of_document(first + file.read(), name)
        return
    yield from _spans(document, name, number)
    for line in file:
        number += 1
        if line.strip():
            yield from _spans(_loaded(line, f"Line {number} of {name}"), name, number)


def _of_document(text: str, name: str) -> Iterator[SpanFacts]:
    yield from _spans(_loaded(text, name), name, None)


def _loaded(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deeply"
        raise ConfigError(f"{where} is no JSON ({reason}). {_ANOTHER}") from error


def _spans(document: Any, name: str, line: int | None) -> Iterator[SpanFacts]:
    where = f"Line {line} of {name}" if line is not None else name
    if not isinstance(document, dict) or not isinstance(document.get("resourceSpans"), list):
        raise ConfigError(f"{where} is JSON, but has no list `resourceSpans`. {_ANOTHER}")
    try:
        request = from_otlp_json(document)
    except IllFormedPayloadError as error:
        raise ConfigError(f"{where} does not fit OTLP/JSON ({error}). {_ANOTHER}") from error
    yield from spans_of(request, line=line)


def _of_store(path: Path) -> Iterator[SpanFacts]:
    from otel_llm.store.bodies import span_bodies  # noqa: PLC0415  (loads sqlite3)

    for row in span_bodies(path):
        yield SpanFacts(
            name=row.name,
            kind=row.kind,
            attributes=row.attributes,
            is_error=row.status == "error",
            events=row.events,
            scope=row.scope,
            trace_id=row.trace_id,
            span_id=row.span_id,
        )
