"""A small real HTTP/1.1 server on loopback that records what it is sent and misbehaves as told.

    with HttpServer() as server:
        server.script(Reply(503), Reply(429, headers={"Retry-After": "1"}))   # then the default, 200
        requests.post(server.url + "/v1/traces", data=b"...")
        assert server.requests[0].body == b"..."

Each connection has a thread of its own, so a reply that hangs holds up nobody else. Leaving the `with` block wakes
every hanging reply and closes every connection. A server may also compute its answers: pass `answer=`.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
import time
import zlib
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import parse_qs, urlsplit

from tests.fakes.ports import free_port

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from email.message import Message
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["HttpServer", "Reply", "Request", "closed_port"]

_LINGER_ZERO = struct.pack("ii", 1, 0)
"""With this option `close` sends RST instead of FIN."""


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    target: str
    """Path and query as sent."""
    headers: Message
    """Looked up without regard to case: `request.headers["content-type"]`."""
    body: bytes
    """As sent: still compressed if the client compressed it."""
    connection: int
    """Number of the TCP connection, from 0 in order of arrival; equal numbers mean a reused connection."""
    at: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> str:
        """The target without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """The query, decoded."""
        return parse_qs(urlsplit(self.target).query)

    @property
    def content(self) -> bytes:
        """The body with its Content-Encoding (gzip, deflate) undone."""
        encoding = str(self.headers.get("content-encoding", "")).lower()
        if encoding == "gzip":
            return gzip.decompress(self.body)
        return zlib.decompress(self.body) if encoding == "deflate" else self.body

    def json(self) -> Any:
        """The content, read as JSON."""
        return json.loads(self.content)


