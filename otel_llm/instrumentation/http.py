"""The HTTP request under the LLM span, through OpenTelemetry's own instrumentations of httpx and aiohttp.

Both are turned on when the program imports the client library, never before, and only where the program has not
done so itself. litellm speaks httpx on most routes and aiohttp for async calls to OpenAI-shaped providers.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import wrapt

from otel_llm.faults import note_fault

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["CLIENTS", "HttpInstrumentation"]


@dataclass(frozen=True, slots=True)
class _Client:
    library: str
    module: str
    instrumentor: str


CLIENTS: Final = {
    "httpx": _Client("httpx", "opentelemetry.instrumentation.httpx", "HTTPXClientInstrumentor"),
    "aiohttp": _Client("aiohttp", "opentelemetry.instrumentation.aiohttp_client", "AioHttpClientInstrumentor"),
}
"""Setting's name -> the client library and upstream's instrumentation of it."""


class HttpInstrumentation:
    """Turns the instrumentation of one client library on and off."""

    def __init__(self, name: str, tracer_provider: TracerProvider, meter_provider: MeterProvider | None = None) -> None:
        self.name = name
        self.active = False
        self._client = CLIENTS[name]
        self._providers: dict[str, Any] = {"tracer_provider": tracer_provider}
        if meter_provider is not None:
            self._providers["meter_provider"] = meter_provider
        self._instrumentor: Any = None
        self._wanted = False

    @property
    def missing(self) -> str | None:
        """What to install where this cannot work, else None. Nothing is needed while the library is absent."""
        if _findable(self._client.library) and not _findable(self._client.module):
            return f"pip install 'otel-llm[{self.name}]'"
        return None

    @property
    def present(self) -> bool:
        """Whether the program could import the client library at all."""
        return _findable(self._client.library)

    def begin(self) -> None:
        """Instrument now, or as soon as the program imports the library."""
        if self._wanted:
            return
        self._wanted = True
        if self._client.library in sys.modules:
            self._install(sys.modules[self._client.library])
        else:
            wrapt.register_post_import_hook(self._install, self._client.library)

    def end(self) -> None:
        """Undo what `begin` did; an instrumentation that the program turned on itself stays on."""
        self._wanted = False
        if self._instrumentor is not None:
            self._instrumentor.uninstrument()
            self._instrumentor = None
        self.active = False

    def _install(self, _: object) -> None:
        """Runs inside the program's own import of the library, which a fault here must not break."""
        if not self._wanted or self.missing is not None:
            return
        try:
            kind = getattr(importlib.import_module(self._client.module), self._client.instrumentor, None)
            if kind is None:
                return  # upstream's module is being imported right now: the program turns it on itself
            instrumentor = kind()
            if instrumentor.is_instrumented_by_opentelemetry:
                return
            instrumentor.instrument(**self._providers)
        except Exception as error:  # noqa: BLE001
            note_fault(f"instrumenting {self.name}", error)
            return
        self._instrumentor = instrumentor
        self.active = True


def _findable(module: str) -> bool:
    """Whether a module could be imported, found out without importing it."""
    if module in sys.modules:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
