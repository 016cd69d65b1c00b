"""The bytes of an ordinary span, written by hand: what protobuf's runtime would write, in a fifth of the time.

The runtime makes an object for every attribute and every value, then writes them. Most spans hold nothing but text,
numbers and flat lists, of which most texts (names of models, tenants, operations) come again and again. Here their
bytes are put together directly, and what comes again is looked up. Anything else is left to the runtime: `span_bytes`
answers None, and the caller goes the long way. A test holds both to the same bytes.

Source: opentelemetry-proto 1.x (trace.proto, common.proto); https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.trace import SpanKind, StatusCode

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["field", "span_bytes", "varint"]

_KINDS: Final = {
    SpanKind.INTERNAL: b"\x30\x01",
    SpanKind.SERVER: b"\x30\x02",
    SpanKind.CLIENT: b"\x30\x03",
    SpanKind.PRODUCER: b"\x30\x04",
    SpanKind.CONSUMER: b"\x30\x05",
}
_TIMES: Final = Struct("<BQBQ").pack  # start (field 7) and end (field 8), both fixed64
_DOUBLE: Final = Struct("<d").pack
_FLAGS_LOCAL: Final = b"\x85\x01\x00\x01\x00\x00"
_FLAGS_REMOTE: Final = b"\x85\x01\x00\x03\x00\x00"
_UNSET: Final = b"\x7a\x00"
_STATUS: Final = {StatusCode.OK: b"\x18\x01", StatusCode.ERROR: b"\x18\x02"}
_UINT64: Final = 1 << 64

_SHORT: Final = 48
"""Characters up to which a text may be one that comes again."""
_MOST_KNOWN: Final = 4096
_texts: dict[tuple[str, Any], bytes] = {}
"""Attribute name and short text (or list of one such text) -> the whole attribute."""
_heads: dict[str, _Head] = {}
_varints: dict[int, bytes] = {}
"""Those of one and two bytes that were needed: lengths and counts come again."""
_names: dict[str, bytes] = {}


class _Head(NamedTuple):
    """What is always the same of the attributes of one name: everything up to a number, or up to a value's length."""

    name: bytes
    double: bytes
    int_of_1: bytes
    """Up to an integer of one byte."""
    int_of_2: bytes
    true: bytes
    false: bytes


class _UnusualError(Exception):
    """The runtime has to write this."""


def span_bytes(span: ReadableSpan) -> bytes | None:
    """The serialised OTLP `Span`; None where the span has something that is not written here.

    Raises what reading a foreign value raises, `UnicodeEncodeError` for lone surrogates among it.
    """
    context, parent = span.context, span.parent
    start, end = span.start_time, span.end_time
    if not (context is not None and start and end and start > 0 and end > 0):
        return None
    if span.events or span.links or span.dropped_attributes or span.dropped_events or span.dropped_links:
        return None
    parts = [b"\x0a\x10", context.trace_id.to_bytes(16, "big"), b"\x12\x08", context.span_id.to_bytes(8, "big")]
    if context.trace_state:
        parts.append(field(b"\x1a", context.trace_state.to_header().encode()))
    if parent is not None:
        parts += (b"\x22\x08", parent.span_id.to_bytes(8, "big"))
    parts += (_name(span.name), _KINDS[span.kind], _TIMES(0x39, start, 0x41, end))
    attributes = span.attributes
    if attributes:
        try:
            # `copy` of the SDK's own mapping is one C call; iterating it would be a Python call per key.
            _put_attributes(parts, attributes.copy() if hasattr(attributes, "copy") else dict(attributes))
        except _UnusualError:
            return None
    status = span.status
    if status.status_code is StatusCode.UNSET and not status.description:
        parts.append(_UNSET)
    else:
        described = field(b"\x12", status.description.encode()) if status.description else b""
        parts.append(field(b"\x7a", described + _STATUS.get(status.status_code, b"")))
    parts.append(_FLAGS_REMOTE if parent is not None and parent.is_remote else _FLAGS_LOCAL)
    return b"".join(parts)


def field(tag: bytes, payload: bytes) -> bytes:
    """One length-delimited protobuf field."""
    return tag + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    """A non-negative integer as protobuf writes it."""
    known = _varints.get(value)
    return _note_varint(value) if known is None else known


