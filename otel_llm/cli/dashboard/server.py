"""The HTTP side of the dashboard: who asks, by which method, and what is sent back."""

from __future__ import annotations

import logging
import socket
import threading
from typing import TYPE_CHECKING, Final

from otel_llm.cli.dashboard.access import take_key
from otel_llm.control.loopback_server import LoopbackHandler, LoopbackServer
from otel_llm.store.dashboard.html import tag
from otel_llm.store.dashboard.page import Page, command, trouble
from otel_llm.untraced import untraced

if TYPE_CHECKING:
    from otel_llm.cli.dashboard.access import Access
    from otel_llm.store.dashboard.pages import Pages

__all__ = ["DashboardServer"]

_logger = logging.getLogger(__name__)

_METHODS: Final = "GET, HEAD"
_AT_A_TIME: Final = 2
"""Questions that the store is asked at the same time: each may take a processor and hundreds of megabytes."""
_WAITING_SECONDS: Final = 20.0
_MOST_BODY: Final = 65_536
_OPEN_TO_ALL: Final = frozenset({"/style.css", "/refresh.js", "/icon.svg"})
"""Files that say nothing about anybody, and that the page without a key needs too."""


class DashboardServer(LoopbackServer):
    """Answers on `host:port` with what `pages` says, to whom `access` lets in."""

    request_seconds = 90.0

    def __init__(self, host: str, port: int, pages: Pages, access: Access) -> None:
        self.pages = pages
        self.access = access
        self.questions = threading.BoundedSemaphore(_AT_A_TIME)
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__(port, _Handler, address=host)

    @property
    def port(self) -> int:
        """The port it answers on."""
        return int(self.server_address[1])


class _Handler(LoopbackHandler):
    server: DashboardServer

    def do_GET(self) -> None:  # noqa: N802  (the base class's name)
        """Answer with the page."""
        self._send(self._answer())

    def do_HEAD(self) -> None:  # noqa: N802  (likewise)
        """Answer with the head of the page."""
        self._send(self._answer())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what is no request, or one of a method that has no page here; nothing of the request is repeated."""
        if code == 501:
            self._take_body()
            why = "The dashboard shows what is stored and changes nothing, so it answers GET and HEAD only."
            self._send(trouble(405, why, title="Not by this method"), ("Allow", _METHODS))
        else:
            self._send(trouble(code, "The request is not one that this server can read.", title="Not a request"))

    def _take_body(self) -> None:
        """Read what a client still sends: a connection that is closed before takes the answer with it."""
        length = self.headers.get("Content-Length", "")
        if length.isascii() and length.isdigit():
            self.rfile.read(min(int(length[:12]), _MOST_BODY))

    def _answer(self) -> Page:
        access = self.server.access
        if not access.knows_host(self.headers.get("Host", "")):
            why = "The request came under a name that is none of this server's: perhaps a page elsewhere wants it."
            return trouble(421, why, "Open the address that the command printed.", title="Not this server")
        path, _, asked = self.path.partition("?")
        if path in _OPEN_TO_ALL:
            return self.server.pages.answer(path, "")
        key, query = take_key(asked)
        if key is not None and access.accepts(key):
            return self._let_in(path, query)
        if not access.has_cookie(self.headers.get("Cookie", ""), self.server.port):
            return _without_key()
        return self._page(path, asked)

    def _let_in(self, path: str, query: str) -> Page:
        """Send a browser to the same address without the key, which is in no history and no bookmark then."""
        # One slash: two would be the address of another server.
        place = "/" + path.lstrip("/\\") + (f"?{query}" if query else "")
        headers = (("Location", place), ("Set-Cookie", self.server.access.cookie(self.server.port)))
        return Page(303, b"", extra=headers)

    def _page(self, path: str, query: str) -> Page:
        if not self.server.questions.acquire(timeout=_WAITING_SECONDS):
            why = "Other pages are still being made: the store is large, or the disk is busy."
            return trouble(503, why, "Load this page again in a moment.", "Choose a shorter period.")
        try:
            with untraced():
                return self.server.pages.answer(path, query)
        except Exception as error:  # noqa: BLE001  (the reader gets a page, and the log no content)
            kind = type(error).__name__
            _logger.warning("A page of the dashboard could not be made (%s)", kind)
            why = f"The page could not be made ({kind}): most likely what is stored is damaged; else it is our fault."
            return trouble(500, why, tag("span", command("otel-llm doctor --backend local"), " examines the store."))
        finally:
            self.server.questions.release()

    def _send(self, page: Page, *more: tuple[str, str]) -> None:
        self.close_connection = True
        self.request_version = "HTTP/1.0"  # what is no request is taken for HTTP/0.9, whose answers have no headers
        self.send_response(page.status)
        for name, value in (*page.headers, *more):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)


def _without_key() -> Page:
    return trouble(
        403,
        "This dashboard shows what is recorded to whoever has its key, because every user of this machine reaches its "
        "port. The address was opened without the key, or the dashboard was started anew, which makes a new one.",
        tag("span", "Open the whole address that ", command("otel-llm dashboard"), " printed, with what follows the ?"),
    )
