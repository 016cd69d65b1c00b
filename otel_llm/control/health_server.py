"""The health pages on a loopback port of their own (setting `health_port`), for programs that serve no HTTP."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import weakref
from typing import Final
from urllib.parse import urlsplit

from otel_llm.control.health_app import page
from otel_llm.control.loopback_server import ADDRESS, LOCAL_NAMES, LoopbackHandler, LoopbackServer, host_name
from otel_llm.faults import guarded

__all__ = ["HealthServer"]

_logger = logging.getLogger(__name__)

_POLL_SECONDS: Final = 0.5
_CLOSING_SECONDS: Final = 1.0


class HealthServer:
    """Answers on `127.0.0.1:port` from daemon threads until `close`; port 0 takes any that is free.

    The process that opened the port keeps it: a forked child lets go of it. Of several processes that are told the
    same port, the first one answers; behind a spool it knows the counts of all of them.
    """

    def __init__(self, port: int) -> None:
        self._server: LoopbackServer | None = _opened(port)
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
        return f"http://{ADDRESS}:{self._server.server_address[1]}" if self._server is not None else None

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


def _opened(port: int) -> LoopbackServer | None:
    try:
        return LoopbackServer(port, _Handler)
    except OSError as error:
        _logger.warning(
            "The health port %d could not be opened (%s); recording goes on without it. Most likely another process of "
            "this program answers there already; else choose another `health_port`.",
            port,
            error.strerror or type(error).__name__,
        )
        return None


class _Handler(LoopbackHandler):
    def do_GET(self) -> None:  # noqa: N802  (the base class's name)
        """Answer with the page."""
        self._answer()

    def do_HEAD(self) -> None:  # noqa: N802  (likewise)
        """Answer with the head of the page."""
        self._answer()

    def _answer(self) -> None:
        if host_name(self.headers.get("Host", "")) not in LOCAL_NAMES:
            self.send_error(403, "Ask for this machine by its loopback name")
            return
        answer = page(self.command, urlsplit(self.path).path)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
