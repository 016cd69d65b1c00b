"""`otel_llm.AsgiMiddleware`: for FastAPI, Starlette, Quart, Django's ASGI, Litestar, or any ASGI 3 application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.servers.request import Served, paths_of
from otel_llm.servers.tenancy import Tenancy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, MutableMapping

    from otel_llm.servers.tenancy import TenantOf

__all__ = ["AsgiMiddleware"]

_KINDS: Final = frozenset({"http", "websocket"})


class AsgiMiddleware:
    """Serve each request in its own trace, for its own tenant; LLM calls inside are children of the request's span.

    `tenant` is a function from the ASGI scope to the tenant's id (or an `Identity`, or None); `claim` the name of a
    verified claim; `tenant_header`, `user_header` and `session_header` name headers to believe, which only a program
    behind a gateway that sets them may do. `health` is a path below which the pages of `health_app` are answered
    (`/otel-llm`, None for none); `exclude` are paths that get no span. Query strings and bodies are never recorded.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[Any]],
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

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        """Serve one connection."""
        if scope["type"] not in _KINDS:
            await self._app(scope, receive, send)
            return
        path = str(scope.get("path", ""))
        if self._health and scope["type"] == "http" and (path == self._health or path.startswith(self._health + "/")):
            await _serve_health(self._health, scope, receive, send)
            return
        served = None if path in self._exclude else guarded("beginning a request", self._begin, scope, path)
        if served is None:
            await self._app(scope, receive, send)
            return
        await self._serve(served, scope, receive, send)

    async def _serve(
        self, served: Served, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
    ) -> None:
        async def listen(message: MutableMapping[str, Any]) -> None:
            if message.get("type") == "http.response.start":
                served.answered(int(message.get("status", 0)))
            await send(message)

        served.enter()
        try:
            await self._app(scope, receive, listen)
        except BaseException as error:
            served.end(error, route=_route(scope), method=_method(scope))
            raise
        served.end(route=_route(scope), method=_method(scope))

    def _begin(self, scope: MutableMapping[str, Any], path: str) -> Served | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        host, port = scope.get("server") or (None, None)
        attributes = {
            semconv.HTTP_METHOD: scope.get("method"),
            semconv.URL_PATH: path,
            semconv.URL_SCHEME: scope.get("scheme"),
            semconv.SERVER_ADDRESS: host,
            semconv.SERVER_PORT: port,
        }
        return Served.begin(_method(scope), headers, self._tenancy.identity(scope, headers), attributes)


def _method(scope: MutableMapping[str, Any]) -> str:
    return str(scope.get("method") or scope["type"].upper())


def _route(scope: MutableMapping[str, Any]) -> str | None:
    """The template of the route that the framework matched; Starlette and FastAPI leave it in the scope."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


async def _serve_health(
    prefix: str, scope: MutableMapping[str, Any], receive: Callable[..., Any], send: Callable[..., Any]
) -> None:
    from otel_llm.control.health_app import health_app  # noqa: PLC0415  (only where health pages are served)

    root = str(scope.get("root_path", "")).rstrip("/")
    below = {**scope, "root_path": root, "path": root + str(scope["path"])[len(prefix) :]}
    await health_app()(below, receive, send)
