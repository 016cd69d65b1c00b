"""Attribute values as OTLP `AnyValue`s, strictly; and the likeness that is sent of a value that OTLP cannot carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from otel_llm.values import to_plain

__all__ = ["MAX_DEPTH", "clean_attributes", "clean_text", "put_attributes"]

MAX_DEPTH: Final = 16
"""Levels of lists and maps inside one attribute; protobuf readers stop near 32, and people long before."""
_MAX_TEXT: Final = 64 * 1024 * 1024
"""Bytes that a replaced value may keep. Shortening is the limits stage's work, not this module's."""


def put_attributes(pairs: Any, attributes: Mapping[str, Any] | None) -> None:
    """Append `attributes` to a repeated KeyValue field.

    Raises whatever the runtime or the value raises: `ValueError` or `TypeError` for what OTLP cannot carry (lone
    surrogates, integers beyond 64 bits, unknown types, more than `MAX_DEPTH` levels), anything for foreign mappings.
    """
    if not attributes:
        return
    # `copy` of the SDK's own mapping is one C call; iterating it would be a Python call per key.
    plain = attributes.copy() if hasattr(attributes, "copy") else attributes
    add = pairs.add
    for key, value in plain.items():
        pair = add()
        pair.key = key
        kind = type(value)
        if kind is str:
            pair.value.string_value = value
        elif kind is int:
            pair.value.int_value = value
        else:
            _put_value(pair.value, value, 0)


def clean_attributes(attributes: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[str]]:
    """A copy of `attributes` in which every value can be encoded, and the keys of those that had to be replaced."""
    cleaned: dict[str, Any] = {}
    replaced: list[str] = []
    for key, value in (attributes or {}).items():
        name, key_changed = clean_text(key)
        sendable = _is_sendable(value)
        cleaned[name] = value if sendable else _likeness(value)
        if key_changed or not sendable:
            replaced.append(name)
    return cleaned, replaced


def clean_text(value: object) -> tuple[str, bool]:
    """`value` as text that can be encoded, and whether it had to be changed for that."""
    plain = _likeness(value)
    text = plain if isinstance(plain, str) else f"<{type(value).__name__}>"
    return text, text != value


def _put_value(target: Any, value: Any, depth: int) -> None:
    if value is None:
        target.SetInParent()
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, int):
        target.int_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, bytes):
        target.bytes_value = value
    elif depth >= MAX_DEPTH:
        raise ValueError("nested too deeply")
    elif isinstance(value, Mapping):
        target.kvlist_value.SetInParent()
        for key, entry in value.items():
            pair = target.kvlist_value.values.add()
            pair.key = key if isinstance(key, str) else str(key)
            _put_value(pair.value, entry, depth + 1)
    elif isinstance(value, Sequence) and not isinstance(value, (bytearray, memoryview)):
        target.array_value.SetInParent()
        for entry in value:
            _put_value(target.array_value.values.add(), entry, depth + 1)
    else:
        raise TypeError("no OTLP type fits")


def _is_sendable(value: Any) -> bool:
    try:
        _put_value(AnyValue(), value, 0)
    except Exception:  # noqa: BLE001  (foreign values raise what they like; the answer is no)
        return False
    return True


def _likeness(value: Any) -> Any:
    return to_plain(value, max_depth=MAX_DEPTH, max_bytes=_MAX_TEXT).value
