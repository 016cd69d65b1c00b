"""`otel_llm.WsgiMiddleware`: for Flask, Django's WSGI, Bottle, Pyramid, or any WSGI application (PEP 3333)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.servers.request import Served, paths_of
from otel_llm.servers.tenancy import Tenancy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from otel_llm.servers.tenancy import TenantOf

__all__ = ["WsgiMiddleware"]

_HEADER = "HTTP_"


class WsgiMiddleware:
    """Serve each request in its own trace, for its own tenant; LLM calls inside are children of the request's span.

    The arguments are those of `AsgiMiddleware`; `tenant` gets the WSGI environ. A streamed answer is part of its
    request: each of its chunks is made in the request's context, and the span ends when the server closes it.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        *,
        tenant: TenantOf | None = None,
        claim: str | None = None,
        tenant_header: str | None = None,
        user_header: str | None = None,
        session_header: str | None = None,
        health: str | None = None,
        exclude: str | Iterable[str] = (),
    ) -> None:
        self._app = app
        self._tenancy = Tenancy(tenant, claim, tenant_header, user_header, session_header)
        self._health = health.rstrip("/") if health else None
        self._exclude = paths_of(exclude)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Serve one request."""
        path = str(environ.get("PATH_INFO", ""))
        if self._health and (path == self._health or path.startswith(self._health + "/")):
            from otel_llm.control.health_app import health_app  # noqa: PLC0415  (only where health pages are served)

            below = {**environ, "PATH_INFO": path[len(self._health) :]}
            pages: Iterable[bytes] = health_app()(below, start_response)
            return pages
        served = None if path in self._exclude else guarded("beginning a request", self._begin, environ, path)
        if served is None:
            return self._app(environ, start_response)
        return self._serve(served, environ, start_response)

    def _serve(self, served: Served, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def listen(status: str, *args: Any, **kwargs: Any) -> Any:
            guarded("reading a status", lambda: served.answered(int(status.split(" ", 1)[0])))
            return start_response(status, *args, **kwargs)

        served.enter()
        try:
            body = self._app(environ, listen)
        except BaseException as error:
            served.end(error)
            raise
        served.leave()
        return _Body(body, served)

    def _begin(self, environ: dict[str, Any], path: str) -> Served | None:
        headers = {
            name.removeprefix(_HEADER).replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith(_HEADER) and isinstance(value, str)
        }
        port = str(environ.get("SERVER_PORT", ""))
        attributes = {
            semconv.HTTP_METHOD: environ.get("REQUEST_METHOD"),
            semconv.URL_PATH: path,
            semconv.URL_SCHEME: environ.get("wsgi.url_scheme"),
            semconv.SERVER_ADDRESS: environ.get("SERVER_NAME"),
            semconv.SERVER_PORT: int(port) if port.isdigit() else None,
        }
        method = str(environ.get("REQUEST_METHOD", "HTTP"))
        return Served.begin(method, headers, self._tenancy.identity(environ, headers), attributes)


class _Body:
    """An answer on its way: every chunk is made in the request's context, and `close` ends the request."""

    def __init__(self, body: Iterable[bytes], served: Served) -> None:
        self._body = body
        self._served = served
        self._chunks: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._served.enter()
        try:
            if self._chunks is None:
                self._chunks = iter(self._body)
            chunk = next(self._chunks)
        except StopIteration:
            self._served.leave()
            raise
        except BaseException as error:
            self._served.end(error)
            raise
        self._served.leave()
        return chunk

    def __len__(self) -> int:
        """As many chunks as the application's own list has: servers then know the length of a single one."""
        return len(self._body)  # type: ignore[arg-type]  # TypeError where it has none, as servers expect

    def close(self) -> None:
        """PEP 3333: the server calls this at the end, whatever came before."""
        self._served.enter()
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._served.end()
