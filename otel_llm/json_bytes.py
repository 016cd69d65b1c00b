"""Plain values as JSON in bytes, as fast as this Python can: with orjson where it is there, else with `json`.

Plain means str, int, float, bool, None, lists, tuples, and dicts with text keys. Both ways write the same values: what
orjson refuses (lone surrogates, integers beyond 64 bits) is written by `json`. One thing is left to the caller: NaN and
the infinities must not be among the values, because orjson writes `null` for them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["UNREADABLE", "read", "write", "write_strictly"]

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))


def _write_slowly(value: Any, errors: str = "strict") -> bytes:
    return _ENCODER.encode(value).encode("utf-8", errors)


def _read_slowly(text: str | bytes) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _refuse(constant: str) -> Any:
    raise json.JSONDecodeError("JSON has no " + constant, constant, 0)


read: Callable[[str | bytes], Any]
"""What JSON text says. Raises `UNREADABLE` (a ValueError) for anything that is not strict JSON."""
UNREADABLE: type[ValueError]
_write: Callable[[Any], bytes]

try:
    import orjson
except ImportError:  # PyPy, or a platform without a wheel
    read, UNREADABLE, _write = _read_slowly, json.JSONDecodeError, _write_slowly
    _REFUSED: type[Exception] = ValueError
else:
    read, UNREADABLE, _write = orjson.loads, orjson.JSONDecodeError, orjson.dumps
    _REFUSED = orjson.JSONEncodeError


def write_strictly(value: Any) -> bytes | None:
    """`value` as compact JSON in UTF-8, characters beyond ASCII as they are; None where one cannot be written so."""
    try:
        return _write(value)
    except _REFUSED:
        return None


def write(value: Any) -> bytes:
    """The same whatever the text: half characters are escaped."""
    try:
        return _write(value)
    except _REFUSED:
        # Text that UTF-8 cannot hold stands inside a string only, where Python's escape is JSON's.
        return _write_slowly(value, "backslashreplace")
