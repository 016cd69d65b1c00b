"""What arrived: every wire form that a peer speaks, read span by span, and which calls are in it whole.

- OTLP as protobuf, over HTTP (`/v1/traces` wherever it is mounted, gzip or not) and gRPC: the SDK's exporters,
  OpenInference, OpenLLMetry, OpenLIT, Logfire, Langfuse, ours. Content in events comes by `/v1/logs`.
- OTLP as JSON: nobody by default.
- Opik's REST, JSON: `traces/batch`, `spans/batch`, single rows, corrections by PATCH: Opik's SDK, litellm's callback,
  ours.

A call is whole when its question and its answer arrived word for word, and the system prompt beside one of them. Which
span or row each lies in does not matter, nor in how many copies.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks import conversation

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Arrivals", "Unit", "unescaped", "units_in"]

_TEXTS = re.compile(rb"<([sqa])(\d{9})<([^<>]*)>\1\2>")
_OPIK = re.compile(r"/v1/private/(spans|traces)(?:/([^/]+))?$")
_ESCAPED = {rb"\u003c": b"<", rb"\u003e": b">", b"&lt;": b"<", b"&gt;": b">"}


@dataclass(frozen=True)
class Unit:
    """One span, row or log record."""

    kind: str
    """`span`, `trace` (Opik's row of a trace) or `log`."""
    id: str
    text: bytes


@dataclass
class Arrivals:
    """Adds up what arrived."""

    content_bytes: int = 2000
    spans: set[str] = field(default_factory=set)
    received: Counter[str] = field(default_factory=Counter)
    """Units by kind, those that came twice counted twice."""
    raw: int = 0
    """Bytes before compression."""
    wire: int = 0
    unreadable: int = 0
    """Bodies that are no form that is known here."""
    paths: Counter[str] = field(default_factory=Counter)
    _when: dict[bytes, dict[int, float]] = field(default_factory=lambda: {kind: {} for kind in (b"s", b"q", b"a")})

    def take(self, path: str, encoding: str, content_type: str, body: bytes, at: float = 0.0) -> None:
        """Read one request that arrived `at` (Unix seconds)."""
        self.wire += len(body)
        self.paths[path] += 1
        try:
            plain = _unpacked(encoding, body)
            self.raw += len(plain)
            for unit in units_in(path, content_type, plain):
                self.add(unit, at)
        except Exception:  # noqa: BLE001  (whatever a peer sends: it is counted, and the next is read)
            self.unreadable += 1

    def add(self, unit: Unit, at: float = 0.0) -> None:
        """Count one unit and look for texts in it."""
        self.received[unit.kind] += 1
        if unit.kind == "span":
            self.spans.add(unit.id)
        found: dict[bytes, set[int]] = {b"s": set(), b"q": set(), b"a": set()}
        for kind, number, text in _TEXTS.findall(unescaped(unit.text)):
            if text == self._expected(kind, int(number)):
                found[kind].add(int(number))
        if found[b"s"]:
            found[b"s"] = found[b"q"] | found[b"a"]
        for kind, numbers in found.items():
            for number in numbers:
                self._when[kind].setdefault(number, at)

    def _expected(self, kind: bytes, number: int) -> bytes:
        if kind == b"s":
            return conversation.system_text().encode()
        text = conversation.question_text if kind == b"q" else conversation.answer_text
        return text(number, self.content_bytes).encode()

    @property
    def whole(self) -> dict[int, float]:
        """The calls that arrived whole, and when the last of their three texts did."""
        parts = list(self._when.values())
        numbers = set.intersection(*(set(part) for part in parts))
        return {number: max(part[number] for part in parts) for number in sorted(numbers)}

    def counts(self) -> dict[str, Any]:
        """Everything, as numbers."""
        system, questions, answers = (len(part) for part in self._when.values())
        return {
            "spans": len(self.spans),
            "received": dict(self.received),
            "whole": len(self.whole),
            "with_system": system,
            "questions": questions,
            "answers": answers,
            "raw": self.raw,
            "wire": self.wire,
            "unreadable": self.unreadable,
            "paths": dict(self.paths),
        }


def unescaped(text: bytes) -> bytes:
    """`text` with the marks' brackets as they were, however its JSON escapes them."""
    for escaped, character in _ESCAPED.items():
        if escaped in text:
            text = text.replace(escaped, character)
    return text


def units_in(path: str, content_type: str, body: bytes) -> Iterator[Unit]:
    """The spans, rows and log records of one request's body, uncompressed."""
    if path.endswith("/v1/traces"):
        yield from _otlp_spans(content_type, body)
    elif path.endswith("/v1/logs"):
        yield from _otlp_logs(content_type, body)
    elif "/v1/private/" in path:
        yield from _opik_rows(path, body)


def _unpacked(encoding: str, body: bytes) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


def _otlp_spans(content_type: str, body: bytes) -> Iterator[Unit]:
    if "json" in content_type:
        for group in json.loads(body).get("resourceSpans", ()):
            for scope in group.get("scopeSpans", ()):
                for span in scope.get("spans", ()):
                    yield Unit("span", f"{span['traceId']}{span['spanId']}".lower(), _as_text(span))
        return
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Unit("span", f"{span.trace_id.hex()}{span.span_id.hex()}", span.SerializeToString())


def _otlp_logs(content_type: str, body: bytes) -> Iterator[Unit]:
    if "json" in content_type:
        yield Unit("log", "", body)
        return
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    for group in ExportLogsServiceRequest.FromString(body).resource_logs:
        for scope in group.scope_logs:
            for record in scope.log_records:
                yield Unit("log", "", record.SerializeToString())


def _opik_rows(path: str, body: bytes) -> Iterator[Unit]:
    """Batches, and single rows: `POST .../spans` with an id inside, `PATCH .../spans/ID` with what changed."""
    found = _OPIK.search(path)
    if found is None:
        return
    name, last = found.groups()
    document = json.loads(body)
    for row in document[name] if last == "batch" else [document]:
        yield Unit(name.removesuffix("s"), row.get("id") or last, _as_text(row))


def _as_text(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()
