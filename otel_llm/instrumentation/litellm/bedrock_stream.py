"""Reads a stream of Bedrock's: frames of Amazon's event stream, with an event of Converse's or of a vendor's in each.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html#frames and
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html. A frame is: its length and that
of its headers (4 bytes each), a checksum of those, the headers, the payload, a checksum of all.
"""

from __future__ import annotations

import base64
import json
import re
from struct import unpack_from
from typing import TYPE_CHECKING, Any, Final

from otel_llm.instrumentation.failures import ReportedError
from otel_llm.instrumentation.litellm.anthropic_stream import AnthropicStreamReader
from otel_llm.instrumentation.litellm.bedrock_words import counted
from otel_llm.instrumentation.litellm.reading import get, path, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otel_llm.instrumentation.litellm.request import Request

__all__ = ["BedrockStreamReader", "Frames"]

_MOST: Final = 4_000_000
"""Bytes of one frame that are waited for."""
_PRELUDE: Final = 12
_CHECKSUM: Final = 4
_TEXT: Final = 7
"""Type of a header's value; Bedrock has no others."""
_EVENT: Final = ":event-type"
_EXCEPTION: Final = re.compile(rb":exception-type\x07..(\w+)", re.DOTALL)
_MESSAGE: Final = re.compile(rb'"message"\s*:\s*"([^"]*)"')
_METRICS: Final = "amazon-bedrock-invocationMetrics"
"""What InvokeModel adds to the last event of a vendor's stream."""


class Frames:
    """Takes the pieces of a stream in, and tells what events have become whole: name and JSON object."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: object) -> Iterator[tuple[str, dict[str, Any]]]:
        """The events that end in this piece."""
        if not isinstance(piece, (bytes, bytearray)):
            return
        self._rest += piece
        while len(self._rest) >= _PRELUDE:
            length, headers = unpack_from(">II", self._rest)
            if not _PRELUDE + headers + _CHECKSUM <= length <= _MOST:
                self._rest = b""  # no frame of Amazon's
                return
            if len(self._rest) < length:
                return
            frame, self._rest = self._rest[:length], self._rest[length:]
            told = _headers(frame[_PRELUDE : _PRELUDE + headers])
            yield told.get(_EVENT, ""), _object(frame[_PRELUDE + headers : -_CHECKSUM])


class BedrockStreamReader(AnthropicStreamReader):
    """Puts the events together to what a chat completion would have said: all are told in Anthropic's words."""

    def __init__(self, request: Request, *, cache_hit: bool = False) -> None:
        super().__init__(request, cache_hit=cache_hit)
        self._frames = Frames()
        self.failure_in = _failure_in

    def feed(self, chunk: object) -> bool:
        """Take one piece of the stream in; True when one of its events carries content."""
        carried = [self._feed_frame(name, event) for name, event in self._frames.feed(chunk)]
        return any(carried)

    def _feed_frame(self, name: str, event: dict[str, Any]) -> bool:
        vendors = path(event, "bytes")
        if isinstance(vendors, str):
            return self._feed_vendors(_object(_decoded(vendors)))
        made = _AS_ANTHROPIC.get(name)
        return made is not None and self._feed_message(made(event))

    def _feed_vendors(self, event: dict[str, Any]) -> bool:
        usage = counted(get(event, _METRICS))
        if usage is not None:
            self._count({**usage, **{name: count for name, count in self._counted.items() if count}})
        if text(event.get("type")) is not None:
            return self._feed_message(event)
        for name, inner in event.items():  # Nova's: {"contentBlockDelta": {...}}
            if name in _AS_ANTHROPIC:
                return self._feed_message(_AS_ANTHROPIC[name](inner))
        said = text(event.get("generation")) or text(event.get("outputText"))
        return said is not None and self._feed_message(_delta({"delta": {"text": said}}))


def _begun(_: object) -> dict[str, Any]:
    return {"type": "message_start"}


def _block(event: object) -> dict[str, Any]:
    tool = path(event, "start", "toolUse")
    block = {"type": "tool_use", "id": get(tool, "toolUseId"), "name": get(tool, "name")} if tool else {"type": "text"}
    return {"type": "content_block_start", "index": get(event, "contentBlockIndex"), "content_block": block}


def _delta(event: object) -> dict[str, Any]:
    said = get(event, "delta")
    thought = path(said, "reasoningContent", "text")
    if get(said, "toolUse") is not None:
        piece: dict[str, Any] = {"type": "input_json_delta", "partial_json": path(said, "toolUse", "input")}
    elif isinstance(thought, str):
        piece = {"type": "thinking_delta", "thinking": thought}
    else:
        piece = {"type": "text_delta", "text": get(said, "text")}
    return {"type": "content_block_delta", "index": get(event, "contentBlockIndex"), "delta": piece}


def _stopped(event: object) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": get(event, "stopReason")}}


def _counts(event: object) -> dict[str, Any]:
    return {"type": "message_delta", "usage": counted(get(event, "usage"))}


_AS_ANTHROPIC: Final = {
    "messageStart": _begun,
    "contentBlockStart": _block,
    "contentBlockDelta": _delta,
    "messageStop": _stopped,
    "metadata": _counts,
}
"""Event of Converse's -> what tells it in Anthropic's words."""


def _failure_in(chunk: object) -> ReportedError | None:
    """What a piece of the stream says went wrong: a frame of its own, of which the name stands in the headers."""
    if not isinstance(chunk, (bytes, bytearray)) or b":exception-type" not in chunk:
        return None
    named, said = _EXCEPTION.search(chunk), _MESSAGE.search(chunk)
    return ReportedError(
        named[1].decode("ascii", "replace") if named else "_OTHER",
        said[1].decode("utf-8", "replace") if said else "no reason given",
    )


def _headers(data: bytes) -> Mapping[str, str]:
    made: dict[str, str] = {}
    at = 0
    while at < len(data):
        named = at + 1 + data[at]
        if named + 3 > len(data) or data[named] != _TEXT:
            break
        (length,) = unpack_from(">H", data, named + 1)
        name, value = data[at + 1 : named], data[named + 3 : named + 3 + length]
        made[name.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        at = named + 3 + length
    return made


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded)
    except ValueError:
        return b""


def _object(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
