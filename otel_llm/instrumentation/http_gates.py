"""Upstream's instrumentations of HTTP clients behind a gate: they see a request only where `records()` says so.

Upstream knows one instrumentation per process, on for all requests. Turned on by us it would record and mark requests
that are none of our business, and refuse the program, or another tool, that turns it on for them later. Its metrics of
requests are not asked for: they would be the program's, and two clients of one process would contradict each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import wrapt
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.metrics import NoOpMeterProvider

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from opentelemetry.trace import TracerProvider

    from otel_llm.instrumentation.httpx_span import HttpxSpan

__all__ = ["AiohttpGate", "HttpxGate"]


class _Wrapping:
    """Wrappers around methods, which come off again unless somebody has put another one around one of them."""

    def __init__(self) -> None:
        self._wrapped: list[tuple[type, str, Any]] = []

    def put(self, owner: type, name: str, wrapper: Callable[..., Any]) -> None:
        wrapt.wrap_function_wrapper(owner, name, wrapper)
        self._wrapped.append((owner, name, owner.__dict__[name]))

    def take_off(self) -> bool:
        """Take all off where all are outermost, else none: what they shut would be open; whether they are off."""
        if any(owner.__dict__.get(name) is not wrapper for owner, name, wrapper in self._wrapped):
            return False
        for owner, name, wrapper in self._wrapped:
            setattr(owner, name, wrapper.__wrapped__)
        self._wrapped.clear()
        return True


class HttpxGate:
    """An instrumentor of our own, beside the one of the process, with a gate around what it does to the transports.

    Requests about which it has nothing to say that `HttpxSpan` does not say too go by it.
    """

    def __init__(self, library: ModuleType, module: Any, records: Callable[[], bool]) -> None:
        self._library = library
        self._records = records
        self._wrapping = _Wrapping()
        self._instrumentor: Any = object.__new__(module.HTTPXClientInstrumentor)  # not the one that `cls()` gives all
        self._span: HttpxSpan | None = None

    def install(self, tracer_provider: TracerProvider) -> None:
        """Put both in place."""
        from otel_llm.instrumentation.httpx_span import AskedMeters, AskedTracers, HttpxSpan  # noqa: PLC0415

        tracers, meters = AskedTracers(tracer_provider), AskedMeters()
        self._instrumentor.instrument(tracer_provider=tracers, meter_provider=meters)
        self._span = HttpxSpan.in_place_of_upstreams(self._library, tracers, meters)
        self._wrapping.put(self._library.HTTPTransport, "handle_request", self._gated)
        self._wrapping.put(self._library.AsyncHTTPTransport, "handle_async_request", self._gated_async)

    def remove(self) -> None:
        """Take both away; where somebody has wrapped a transport since, they stay inside and stay shut."""
        if self._wrapping.take_off():
            self._instrumentor.uninstrument()

    def _gated(self, wrapped: Any, _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._records():
            if self._span is not None and self._span.covers(args):
                return self._span.around(wrapped.__wrapped__, args[0])
            return wrapped(*args, **kwargs)
        with suppress_http_instrumentation():
            return wrapped(*args, **kwargs)

    async def _gated_async(self, wrapped: Any, _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._records():
            if self._span is not None and self._span.covers(args):
                return await self._span.around_async(wrapped.__wrapped__, args[0])
            return await wrapped(*args, **kwargs)
        with suppress_http_instrumentation():
            return await wrapped(*args, **kwargs)


_REQUEST_HEADERS: Final = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST"
_RESPONSE_HEADERS: Final = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE"
_SENSITIVE_HEADERS: Final = "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS"


class AiohttpGate:
    """Gives each new session upstream's trace configuration, with a gate before a request's beginning."""

    def __init__(self, library: ModuleType, module: Any, records: Callable[[], bool]) -> None:
        self._library = library
        self._module = module
        self._records = records
        self._wrapping = _Wrapping()
        self._providers: dict[str, Any] = {}

    def install(self, tracer_provider: TracerProvider) -> None:
        """Begin with the sessions that are made from now on."""
        self._providers = {"tracer_provider": tracer_provider, "meter_provider": NoOpMeterProvider()}
        self._wrapping.put(self._library.ClientSession, "__init__", self._begun)

    def remove(self) -> None:
        """End with it; sessions that are there keep what they have, and it stays shut."""
        self._wrapping.take_off()
        self._providers = {}

    def _begun(self, wrapped: Callable[..., Any], _: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._providers:
            kwargs = {**kwargs, "trace_configs": [*(kwargs.get("trace_configs") or ()), self._configuration()]}
        return wrapped(*args, **kwargs)

    def _configuration(self) -> Any:
        from opentelemetry.util.http import get_custom_headers  # noqa: PLC0415  (comes with upstream's module)

        configuration = self._module.create_trace_config(
            **self._providers,
            captured_request_headers=get_custom_headers(_REQUEST_HEADERS),
            captured_response_headers=get_custom_headers(_RESPONSE_HEADERS),
            sensitive_headers=get_custom_headers(_SENSITIVE_HEADERS),
        )
        begins = list(configuration.on_request_start)

        async def begin(session: Any, context: Any, parameters: Any) -> None:
            if self._records():
                for each in begins:
                    await each(session, context, parameters)

        configuration.on_request_start.clear()
        configuration.on_request_start.append(begin)
        return configuration
