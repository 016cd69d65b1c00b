"""OTLP values as plain JSON values, and timestamps as Opik reads them."""

from __future__ import annotations

import base64
import json
import math
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

__all__ = [
    "Attributes",
    "attributes_of",
    "compact_json",
    "parsed",
    "second",
    "text_of",
    "timestamp",
    "timestamp_us",
    "value_of",
]

Attributes: TypeAlias = "dict[str, Any]"

_DEEPEST = 100
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (UTC by construction; a naive one prints without an offset)
_LAST_MICROSECOND = (1 << 63) // 1000
"""Opik stores signed 64-bit nanoseconds; later moments are sent as the last one that fits."""


def attributes_of(pairs: Iterable[KeyValue]) -> Attributes:
    """OTLP key-value pairs as a dict; of a repeated key the last one counts."""
    # Most values are text that is not empty; asking for that first saves half the time.
    return {pair.key: (value := pair.value).string_value or value_of(value) for pair in pairs}


def value_of(value: AnyValue) -> Any:
    """An OTLP value as JSON: bytes become base64 text, NaN and infinities their names, an empty value None."""
    kind = value.WhichOneof("value")
    if kind == "int_value":
        return value.int_value
    if kind is None:
        return None
    if kind == "array_value":
        return [value_of(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes_of(value.kvlist_value.values)
    if kind == "bytes_value":
        return base64.b64encode(value.bytes_value).decode("ascii")
    plain = getattr(value, kind)
    if kind == "double_value" and not math.isfinite(plain):
        return "NaN" if math.isnan(plain) else "Infinity" if plain > 0 else "-Infinity"
    return plain


def parsed(value: Any) -> Any:
    """`value`, or what it says if it is the JSON text of an object or an array; never raises.

    Text is tried only if it starts with `{` or `[`, so that an answer such as `42` stays text, and it stays text if it
    is nested more than a hundred levels deep: servers refuse that, and with it the whole request.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "["):
        return value
    try:
        read = _read(value)
        if "\\ud" in value or "\\uD" in value:
            read = _read(_whole_characters(json.dumps(read, ensure_ascii=False)))
    except (ValueError, RecursionError):
        return value
    deep = value.count("[") + value.count("{") > _DEEPEST and _is_deeper(read, _DEEPEST)
    return value if deep else read


def _read(text: str) -> Any:
    return json.loads(text, parse_constant=str, parse_float=_finite)


def _whole_characters(text: str) -> str:
    """`text` with half characters (lone surrogates, which JSON's escapes can make) replaced; no UTF-8 can hold them."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether objects and arrays stand in each other more than so many levels deep."""
    level = [value]
    while level and levels:
        levels -= 1
        inside = (child for one in level for child in (one.values() if isinstance(one, dict) else one))
        level = [child for child in inside if isinstance(child, (dict, list))]
    return bool(level)


def _finite(text: str) -> float | str:
    """A number of JSON text; one that is too large for a double becomes a word, because JSON has no infinity."""
    number = float(text)
    if math.isfinite(number):
        return number
    return "Infinity" if number > 0 else "-Infinity"


def compact_json(value: Any) -> str:
    """`value` as JSON without spaces, keys sorted, so that every implementation writes the same text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def text_of(value: Any) -> str:
    """`value` itself if it is text, else its JSON; an absent one is empty."""
    if value is None:
        return ""
    return value if isinstance(value, str) else compact_json(value)


def timestamp(unix_ns: int) -> str:
    """Unix nanoseconds as ISO 8601 in UTC, cut to microseconds (what Opik keeps and shows)."""
    return timestamp_us(unix_ns // 1000)


def timestamp_us(unix_us: int) -> str:
    """Unix microseconds as ISO 8601 in UTC, within what Opik can store."""
    if not 0 <= unix_us <= _LAST_MICROSECOND:
        unix_us = max(0, min(unix_us, _LAST_MICROSECOND))
    seconds, microseconds = divmod(unix_us, 1_000_000)
    return f"{second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=256)
def second(unix_seconds: int) -> str:
    """A whole second as ISO 8601. The rows of a batch share few of them."""
    return (_EPOCH + timedelta(seconds=unix_seconds)).isoformat()
