"""HTTP for the Opik backend, on urllib3: kept-alive, gzip, proxies, private CAs, and a deadline that holds.

urllib3 is there with the OTLP exporter. Redirects are never followed and nothing is retried here: each answer, or
the lack of one, is the caller's to judge.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import ssl
import time
import urllib.request
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, urlsplit

import urllib3
from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY, _SUPPRESS_INSTRUMENTATION_KEY
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from otel_llm.backends.opik.address import is_loopback

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from opentelemetry.context import Context

__all__ = ["Answer", "HttpClient", "NoAnswerError"]

_GZIP_LEVEL: Final = 1
"""Rows shrink to 19 % at level 1 and to 16 % at level 6, for three times the CPU (docs/opik.md)."""
_GZIP_FROM_BYTES: Final = 1024
_MAX_ANSWER_BYTES: Final = 64 * 1024
_SUPPRESSING_KEYS: Final = (_SUPPRESS_INSTRUMENTATION_KEY, _SUPPRESS_HTTP_INSTRUMENTATION_KEY)
_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said; at most the first 64 KiB of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswerError(Exception):
    """No answer came. `reason` is one word for counters, the message what happened; neither holds a secret."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Deadline:
    """A moment on the monotonic clock that one request must not outlive."""

    def __init__(self) -> None:
        self._end = 0.0

    def start(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; raises `TimeoutError` if there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket, and allows each read only the time that is left.

    A socket's own timeout begins anew with each byte, so a server that drips would never be given up.
    """

    def __init__(self, raw: socket.SocketIO, sock: socket.socket, deadline: _Deadline) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._sock.settimeout(self._deadline.left())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _pools_with(deadline: _Deadline) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's pools, with connections that read their answers under `deadline`."""

    def answer(sock: socket.socket, *args: Any, **kwargs: Any) -> HTTPResponse:
        response = HTTPResponse(sock, *args, **kwargs)
        raw = cast("socket.SocketIO", response.fp.detach())
        response.fp = io.BufferedReader(_DeadlineReader(raw, sock, deadline))
        return response

    class Plain(HTTPConnection):
        response_class = staticmethod(answer)  # type: ignore[assignment]

    class Secure(HTTPSConnection):
        response_class = staticmethod(answer)  # type: ignore[assignment]

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class HttpClient:
    """Sends requests to one server. For one thread at a time; a forked child opens connections of its own."""

    def __init__(self, base: str, headers: Mapping[str, str], *, check_tls: bool = True) -> None:
        self._base = base
        self._headers = dict(headers)
        self._check_tls = check_tls
        self._deadline = _Deadline()
        self._manager: urllib3.PoolManager | None = None
        self._owner = os.getpid()
        self.proxy = _proxy_for(base)

    def request(
        self, method: str, path: str, body: bytes | None = None, *, timeout: float, headers: Mapping[str, str] = {}
    ) -> Answer:
        """One request and its answer within `timeout` seconds. Raises `NoAnswerError`."""
        self._deadline.start(timeout)
        sent = {**self._headers, **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
            if len(body) >= _GZIP_FROM_BYTES:
                body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
                sent["Content-Encoding"] = "gzip"
        try:
            with _untraced():
                return self._exchange(method, path, body, sent)
        except (exceptions.HTTPError, OSError, ValueError) as error:
            raise self._explained(error) from None

    def close(self) -> None:
        """Drop all connections; the next request opens a new one."""
        manager, self._manager = self._manager, None
        if manager is not None and self._owner == os.getpid():
            manager.clear()

    def _exchange(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        response = self._connected().request(
            method,
            self._base + path,
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
                response.close()  # too long to be read to its end: the connection cannot be used again
            return Answer(response.status, response.headers, content)
        finally:
            response.release_conn()

    def _connected(self) -> urllib3.PoolManager:
        if self._manager is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._manager = self._new_manager()
        return self._manager

    def _new_manager(self) -> urllib3.PoolManager:
        options: dict[str, Any] = {"maxsize": 1, "num_pools": 2}
        if self._base.startswith("https:"):
            options["ssl_context"] = _tls_context(check=self._check_tls)
        manager: urllib3.PoolManager
        if self.proxy is None:
            manager = urllib3.PoolManager(**options)
        else:
            manager = urllib3.ProxyManager(_without_login(self.proxy), proxy_headers=_login(self.proxy), **options)
        manager.pool_classes_by_scheme = _pools_with(self._deadline)
        return manager

    def _explained(self, error: Exception) -> NoAnswerError:
        """The error's kind and words. urllib3 wraps: what counts is the innermost cause."""
        text = _words(error)
        if self.proxy is not None and isinstance(error, exceptions.ProxyError):
            return NoAnswerError("proxy", f"the proxy {_without_login(self.proxy)} failed: {text}")
        for kinds, reason in _REASONS:
            if _caused_by(error, kinds):
                return NoAnswerError(reason, text)
        return NoAnswerError("unavailable", text)


_REASONS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((ssl.SSLError, exceptions.SSLError), "tls"),
    ((exceptions.NameResolutionError,), "dns"),
    ((ConnectionRefusedError,), "refused"),
    ((ConnectionResetError, BrokenPipeError), "reset"),
    ((exceptions.NewConnectionError,), "unreachable"),
    ((TimeoutError, exceptions.TimeoutError), "timeout"),
    ((exceptions.ProtocolError,), "protocol"),
)
"""Asked in this order, of the error and all that caused it."""


def _caused_by(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> bool:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, kinds) or any(isinstance(item, kinds) for item in error.args):
            return True
        error = error.__cause__ or error.__context__
    return False


def _words(error: BaseException) -> str:
    """The innermost error's text, without urllib3's object names."""
    while isinstance(error, exceptions.HTTPError) and (error.__cause__ or error.__context__) is not None:
        error = error.__cause__ or error.__context__ or error
    return f"{type(error).__name__}: {error}"[:300]


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Keeps HTTP instrumentations from recording our own traffic."""
    quiet: Context | None = None
    for key in _SUPPRESSING_KEYS:
        quiet = otel_context.set_value(key, value=True, context=quiet)
    token = otel_context.attach(quiet or otel_context.get_current())
    try:
        yield
    finally:
        otel_context.detach(token)


def _proxy_for(base: str) -> str | None:
    """The proxy that the environment names for `base`; never one for this machine."""
    parts = urlsplit(base)
    host = parts.hostname or ""
    if is_loopback(host):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _without_login(proxy: str) -> str:
    parts = urlsplit(proxy)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _login(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(urllib3.make_headers(proxy_basic_auth=login))


def _tls_context(*, check: bool) -> ssl.SSLContext:
    """Trusts the operating system's store, or what the usual variables name; raises `NoAnswerError` if it cannot.

    OpenSSL reads `SSL_CERT_FILE` and `SSL_CERT_DIR` by itself.
    """
    context = ssl.create_default_context()
    if not check:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    for variable in _CA_VARIABLES:
        path = os.environ.get(variable)
        if not path:
            continue
        try:
            context.load_verify_locations(**{"capath" if os.path.isdir(path) else "cafile": path})
        except (OSError, ssl.SSLError) as error:
            message = f"{variable} names {path}, which cannot be read as certificates ({error})"
            raise NoAnswerError("tls", message) from None
        return context
    if not context.cert_store_stats()["x509_ca"] and not _default_store_exists():
        import certifi  # noqa: PLC0415  (comes with requests; wanted only by a Python without a store of its own)

        context.load_verify_locations(certifi.where())
    return context


def _default_store_exists() -> bool:
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or paths.capath)
