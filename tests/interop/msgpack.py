"""Reads MessagePack, which ddtrace sends; only what it uses of it. Source: https://github.com/msgpack/msgpack/blob/master/spec.md"""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["unpacked"]

_NUMBERS = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
_SIZES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_SIZES |= {0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I"}


def unpacked(data: bytes) -> Any:
    """The one value that `data` holds."""
    value, at = _value(data, 0)
    assert at == len(data), "more than one value"
    return value


def _value(data: bytes, at: int) -> tuple[Any, int]:
    kind = data[at]
    at += 1
    if kind <= 0x7F:
        return kind, at
    if kind >= 0xE0:
        return kind - 0x100, at
    if kind in _CONSTANTS:
        return _CONSTANTS[kind], at
    if kind in _NUMBERS:
        return _number(_NUMBERS[kind], data, at)
    if kind in _SIZES:
        size, at = _number(_SIZES[kind], data, at)
        return _sized(kind, size, data, at)
    if kind <= 0x8F:
        return _sized(0xDE, kind & 0x0F, data, at)
    if kind <= 0x9F:
        return _sized(0xDC, kind & 0x0F, data, at)
    return _sized(0xD9, kind & 0x1F, data, at)


def _sized(kind: int, size: int, data: bytes, at: int) -> tuple[Any, int]:
    if kind <= 0xC6:
        return data[at : at + size], at + size
    if kind <= 0xDB:
        return data[at : at + size].decode("utf-8", "replace"), at + size
    if kind <= 0xDD:
        values = []
        for _ in range(size):
            value, at = _value(data, at)
            values.append(value)
        return values, at
    mapping = {}
    for _ in range(size):
        key, at = _value(data, at)
        mapping[key], at = _value(data, at)
    return mapping, at


def _number(form: str, data: bytes, at: int) -> tuple[Any, int]:
    return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
