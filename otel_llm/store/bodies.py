"""Every span of the store with its attributes and the names of its events, in the order of their beginning."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm.store.db import ask

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SpanBody", "span_bodies"]

_AT_ONCE: Final = 512
_PAGE: Final = """
SELECT s.start_ns, s.id, s.trace_id, s.span_id, s.name, s.kind, s.status, s.scope, b.attributes, b.events
FROM spans AS s JOIN span_bodies AS b USING (id)
WHERE (s.start_ns, s.id) > (:at, :id)
ORDER BY s.start_ns, s.id LIMIT :most
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

    Raises `StoreError` where there is no store at `path` or it cannot be read. It is read piece by piece: one reading
    from end to end would keep SQLite from using its write-ahead log again, which then grows with all that is recorded
    meanwhile.
    """
    after = (-1, -1)
    while True:
        lines = ask(path, _PAGE, {"at": after[0], "id": after[1], "most": _AT_ONCE})
        if not lines:
            return
        after = lines[-1]["start_ns"], lines[-1]["id"]
        yield from map(_span_body, lines)


def _span_body(line: sqlite3.Row) -> SpanBody:
    return SpanBody(
        line["trace_id"],
        line["span_id"],
        line["name"],
        line["kind"],
        line["status"],
        line["scope"] or "",
        json.loads(line["attributes"]),
        tuple(event["name"] for event in json.loads(line["events"] or "[]")),
    )
