"""UUIDv7 as Opik makes, checks and derives them (shared/reference/opik.md sections 1.5 and 3.3)."""

from __future__ import annotations

import hashlib
import os
import time
import uuid

__all__ = ["InvalidId", "check_id", "from_otel", "is_v7", "milliseconds_of", "new_id"]


class InvalidId(Exception):
    """An id that Opik refuses; `details` is its own text for the client."""

    def __init__(self, details: str) -> None:
        super().__init__(details)
        self.details = details


def new_id() -> str:
    """A fresh UUIDv7 of this moment."""
    return _assemble(time.time_ns() // 1_000_000, os.urandom(10))


def from_otel(raw: bytes, milliseconds: int) -> str:
    """The UUIDv7 that Opik's OTLP route derives from an OTel id and a reference time."""
    return _assemble(milliseconds, hashlib.sha256(raw).digest()[:10])


def _assemble(milliseconds: int, ten_bytes: bytes) -> str:
    raw = bytearray(milliseconds.to_bytes(6, "big") + ten_bytes)
    raw[6] = 0x70 | (raw[6] & 0x0F)
    raw[8] = 0x80 | (raw[8] & 0x3F)
    return str(uuid.UUID(bytes=bytes(raw)))


def is_v7(text: str) -> bool:
    """Whether `text` is a UUID of version 7."""
    try:
        return uuid.UUID(text).version == 7
    except ValueError:
        return False


def milliseconds_of(text: str) -> int:
    """The Unix milliseconds that a UUIDv7 carries."""
    return int.from_bytes(uuid.UUID(text).bytes[:6], "big")


def check_id(entity: str, text: str, *, window_hours: float | None, now_ms: int) -> None:
    """Raise `InvalidId` unless `text` is version 7 and, where a window is set, close enough to now.

    `entity` is `Trace` or `Span`, as the message names it. Opik ships with the window switched off.
    """
    if not is_v7(text):
        raise InvalidId(f"{entity} id must be a version 7 UUID")
    if window_hours is None:
        return
    age = now_ms - milliseconds_of(text)
    if abs(age) <= window_hours * 3_600_000:
        return
    reason = "too_old" if age > 0 else "too_far_future"
    raise InvalidId(
        f"{entity} id with timestamp '{milliseconds_of(text)}' must be in the allowed ingestion window of "
        f"'PT{window_hours:g}H' around now, reason '{reason}'"
    )
