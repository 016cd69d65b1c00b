"""OTLP/JSON: the wire form as people and files have it.

Source: "JSON Protobuf Encoding" of the OTLP specification 1.x.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm.wire import IllFormedPayloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["from_otlp_json", "to_otlp_json"]

_ID_FIELDS = ("traceId", "spanId", "parentSpanId")
_MAX_JSON_DEPTH = 100
"""As deep as the protobuf runtime follows nested messages; deeper JSON is refused, not recursed into."""


def to_otlp_json(request: ExportTraceServiceRequest) -> dict[str, Any]:
    """`request` as OTLP/JSON: lowerCamelCase keys, hex ids, 64-bit integers as strings, enums as integers.

    NaN and the infinities become the strings `NaN`, `Infinity` and `-Infinity`, so that the result is always
    strict JSON.
    """
    document: dict[str, Any] = json_format.MessageToDict(request, use_integers_for_enums=True)
    _convert_ids(document, _base64_to_hex)
    return document


def from_otlp_json(document: dict[str, Any]) -> ExportTraceServiceRequest:
    """The message that an OTLP/JSON document describes; unknown fields are ignored, as the specification asks.

    `document` is left as it was. Raises `IllFormedPayloadError` when it does not fit the schema.
    """
    try:
        copied = _copied(document, _MAX_JSON_DEPTH * 2)
        _convert_ids(copied, _hex_to_base64)
        return json_format.ParseDict(
            copied, ExportTraceServiceRequest(), ignore_unknown_fields=True, max_recursion_depth=_MAX_JSON_DEPTH
        )
    except (json_format.ParseError, AttributeError, TypeError, ValueError, binascii.Error) as error:
        raise IllFormedPayloadError(f"not an OTLP/JSON trace request: {error}") from error


def _convert_ids(document: dict[str, Any], convert: Callable[[str], str]) -> None:
    """Rewrite every id of spans and links in place; ids are the only fields where OTLP/JSON leaves proto3 JSON."""
    for holder in _id_holders(document):
        for name in _ID_FIELDS:
            if name in holder:
                holder[name] = convert(holder[name])


def _id_holders(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for resource_spans in document.get("resourceSpans", ()):
        for scope_spans in resource_spans.get("scopeSpans", ()):
            for span in scope_spans.get("spans", ()):
                yield span
                yield from span.get("links", ())


def _base64_to_hex(text: str) -> str:
    return base64.b64decode(text).hex()


def _hex_to_base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode("ascii")


def _copied(value: Any, depth: int) -> Any:
    """A copy of JSON data, so that changing ids leaves the caller's document alone."""
    if depth < 0:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {key: _copied(entry, depth - 1) for key, entry in value.items()}
    if isinstance(value, list):
        return [_copied(entry, depth - 1) for entry in value]
    return value
