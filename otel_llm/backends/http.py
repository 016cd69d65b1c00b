"""HTTP for backends, on urllib3: kept-alive connections, proxies, private CAs, and a deadline that holds.

Nothing is retried or redirected here; every answer, or the lack of one, is the caller's to judge. Our own requests
are hidden from HTTP instrumentations. A process that was forked opens connections of its own.
"""

from __future__ import annotations

import http.client
import io
import math
import os
import ssl
import time
import urllib.request
import weakref
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import urllib3
from opentelemetry.instrumentation.utils import suppress_http_instrumentation, suppress_instrumentation
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from otel_llm.backends.loopback import is_loopback

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

__all__ = ["Answer", "HttpClient", "NoAnswerError", "Tls", "retry_after_seconds"]

_MAX_ANSWER_BYTES: Final = 64 * 1024
_MAX_WAIT_SECONDS: Final = 15 * 60.0
"""No server may make us wait longer than this in one go."""
_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server proves who it is, and how we do; None leaves it to the environment or to nobody."""

    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    check: bool = True
    """False believes any server; for test servers with certificates of their own making."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; of its body the first 64 KiB."""

    status: int
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes


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

    User and password in `url` become a basic Authorization header. `proxy` is the proxy that the environment names
    for this server, without its login; loopback addresses never have one.
    """

    def __init__(self, url: str, headers: Mapping[str, str] | None = None, tls: Tls | None = None) -> None:
        parts = urlsplit(url)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._headers = {**_login(url, "basic_auth"), **(headers or {})}
        self._tls = tls or Tls()
        self._deadline = _Deadline()
        self._manager: urllib3.PoolManager | None = None
        self._owner = os.getpid()
        self._proxy = _proxy_for(self._url)
        self.proxy = None if self._proxy is None else _without_login(self._proxy)
        _clients.add(self)

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
        try:
            with suppress_instrumentation(), suppress_http_instrumentation():
                return self._exchange(method, path, body, {**self._headers, **(headers or {})})
        except NoAnswerError:
            raise
        except (exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise self._explained(error) from None

    def close(self) -> None:
        """Drop all connections; a later request would open a new one."""
        manager, self._manager = self._manager, None
        if manager is not None and self._owner == os.getpid():
            manager.clear()

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

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        response = self._connections().request(
            method,
            self._url + path,
            body=body,
            headers=headers,
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=urllib3.Timeout(total=self._deadline.left()),
        )
        try:
            content = response.read(_MAX_ANSWER_BYTES, decode_content=True)
            if response.read(1):
                response.close()  # longer than we care to read, so its connection cannot be used again
            return Answer(response.status, response.headers, content)
        finally:
            response.release_conn()

    def _connections(self) -> urllib3.PoolManager:
        if self._manager is None or self._owner != os.getpid():
            # A parent's connections are left alone, not closed: the parent still speaks on them.
            self._owner = os.getpid()
            self._manager = self._connected()
        return self._manager

    def _connected(self) -> urllib3.PoolManager:
        options: dict[str, Any] = {"maxsize": 1, "num_pools": 2}
        if self._url.startswith("https:"):
            options["ssl_context"] = _tls_context(self._tls)
        manager: urllib3.PoolManager
        if self._proxy is None or self.proxy is None:
            manager = urllib3.PoolManager(**options)
        else:
            login = _login(self._proxy, "proxy_basic_auth")
            manager = urllib3.ProxyManager(self.proxy, proxy_headers=login, **options)
        manager.pool_classes_by_scheme = _pools_under(self._deadline)
        return manager

    def _explained(self, error: Exception) -> NoAnswerError:
        words = _innermost_words(error)
        if self.proxy is not None and isinstance(error, exceptions.ProxyError):
            return NoAnswerError("proxy", f"the proxy {self.proxy} failed: {words}")
        causes = _chain(error)
        for kinds, reason in _REASONS:
            if any(isinstance(cause, kinds) for cause in causes):
                return NoAnswerError(reason, words)
        return NoAnswerError("unreachable", words)


_clients: weakref.WeakSet[HttpClient] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for client in list(_clients):
        client.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def retry_after_seconds(value: str | None, *, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header (RFC 9110 10.2.3) asks for: a number or a date, 0 to 900.

    None for no header and for one that says nothing sensible. `now` is Unix seconds, for tests.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now)
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), _MAX_WAIT_SECONDS)


# --- the deadline ------------------------------------------------------------------------------------------


class _Deadline:
    """The moment on the monotonic clock that the request in flight must not outlive."""

    def __init__(self) -> None:
        self._end = 0.0
        self._process = os.getpid()
        self.connection: socket.socket | None = None
        """The latest one that was opened."""

    def start(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._process = os.getpid()

    def left(self) -> float:
        if self._process != os.getpid():
            raise ConnectionAbortedError("the request belongs to another process")
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for the request is over")
        return left


class _ReadUnderDeadline(io.RawIOBase):
    """A socket's bytes, each read with the time that is left of the whole.

    A socket's own timeout starts again with every byte, so a server that drips would hold us for ever.
    """

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, deadline: _Deadline) -> None:
        self._raw = raw
        self._connection = connection
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._connection.settimeout(self._deadline.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _pools_under(deadline: _Deadline) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's connection pools, their connections reading answers under `deadline`."""

    def response(connection: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        made = http.client.HTTPResponse(connection, *args, **options)
        made.fp = io.BufferedReader(_ReadUnderDeadline(made.fp.detach(), connection, deadline))
        return made

    class Plain(HTTPConnection):
        response_class = staticmethod(response)  # type: ignore[assignment]

        def connect(self) -> None:
            super().connect()
            deadline.connection = self.sock

        def send(self, data: Any) -> None:
            deadline.left()
            super().send(data)

    class Secure(Plain, HTTPSConnection):
        """The same over TLS: what `Plain` calls in turn is `HTTPSConnection`'s."""

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


# --- what went wrong ---------------------------------------------------------------------------------------

_REASONS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((ssl.SSLError, exceptions.SSLError), "tls"),
    ((exceptions.NameResolutionError,), "dns"),
    ((ConnectionRefusedError,), "refused"),
    ((TimeoutError, exceptions.ReadTimeoutError), "timeout"),
    ((http.client.BadStatusLine, http.client.LineTooLong, exceptions.InvalidHeader), "not_http"),
    ((ConnectionResetError, BrokenPipeError, exceptions.ProtocolError, exceptions.DecodeError), "reset"),
)
"""Looked for in this order among the error and everything that caused it."""


