"""HTTP/1.1 over loopback: reading requests, sending answers, and every way of not sending them.

Knows nothing of Opik. An application is a function from `Request` to `Answer`.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import sys
import threading
import time
import traceback
import zlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.fakes.opik.answers import Answer, coded
from tests.fakes.opik.faults import Fault, Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from email.message import Message

__all__ = ["HttpServer", "Request"]


@dataclass(slots=True)
class Request:
    """One request as it was received, and later what became of it."""

    method: str
    path: str
    """Path without the query, percent-decoded."""
    query: dict[str, str]
    headers: Message[str, str]
    body: bytes = b""
    """After decompression."""
    wire_bytes: int = 0
    """Size of the body as sent."""
    status: int | None = None
    """Status of the answer; None while there is none, and for requests that never get one."""
    fault: str | None = None
    """Name of the fault that struck it."""
    started: float = field(default_factory=time.monotonic)
    finished: float | None = None

    @property
    def json(self) -> Any:
        """The body as JSON; ValueError if it is none."""
        return json.loads(self.body)


class HttpServer(ThreadingHTTPServer):
    """A threading HTTP server that can also hang, reset, trickle and be stopped at once, whatever it is doing."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        *,
        answer: Callable[[Request], Answer],
        choose_fault: Callable[[Request], Fault | None],
        log: list[Request],
        tls: ssl.SSLContext | None,
    ) -> None:
        self.answer = answer
        self.choose_fault = choose_fault
        self.log = log
        self.stopping = threading.Event()
        self.crashes: list[str] = []
        """Tracebacks of the fake's own bugs."""
        self.in_flight = 0
        self.most_in_flight = 0
        self._tls = tls
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; TLS shakes hands later, in the connection's own thread."""
        connection, address = super().get_request()
        if self._tls is not None:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and forget it."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def count_in_flight(self, step: int) -> None:
        """Note that a request began (+1) or ended (-1)."""
        with self._lock:
            self.in_flight += step
            self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Broken connections are everyday life here; anything else is a bug of the fake."""
        if not isinstance(sys.exc_info()[1], (OSError, ValueError)):
            self.crashes.append(traceback.format_exc())

    def stop(self) -> None:
        """Stop listening and drop all connections."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer
    # A small answer in two segments would wait 40 ms for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class names it so)
        """Stay silent."""

    def _handle(self) -> None:
        self.server.count_in_flight(+1)
        request = self._request()
        try:
            self._serve(request)
        finally:
            request.finished = time.monotonic()
            self.server.count_in_flight(-1)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _handle

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        request = Request(self.command, unquote(parts.path), dict(parse_qsl(parts.query)), self.headers)
        self.server.log.append(request)
        return request

    def _serve(self, request: Request) -> None:
        fault = self.server.choose_fault(request)
        request.fault = fault.name if fault else None
        if fault is None or fault.reads_body:
            refused = self._read_body(request)
            if refused is not None:
                self._send(request, refused)
                return
        if fault is None:
            self._send(request, self._answer(request))
            return
        self.server.stopping.wait(fault.delay)
        answer = self._answer(request) if fault.carries_out else None
        if fault.spoil and answer:
            answer = fault.spoil(answer)
        self._misbehave(request, fault, fault.answer or answer or Answer(204))

    def _answer(self, request: Request) -> Answer:
        try:
            return self.server.answer(request)
        except Exception:
            self.server.crashes.append(traceback.format_exc())
            return coded(500, "the fake itself crashed")

    def _misbehave(self, request: Request, fault: Fault, answer: Answer) -> None:
        if fault.wire is Wire.HANG:
            self.server.stopping.wait()
            self.close_connection = True
        elif fault.wire is Wire.RESET:
            self._reset()
        elif fault.wire is Wire.CUT:
            self._send_head(request, answer)
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.close_connection = True
        elif fault.wire is Wire.TRICKLE:
            self._send_head(request, answer)
            for byte in answer.body:
                self.wfile.flush()
                self.server.stopping.wait(fault.pause)
                self.wfile.write(bytes([byte]))
        else:
            self._send(request, answer)

    def _reset(self) -> None:
        """Close with unsent data thrown away, which the peer sees as a reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The stream objects hold the descriptor open until they are closed too.
        for stream in (self.rfile, self.wfile, self.connection):
            stream.close()
        self.close_connection = True
        raise ConnectionResetError("reset on demand")

    def _send(self, request: Request, answer: Answer) -> None:
        self._send_head(request, answer)
        if request.method != "HEAD":
            self.wfile.write(answer.body)

    def _send_head(self, request: Request, answer: Answer) -> None:
        request.status = answer.status
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()

    def _read_body(self, request: Request) -> Answer | None:
        """Read and decompress the body; an answer when that cannot be done."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            raw = self._read_chunks()
        else:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request.wire_bytes = len(raw)
        try:
            request.body = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
        except (OSError, EOFError, zlib.error):
            return coded(400, "Unable to decompress the request")
        return None

    def _read_chunks(self) -> bytes:
        body = b""
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if size == 0:
                return body
