"""The HTTP request under the LLM span, by OpenTelemetry's own instrumentations of httpx and aiohttp, or as they do it.

Both are turned on when the program imports the client library, never before, and record the requests of LLM calls
only: no span, no header and no number comes of a request that the program makes for itself. Where the program turns the
same instrumentation on, before us or after, its own records all requests and ours none. litellm speaks httpx on most
routes and aiohttp for async calls to OpenAI-shaped providers.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm.context import active_call
from otel_llm.faults import note_fault
from otel_llm.instrumentation.awaited import findable, when_imported

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import TracerProvider

    from otel_llm.instrumentation.http_gates import AiohttpGate, HttpxGate

__all__ = ["CLIENTS", "HttpInstrumentation"]


class _Client(NamedTuple):
    library: str
    module: str
    instrumentor: str
    gate: str
    """Class in `http_gates`, which is loaded with the library."""


CLIENTS: Final = {
    "httpx": _Client("httpx", "opentelemetry.instrumentation.httpx", "HTTPXClientInstrumentor", "HttpxGate"),
    "aiohttp": _Client(
        "aiohttp", "opentelemetry.instrumentation.aiohttp_client", "AioHttpClientInstrumentor", "AiohttpGate"
    ),
}
"""Setting's name -> the client library and upstream's instrumentation of it."""


class HttpInstrumentation:
    """Turns the recording of one client library's requests in LLM calls on and off.

    `in_call` says whether a call that somebody else records is under way; ours we know ourselves.
    """

    def __init__(
        self, name: str, tracer_provider: TracerProvider, *, in_call: Callable[[], bool] = lambda: False
    ) -> None:
        self.name = name
        self._in_call = in_call
        self._client = CLIENTS[name]
        self._tracer_provider = tracer_provider
        self._instrumentor: Any = None
        self._gate: HttpxGate | AiohttpGate | None = None
        self._wanted = False

    @property
    def active(self) -> bool:
        """Whether requests of LLM calls are recorded by us."""
        return self._gate is not None and not self._program_records()

    @property
    def recorded_by_program(self) -> bool:
        """Whether the program has turned the same instrumentation on itself."""
        return self._wanted and self._instrumentor is not None and self._program_records()

    @property
    def missing(self) -> str | None:
        """What to install where this cannot work, else None. Nothing is needed while the library is absent."""
        if findable(self._client.library) and not findable(self._client.module):
            return f"pip install 'otel-llm[{self.name}]'"
        return None

    @property
    def present(self) -> bool:
        """Whether the program could import the client library at all."""
        return findable(self._client.library)

    def begin(self) -> None:
        """Instrument now, or as soon as the program imports the library."""
        if self._wanted:
            return
        self._wanted = True
        if self._client.library in sys.modules:
            self._install(sys.modules[self._client.library])
        else:
            when_imported(self._client.library, self._install)

    def end(self) -> None:
        """Undo what `begin` did; an instrumentation that the program turned on itself stays on."""
        self._wanted = False
        if self._gate is not None:
            self._gate.remove()
            self._gate = None

    def move_to(self, tracer_provider: TracerProvider) -> None:
        """Record to another tracer provider from now on."""
        self._tracer_provider = tracer_provider
        if self._gate is not None:
            self.end()
            self.begin()

    def _install(self, library: Any) -> None:
        """Runs inside the program's own import of the library, which a fault here must not break."""
        if not self._wanted or self._gate is not None or self.missing is not None:
            return
        try:
            module = importlib.import_module(self._client.module)
            kind = getattr(module, self._client.instrumentor, None)
            if kind is None:
                return  # upstream's module is being imported right now: the program turns it on itself
            self._instrumentor = kind()
            if self._program_records():
                return
            gates = importlib.import_module("otel_llm.instrumentation.http_gates")
            gate: HttpxGate | AiohttpGate = getattr(gates, self._client.gate)(library, module, self._records)
            gate.install(self._tracer_provider)
        except Exception as error:  # noqa: BLE001
            note_fault(f"instrumenting {self.name}", error)
            return
        self._gate = gate

    def _records(self) -> bool:
        """Whether a request that begins here and now is ours to record."""
        return self._wanted and (active_call() is not None or self._in_call()) and not self._program_records()

    def _program_records(self) -> bool:
        """Upstream has one instrumentor for the process, which we leave to the program."""
        return bool(self._instrumentor.is_instrumented_by_opentelemetry)