@dataclass(frozen=True)
class Reply:
    """What the server answers, and how badly; the default is an empty 200.

    A `body` of bytes is sent with its Content-Length, an iterable of bytes as chunks (a stream, one flush per item).
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Iterable[bytes] = b""
    delay: float = 0.0
    """Seconds to wait before the status line."""
    hang: bool = False
    """Read the request, then answer nothing until the server is stopped."""
    bytes_per_second: float | None = None
    """Send the body this slowly, byte by byte."""
    reset: bool = False
    """Answer with a TCP reset (after `cut_after` bytes of the body, if that is given)."""
    close: bool = False
    """Close the connection politely without a word (after `cut_after` bytes of the body, if that is given)."""
    cut_after: int | None = None
    """With `reset` or `close`: send the head and this many bytes of the body first."""

    @staticmethod
    def json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
        """A JSON reply."""
        return Reply(status, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())


class _EndOfConnection(Exception):
    """The handler has dealt with the socket itself; nothing more is read from it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily, owner: HttpServer) -> None:
        self.address_family = family
        self.owner = owner
        super().__init__(address, _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.owner.tls is not None:
            # The handshake belongs to the connection's own thread: a client that refuses our certificate must not
            # stop the accept loop.
            with suppress(OSError):
                request = self.owner.tls.wrap_socket(request, server_side=True)
                super().finish_request(request, client_address)
            return
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are what these tests make; they are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 60

    def setup(self) -> None:
        super().setup()
        self._number = self.server.owner.connection_opened(self.connection)

    def finish(self) -> None:
        self.server.owner.connection_closed(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Tests read `requests`, not a log."""

    def _handle(self) -> None:
        request = Request(self.command, self.path, self.headers, self._read_body(), self._number)
        reply = self.server.owner.reply_to(request)
        try:
            self._send(reply)
        except (OSError, _EndOfConnection):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return b"".join(self._read_chunks())
        return self.rfile.read(int(self.headers.get("content-length") or 0))

    def _read_chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, reply: Reply) -> None:
        stopped = self.server.owner.stopped
        if stopped.wait(3600 if reply.hang else reply.delay) or reply.hang:
            self._end(reset=False)
        if (reply.reset or reply.close) and reply.cut_after is None:
            self._end(reset=reply.reset)
        self._send_head(reply)
        if self.command != "HEAD":
            self._send_body(reply)

    def _send_head(self, reply: Reply) -> None:
        names = {name.lower() for name in reply.headers}
        if "date" in names:  # else the base class says the right time
            self.send_response_only(reply.status)
        else:
            self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if not isinstance(reply.body, bytes):
            self.send_header("Transfer-Encoding", "chunked")
        elif "content-length" not in names and reply.status not in (204, 304):
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()

    def _send_body(self, reply: Reply) -> None:
        if not isinstance(reply.body, bytes):
            self._send_chunks(reply.body)
        elif reply.cut_after is not None:
            self.wfile.write(reply.body[: reply.cut_after])
            self.wfile.flush()
            self._end(reset=reply.reset)
        elif reply.bytes_per_second is not None:
            self._send_slowly(reply.body, 1 / reply.bytes_per_second)
        else:
            self.wfile.write(reply.body)

    def _send_chunks(self, chunks: Iterable[bytes]) -> None:
        for chunk in chunks:
            if chunk:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _send_slowly(self, body: bytes, pause: float) -> None:
        for index in range(len(body)):
            self.wfile.write(body[index : index + 1])
            self.wfile.flush()
            if self.server.owner.stopped.wait(pause):
                self._end(reset=True)

    def _end(self, *, reset: bool) -> NoReturn:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self.connection.close()
        raise _EndOfConnection


class HttpServer:
    """A loopback server on a free port; use it as a context manager.

    `answer` computes the reply to a request that no scripted reply is waiting for; without it such requests get
    `default`. `tls` is a server-side context for HTTPS. `ipv6` listens on ::1.
    """

    def __init__(
        self,
        answer: Callable[[Request], Reply] | None = None,
        *,
        default: Reply | None = None,
        tls: ssl.SSLContext | None = None,
        ipv6: bool = False,
        port: int = 0,
    ) -> None:
        self.tls = tls
        self.stopped = threading.Event()
        self._answer = answer
        self._default = default or Reply()
        self._script: deque[Reply] = deque()
        self._requests: list[Request] = []
        self._connections: set[socket.socket] = set()
        self._opened = 0
        self._changed = threading.Condition()
        self._host = "::1" if ipv6 else "127.0.0.1"
        self._server = _Server((self._host, port), socket.AF_INET6 if ipv6 else socket.AF_INET, self)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """Scheme, host and port, without a trailing slash."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """A copy of everything received so far, in order."""
        with self._changed:
            return list(self._requests)

    @property
    def connections(self) -> int:
        """How many TCP connections were ever opened."""
        with self._changed:
            return self._opened

    def script(self, *replies: Reply) -> None:
        """Answer the next requests with these replies, one each, in order."""
        with self._changed:
            self._script.extend(replies)

    def always(self, reply: Reply) -> None:
        """Answer every request with this reply from now on, in place of `answer` and the script."""
        with self._changed:
            self._script.clear()
            self._answer, self._default = None, reply

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Request]:
        """Wait until `count` requests have arrived and return all; fail the test after `timeout` seconds."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self._requests) >= count, timeout)
            assert arrived, f"{len(self._requests)} of {count} requests arrived within {timeout} s"
            return list(self._requests)

    def reply_to(self, request: Request) -> Reply:
        """Record a request and choose its reply (called by the connection's thread)."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
            if self._script:
                return self._script.popleft()
        return self._answer(request) if self._answer else self._default

    def connection_opened(self, connection: socket.socket) -> int:
        """Note a new connection and number it (called by the connection's thread)."""
        with self._changed:
            self._connections.add(connection)
            self._opened += 1
            return self._opened - 1

    def connection_closed(self, connection: socket.socket) -> None:
        """Forget a connection (called by the connection's thread)."""
        with self._changed:
            self._connections.discard(connection)

    def start(self) -> Self:
        """Begin to answer; the `with` statement does this."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering and close all connections; the port is refused afterwards."""
        self.stopped.set()
        self._server.shutdown()
        self._server.server_close()
        with self._changed:
            connections = list(self._connections)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def closed_port() -> int:
    """A loopback port that nobody listens on."""
    return free_port()
