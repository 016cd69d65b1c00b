"""The health pages on a loopback port of their own (setting `health_port`), for programs that serve no HTTP."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import socketserver
import sys
import threading
import weakref
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

from otel_llm.control.health_app import page
from otel_llm.faults import guarded

__all__ = ["HealthServer"]

_logger = logging.getLogger(__name__)

_ADDRESS: Final = "127.0.0.1"
_LOCAL_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_MOST_CONNECTIONS: Final = 16
_READ_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.5
_CLOSING_SECONDS: Final = 1.0


class HealthServer:
    """Answers on `127.0.0.1:port` from daemon threads until `close`; port 0 takes any that is free.

    The process that opened the port keeps it: a forked child lets go of it. Of several processes that are told the
    same port, the first one answers; behind a spool it knows the counts of all of them.
    """

    def __init__(self, port: int) -> None:
        self._server: _Server | None = _opened(port)
        if self._server is None:
            return
        thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="otel-llm-health-port", daemon=True
        )
        guarded("starting the health port", thread.start)
        self._thread = thread
        if hasattr(os, "register_at_fork"):
            let_go = weakref.WeakMethod(self._let_go_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := let_go()) and found())

    @property
    def url(self) -> str | None:
        """Where it answers; None where it does not."""
        return f"http://{_ADDRESS}:{self._server.server_address[1]}" if self._server is not None else None

    def close(self) -> None:
        """Close the port."""
        server, self._server = self._server, None
        if server is None:
            return
        stopping = threading.Thread(target=server.shutdown, name="otel-llm-health-stop", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread to be had: the daemon thread ends with the process
            stopping.start()
            with contextlib.suppress(OSError):  # wakes the thread that waits for connections, at least on Linux
                server.socket.shutdown(socket.SHUT_RDWR)
            stopping.join(_CLOSING_SECONDS)
        server.server_close()

    def _let_go_after_fork(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.socket.close()


def _opened(port: int) -> _Server | None:
    try:
        return _Server((_ADDRESS, port), _Handler)
    except OSError as error:
        _logger.warning(
            "The health port %d could not be opened (%s); recording goes on without it. Most likely another process of "
            "this program answers there already; else choose another `health_port`.",
            port,
            error.strerror or type(error).__name__,
        )
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._free = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(address, handler)

    def server_bind(self) -> None:
        """Bind without looking up the machine's name, as the base class would: that may ask a name server."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _ADDRESS, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread of its own, or hang up when too many are being answered."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no more threads
            self._free.release()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002  (the base class's names)
        """A client that went away is no news, and the base class would print a traceback."""
        _logger.debug("A request to the health port failed (%s)", type(sys.exc_info()[1]).__name__)


class _Handler(BaseHTTPRequestHandler):
    timeout = _READ_SECONDS
    server_version = "otel-llm"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer with the page."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer with the head of the page."""
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
        """Requests are not logged: the base class would write to the program's stderr."""

    def _answer(self) -> None:
        if not _is_local(self.headers.get("Host", "")):
            self.send_error(403, "Ask for this machine by its loopback name")
            return
        answer = page(self.command, urlsplit(self.path).path)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


def _is_local(host: str) -> bool:
    """Whether a `Host` header names loopback.

    A page on the web can point its own name at 127.0.0.1 and have a browser here read the answer (DNS rebinding), but
    it cannot have the browser send another name than its own.
    """
    try:
        return urlsplit(f"//{host}").hostname in _LOCAL_NAMES
    except ValueError:
        return False
