"""Defaults that depend on the program, the user or another setting."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urljoin, urlsplit

__all__ = ["COMPUTED", "Computed"]


class Computed(NamedTuple):
    """A default and what it was taken from."""

    value: Any
    source: str = "default"


_Values: TypeAlias = Mapping[str, Any]

_NO_HOME: Final = Path("/nonexistent")
"""Where a user lives who has no home, as Debian writes it; else `~` would be a directory in the working directory."""
_OPIK_CLOUD: Final = "https://www.comet.com/opik/api/"
_OTLP_HTTP: Final = "http://127.0.0.1:4318"
_OTLP_GRPC: Final = "http://127.0.0.1:4317"


def _service_name(_values: _Values) -> Computed:
    """The script's or module's name; `unknown_service` (the SDK's word) in a bare interpreter."""
    program = sys.argv[0] if sys.argv else ""
    if program == "-m":  # while Python is still looking for the module
        return Computed(_module_name() or "unknown_service")
    path = Path(program)
    name = path.parent.name if path.stem == "__main__" else path.stem
    return Computed("unknown_service" if name in {"", "-c", "-"} else name)


def _module_name() -> str:
    words = sys.orig_argv
    position = words.index("-m") + 1 if "-m" in words else len(words)
    return words[position] if position < len(words) else ""


def _state_dir(_values: _Values) -> Computed:
    """Where this system keeps what a user's programs need to remember (on Linux: XDG Base Directory 0.8)."""
    if sys.platform == "darwin":
        base = Path("~/Library/Application Support")
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or "~/AppData/Local")
    else:
        named = os.environ.get("XDG_STATE_HOME", "")
        base = Path(named if named.startswith("/") else "~/.local/state")  # a relative one is to be ignored
    found = Path(os.path.expanduser(base / "otel-llm"))
    return Computed(found if found.is_absolute() else _NO_HOME / "otel-llm")


def _otlp_endpoint(values: _Values) -> Computed:
    return Computed(_OTLP_GRPC if values["otlp.protocol"] == "grpc" else _OTLP_HTTP)


def _metrics_endpoint(values: _Values) -> Computed:
    endpoint: str = values["otlp.endpoint"]
    return Computed(
        endpoint.removesuffix("/v1/traces") + "/v1/metrics" if endpoint.endswith("/v1/traces") else endpoint
    )


def _opik_url(values: _Values) -> Computed:
    """Opik's keys may carry their server: `key*base64({"baseUrl": ...})`; the API is at `opik/api/` there."""
    base = _base_url_in(values["opik.api_key"] or "")
    return Computed(urljoin(base, "opik/api/"), "opik.api_key") if base else Computed(_OPIK_CLOUD)


def _base_url_in(key: str) -> str | None:
    encoded = key.partition("*")[2]
    if not encoded:
        return None
    import base64  # noqa: PLC0415  (only keys of this form pay for it)
    import json  # noqa: PLC0415

    try:
        attributes = json.loads(base64.b64decode(encoded + "=" * (-len(encoded) % 4)))
        base = attributes["baseUrl"]
        is_web = urlsplit(base).scheme in {"http", "https"}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # an ordinary key
    return base if is_web else None


COMPUTED: Final[dict[str, Callable[[_Values], Computed]]] = {
    "content_tenants": lambda _: Computed(MappingProxyType({})),
    "content_operations": lambda _: Computed(MappingProxyType({})),
    "service_name": _service_name,
    "batch_size": lambda values: Computed(min(values["batch_size"], values["batch_queue_size"])),
    "max_value_bytes": lambda values: Computed(min(values["max_value_bytes"], values["max_span_bytes"])),
    "state_dir": _state_dir,
    "store_path": lambda values: Computed(values["state_dir"] / "store.db"),
    "file_path": lambda values: Computed(values["state_dir"] / "spans.jsonl"),
    "media.path": lambda values: Computed(values["state_dir"] / "media"),
    "prices": lambda _: Computed(MappingProxyType({})),
    "model_aliases": lambda _: Computed(MappingProxyType({})),
    "otlp.endpoint": _otlp_endpoint,
    "metrics.endpoint": _metrics_endpoint,
    "sampling.tenants": lambda _: Computed(MappingProxyType({})),
    "otlp.headers": lambda _: Computed(MappingProxyType({})),
    "opik.url": _opik_url,
    "client.models": lambda _: Computed(MappingProxyType({})),
    "client.fallbacks": lambda _: Computed(MappingProxyType({})),
    "client.tenant_requests": lambda _: Computed(MappingProxyType({})),
    "client.tenant_tokens": lambda _: Computed(MappingProxyType({})),
    "client.tenant_budgets": lambda _: Computed(MappingProxyType({})),
    "opik.tenants": lambda _: Computed(MappingProxyType({})),
}
"""Setting -> its default, given the values of all other settings; worked out in this order."""