def _note_varint(value: int) -> bytes:
    written = bytearray()
    left = value
    while left > 0x7F:
        written.append(left & 0x7F | 0x80)
        left >>= 7
    written.append(left)
    made = bytes(written)
    if value < 0x4000:
        _varints[value] = made
    return made


def _put_attributes(parts: list[bytes], attributes: dict[str, Any]) -> None:
    put = parts.append
    for key, value in attributes.items():
        kind = type(value)
        if kind is str:
            if len(value) <= _SHORT:
                known = _texts.get((key, value))
                put(known if known is not None else _note_text(key, value))
                continue
            raw = value.encode()
            name, length = (_heads.get(key) or _note_head(key)).name, varint(len(raw))
            size = len(raw) + len(length) + 1
            length_of_value = varint(size)
            length_of_all = varint(len(name) + len(length_of_value) + size + 1)
            parts += (b"\x4a", length_of_all, name, b"\x12", length_of_value, b"\x0a", length, raw)
            continue
        head = _heads.get(key) or _note_head(key)
        if kind is int and 0 <= value < 0x4000:
            parts += (head.int_of_1 if value < 0x80 else head.int_of_2, varint(value))
        elif kind is float and value - value == 0.0:
            parts += (head.double, _DOUBLE(value))
        elif kind is bool:
            put(head.true if value else head.false)
        elif (kind is tuple or kind is list) and len(value) == 1 and type(value[0]) is str and len(value[0]) <= _SHORT:
            known = _texts.get((key, tuple(value)))
            put(known if known is not None else _note_text(key, tuple(value)))
        else:
            put(_attribute(head.name, _value(value, kind)))


def _attribute(name: bytes, value: bytes) -> bytes:
    """A `KeyValue` in field 9 of the span."""
    pair = name + b"\x12" + varint(len(value)) + value
    return b"\x4a" + varint(len(pair)) + pair


def _value(value: Any, kind: type) -> bytes:
    """An `AnyValue`."""
    if kind is int:
        if -(_UINT64 >> 1) <= value < _UINT64 >> 1:
            return b"\x18" + varint(value if value >= 0 else value + _UINT64)
    elif kind is float:
        if value - value == 0.0:  # no NaN, no infinity: JSON has neither, and some backend's rows are JSON
            return b"\x21" + _DOUBLE(value)
    elif kind is bool:
        return b"\x10\x01" if value else b"\x10\x00"
    elif kind is str:
        return field(b"\x0a", value.encode())
    elif kind is tuple or kind is list:
        return field(b"\x2a", b"".join([field(b"\x0a", _scalar(entry)) for entry in value]))
    raise _UnusualError


def _scalar(value: Any) -> bytes:
    kind = type(value)
    if kind is tuple or kind is list:  # lists in lists, however deep: not here
        raise _UnusualError
    return _value(value, kind)


def _note_text(key: str, value: Any) -> bytes:
    made = _attribute((_heads.get(key) or _note_head(key)).name, _value(value, type(value)))
    if len(_texts) >= _MOST_KNOWN:
        _texts.clear()
    _texts[key, value] = made
    return made


def _note_head(key: str) -> _Head:
    if type(key) is not str:
        raise _UnusualError
    name = field(b"\x0a", key.encode()) if key else b""
    made = _Head(
        name,
        double=_attribute(name, b"\x21" + _DOUBLE(0.0))[:-8],
        int_of_1=_attribute(name, b"\x18\x00")[:-1],
        int_of_2=_attribute(name, b"\x18\x00\x00")[:-2],
        true=_attribute(name, b"\x10\x01"),
        false=_attribute(name, b"\x10\x00"),
    )
    if len(_heads) >= _MOST_KNOWN:
        _heads.clear()
    _heads[key] = made
    return made


def _name(name: str) -> bytes:
    known = _names.get(name)
    if known is None:
        known = field(b"\x2a", name.encode()) if name else b""
        if len(_names) >= _MOST_KNOWN:
            _names.clear()
        if len(name) <= 256:
            _names[name] = known
    return known
