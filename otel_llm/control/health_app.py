"""The health pages, and the callable that serves them inside a program's own web server.

    app.mount("/otel-llm", otel_llm.health_app())                       # Starlette, FastAPI (ASGI)
    DispatcherMiddleware(app, {"/otel-llm": otel_llm.health_app()})     # Flask, Django (WSGI)

    /healthz   200 as long as the process answers
    /readyz    200 while calls are recorded and no backend is failing, else 503; says which and why
    /status    everything `otel_llm.status()` knows, as JSON
    /metrics   the same as numbers, for Prometheus

The pages hold no setting, no key and no content. `/metrics` names tenants and models.
"""

from __future__ import annotations

import asyncio
import functools
import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from otel_llm.control import running
from otel_llm.control.exposition import content_type
from otel_llm.control.metrics import metrics_page
from otel_llm.control.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

__all__ = ["Page", "health_app", "page"]

_JSON: Final = "application/json"
_METHODS: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Page:
    """An answer to one request."""

    status: int
    content_type: str
    body: bytes

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Never kept by a cache or read as something else than it is."""
        return [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ]

    @property
    def status_line(self) -> str:
        """Code and phrase, as WSGI wants it: `200 OK`."""
        return f"{self.status} {HTTPStatus(self.status).phrase}"


def page(method: str, path: str) -> Page:
    """The answer to `method path`; never raises, never waits for a network."""
    write = _PAGES.get(path.rstrip("/") or "/")
    if write is None:
        return _json({"error": "There is no such page.", "pages": sorted(_PAGES)}, 404)
    if method not in _METHODS:
        return _json({"error": f"Only {' and '.join(_METHODS)} are answered."}, 405)
    return write()


def _healthz() -> Page:
    return _json({"alive": True})


def _readyz() -> Page:
    status = running.status()
    failing = {backend.name: backend.cause for backend in status.backends if backend.state == "failing"}
    ready = status.running and not failing
    why = "" if status.running else "Nothing is recorded in this process: otel_llm is not configured or was shut down."
    return _json({"ready": ready, "why": why or None, "failing": failing}, 200 if ready else 503)


def _status() -> Page:
    return _json({"version": VERSION, **running.status().as_dict()})


def _metrics() -> Page:
    body = metrics_page(running.status(), running.tally_report(), VERSION, running.measures_report())
    return Page(200, content_type(), body.encode())


def _json(value: Mapping[str, Any], status: int = 200) -> Page:
    return Page(status, _JSON, json.dumps(value, indent=2).encode() + b"\n")


_PAGES: Final[dict[str, Callable[[], Page]]] = {
    "/healthz": _healthz,
    "/readyz": _readyz,
    "/status": _status,
    "/metrics": _metrics,
}


class _HealthApp:
    """Serves the pages to whoever calls it: ASGI 3 with three arguments, WSGI with two, ASGI 2 with one."""

    def __call__(self, *args: Any) -> Any:
        """Answer one request (see the class)."""
        if len(args) == 3:
            return _asgi(*args)
        if len(args) == 2:
            return _wsgi(*args)
        if len(args) == 1:  # uvicorn takes an object whose call is not declared `async` for ASGI 2
            return functools.partial(_asgi, *args)
        # uvicorn asks without arguments whether this makes applications, and takes this error for a no.
        raise TypeError("health_app() is an ASGI or WSGI application and is called with 3 or 2 arguments")


def health_app() -> Callable[..., Any]:
    """An application with the pages `/healthz`, `/readyz`, `/status` and `/metrics`.

    It is an ASGI and a WSGI application at once: mount it below a path of the program's own application, or serve it
    alone. It may be made before `configure`.
    """
    return _HealthApp()


def _wsgi(
    environ: Mapping[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    method = environ.get("REQUEST_METHOD", "GET")
    answer = page(method, environ.get("PATH_INFO", "/"))
    start_response(answer.status_line, answer.headers)
    return [b"" if method == "HEAD" else answer.body]


async def _asgi(
    scope: Mapping[str, Any],
    receive: Callable[[], Awaitable[Mapping[str, Any]]],
    send: Callable[[Mapping[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
    elif scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1000})
    else:
        method = scope["method"]
        answer = await _off_the_loop(method, _below_mount(scope))
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})


async def _off_the_loop(method: str, path: str) -> Page:
    """The page, made by a thread: it may read the spool's file, which another process may hold for a moment."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # another event loop, trio's for one
        return page(method, path)
    return await loop.run_in_executor(None, page, method, path)


def _below_mount(scope: Mapping[str, Any]) -> str:
    """The path without the prefix that the application is mounted at; some frameworks leave it in, some do not."""
    path, root = str(scope["path"]), str(scope.get("root_path", "")).rstrip("/")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


async def _lifespan(
    receive: Callable[[], Awaitable[Mapping[str, Any]]], send: Callable[[Mapping[str, Any]], Awaitable[None]]
) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