def _chain(error: BaseException) -> list[BaseException]:
    """The error, its causes and the errors among their arguments (urllib3 keeps some there)."""
    found: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None or current in found:
            continue
        found.append(current)
        inner = [argument for argument in current.args if isinstance(argument, BaseException)]
        pending += [current.__cause__, current.__context__, *inner]
    # RemoteDisconnected is a BadStatusLine by class, but means that the server hung up without a word.
    hung_up = any(isinstance(one, http.client.RemoteDisconnected) for one in found)
    return [one for one in found if not (hung_up and isinstance(one, http.client.BadStatusLine))]


def _innermost_words(error: BaseException) -> str:
    """The cause's own text: urllib3's wrappers add names of objects, and the URL with its query."""
    current = error
    while isinstance(current, exceptions.HTTPError):
        inner = [argument for argument in current.args if isinstance(argument, BaseException)]
        following = current.__cause__ or current.__context__ or (inner[0] if inner else None)
        if following is None:
            break
        current = following
    return f"{type(current).__name__}: {current}"[:300]


# --- proxies and TLS ---------------------------------------------------------------------------------------


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for `url`; never one for this machine."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _without_login(proxy: str) -> str:
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _login(url: str, kind: str) -> dict[str, str]:
    """The header that carries the user and password in `url`, if there are any."""
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(urllib3.make_headers(**{kind: login}))  # type: ignore[arg-type]


def _tls_context(tls: Tls) -> ssl.SSLContext:
    """Trusts the named CA file, else what the usual variables name, else the system's store, else certifi's."""
    context = ssl.create_default_context()
    if not tls.check:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        _trust(context, tls)
    if tls.client_certificate:
        what = f"the client certificate is {tls.client_certificate}"
        _loaded(what, context.load_cert_chain, certfile=tls.client_certificate, keyfile=tls.client_key)
    return context


def _trust(context: ssl.SSLContext, tls: Tls) -> None:
    """Load the certificate authorities that count."""
    named = ("the configured CA file", tls.ca_file) if tls.ca_file else _ca_from_environment()
    if named is not None:
        source, path = named
        _loaded(f"{source} is {path}", context.load_verify_locations, **{_kind_of(path): path})
    elif not context.cert_store_stats()["x509_ca"] and not _system_store_exists():
        import certifi  # noqa: PLC0415  (comes with requests; needed only where Python has no store of its own)

        context.load_verify_locations(certifi.where())


def _ca_from_environment() -> tuple[str, str] | None:
    return next(((name, os.environ[name]) for name in _CA_VARIABLES if os.environ.get(name)), None)


def _kind_of(path: str) -> str:
    return "capath" if os.path.isdir(path) else "cafile"


def _loaded(what: str, load: Any, **options: Any) -> None:
    try:
        load(**options)
    except (OSError, ssl.SSLError) as error:
        raise NoAnswerError("tls", f"{what}, which cannot be read ({type(error).__name__})") from None


def _system_store_exists() -> bool:
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or paths.capath)
