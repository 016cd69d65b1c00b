"""From an HTTP request to Opik's answer: front, admission, validation, limits, handler."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from tests.fakes.opik import routes_other, routes_rows  # noqa: F401  (they register their routes)
from tests.fakes.opik.access import Caller, RateLimits, admit
from tests.fakes.opik.answers import Answer, Refusal, coded
from tests.fakes.opik.routing import ROUTES, Call
from tests.fakes.opik.validation import (
    Departure,
    Operation,
    body_departures,
    find_operation,
    known_path,
    parameter_departures,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.fakes.opik.routing import Route
    from tests.fakes.opik.store import Store
    from tests.fakes.opik.transport import Request

__all__ = ["Api", "Front", "Violation"]

_UI_PAGE = b'<!doctype html><html lang="en"><head><title>Opik</title></head><body><div id="root"></div></body></html>'
_MAX_HEADER_BYTES = 16 * 1024


class Front(Enum):
    """What stands at the address."""

    NGINX = "nginx"
    """A normal installation: the backend under `/api/`, the UI's page everywhere else."""
    BACKEND = "backend"
    """The bare backend (port 8080): no prefix."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One departure of one request from the OpenAPI document. A correct client causes none."""

    method: str
    path: str
    departure: Departure

    @property
    def was_refused(self) -> bool:
        """Whether the server answered with an error because of it; otherwise it let it pass."""
        return self.departure.status is not None


class Api:
    """Opik's backend behind its front, over one `Store`."""

    def __init__(
        self, store: Store, *, front: Front, keys: Mapping[str, tuple[str, ...]] | None, limits: RateLimits
    ) -> None:
        self.store = store
        self.violations: list[Violation] = []
        self._front = front
        self._keys = keys
        self._limits = limits
        self.lock = threading.RLock()
        """Held while a request is carried out; whoever reads the store from outside holds it too."""

    def backend_path(self, path: str) -> str | None:
        """The path as the backend sees it; None where the front does not pass it on."""
        if self._front is Front.BACKEND:
            return path
        return path.removeprefix("/api") if path.startswith("/api/") else None

    def answer(self, request: Request) -> Answer:
        """Carry the request out. One at a time: what a client sees of races is none of this fake's business."""
        path = self.backend_path(request.path)
        if path is None:
            return _ui(request.method)
        if len(str(request.headers)) > _MAX_HEADER_BYTES:
            return coded(431, "Request Header Fields Too Large")
        with self.lock:
            try:
                return self._dispatch(request, path)
            except Refusal as refused:
                return refused.answer

    def _dispatch(self, request: Request, path: str) -> Answer:
        operation = find_operation(request.method, path)
        if operation is None:
            status = 405 if known_path(path) else 404
            return coded(status, f"HTTP {status} {'Method Not Allowed' if status == 405 else 'Not Found'}")
        route = ROUTES.get(operation.id)
        if route is None:
            return coded(501, f"{request.method} {operation.template} is in Opik but not in this fake")
        caller = Caller("") if route.is_open else admit(request.headers, self._keys, public=route.is_public)
        body = self._checked_body(request, operation)
        headers = self._limits.spend(caller, _events(body)) if route.is_limited else {}
        call = Call(request, caller, self.store, operation.path_parameters, body)
        return _handled(route, call).with_headers(headers)

    def _checked_body(self, request: Request, operation: Operation) -> Any:
        """The JSON body of an operation that has one, checked against the document with the parameters."""
        departures = parameter_departures(operation, request.query)
        body = None
        if "application/json" in operation.description.get("requestBody", {}).get("content", {}):
            body = _json_body(request)
            departures += body_departures(operation, body)
        self.violations += [Violation(request.method, operation.template, each) for each in departures]
        refused = refusal(departures)
        if refused is not None:
            raise Refusal(refused)
        return body


def _handled(route: Route, call: Call) -> Answer:
    try:
        return route.handler(call)
    except Refusal as refused:
        return refused.answer


def _json_body(request: Request) -> Any:
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
    if content_type != "application/json":
        raise Refusal(coded(415, "HTTP 415 Unsupported Media Type"))
    if not request.body:
        return {}  # what an empty body lacks is told by validation
    try:
        body = json.loads(request.body)
    except ValueError as error:
        raise Refusal(coded(400, f"Unable to process JSON. {error}")) from error
    if not isinstance(body, dict):
        raise Refusal(coded(400, "Unable to process JSON. Cannot deserialize the body to an object"))
    return body


def _events(body: Any) -> int:
    """How much a request counts against a rate limit."""
    for name in ("traces", "spans", "ids"):
        if isinstance(body, dict) and isinstance(body.get(name), list):
            return len(body[name])
    return 1


def _ui(method: str) -> Answer:
    """Nginx serves the single-page UI for every address, and static files do not take a POST."""
    if method in {"GET", "HEAD"}:
        return Answer(200, _UI_PAGE, {"Content-Type": "text/html"})
    page = b"<html><head><title>405 Not Allowed</title></head><body><h1>405 Not Allowed</h1></body></html>"
    return Answer(405, page, {"Content-Type": "text/html"})
