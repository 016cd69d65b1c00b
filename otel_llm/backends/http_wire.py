"""The part of HTTP that is urllib3's, TLS and all that can go wrong; loaded by whoever is going to send.

`Wire` sends the requests of one `HttpClient`. Nothing is retried or redirected.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import io
import os
import re
import socket
import ssl
import zlib
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3 import exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from otel_llm.backends.http import Answer, NoAnswerError
from otel_llm.backends.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.backends.http import Deadline, Tls
    from otel_llm.backends.proxies import Proxy

__all__ = ["Wire", "login", "prepare"]

_MAX_ANSWER_BYTES: Final = 64 * 1024
_ANY_HEADER: Final = 32
"""For zlib: gzip's header or its own."""
_CA_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Wire:
    """Connections to the server of `url`, kept alive; through `proxy` where that is not None."""

    def __init__(self, url: str, tls: Tls, proxy: Proxy | None, deadline: Deadline) -> None:
        self._url, _, self._query = url.partition("?")
        self._tls = tls
        self._proxy = proxy
        login = proxy.login if proxy is not None else None
        self.proxy_headers = dict(urllib3.make_headers(proxy_basic_auth=login)) if login is not None else {}
        """What the proxy is told; the server is not."""
        self._deadline = deadline
        self._manager: urllib3.PoolManager | None = None
        self._owner = os.getpid()

    def exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """One request and its answer, before the deadline. Raises `NoAnswerError`."""
        try:
            return self._exchange(method, path, body, headers)
        except NoAnswerError:
            raise
        except (exceptions.HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise self._explained(error) from None

    def close(self) -> None:
        """Drop all connections; a later request would open a new one."""
        manager, self._manager = self._manager, None
        if manager is not None and self._owner == os.getpid():
            manager.clear()

    def _exchange(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
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
            content = response.read(_MAX_ANSWER_BYTES, decode_content=False)
            if response.read(1, decode_content=False):
                response.close()  # longer than we care to read, so its connection cannot be used again
            return Answer(response.status, response.headers, _plain(content, response.headers))
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
        if self._proxy is None:
            manager = urllib3.PoolManager(**options)
        else:
            manager = urllib3.ProxyManager(self._proxy.address, proxy_headers=self.proxy_headers, **options)
        manager.pool_classes_by_scheme = _pools_under(self._deadline, self._query)
        return manager

    def _explained(self, error: Exception) -> NoAnswerError:
        if isinstance(error, UnicodeError) or (isinstance(error, ValueError) and "header" in str(error)):
            # http.client quotes it, and it may be a key
            words = "a header holds a line break or a letter that HTTP cannot carry; look at the key and the headers"
            return NoAnswerError("unreachable", words)
        words = _innermost_words(error)
        causes = _chain(error)
        if self._proxy is not None and any(isinstance(cause, _PROXY_ERRORS) for cause in causes):
            words = _TUNNEL_REFUSED.sub(r"\1", words)
            return NoAnswerError("proxy", f"the proxy {self._proxy.address} failed: {words}")
        for kinds, reason in _REASONS:
            if any(isinstance(cause, kinds) for cause in causes):
                return NoAnswerError(reason, words)
        return NoAnswerError("unreachable", words)


def _plain(content: bytes, headers: Mapping[str, str]) -> bytes:
    """`content` without its compression, and no longer than we care to read; urllib3 before 2.6 has no such bound."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in {"gzip", "x-gzip", "deflate"} or not content:
        return content
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | _ANY_HEADER).decompress(content, _MAX_ANSWER_BYTES)
    except zlib.error as error:
        raise exceptions.DecodeError(f"the answer is no {encoding}") from error


# --- the deadline ------------------------------------------------------------------------------------------


class _ReadUnderDeadline(io.RawIOBase):
    """A socket's bytes, each read with the time that is left of the whole.

    A socket's own timeout starts again with every byte, so a server that drips would hold us for ever.
    """

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, deadline: Deadline) -> None:
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


def _pools_under(deadline: Deadline, query: str) -> dict[str, type[HTTPConnectionPool]]:
    """urllib3's connection pools, their connections reading answers under `deadline`.

    They add `query` to what is asked for. It may be a key, and the pools write what they are told into urllib3's log.
    """

    def response(connection: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        made = http.client.HTTPResponse(connection, *args, **options)
        made.fp = io.BufferedReader(_ReadUnderDeadline(made.fp.detach(), connection, deadline))
        return made

    class Plain(HTTPConnection):
        response_class = staticmethod(response)  # type: ignore[assignment]

        def connect(self) -> None:
            super().connect()
            deadline.connection = self.sock

        def putrequest(self, method: str, url: str, *args: Any, **options: Any) -> None:
            super().putrequest(method, f"{url}?{query}" if query else url, *args, **options)

        def send(self, data: Any) -> None:
            deadline.left()
            super().send(data)

    class Secure(Plain, HTTPSConnection):
        """The same over TLS: what `Plain` calls in turn is `HTTPSConnection`'s."""

        def send(self, data: Any) -> None:
            try:
                super().send(data)
            except ssl.SSLEOFError as error:
                # The server hung up before it had all, and may have said why: it wants to know us (TLS 1.3 tells that
                # after the handshake), or the request is too large. urllib3 listens after this error only.
                raise BrokenPipeError(errno.EPIPE, "the server hung up while it was sent a request") from error

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


# --- what went wrong ---------------------------------------------------------------------------------------

_PROXY_ERRORS: Final = (exceptions.ProxyError, exceptions.ProxySchemeUnknown, exceptions.LocationParseError)
_TUNNEL_REFUSED: Final = re.compile(r"(Tunnel connection failed: \d+).*", re.DOTALL)
"""What comes after the status is the proxy's own, and may be anything."""
_REASONS: Final[tuple[tuple[tuple[type[BaseException], ...], str], ...]] = (
    ((ssl.SSLError, exceptions.SSLError), "tls"),
    ((socket.gaierror, getattr(exceptions, "NameResolutionError", socket.gaierror)), "dns"),  # urllib3 1.26 has none
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


def prepare(url: str, tls: Tls) -> None:
    """Load what requests to `url` will need beside this module: what knows of proxies, and a store of CAs."""
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        import urllib.request  # noqa: F401, PLC0415
    if parts.scheme == "https" and tls.check and _named_store(tls) is None and not _system_store_exists():
        with contextlib.suppress(ImportError):  # then said with the first request
            import certifi  # noqa: F401, PLC0415


def login(url: str) -> dict[str, str]:
    """The header that carries the user and password in `url`, if there are any."""
    parts = urlsplit(url)
    if parts.username is None:
        return {}
    return dict(urllib3.make_headers(basic_auth=f"{unquote(parts.username)}:{unquote(parts.password or '')}"))


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
    named = _named_store(tls)
    if named is not None:
        source, path = named
        _loaded(f"{source} is {path}", context.load_verify_locations, **{_kind_of(path): path})
    elif not context.cert_store_stats()["x509_ca"] and not _system_store_exists():
        import certifi  # noqa: PLC0415  (comes with requests; needed only where Python has no store of its own)

        context.load_verify_locations(certifi.where())


def _named_store(tls: Tls) -> tuple[str, str] | None:
    """Who names CAs that count, and where they are; None where nobody does."""
    if tls.ca_file:
        return "the configured CA file", tls.ca_file
    return next(((name, os.environ[name]) for name in _CA_VARIABLES if os.environ.get(name)), None)


def _kind_of(path: str) -> str:
    return "capath" if os.path.isdir(path) else "cafile"


def _loaded(what: str, load: Any, **options: Any) -> None:
    try:
        load(**options)
    except ssl.SSLError as error:
        raise NoAnswerError("tls", f"{what}, which cannot be used ({error.reason or type(error).__name__})") from None
    except OSError as error:
        raise NoAnswerError("tls", f"{what}, which cannot be read ({type(error).__name__})") from None


def _system_store_exists() -> bool:
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or paths.capath)
