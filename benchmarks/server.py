"""Provider and sink: one small HTTP server, in a process of its own, on loopback.

    python benchmarks/server.py            # prints two ports: that of the traffic, that of the control

Bodies that come in are kept as they are and read only when somebody asks (`stats`), so that the server takes as
little of the machine as it can while something is measured. On the port of the traffic:

    POST .../chat/completions       an answer that carries the mark of the question; `stream` in as many chunks as set
    everything else                 taken, and answered as a backend that is well does, or as `mode` says

On the port of the control, which answers whatever the mode:

    /mode?m=ok|hang|503|429|refuse  what the traffic gets from now on; with `&for=SECONDS` until then `ok` again
    /set?chunks=20&content=2000     pieces of a streamed answer; bytes of a conversation
    /reset                          forget what came in
    /stats                          what came in; with `?numbers=1` the whole calls, each with the moment it was there
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import sys
import threading
import time
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_HERE = __file__.rpartition("/")[0]
sys.path[:] = [entry for entry in sys.path if entry != _HERE]
sys.path.insert(0, _HERE.rpartition("/")[0])

from benchmarks.conversation import answer  # noqa: E402  (started by path, from any environment)
from benchmarks.payloads import Arrivals, unescaped  # noqa: E402

_QUESTION = re.compile(rb"<q(\d{9})<")
_USAGE = {"prompt_tokens": 412, "completion_tokens": 96, "total_tokens": 508}
_RETRY_SECONDS = "1"

Request = tuple[str, str, dict[str, str], bytes]


class State:
    """What the server was told, and what it was given."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.chunks = 20
        self.content_bytes = 2000
        self.connections: set[asyncio.Transport] = set()
        self.reset()

    def reset(self) -> None:
        self.unread: list[tuple[str, str, str, bytes, float]] = []
        self.arrivals = Arrivals(self.content_bytes)
        self.refused = 0

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Keep a body for later."""
        encoding, form = headers.get("content-encoding", ""), headers.get("content-type", "")
        self.unread.append((path, encoding, form, body, time.time()))

    def read(self) -> Arrivals:
        """Everything that came in, read."""
        unread, self.unread = self.unread, []
        for entry in unread:
            self.arrivals.take(*entry)
        return self.arrivals


class Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection; bodies with a length or in chunks."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._buffer = bytearray()
        self._enough = 0
        """Bytes without which there is no use in looking."""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._state.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        self._state.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= self._enough and (request := self._next_request()) is not None:
            self._enough = 0
            self.answer(*request)

    def _next_request(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        if headers.get("expect") and not self._enough:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        at = end + 4
        if "chunked" in headers.get("transfer-encoding", ""):
            taken = _unchunked(bytes(self._buffer[at:]))
            if taken is None:
                self._enough = len(self._buffer) + 1
                return None
            body, rest = taken
            self._buffer = bytearray(rest)
        else:
            until = at + int(headers.get("content-length", 0))
            if len(self._buffer) < until:
                self._enough = until
                return None
            body = bytes(self._buffer[at:until])
            del self._buffer[:until]
        method, target, _ = first.split(" ", 2)
        return method, target, headers, body

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        """Answer one request."""
        path = urlsplit(target).path
        if path.endswith("/chat/completions"):
            self._complete(body)
            return
        state = self._state
        if state.mode == "hang":
            state.refused += 1
        elif state.mode in {"503", "429"}:
            state.refused += 1
            self.send(int(state.mode), "{}", {"Retry-After": _RETRY_SECONDS} if state.mode == "429" else {})
        else:
            if method in {"POST", "PUT", "PATCH"}:
                state.take(path, headers, body)
            self._accept(method, path, headers)

    def _accept(self, method: str, path: str, headers: dict[str, str]) -> None:
        if "/v1/" in path and "protobuf" in headers.get("content-type", ""):
            self.send(200, "", {"Content-Type": "application/x-protobuf"})
        elif path.endswith("/v1/info"):  # Logfire asks who its token belongs to
            self.send(200, json.dumps({"project_name": "bench", "project_url": "http://127.0.0.1/bench"}))
        else:
            self.send(204 if path.endswith("/batch") and method != "GET" else 200, "{}")

    def _complete(self, body: bytes) -> None:
        found = _QUESTION.search(unescaped(body))
        text = answer(int(found.group(1)) if found else 0, self._state.content_bytes)
        if json.loads(body).get("stream"):
            self._stream(text)
            return
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        self.send(200, json.dumps({**_envelope("chat.completion"), "choices": [choice], "usage": _USAGE}))

    def _stream(self, text: str) -> None:
        count = min(self._state.chunks, len(text))
        cuts = [len(text) * number // count for number in range(count + 1)]
        pieces = [text[begin:end] for begin, end in itertools.pairwise(cuts)]
        events = [{"index": 0, "delta": {"role": "assistant", "content": piece}} for piece in pieces]
        events.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        lines = [json.dumps({**_envelope("chat.completion.chunk"), "choices": [event]}) for event in events]
        lines.append(json.dumps({**_envelope("chat.completion.chunk"), "choices": [], "usage": _USAGE}))
        payload = "".join(f"data: {line}\n\n" for line in [*lines, "[DONE]"])
        self.send(200, payload, {"Content-Type": "text/event-stream"})

    def send(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        """Write an answer."""
        content = b"" if status == 204 else body.encode()
        lines = {"Content-Type": "application/json", **(headers or {}), "Content-Length": str(len(content))}
        head = "".join(f"{key}: {value}\r\n" for key, value in lines.items())
        self._transport.write(f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + content)


def _envelope(kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-bench", "object": kind, "created": 1_700_000_000, "model": "gpt-4o-mini-2024-07-18"}


def _unchunked(data: bytes) -> tuple[bytes, bytes] | None:
    body: list[bytes] = []
    at = 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        length = int(data[at:end].partition(b";")[0], 16)
        begin = end + 2
        if len(data) < begin + length + 2:
            return None
        body.append(data[begin : begin + length])
        at = begin + length + 2
        if not length:
            return b"".join(body), data[at:]


class Server:
    """Listens for traffic, or does not, as the mode says."""

    def __init__(self) -> None:
        self.state = State()
        self.port = 0
        self._listening: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def open(self) -> None:
        """Listen, on the same port as before if there was one."""
        if self._listening is None:
            loop = asyncio.get_running_loop()
            self._listening = await loop.create_server(
                lambda: Connection(self.state), "127.0.0.1", self.port, backlog=512
            )
            self.port = self._listening.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    async def cut(self) -> None:
        """Break the connections that there are."""
        for connection in list(self.state.connections):
            connection.abort()

    async def set_mode(self, mode: str, seconds: float = 0.0) -> None:
        """`refuse` closes the port; every other mode opens it. Connections that wait for an answer are cut."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        before, self.state.mode = self.state.mode, mode
        if mode != before:
            await self.cut()
        await (self.close() if mode == "refuse" else self.open())
        if seconds:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, lambda: asyncio.ensure_future(self.set_mode("ok")))

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One question on the port of the control."""
        first = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].decode()
        target = urlsplit(first.split(" ")[1])
        content = json.dumps(await self.tell(target.path, dict(parse_qsl(target.query)))).encode()
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()
        writer.close()

    async def tell(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        """Do as told; see the top of this module."""
        state = self.state
        if path == "/mode":
            await self.set_mode(query["m"], float(query.get("for", 0)))
        elif path == "/set":
            state.chunks = int(query.get("chunks", state.chunks))
            state.content_bytes = state.arrivals.content_bytes = int(query.get("content", state.content_bytes))
        elif path == "/reset":
            state.reset()
        elif path == "/stats":
            arrivals = state.read()
            numbers = {"numbers": arrivals.whole} if query.get("numbers") else {}
            return {**arrivals.counts(), "refused": state.refused, **numbers}
        return {}


def end_with_parent() -> None:
    """End when whoever started this is gone, however it went: then standard input is at its end."""
    sys.stdin.read()
    os._exit(0)


async def serve(server: Server) -> None:
    """Serve until killed, or until standard input ends."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    await server.open()
    control = await asyncio.start_server(server.control, "127.0.0.1", 0)
    print(server.port, control.sockets[0].getsockname()[1], flush=True)
    await control.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Server()))
