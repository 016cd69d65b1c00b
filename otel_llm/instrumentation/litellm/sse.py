"""Server-sent events out of the bytes of a stream, which litellm hands on in pieces that are cut anywhere."""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["ServerSentEvents"]

_MOST: Final = 4_000_000
"""Bytes of one line that are waited for."""


class ServerSentEvents:
    """Takes the pieces of a stream in, and tells what JSON objects have become whole: those with `word` in them."""

    def __init__(self, word: bytes = b"") -> None:
        self._word = word
        self._rest = b""

    def feed(self, piece: object) -> list[dict[str, Any]]:
        """The objects that end in this piece. Whatever is none, or no bytes, tells nothing."""
        if isinstance(piece, str):
            piece = piece.encode("utf-8", "replace")
        if not isinstance(piece, (bytes, bytearray)):
            return []
        *lines, rest = (self._rest + piece).split(b"\n")
        self._rest = rest if len(rest) <= _MOST else b""
        found = (_decoded(line) for line in lines if line.startswith(b"data:") and self._word in line)
        return [event for event in found if event is not None]


def _decoded(line: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(line[len(b"data:") :])
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
