"""What a check looks at: a span's facts, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

__all__ = ["SpanFacts", "spans_of"]

_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
_ERROR: Final = 2
_DEEPEST: Final = 100


@dataclass(frozen=True, slots=True)
class SpanFacts:
    """One span, its values as plain Python ones of their OTLP type (int is not float)."""

    name: str
    kind: str
    """`internal`, `client`, `server`, `producer`, `consumer` or `unspecified`."""
    attributes: Mapping[str, Any]
    is_error: bool = False
    """Whether the status is ERROR."""
    events: tuple[str, ...] = ()
    """Names of the span's events."""
    scope: str = ""
    schema_url: str | None = None
    """Of the scope; None where the source does not keep it."""
    trace_id: str = ""
    span_id: str = ""
    """Hex digits, as in OTLP/JSON."""
    line: int | None = field(default=None, compare=False)
    """The line of the file that it was read from, from 1."""


def spans_of(request: ExportTraceServiceRequest, *, line: int | None = None) -> Iterator[SpanFacts]:
    """Every span of an OTLP request."""
    for group in request.resource_spans:
        for scoped in group.scope_spans:
            for span in scoped.spans:
                yield SpanFacts(
                    name=span.name,
                    kind=_KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else _KINDS[0],
                    attributes=_plain_attributes(span.attributes),
                    is_error=int(span.status.code) == _ERROR,
                    events=tuple(event.name for event in span.events),
                    scope=scoped.scope.name,
                    schema_url=scoped.schema_url or group.schema_url,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    line=line,
                )


def _plain_attributes(pairs: Any, depth: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = {}
    pair: KeyValue
    for pair in pairs:
        found[pair.key] = _plain(pair.value, depth)
    return found


def _plain(value: AnyValue, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or depth > _DEEPEST:
        return None
    if kind == "array_value":
        return [_plain(item, depth + 1) for item in value.array_value.values]
    if kind == "kvlist_value":
        return _plain_attributes(value.kvlist_value.values, depth + 1)
    return getattr(value, kind)
