"""Every span of the store with its attributes and the names of its events, in the order of their beginning."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_llm.errors import StoreError
from otel_llm.store.db import diagnose, open_reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SpanBody", "span_bodies"]

_QUERY = """
SELECT s.trace_id, s.span_id, s.name, s.kind, s.status, s.scope, b.attributes, b.events
FROM spans AS s JOIN span_bodies AS b USING (id)
ORDER BY s.start_ns, s.id
"""


class SpanBody(NamedTuple):
    """One span as it was recorded; ids as hex digits."""

    trace_id: str
    span_id: str
    name: str
    kind: str
    status: str
    scope: str
    attributes: dict[str, Any]
    events: tuple[str, ...]


def span_bodies(path: Path) -> Iterator[SpanBody]:
    """Spans whose bodies are still there (the size limit of the store takes bodies first).

    Raises `StoreError` where there is no store at `path` or it cannot be read.
    """
    connection = open_reader(path)
    try:
        for row in connection.execute(_QUERY):
            yield SpanBody(
                row["trace_id"],
                row["span_id"],
                row["name"],
                row["kind"],
                row["status"],
                row["scope"] or "",
                json.loads(row["attributes"]),
                tuple(event["name"] for event in json.loads(row["events"] or "[]")),
            )
    except sqlite3.Error as error:
        raise StoreError(diagnose(error, path).why) from error
    finally:
        connection.close()
