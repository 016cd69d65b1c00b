"""Provider and sink: one small HTTP server, in a process of its own, on loopback.

    python benchmarks/server.py            # prints its port

Bodies that come in are kept as they are and read only when somebody asks (`/_bench/stats`), so that the server takes
as little of the machine as it can while something is measured. Besides:

    POST .../chat/completions       an answer that carries the mark of the question; `stream` in as many chunks as set
    /_bench/mode?m=ok|hang|503|429  what every other path answers from now on
    /_bench/set?chunks=20           pieces of a streamed answer
    /_bench/reset                   forget what came in
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import sys
import time
import zlib
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_HERE = __file__.rpartition("/")[0]
sys.path[:] = [entry for entry in sys.path if entry != _HERE]
sys.path.insert(0, _HERE.rpartition("/")[0])

from benchmarks.conversation import MARKS, answer  # noqa: E402  (started by path, from any environment)

_QUESTION = re.compile(rb"<q(\d{9})<")
_ESCAPED = {rb"\u003c": b"<", rb"\u003e": b">", b"&lt;": b"<", b"&gt;": b">"}


class State:
    """What the server was told, and what it was given."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.chunks = 20
        self.content_bytes = 2000
        self.reset()

    def reset(self) -> None:
        self.received: list[tuple[str, str, bytes, float]] = []
        self.wire = 0


class Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection; bodies with a length or in chunks."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._buffer = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (request := self._next_request()) is not None:
            self._answer(*request)

    def _next_request(self) -> tuple[str, str, dict[str, str], bytes] | None:
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        if headers.get("expect"):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in headers.get("transfer-encoding", ""):
            taken = _unchunked(rest)
            if taken is None:
                return None
            body, self._buffer = taken
        else:
            length = int(headers.get("content-length", 0))
            if len(rest) < length:
                return None
            body, self._buffer = rest[:length], rest[length:]
        method, target, _ = first.split(" ", 2)
        return method, target, headers, body

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        path = urlsplit(target).path
        if path.startswith("/_bench/"):
            self._send(200, json.dumps(_control(self._state, path, dict(parse_qsl(urlsplit(target).query)))))
        elif path.endswith("/chat/completions"):
            self._complete(body)
        else:
            self._take(method, path, headers, body)

    def _take(self, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        state = self._state
        if state.mode == "hang":
            return
        if state.mode in {"503", "429"}:
            self._send(int(state.mode), "{}", {"Retry-After": "1"} if state.mode == "429" else {})
            return
        if method in {"POST", "PUT", "PATCH"}:
            state.received.append((path, headers.get("content-encoding", ""), body, time.time()))
            state.wire += len(body)
        if path.endswith("/v1/traces"):
            self._send(200, "", {"Content-Type": "application/x-protobuf"})
        else:
            self._send(204 if path.endswith("/batch") and method != "GET" else 200, "{}")

    def _complete(self, body: bytes) -> None:
        found = _QUESTION.search(_plain(body))
        number = int(found.group(1)) if found else 0
        text = answer(number, self._state.content_bytes)
        asked = json.loads(body)
        if asked.get("stream"):
            self._stream(text)
            return
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        self._send(200, json.dumps({**_envelope("chat.completion"), "choices": [choice], "usage": _USAGE}))

    def _stream(self, text: str) -> None:
        size = max(1, -(-len(text) // self._state.chunks))
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        events = [{"index": 0, "delta": {"role": "assistant", "content": piece}} for piece in pieces]
        events.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        lines = [json.dumps({**_envelope("chat.completion.chunk"), "choices": [event]}) for event in events]
        lines.append(json.dumps({**_envelope("chat.completion.chunk"), "choices": [], "usage": _USAGE}))
        payload = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
        self._send(200, payload, {"Content-Type": "text/event-stream"})

    def _send(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        content = b"" if status == 204 else body.encode()
        lines = {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(content))}
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        self._transport.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + content)


_USAGE = {"prompt_tokens": 412, "completion_tokens": 96, "total_tokens": 508}


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-bench", "object": kind, "created": 1_700_000_000, "model": "gpt-4o-mini-2024-07-18"}


def _unchunked(data: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        size, separator, data = data.partition(b"\r\n")
        if not separator:
            return None
        length = int(size, 16)
        if len(data) < length + 2:
            return None
        body += data[:length]
        data = data[length + 2 :]
        if not length:
            return body, data


def _control(state: State, path: str, query: dict[str, str]) -> dict[str, Any]:
    if path.endswith("/mode"):
        state.mode = query["m"]
    elif path.endswith("/set"):
        state.chunks = int(query.get("chunks", state.chunks))
        state.content_bytes = int(query.get("content", state.content_bytes))
    elif path.endswith("/reset"):
        state.reset()
    elif path.endswith("/stats"):
        return _stats(state)
    return {}


def _stats(state: State) -> dict[str, Any]:
    """Spans that arrived, calls whose question and answer arrived whole, bytes before and on the wire."""
    seen: dict[str, set[bytes]] = {name: set() for name in MARKS}
    spans = raw = 0
    for path, encoding, body, _ in state.received:
        plain = _unpacked(encoding, body)
        raw += len(plain)
        spans += _spans_in(path, plain)
        text = _plain(plain)
        for name, mark in MARKS.items():
            seen[name].update(mark.findall(text))
    whole = set.intersection(*seen.values()) if seen else set()
    last = state.received[-1][3] if state.received else None
    return {
        "requests": len(state.received),
        "spans": spans,
        "whole": len(whole),
        "raw": raw,
        "wire": state.wire,
        "last": last,
    }


def _plain(body: bytes) -> bytes:
    """`body` with the marks' brackets as they were, however its JSON escapes them."""
    for escaped, character in _ESCAPED.items():
        if escaped in body:
            body = body.replace(escaped, character)
    return body


def _unpacked(encoding: str, body: bytes) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    return zlib.decompress(body) if encoding == "deflate" else body


def _spans_in(path: str, body: bytes) -> int:
    if path.endswith("/spans/batch"):
        return len(json.loads(body).get("spans", ()))
    if path.endswith("/traces") or "otel" in path:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

        try:
            request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        except Exception:  # noqa: BLE001  (not OTLP: nothing to count)
            return 0
        return sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
    return 0


async def serve() -> None:
    """Serve until killed."""
    state = State()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(state), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
