"""Points in time as Opik reads and writes them: ISO-8601 text outside, whole nanoseconds inside."""

from __future__ import annotations

import re
import time
from datetime import datetime

__all__ = ["format_instant", "from_unix_nano", "now", "parse_instant"]

_ISO = re.compile(r"(\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)")
_SECOND = 1_000_000_000
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def parse_instant(value: str | float) -> int:
    """Nanoseconds since 1970 of ISO text with a zone, or of a number of seconds; ValueError for anything else."""
    if isinstance(value, (int, float)):
        return int(value * _SECOND)
    found = _ISO.fullmatch(value)
    if found is None:
        raise ValueError(f"not an instant: {value!r}")
    whole, fraction, zone = found.groups()
    moment = datetime.fromisoformat(whole.upper() + ("+00:00" if zone in "Zz" else zone))
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * _SECOND + int((fraction or "0").ljust(9, "0"))


def format_instant(nanoseconds: int) -> str:
    """ISO text in UTC with no more of 0, 3, 6 or 9 decimals than needed, as Java's `Instant` prints it."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    digits = f"{rest:09d}"
    for keep in (0, 3, 6, 9):
        if int(digits[keep:] or 0) == 0:
            return f"{text}.{digits[:keep]}Z" if keep else f"{text}Z"
    raise AssertionError("nine digits always suffice")


def from_unix_nano(nanoseconds: int) -> int:
    """An OTLP time cut to whole milliseconds, as Opik's OTLP route keeps it."""
    return nanoseconds // 1_000_000 * 1_000_000


def now() -> int:
    """The server's clock: nanoseconds since 1970."""
    return time.time_ns()
