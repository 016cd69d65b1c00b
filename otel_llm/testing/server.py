"""A small HTTP/1.1 server on loopback, in one thread of its own, that can also misbehave on purpose.

One event loop serves every connection, so a hundred slow streams cost one thread, and stopping the server
cancels whatever hangs in it. Only what API clients send is understood: no TLS, no upgrades, no trailers.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["HttpRequest", "LoopbackServer", "ResponseWriter"]

_log = logging.getLogger(__name__)

_MAX_HEADER_BYTES = 64 * 1024
_MAX_BODY_BYTES = 64 * 1024 * 1024
_START_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request as it came over the wire; header names are in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Whether the client wants to use the connection again."""
        return self.headers.get("connection", "").lower() != "close"


class ResponseWriter:
    """Writes one response, whole or in pieces, or breaks the connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.broken = False
        """True once the connection cannot carry another request."""

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Write a whole response; `Content-Length` is added."""
        self._head(status, {**headers, "Content-Length": str(len(body))})
        self._writer.write(body)
        await self._writer.drain()

    async def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Write the head of a response whose body comes in pieces."""
        self._head(status, {**headers, "Transfer-Encoding": "chunked"})
        await self._writer.drain()

    async def piece(self, data: bytes) -> None:
        """Write one piece of a body that was begun; raises ConnectionError once the client is gone."""
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await self._writer.drain()

    async def end(self) -> None:
        """Finish a body that was begun."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    def reset(self) -> None:
        """Drop the connection with a TCP reset."""
        self.broken = True
        sock = self._writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def cut(self) -> None:
        """Close the connection in the middle of a body: the client sees it end too early."""
        self.broken = True
        self._writer.close()

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Status"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        self._writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


class LoopbackServer:
    """Serves `handle` on 127.0.0.1, on a port that the system chooses, from `start` to `stop`."""

    def __init__(self, handle: Callable[[HttpRequest, ResponseWriter], Awaitable[None]]) -> None:
        self._handle = handle
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.port = 0

    def start(self) -> None:
        """Open the port and begin to serve; returns when requests can be made. A second call does nothing."""
        if self._thread is not None:
            return
        self._stopping = False
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="otel-llm-fake-provider", daemon=True)
        self._thread.start()
        try:
            opened = asyncio.run_coroutine_threadsafe(
                asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_MAX_HEADER_BYTES), loop
            )
            self._server = opened.result(_START_TIMEOUT)
        except BaseException:
            self.stop()
            raise
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Close the port and every connection, and end the thread. A second call does nothing."""
        if self._thread is None or self._loop is None:
            return
        loop, thread = self._loop, self._thread
        self._thread = self._loop = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()

    def _serve(self) -> None:
        loop = self._loop
        assert loop is not None
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(self._close_everything())
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    async def _close_everything(self) -> None:
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # An own task, not a coroutine callback: asyncio would log its cancellation as an error.
        if self._stopping:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._converse(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._answer_requests(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            _log.debug("a client went away: %r", error)  # which is its right
        finally:
            writer.close()

    async def _answer_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            response = ResponseWriter(writer)
            try:
                request = await _read_request(reader)
            except (ValueError, asyncio.LimitOverrunError) as error:
                await response.send(400, {"Connection": "close"}, f"not a request: {error}".encode())
                return
            if request is None:
                return
            await self._handle(request, response)
            if response.broken or not request.keeps_alive:
                return


async def _read_request(reader: asyncio.StreamReader) -> HttpRequest | None:
    """The next request of a connection; None when the client closed it. Raises ValueError on nonsense."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _version = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    parts = urlsplit(target)
    return HttpRequest(method, parts.path, parts.query, headers, await _read_body(reader, headers))


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunked(reader)
    length = int(headers.get("content-length", "0"))
    if not 0 <= length <= _MAX_BODY_BYTES:
        raise ValueError(f"a body of {length} bytes is not taken")
    return await reader.readexactly(length)


async def _read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if len(body) + size > _MAX_BODY_BYTES:
            raise ValueError(f"a body over {_MAX_BODY_BYTES} bytes is not taken")
        body += await reader.readexactly(size)
        await reader.readexactly(2)
        if size == 0:
            return bytes(body)
