"""HTTP for backends, on urllib3: kept-alive connections, proxies, private CAs, and a deadline that holds.

Nothing is retried or redirected here; every answer, or the lack of one, is the caller's to judge. Our own requests
are hidden from HTTP instrumentations. A process that was forked opens connections of its own. urllib3 is loaded
by whoever is going to send (`http_wire`): a program that records nothing has no use for it.
"""

from __future__ import annotations

import math
import os
import time
import weakref
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from otel_llm.backends.proxies import proxy_for
from otel_llm.clock import monotonic
from otel_llm.loading import loading
from otel_llm.untraced import untraced

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from otel_llm.backends.http_wire import Wire

__all__ = ["Answer", "Deadline", "HttpClient", "NoAnswerError", "Tls", "retry_after_seconds"]

_MAX_WAIT_SECONDS: Final = 15 * 60.0
"""No server may make us wait longer than this in one go."""
_FIRST_REFUSAL: Final = 300


class Tls(NamedTuple):
    """How a server proves who it is, and how we do; None leaves it to the environment or to nobody."""

    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    check: bool = True
    """False believes any server; for test servers with certificates of their own making."""


class Answer(NamedTuple):
    """What a server said; of its body the first 64 KiB."""

    status: int
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes

    @property
    def is_refusal(self) -> bool:
        """Whether the server did not do what it was asked for."""
        return self.status >= _FIRST_REFUSAL


class NoAnswerError(Exception):
    """No answer came; stays inside the package.

    `reason` is one word for counters: `refused`, `timeout`, `dns`, `tls`, `proxy`, `reset`, `not_http` or
    `unreachable`. The message says what happened, without secrets.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class HttpClient:
    """Sends requests to the server of `url`. For one thread at a time; connects when the first request is sent.

    User and password in `url` become a basic Authorization header. Loopback addresses never have a proxy.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, tls: Tls | None = None) -> None:
        parts = urlsplit(url)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._headers = {**(_login(url) if parts.username is not None else {}), **(headers or {})}
        self._tls = tls or Tls()
        self._deadline = Deadline()
        self._open: Wire | None = None
        _clients.add(self)

    def prepare(self) -> None:
        """Load all that requests need, so that the thread which sends them loads nothing."""
        from otel_llm.backends import http_wire  # noqa: PLC0415  (see above)

        http_wire.prepare(self._url, self._tls)

    @property
    def proxy(self) -> str | None:
        """The proxy that the environment names for this server, without its login; None where there is none."""
        found = proxy_for(self._url)
        return found.address if found is not None else None

    def request(
        self,
        method: str,
        path: str = "",
        body: bytes | None = None,
        *,
        timeout: float,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request to `path` below the URL and its answer, within `timeout` seconds. Raises `NoAnswerError`."""
        self._deadline.start(timeout)
        sent = {**self._headers, **(headers or {})}
        try:
            with untraced():
                answer = self._wire().exchange(method, path, body, sent)
        except NoAnswerError as error:
            words = self._without_secrets(str(error).encode("utf-8", "replace"), sent)
            raise NoAnswerError(error.reason, words.decode("utf-8", "replace")) from None
        if not answer.is_refusal:
            return answer
        return answer._replace(body=self._without_secrets(answer.body, sent))

    def close(self) -> None:
        """Drop all connections; a later request would open a new one."""
        if self._open is not None:
            self._open.close()

    def leave_to_parent(self) -> None:
        """In a forked child: have no part in the connection of the parent.

        Under gevent, the thread that waits for an answer is a greenlet, which a fork copies. Its copy would read the
        parent's answer; in place of the connection it finds something that is no connection.
        """
        connection = self._deadline.connection
        if connection is None or connection.fileno() < 0:
            return
        reading, writing = os.pipe()
        os.dup2(reading, connection.fileno(), inheritable=False)
        os.close(reading)
        os.close(writing)

    def _wire(self) -> Wire:
        if self._open is None:
            with loading("HTTP"):
                from otel_llm.backends.http_wire import Wire  # noqa: PLC0415  (see above)
            self._open = Wire(self._url, self._tls, proxy_for(self._url), self._deadline)
        return self._open

    def _without_secrets(self, said: bytes, sent: Mapping[str, str]) -> bytes:
        to_proxy = self._open.proxy_headers if self._open is not None else {}
        return _without_secrets(said, {**sent, **to_proxy}, self._url)


_clients: weakref.WeakSet[HttpClient] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for client in list(_clients):
        client.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


class Deadline:
    """The moment on the monotonic clock that the request in flight must not outlive."""

    def __init__(self) -> None:
        self._end = 0.0
        self._process = os.getpid()
        self.connection: socket.socket | None = None
        """The latest one that was opened."""

    def start(self, seconds: float) -> None:
        """It is `seconds` away now."""
        self._end = monotonic() + seconds
        self._process = os.getpid()

    def left(self) -> float:
        """Seconds until then. Raises `TimeoutError` when it has passed, `ConnectionAbortedError` in a fork."""
        if self._process != os.getpid():
            raise ConnectionAbortedError("the request belongs to another process")
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError("the time for the request is over")
        return left


_PLAIN_HEADERS: Final = frozenset(
    {"accept", "accept-encoding", "comet-workspace", "content-encoding", "content-type", "user-agent"}
)
_SHORTEST_SECRET: Final = 6


def _without_secrets(said: bytes, headers: Mapping[str, str], url: str) -> bytes:
    """What a server said without what we told it in confidence: some quote the request, and what they say is shown."""
    values = [value for name, value in headers.items() if name.lower() not in _PLAIN_HEADERS]
    values += [pair.partition("=")[2] for pair in urlsplit(url).query.split("&")]
    secrets = {secret for value in values for secret in (value, value.rpartition(" ")[2]) if secret}
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            said = said.replace(secret.encode("utf-8", "replace"), b"***")
    return said


def retry_after_seconds(value: str | None, *, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header (RFC 9110 10.2.3) asks for: a number or a date, 0 to 900.

    None for no header and for one that says nothing sensible. `now` is Unix seconds, for tests.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        from email.utils import parsedate_to_datetime  # noqa: PLC0415  (few servers send a date)

        try:
            seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _MAX_WAIT_SECONDS)


def _login(url: str) -> dict[str, str]:
    from otel_llm.backends.http_wire import login  # noqa: PLC0415  (few URLs hold one)

    return login(url)
