"""Frames of Amazon's event stream, as Bedrock sends them."""

from __future__ import annotations

import json
import zlib
from struct import pack
from typing import Any

__all__ = ["frame"]


def frame(event: dict[str, Any], **headers: str) -> bytes:
    """One event in a frame; `event_type="chunk"` is its header `:event-type`."""
    head = b"".join(
        pack(">B", len(name)) + name.encode() + b"\x07" + pack(">H", len(value)) + value.encode()
        for name, value in ((f":{name.replace('_', '-')}", value) for name, value in headers.items())
    )
    payload = json.dumps(event).encode()
    prelude = pack(">II", 16 + len(head) + len(payload), len(head))
    made = prelude + pack(">I", zlib.crc32(prelude)) + head + payload
    return made + pack(">I", zlib.crc32(made))
