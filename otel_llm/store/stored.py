"""Stored spans as OTLP again, so that another backend can be filled from the local store.

What a row does not hold cannot come back: the version of the instrumentation, counts of dropped attributes. Bytes are
base64 text, NaN and the infinities their names. Of calls that sampling left out, and of spans whose bulk the size limit
has taken, only numbers are stored; those are not sent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from otel_llm.contracts import Batch
from otel_llm.store.db import ask
from otel_llm.store.filters import Filter

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator
    from datetime import datetime
    from pathlib import Path

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue

__all__ = ["Stored", "count_stored", "services_in", "stored_batches"]

_SPANS_AT_ONCE: Final = 64
_BATCH_TEXT: Final = 1_000_000
"""Characters of attributes, events and links in one batch."""
_KINDS: Final = {"internal": 1, "server": 2, "client": 3, "producer": 4, "consumer": 5}
_STATUSES: Final = {"unset": 0, "ok": 1, "error": 2}
_INT64: Final = range(-(2**63), 2**63)

_ROWS: Final = (
    "SELECT spans.*, body.attributes, body.events, body.links, resources.attributes AS resource FROM spans"
    " JOIN span_bodies AS body USING (id) LEFT JOIN resources USING (resource_id)"
)
"""A span without a body is left out by the join."""


class Stored(NamedTuple):
    """A batch of stored spans, and where it ends: everything before has been read."""

    batch: Batch
    until_ns: int
    """Unix nanoseconds at which its last span began."""


def services_in(path: Path, since: datetime | None, until: datetime | None) -> list[str]:
    """The services that have spans in the store in this period; raises StoreError if it cannot be read."""
    chosen = Filter(since, until)
    lines = ask(path, f"SELECT DISTINCT coalesce(service, '') FROM spans WHERE {chosen.sql}", chosen.values)  # noqa: S608
    return sorted(line[0] for line in lines)


def count_stored(path: Path, service: str, since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """Spans of a service that can be sent, and those of which only numbers are left; raises StoreError."""
    chosen = Filter(since, until)
    (line,) = ask(
        path,
        "SELECT count(body.id), count(*) - count(body.id) FROM spans LEFT JOIN span_bodies AS body USING (id)"  # noqa: S608
        f" WHERE coalesce(service, '') = :service AND {chosen.sql}",
        {**chosen.values, "service": service},
    )
    return int(line[0]), int(line[1])


def stored_batches(
    path: Path,
    service: str,
    since: datetime | None,
    until: datetime | None,
    leave_out: Collection[tuple[str, str]] = (),
) -> Iterator[Stored]:
    """The spans of a service in order of their beginning, without those of (trace id, span id) in `leave_out`.

    Raises StoreError if the store cannot be read. It is read piece by piece: what is written meanwhile may be in it.
    """
    chosen = Filter(since, until)
    after = (-1, -1)
    while True:
        lines = ask(
            path,
            f"{_ROWS} WHERE coalesce(service, '') = :service AND {chosen.sql} AND (start_ns, id) > (:at, :id)"
            " ORDER BY start_ns, id LIMIT :most",
            {**chosen.values, "service": service, "at": after[0], "id": after[1], "most": _SPANS_AT_ONCE},
        )
        if not lines:
            return
        after = lines[-1]["start_ns"], lines[-1]["id"]
        wanted = [line for line in lines if (line["trace_id"], line["span_id"]) not in leave_out]
        for group in _cut_by_size(wanted):
            yield Stored(Batch(_request(group).SerializeToString(), len(group)), group[-1]["start_ns"])


def _cut_by_size(lines: list[sqlite3.Row]) -> Iterator[list[sqlite3.Row]]:
    """Groups of about a megabyte, which every receiver takes; a larger span is a group of its own."""
    group: list[sqlite3.Row] = []
    size = 0
    for line in lines:
        length = len(line["attributes"]) + len(line["events"] or "") + len(line["links"] or "")
        if group and size + length > _BATCH_TEXT:
            yield group
            group, size = [], 0
        group.append(line)
        size += length
    if group:
        yield group


def _request(lines: list[sqlite3.Row]) -> ExportTraceServiceRequest:
    """One message, spans of one resource and scope together."""
    request = ExportTraceServiceRequest()
    resources: dict[str, Any] = {}
    scopes: dict[tuple[str, str], Any] = {}
    for line in lines:
        resource_id, scope = line["resource_id"], line["scope"] or ""
        if resource_id not in resources:
            resources[resource_id] = request.resource_spans.add()
            _fill(resources[resource_id].resource.attributes, json.loads(line["resource"] or "{}"))
        if (resource_id, scope) not in scopes:
            scopes[resource_id, scope] = resources[resource_id].scope_spans.add()
            scopes[resource_id, scope].scope.name = scope
        scopes[resource_id, scope].spans.append(_span(line))
    return request


def _span(line: sqlite3.Row) -> Span:
    span = Span(
        trace_id=bytes.fromhex(line["trace_id"]),
        span_id=bytes.fromhex(line["span_id"]),
        parent_span_id=bytes.fromhex(line["parent_span_id"] or ""),
        trace_state=line["trace_state"] or "",
        name=line["name"],
        kind=_KINDS.get(line["kind"], 0),  # type: ignore[arg-type]  # the enum's numbers
        start_time_unix_nano=line["start_ns"],
        end_time_unix_nano=line["end_ns"],
    )
    span.status.code = _STATUSES.get(line["status"], 0)  # type: ignore[assignment]  # likewise
    span.status.message = line["status_message"] or ""
    _fill(span.attributes, json.loads(line["attributes"]))
    for event in json.loads(line["events"] or "[]"):
        made = span.events.add(name=event["name"], time_unix_nano=event["time_ns"])
        _fill(made.attributes, event["attributes"])
    for link in json.loads(line["links"] or "[]"):
        ids = {"trace_id": bytes.fromhex(link["trace_id"]), "span_id": bytes.fromhex(link["span_id"])}
        _fill(span.links.add(**ids).attributes, link["attributes"])
    return span


def _fill(pairs: Any, attributes: dict[str, Any]) -> None:
    for key, value in attributes.items():
        _put(pairs.add(key=key).value, value)


def _put(target: AnyValue, value: Any) -> None:
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int) and value in _INT64:
        target.int_value = value
    elif isinstance(value, (int, float)):
        target.double_value = float(value)
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, list):
        target.array_value.SetInParent()
        for entry in value:
            _put(target.array_value.values.add(), entry)
    elif isinstance(value, dict):
        target.kvlist_value.SetInParent()
        _fill(target.kvlist_value.values, value)
