"""The span of a plain httpx request, opened by us exactly as upstream's instrumentation would open it.

Upstream reads all headers of request and answer and parses the URL three times for each request, whether anything of
them is wanted or not. Where nothing is (no header captured, no URL excluded, a method that needs no thought, a release
of upstream that the tests hold ours equal to) the request goes by it, any other goes through it (docs/decisions/0098).
"""

from __future__ import annotations

import os
from itertools import compress
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.context import get_current
from opentelemetry.instrumentation.utils import http_status_to_status_code
from opentelemetry.metrics import NoOpMeter, NoOpMeterProvider
from opentelemetry.propagate import inject
from opentelemetry.trace import SpanKind, StatusCode, TracerProvider, use_span
from opentelemetry.util.http import redact_url

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.untraced import is_untraced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from opentelemetry.metrics import Histogram, Meter
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import Attributes, AttributeValue

__all__ = ["HELD_EQUAL", "AskedMeters", "AskedTracers", "HttpxSpan"]

HELD_EQUAL: Final = frozenset({"0.64b0", "0.65b0", "0.66b1", "0.66b2"})
"""Releases of upstream that tests/unit/instrumentation/test_httpx_span.py has found to record what we do."""
_LEFT_TO_UPSTREAM: Final = (
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST",
    "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE",
    "OTEL_PYTHON_HTTPX_EXCLUDED_URLS",
    "OTEL_PYTHON_EXCLUDED_URLS",
)
"""Variables with which a program asks for more than the plain span."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_PLACE: Final = "the span of an httpx request"
_OLD_METRIC: Final = "http.client.duration"
_NEW_METRIC: Final = "http.client.request.duration"


class AskedTracers(TracerProvider):
    """The program's tracers, handed to upstream; remembers which one it took."""

    def __init__(self, tracer_provider: TracerProvider) -> None:
        self._tracer_provider = tracer_provider
        self.tracer: Tracer | None = None
        self.version: str | None = None

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> Tracer:
        """The tracer of the program."""
        self.version = instrumenting_library_version
        self.tracer = self._tracer_provider.get_tracer(
            instrumenting_module_name, instrumenting_library_version, schema_url, attributes
        )
        return self.tracer


class AskedMeters(NoOpMeterProvider):
    """Meters that measure nothing; remembers of which metrics, which tells the generation of the conventions."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def get_meter(self, name: str, *_: Any, **__: Any) -> Meter:
        """A meter that measures nothing."""
        return _AskedMeter(name, self.names)


class _AskedMeter(NoOpMeter):
    def __init__(self, name: str, names: set[str]) -> None:
        super().__init__(name)
        self._names = names

    def create_histogram(self, name: str, *args: Any, **kwargs: Any) -> Histogram:
        self._names.add(name)
        return super().create_histogram(name, *args, **kwargs)


class HttpxSpan:
    """Records requests that `covers` says yes to, with the names of the old conventions, the new ones or both."""

    def __init__(self, library: ModuleType, tracer: Tracer, *, old: bool, new: bool) -> None:
        def names(*pair: str) -> tuple[str, ...]:
            return tuple(compress(pair, (old, new)))

        self._library = library
        self._tracer = tracer
        self._new = new
        self._method = names(semconv.OLD_HTTP_METHOD, semconv.HTTP_METHOD)
        self._url = names(semconv.OLD_HTTP_URL, semconv.URL_FULL)
        self._host = (*names(semconv.OLD_HTTP_HOST, semconv.SERVER_ADDRESS), semconv.NETWORK_PEER_ADDRESS)
        self._port = (*names(semconv.OLD_HTTP_PORT, semconv.SERVER_PORT), semconv.NETWORK_PEER_PORT)
        self._status = names(semconv.OLD_HTTP_STATUS_CODE, semconv.HTTP_STATUS_CODE)
        self._version = names(semconv.OLD_HTTP_FLAVOR, semconv.NETWORK_PROTOCOL_VERSION)

    @classmethod
    def in_place_of_upstreams(cls, library: ModuleType, tracers: AskedTracers, meters: AskedMeters) -> HttpxSpan | None:
        """What says the same as upstream, which has just been turned on with these; None where only upstream can."""
        old, new = _OLD_METRIC in meters.names, _NEW_METRIC in meters.names
        if tracers.tracer is None or tracers.version not in HELD_EQUAL or not (old or new):
            return None
        if any(os.environ.get(variable) for variable in _LEFT_TO_UPSTREAM):
            return None
        return cls(library, tracers.tracer, old=old, new=new)

    def covers(self, args: tuple[Any, ...]) -> bool:
        """Whether a call of the transport is a request to be recorded, and one that needs nothing of upstream."""
        return (
            len(args) == 1
            and isinstance(args[0], self._library.Request)
            and args[0].method in _METHODS
            and not is_untraced(get_current(), http=True)
        )

    def around(self, send: Callable[[Any], Any], request: Any) -> Any:
        """Record what `send(request)` does; returns and raises the same."""
        span = guarded(_PLACE, self._begun, request)
        if span is None:
            return send(request)
        with use_span(span, end_on_exit=True):
            guarded(_PLACE, self._mark, request)
            try:
                response = send(request)
            except Exception as error:
                guarded(_PLACE, self._failed, span, error)
                raise
            guarded(_PLACE, self._answered, span, response)
        return response

    async def around_async(self, send: Callable[[Any], Awaitable[Any]], request: Any) -> Any:
        """Record what `await send(request)` does; returns and raises the same."""
        span = guarded(_PLACE, self._begun, request)
        if span is None:
            return await send(request)
        with use_span(span, end_on_exit=True):
            guarded(_PLACE, self._mark, request)
            try:
                response = await send(request)
            except Exception as error:
                guarded(_PLACE, self._failed, span, error)
                raise
            guarded(_PLACE, self._answered, span, response)
        return response

    def _begun(self, request: Any) -> Span:
        url = request.url
        text = str(url)
        attributes: dict[str, AttributeValue] = dict.fromkeys(self._method, request.method)
        attributes.update(dict.fromkeys(self._url, redact_url(text) if "@" in text or "?" in text else text))
        if self._new:
            if url.host:
                attributes.update(dict.fromkeys(self._host, url.host))
            if url.port:
                attributes.update(dict.fromkeys(self._port, url.port))
        return self._tracer.start_span(request.method, kind=SpanKind.CLIENT, attributes=attributes)

    def _mark(self, request: Any) -> None:
        """Put the trace into the request's headers: a copy, since the caller may share his among requests."""
        headers = self._library.Headers(request.headers)
        inject(headers)
        request.headers = headers

    def _answered(self, span: Span, response: Any) -> None:
        if not isinstance(response, self._library.Response) or not span.is_recording():
            return
        status = response.status_code
        attributes: dict[str, AttributeValue] = dict.fromkeys(self._status, status)
        code = http_status_to_status_code(status)
        if self._new:
            if code is StatusCode.ERROR:
                attributes[semconv.ERROR_TYPE] = str(status)
            if version := response.http_version.replace("HTTP/", ""):
                attributes.update(dict.fromkeys(self._version, version))
        span.set_attributes(attributes)
        if code is StatusCode.ERROR:
            span.set_status(code)

    def _failed(self, span: Span, error: Exception) -> None:
        self._answered(span, getattr(error, "response", None))
        if self._new and span.is_recording():
            span.set_attribute(semconv.ERROR_TYPE, type(error).__qualname__)
