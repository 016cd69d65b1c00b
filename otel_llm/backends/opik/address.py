"""The address of an Opik server: from what people paste to the base URL of its REST API."""

from __future__ import annotations

import base64
import json
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from otel_llm.backends.loopback import is_loopback
from otel_llm.errors import ConfigError

__all__ = ["CLOUD_URL", "Address", "base_url_in_key", "opik_url", "resolve_address"]

CLOUD_URL: Final = "https://www.comet.com/opik/api"
"""Opik Cloud; the address when none is configured."""

_CLOUD_HOSTS: Final = frozenset({"www.comet.com", "comet.com"})
_SURPLUS_PATHS: Final = ("/v1/traces", "/otel", "/v1/private", "/v1")
"""Ends of paths that belong to single endpoints, in the order they have to be taken off."""
_UI_PORT: Final = 5173
"""The web server of a self-hosted Opik, which serves the REST API under /api."""
_GRPC_PORT: Final = 4317


class Address(NamedTuple):
    """Where the REST API is."""

    base: str
    """Without a slash at its end."""
    notes: tuple[str, ...] = ()
    """What was changed in the setting, and what looks wrong about it; full sentences."""

    @property
    def host(self) -> str:
        """Host name alone."""
        return urlsplit(self.base).hostname or ""

    @property
    def is_grpc_port(self) -> bool:
        """Whether the port is the one of OTLP over gRPC."""
        return urlsplit(self.base).port == _GRPC_PORT


def resolve_address(url: str | None, api_key: str | None = None) -> Address:
    """The base URL from the setting, else from the API key, else Opik Cloud.

    Raises `ConfigError` for a text that is not the address of an HTTP server.
    """
    if url is None or not url.strip():
        inside = base_url_in_key(api_key)
        return resolve_address(f"{inside.rstrip('/')}/opik/api") if inside else Address(CLOUD_URL)
    text = url.strip()
    notes: list[str] = []
    if "://" not in text:
        scheme = "http" if is_loopback(urlsplit(f"//{text}").hostname or "") else "https"
        text = f"{scheme}://{text}"
        notes.append(f"The Opik address has no scheme; {scheme} is used.")
    parts = urlsplit(text)
    host, port = _host_and_port(text)
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"The Opik address must begin with http:// or https:// and name a host, not {parts.scheme}.")
    if parts.username is not None or parts.password is not None:
        notes.append("The Opik address held a user or password; they are left out. Use OPIK_API_KEY.")
    if port == _GRPC_PORT:
        notes.append(f"Port {_GRPC_PORT} is the port of OTLP over gRPC; Opik takes HTTP (5173, or 8080 without /api).")
    path = _api_path(parts.path, host, port, notes)
    authority = f"[{host}]" if ":" in host else host
    return Address(f"{parts.scheme}://{authority}{f':{port}' if port else ''}{path}", tuple(notes))


def base_url_in_key(api_key: str | None) -> str | None:
    """The server's address in a key of the form `<key>*<base64 of {"baseUrl": ...}>`; None in any other key."""
    _, star, encoded = (api_key or "").partition("*")
    if not star or not encoded:
        return None
    try:
        told = json.loads(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
    except ValueError:
        return None
    found = told.get("baseUrl") if isinstance(told, dict) else None
    return found if isinstance(found, str) and found else None


def opik_url(base: str, trace_id: str) -> str:
    """The link that opens a trace (its Opik id) in the browser, for an API at `base`."""
    base = base.rstrip("/") + "/"
    encoded = base64.b64encode(base.encode()).decode()
    path = f"v1/session/redirect/projects/?trace_id={trace_id}&path={encoded}"
    return base + quote(path, safe=":/&?=")


def _host_and_port(text: str) -> tuple[str, int | None]:
    parts = urlsplit(text)
    try:
        return parts.hostname or "", parts.port
    except ValueError as error:
        raise ConfigError("The port in the Opik address must be a number up to 65535.") from error


def _api_path(path: str, host: str, port: int | None, notes: list[str]) -> str:
    kept = path.rstrip("/")
    for surplus in _SURPLUS_PATHS:
        kept = kept.removesuffix(surplus).rstrip("/")
    if kept != path.rstrip("/"):
        notes.append(f"The Opik address named a single endpoint; {path.rstrip('/')[len(kept) :]} is left off.")
    if host in _CLOUD_HOSTS and kept != "/opik/api":
        notes.append("The Opik address is a page of the web site; the API is at /opik/api.")
        return "/opik/api"
    if port == _UI_PORT and not kept.endswith("/api"):
        notes.append("The Opik address is that of the web page; the API is under /api.")
        return "/api"
    return kept
