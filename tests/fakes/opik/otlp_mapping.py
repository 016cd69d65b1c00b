"""One OTLP span as Opik 2.1.24 maps it: attributes, events and status become columns (opik.md section 2)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.fakes.opik.answers import Refusal, coded
from tests.fakes.opik.ids import is_v7
from tests.fakes.opik.instants import format_instant, from_unix_nano
from tests.fakes.opik.otlp_rules import Outcome, rule_for

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["MappedSpan", "map_span", "override"]

_RENAMED_USAGE = {
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "cache_read_tokens": "cache_read_input_tokens",
    "cache_creation_tokens": "cache_creation_input_tokens",
}
_INT32 = 2**31


@dataclass(slots=True)
class MappedSpan:
    """The columns that a span's attributes fill, while they are being filled."""

    type: str = "general"
    buckets: dict[str, dict[str, Any]] = field(default_factory=lambda: {"input": {}, "output": {}, "metadata": {}})
    usage: dict[str, int] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)
    model: str | None = None
    provider: str | None = None
    cost: float | None = None

    def columns(self) -> dict[str, Any]:
        """The columns that were filled, as a REST body would name them."""
        return {
            "type": self.type,
            **{name: values for name, values in self.buckets.items() if values},
            "usage": self.usage or None,
            "tags": self.tags or None,
            "model": self.model,
            "provider": self.provider,
            "total_estimated_cost": self.cost,
        }


def map_span(span: Span, integration: str | None) -> dict[str, Any]:
    """All columns of a span except its ids; 400 for the whole request when a token count cannot be read."""
    mapped = MappedSpan()
    if integration:
        mapped.buckets["metadata"]["integration"] = integration
    for attribute in span.attributes:
        _apply(mapped, attribute.key, attribute.value)
    _finish(mapped, span)
    return {
        "name": span.name,
        "start_time": format_instant(from_unix_nano(span.start_time_unix_nano)),
        "end_time": format_instant(from_unix_nano(span.end_time_unix_nano)),
        "source": "sdk",
        "error_info": _error_info(span),
        **mapped.columns(),
    }


def override(span: Span, attribute: str) -> str | None:
    """The UUIDv7 text of an `opik.*_id` attribute; anything else in it is ignored, as the server does."""
    for item in span.attributes:
        if (
            item.key == attribute
            and item.value.WhichOneof("value") == "string_value"
            and is_v7(item.value.string_value)
        ):
            return str(item.value.string_value)
    return None


def _apply(mapped: MappedSpan, key: str, value: AnyValue) -> None:
    rule = rule_for(key)
    if rule.span_type:
        mapped.type = rule.span_type
    outcome = rule.outcome
    if outcome.value in mapped.buckets:
        _put(mapped.buckets[outcome.value], key, value)
    elif outcome is Outcome.THREAD:
        if "thread_id" not in mapped.buckets["metadata"]:
            _put(mapped.buckets["metadata"], "thread_id", value)
    elif outcome is Outcome.USAGE:
        stripped = key.removeprefix(rule.key) if rule.is_prefix else key
        mapped.usage.update(_usage(key, stripped, value))
    elif outcome is Outcome.TAGS:
        mapped.tags.extend(tag for tag in _tags(value) if tag not in mapped.tags)
    elif outcome is Outcome.MODEL:
        mapped.model = value.string_value
    elif outcome is Outcome.PROVIDER:
        mapped.provider = value.string_value
    elif outcome is Outcome.COST:
        mapped.cost = _cost(value, mapped.cost)


def _put(bucket: dict[str, Any], key: str, value: AnyValue) -> None:
    kind = value.WhichOneof("value")
    if kind == "string_value":
        bucket[key] = _json_or_text(value.string_value)
    elif kind in {"int_value", "double_value", "bool_value"}:
        bucket[key] = getattr(value, kind)
    elif kind == "array_value":
        bucket[key] = [item.string_value for item in value.array_value.values]


def _json_or_text(text: str) -> Any:
    if not text.startswith(('"', "[", "{")):
        return text
    try:
        value = json.loads(text)
        return json.loads(value) if isinstance(value, str) and value.startswith(("[", "{")) else value
    except ValueError:
        return text


def _usage(key: str, stripped: str, value: AnyValue) -> dict[str, int]:
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return {_RENAMED_USAGE.get(stripped, stripped): _int32(value.int_value)}
    if kind != "string_value":
        return {}
    text = value.string_value
    if text.lstrip("-").isdigit():
        return {_RENAMED_USAGE.get(stripped, stripped): _int32(int(text))}
    try:
        found = json.loads(text)
    except ValueError:
        raise Refusal(coded(400, _unreadable_usage(key, text))) from None
    members = found.items() if isinstance(found, dict) else ()
    return {
        _RENAMED_USAGE.get(str(name), str(name)): int(count)
        for name, count in members
        if isinstance(count, (int, float))
    }


def _int32(number: int) -> int:
    """Java's narrowing of a long."""
    return (number + _INT32) % (2 * _INT32) - _INT32


def _unreadable_usage(key: str, text: str) -> str:
    return (
        f"Failed to parse JSON string for usage field {key}: com.fasterxml.jackson.core.JsonParseException: "
        f"Unrecognized token '{text}': was expecting (JSON String, Number (or 'NaN'/'+INF'/'-INF'), Array, Object or "
        "token 'null', 'true' or 'false')\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` "
        f"disabled); line: 1, column: {len(text) + 1}]"
    )


def _tags(value: AnyValue) -> list[str]:
    if value.WhichOneof("value") == "array_value":
        return [item.string_value for item in value.array_value.values if item.WhichOneof("value") == "string_value"]
    listed = _json_or_text(value.string_value)
    if isinstance(listed, list):
        return [tag for tag in listed if isinstance(tag, str)]
    return [tag.strip() for tag in value.string_value.split(",") if tag.strip()]


def _cost(value: AnyValue, before: float | None) -> float | None:
    kind = value.WhichOneof("value")
    try:
        return float(value.string_value if kind == "string_value" else getattr(value, str(kind)))
    except (ValueError, TypeError, AttributeError):
        return before


def _finish(mapped: MappedSpan, span: Span) -> None:
    """What the server does after the last attribute: totals, events, Google's two providers, agents."""
    usage, metadata = mapped.usage, mapped.buckets["metadata"]
    if "total_tokens" not in usage and {"prompt_tokens", "completion_tokens"} <= usage.keys():
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    if span.events:
        metadata["opentelemetry.events"] = [_event(event) for event in span.events]
    if mapped.provider == "google":
        on_vertex = "aiplatform.googleapis.com" in str(metadata.get("server.address", ""))
        mapped.provider = "google_vertexai" if on_vertex else "google_ai"
    if metadata.get("gen_ai.operation.name") == "invoke_agent":
        mapped.type = "general"


def _event(event: Span.Event) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for attribute in event.attributes:
        _put(attributes, attribute.key, attribute.value)
    return {"name": event.name, "time_unix_nano": event.time_unix_nano, "attributes": attributes}


def _error_info(span: Span) -> dict[str, str] | None:
    """The last exception event, or an ERROR status that no event explains."""
    for event in reversed(span.events):
        if event.name == "exception":
            told = {item.key: item.value.string_value for item in event.attributes}
            kind, message = told.get("exception.type") or "Error", told.get("exception.message")
            trace = told.get("exception.stacktrace") or message or kind
            return {"exception_type": kind, "traceback": trace, **({"message": message} if message else {})}
    if span.status.code == Status.STATUS_CODE_ERROR:
        message = span.status.message
        return {"exception_type": "Error", "message": message, "traceback": message or "Error"}
    return None
