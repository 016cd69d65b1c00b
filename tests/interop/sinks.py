"""The vendors' side on loopback: one server that takes what their exporters send, and what that says in plain words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes.http_server import HttpServer, Reply, Request
from tests.fakes.spans import values_of
from tests.interop.msgpack import unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Record", "Sink", "otlp_records"]


@dataclass
class Record:
    """One span (or what a vendor calls one) as it arrived."""

    name: str
    id: str
    trace: str
    above: str
    """Id of the parent; empty for none."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What is said of it, without ids and times."""
    scope: str = ""


class Sink(HttpServer):
    """Takes OTLP, Application Insights, Sentry's envelopes and Datadog's traces."""

    def __init__(self) -> None:
        super().__init__(_answer)

    def records(self, kind: str, since: int) -> list[Record]:
        """What arrived after the first `since` requests."""
        return [record for request in self.requests[since:] for record in _READERS[kind](request)]


def _answer(request: Request) -> Reply:
    if request.path.startswith("/v0."):
        return Reply.json({"rate_by_service": {}})
    if request.path.endswith("/track"):
        items = len(_json_values(request.content.decode()))
        return Reply.json({"itemsReceived": items, "itemsAccepted": items, "errors": []})
    return Reply.json({})


def otlp_records(request: Request) -> Iterator[Record]:
    """The spans of an OTLP request; none of any other."""
    if "traces" not in request.path:
        return
    for resource in ExportTraceServiceRequest.FromString(request.content).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Record(
                    span.name,
                    span.span_id.hex(),
                    span.trace_id.hex(),
                    span.parent_span_id.hex(),
                    values_of(span),
                    scope.scope.name,
                )


def _of_azure(request: Request) -> Iterator[Record]:
    if not request.path.endswith("/track"):
        return
    for item in _json_values(request.content.decode()):
        data, tags = item["data"]["baseData"], item.get("tags", {})
        if item["data"]["baseType"] not in {"RequestData", "RemoteDependencyData"}:
            continue
        facts = {key: data.get(key) for key in ("type", "target", "success", "resultCode", "responseCode")}
        yield Record(
            data["name"],
            data["id"],
            tags.get("ai.operation.id", ""),
            tags.get("ai.operation.parentId", ""),
            {**facts, **(data.get("properties") or {})},
        )


def _of_sentry(request: Request) -> Iterator[Record]:
    if not request.path.endswith("/envelope/"):
        return
    for item in _json_values(request.content.decode("utf-8", "replace")):
        if item.get("type") != "transaction" or "spans" not in item:
            continue
        top = item["contexts"]["trace"]
        yield Record(item["transaction"], top["span_id"], top["trace_id"], "", {"op": top.get("op")})
        for span in item["spans"]:
            facts = {"op": span.get("op"), **(span.get("data") or {})}
            yield Record(span["description"], span["span_id"], span["trace_id"], span["parent_span_id"], facts)


def _of_datadog(request: Request) -> Iterator[Record]:
    if request.path == "/v0.5/traces":
        words, traces = unpacked(request.content)
        for trace in traces:
            for span in trace:
                yield _datadog_span(span, words)


def _datadog_span(span: list[Any], words: list[str]) -> Record:
    """Service, name, resource, trace id, span id, parent id, start, duration, error, meta, metrics, type."""
    meta = {words[key]: words[value] for key, value in span[9].items()}
    return Record(
        words[span[1]],
        str(span[4]),
        meta.get("_dd.p.tid", "") + f"{span[3]:016x}",
        str(span[5] or ""),
        {"resource": words[span[2]], "error": span[8], "type": words[span[11]], **meta},
    )


_READERS: dict[str, Callable[[Request], Iterable[Record]]] = {
    "otlp": otlp_records,
    "azure": _of_azure,
    "sentry": _of_sentry,
    "datadog": _of_datadog,
}


def _json_values(text: str) -> list[Any]:
    """All JSON values of a text: a list's, or one after the other, whatever stands between them."""
    decoder, values, at = json.JSONDecoder(), [], 0
    while (at := _next_value(text, at)) < len(text):
        value, at = decoder.raw_decode(text, at)
        values += value if isinstance(value, list) else [value]
    return values


def _next_value(text: str, at: int) -> int:
    while at < len(text) and text[at] not in "[{":
        at += 1
    return at
