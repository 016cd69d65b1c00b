"""What stands on the wire, made into JSON: server-sent events, JSON lines, Amazon's event stream.

The oracle's own reader, written from the formats' public descriptions; nothing of litellm or otel_llm is used.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.recordings.recordings import Response

__all__ = ["amazon_events", "event_stream_data", "events_of"]

Json = dict[str, Any]


def events_of(response: Response) -> list[Json]:
    """The JSON values of an answer in order: one for a plain body, one per event for a stream."""
    if response.content_type.startswith("text/event-stream"):
        return list(event_stream_data(response.body.decode()))
    if response.content_type.startswith("application/x-ndjson"):
        return [json.loads(line) for line in response.body.splitlines() if line.strip()]
    if response.content_type.startswith("application/vnd.amazon.eventstream"):
        return list(amazon_events(response.body))
    return [json.loads(response.body)]


def event_stream_data(text: str) -> Iterator[Json]:
    """The `data` of each server-sent event (WHATWG HTML, section 9.2) that is JSON; `[DONE]` and comments are not."""
    for event in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line[5:].removeprefix(" ") for line in event.split("\n") if line.startswith("data:")]
        data = "\n".join(lines)
        if data and data != "[DONE]":
            yield json.loads(data)


def amazon_events(body: bytes) -> Iterator[Json]:
    """The messages of `application/vnd.amazon.eventstream`, each as `{event type: payload}`.

    A message is: total length, headers' length, CRC of both (4 bytes each), headers, payload, CRC of all before.
    InvokeModel wraps its events in base64 under `bytes`; these come unwrapped and as they are.
    """
    position = 0
    while position < len(body):
        total, headers_length, prelude_sum = struct.unpack_from(">III", body, position)
        message = body[position : position + total]
        assert zlib.crc32(message[:8]) == prelude_sum, "broken prelude"
        assert zlib.crc32(message[:-4]) == struct.unpack(">I", message[-4:])[0], "broken message"
        headers = _amazon_headers(message[12 : 12 + headers_length])
        payload = json.loads(message[12 + headers_length : -4])
        if "bytes" in payload:
            yield json.loads(base64.b64decode(payload["bytes"]))
        else:
            yield {headers[":event-type"]: payload}
        position += total


def _amazon_headers(raw: bytes) -> dict[str, str]:
    """Headers of one message; all are strings (type 7) in what Bedrock sends."""
    headers, position = {}, 0
    while position < len(raw):
        name_length = raw[position]
        name = raw[position + 1 : position + 1 + name_length].decode()
        position += 1 + name_length
        kind, length = struct.unpack_from(">BH", raw, position)
        assert kind == 7, f"header {name} is of type {kind}"
        headers[name] = raw[position + 3 : position + 3 + length].decode()
        position += 3 + length
    return headers
