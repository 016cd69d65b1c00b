"""An HTTP server on 127.0.0.1 for our own pages: few connections, each for a short time, and never a word on stderr."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from otel_llm.clock import monotonic

__all__ = ["ADDRESS", "LOCAL_NAMES", "LoopbackHandler", "LoopbackServer", "host_name"]

_logger = logging.getLogger(__name__)

ADDRESS: Final = "127.0.0.1"
LOCAL_NAMES: Final = frozenset({ADDRESS, "localhost", "::1"})
"""Names of this machine that are nobody else's."""
_MOST_CONNECTIONS: Final = 16
_PATIENCE_SECONDS: Final = 0.05
"""How long a new connection waits for one that ends by itself before the oldest has to."""


class LoopbackServer(ThreadingHTTPServer):
    """Answers on `127.0.0.1:port`. When all connections are taken, the one that has taken longest makes room."""

    request_seconds = 10.0
    """What one request may take, waiting for it included: the limit of a single read starts again with every byte."""
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, handler: type[LoopbackHandler], *, address: str = ADDRESS) -> None:
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._ends: dict[socket.socket, float] = {}
        """Open connections, and when they are to be closed (monotonic seconds)."""
        super().__init__((address, port), handler)

    def server_bind(self) -> None:
        """Bind without looking up the machine's name, as the base class would: that may ask a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def begin_request(self, connection: socket.socket) -> None:
        """A request is to be read on this connection now."""
        self._ends[connection] = monotonic() + self.request_seconds

    def service_actions(self) -> None:
        """Close what has taken too long; called by `serve_forever` again and again."""
        now = monotonic()
        for connection, end in list(self._ends.items()):
            if now > end:
                _hang_up(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread of its own."""
        if not self._has_room():
            self.shutdown_request(request)
            return
        self.begin_request(request)
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self._let_go(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._let_go(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  (the base class's names)
        """A client that went away is no news, and the base class would print a traceback."""
        _logger.debug("A request on loopback failed (%s)", type(sys.exc_info()[1]).__name__)

    def _has_room(self) -> bool:
        if self._free.acquire(timeout=_PATIENCE_SECONDS):
            return True
        longest = min(self._ends, key=self._ends.__getitem__, default=None)
        if longest is not None:
            _hang_up(longest)
        return self._free.acquire(timeout=4 * _PATIENCE_SECONDS)

    def _let_go(self, connection: socket.socket) -> None:
        self._ends.pop(connection, None)
        self._free.release()


class LoopbackHandler(BaseHTTPRequestHandler):
    """Reads requests under the server's time limits, and logs none of them."""

    timeout = 5.0
    """Seconds for a single read."""
    server_version = "otel-llm"
    sys_version = ""
    server: LoopbackServer

    def handle_one_request(self) -> None:
        """Read and answer one request of a connection that may bring several."""
        self.server.begin_request(self.connection)
        super().handle_one_request()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Requests are not logged: the base class would write to the program's stderr."""


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def host_name(header: str) -> str | None:
    """The name in a `Host` header, in small letters and without its port; None where there is none.

    A page on the web can point its own name at an address of ours and have a browser here read the answer (DNS
    rebinding), but it cannot have the browser send another name than its own.
    """
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None
