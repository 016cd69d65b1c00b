"""Requests of httpx to a server on loopback, and what a program and its telemetry see of them."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, Final

import httpx
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.httpx import AsyncOpenTelemetryTransport, SyncOpenTelemetryTransport
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from otel_llm.instrumentation.http import HttpInstrumentation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["CASES", "Case", "NoSpan", "Server", "Telemetry", "recording", "seen_of", "serving"]


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    headers_seen: ClassVar[list[dict[str, str]]] = []
    release: ClassVar[threading.Event] = threading.Event()

    def answer(self) -> None:
        """By path: a status, a redirection, chunks, silence, or the end of the connection."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.headers_seen.append({name.lower(): value for name, value in self.headers.items()})
        what = self.path.split("?")[0].strip("/").split("/")
        if what[0] == "silence":
            self.release.wait(10)
            self.close_connection = True
        elif what[0] == "hang-up":
            self.close_connection = True
        elif what[0] == "chunks":
            self.begin(200, ("Transfer-Encoding", "chunked"))
            for _ in range(3):
                self.wfile.write(b"4\r\nword\r\n")
            self.wfile.write(b"0\r\n\r\n")
        elif what[0] == "redirect":
            self.begin(307, ("Location", "/status/200?from=here"), ("Content-Length", "0"))
        else:
            status = int(what[1]) if what[0] == "status" else 200
            body = b"" if status in {204, 304} or self.command == "HEAD" else b"{}"
            self.begin(status, ("Content-Length", str(len(body))), ("X-Answer", "a, b"), ("X-Answer", "c"))
            self.wfile.write(body)

    def begin(self, status: int, *headers: tuple[str, str]) -> None:
        """Status line and headers."""
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = do_OPTIONS = do_PATCH = do_QUERY = do_BREW = answer


@dataclass
class Server:
    """A server that runs, and one port where none does."""

    port: int
    closed_port: int
    requests: list[dict[str, str]]


@contextmanager
def serving() -> Iterator[Server]:
    """The server, for as long as the block lasts."""
    release = threading.Event()
    handler = type("Handler", (_Answers,), {"headers_seen": [], "release": release})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, ThreadingHTTPServer(("127.0.0.1", 0), handler) as no:
        closed_port = no.server_address[1]
        no.server_close()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield Server(server.server_address[1], closed_port, handler.headers_seen)  # type: ignore[attr-defined]
        finally:
            release.set()
            server.shutdown()
            thread.join()


class _Raising:
    """A pool of connections that has none; nothing leaves the machine, whatever the address says."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def handle_request(self, _: object) -> Any:
        raise self.error

    async def handle_async_request(self, _: object) -> Any:
        raise self.error


class _WithResponse(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__("refused by a rule")
        self.response = httpx.Response(status)


class _Stop(BaseException):
    pass


@dataclass(frozen=True)
class Case:
    """One request: where to, how, and with which client."""

    url: str = "http://127.0.0.1:{port}/v1/chat"
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)
    pool_raises: Callable[[], BaseException] | None = None
    client: dict[str, Any] = field(default_factory=dict)
    wrapped: bool = False
    """The program has put upstream's transport around httpx's, in its own client."""
    mounted: bool = False
    """The program has mounted a transport of its own, made from httpx's."""
    stream: bool = False


def _elsewhere(url: str) -> Case:
    return Case(url, pool_raises=lambda: httpx.ConnectError("nobody is there"))


CASES: dict[str, Case] = {
    "success": Case(),
    "no content": Case("http://127.0.0.1:{port}/status/204", "DELETE"),
    "not modified": Case("http://127.0.0.1:{port}/status/304", "GET"),
    "bad request": Case("http://127.0.0.1:{port}/status/400"),
    "too many": Case("http://127.0.0.1:{port}/status/429"),
    "server error": Case("http://127.0.0.1:{port}/status/503"),
    "odd status": Case("http://127.0.0.1:{port}/status/799"),
    "redirected": Case("http://127.0.0.1:{port}/redirect", client={"follow_redirects": True}),
    "redirection not followed": Case("http://127.0.0.1:{port}/redirect"),
    "streamed": Case("http://127.0.0.1:{port}/chunks", stream=True),
    "refused": Case("http://127.0.0.1:{closed_port}/v1"),
    "read timeout": Case("http://127.0.0.1:{port}/silence", client={"timeout": 0.2}),
    "connection lost": Case("http://127.0.0.1:{port}/hang-up"),
    "head": Case(method="HEAD"),
    "put": Case(method="PUT"),
    "patch": Case(method="patch"),
    "options": Case(method="OPTIONS"),
    "query": Case(method="QUERY"),
    "unknown method": Case(method="BREW"),
    "query string": Case("http://127.0.0.1:{port}/v1?api-version=1&x=%20y%2Fz&x=ü#part"),
    "signature in the query": Case("http://127.0.0.1:{port}/v1?sig=secret&Signature=secret&a=b c", "GET"),
    "key in the query": Case("http://127.0.0.1:{port}/v1?key=secret"),
    "userinfo": Case("http://me:secret@127.0.0.1:{port}/v1"),
    "at sign in the path": Case("http://127.0.0.1:{port}/v1/@model/a b/%7Ec;p"),
    "trace of the program's": Case(headers={"traceparent": f"00-{'1' * 32}-{'2' * 16}-01", "X-Many": "a, b"}),
    "no path": Case("http://127.0.0.1:{port}", "GET"),
    "default port": _elsewhere("https://API.example.com:443/v1"),
    "other port": _elsewhere("https://api.example.com:8443/v1"),
    "no port": _elsewhere("http://api.example.com/v1"),
    "ipv6": _elsewhere("http://[::1]:8080/v1"),
    "ipv6 without a port": _elsewhere("https://user@[2001:db8::1]/v1?a=b"),
    "international name": _elsewhere("https://bücher.example/ä?ö=ü"),
    "exception with an answer": Case(pool_raises=lambda: _WithResponse(502)),
    "not an exception": Case(pool_raises=_Stop),
    "cancelled": Case(pool_raises=asyncio.CancelledError),
    "through a proxy": Case("http://nowhere.example:1/v1", client={"proxy": "http://127.0.0.1:{closed_port}"}),
    "upstream's transport": Case(wrapped=True),
    "mounted transport": Case(mounted=True),
    "transport of another kind": Case(client={"transport": httpx.MockTransport(lambda _: httpx.Response(200))}),
}


class _Mounted(httpx.HTTPTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["x-mounted"] = "yes"
        return super().handle_request(request)


class _MountedAsync(httpx.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["x-mounted"] = "yes"
        return await super().handle_async_request(request)


class NoSpan(Exception):
    """What a sampler of a program's may raise."""


class _Sampler(Sampler):
    """Decides as it is told about spans of requests, and remembers what it was asked."""

    def __init__(self, decision: Decision | None) -> None:
        self.decision = decision
        self.asked: list[Any] = []

    def should_sample(
        self,
        parent_context: Any,
        trace_id: int,
        name: str,
        kind: Any = None,
        attributes: Any = None,
        links: Any = None,
        trace_state: Any = None,
    ) -> SamplingResult:
        if name == "call":
            return SamplingResult(Decision.RECORD_AND_SAMPLE)
        self.asked.append((parent_context, name, kind, list(attributes.items()), links, trace_state))
        if self.decision is None:
            raise NoSpan
        return SamplingResult(self.decision, attributes)

    def get_description(self) -> str:
        return "as told"


class Telemetry:
    """A tracer provider whose spans stay in memory."""

    def __init__(self, decision: Decision | None = Decision.RECORD_AND_SAMPLE) -> None:
        self.sampler = _Sampler(decision)
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=self.sampler)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    @property
    def requests(self) -> list[ReadableSpan]:
        """Spans of requests, in the order in which they ended."""
        return [span for span in self.exporter.get_finished_spans() if span.name != "call"]

    def told(self) -> list[Any]:
        """All that the spans say, in the order in which it was said; ids and times apart."""
        (call,) = [span for span in self.exporter.get_finished_spans() if span.name == "call"]
        known = {span.context.span_id: number for number, span in enumerate([call, *self.requests])}
        return [
            (
                span.name,
                span.kind,
                list((span.attributes or {}).items()),
                (span.status.status_code, span.status.description),
                [(event.name, _without_stack(event.attributes)) for event in span.events],
                span.links,
                span.instrumentation_scope,
                span.context.trace_flags,
                span.context.trace_state,
                known[span.parent.span_id],
            )
            for span in self.requests
        ]


def _without_stack(attributes: Any) -> list[tuple[str, Any]]:
    return [(key, key == "exception.stacktrace" or value) for key, value in attributes.items()]


@contextmanager
def recording(telemetry: Telemetry) -> Iterator[HttpInstrumentation]:
    """Requests recorded by us, as those of a call with baggage."""
    client = HttpInstrumentation("httpx", telemetry.provider, in_call=lambda: True)
    client.begin()
    assert client._gate is not None
    token = context.attach(baggage.set_baggage("team", "a"))
    try:
        with telemetry.provider.get_tracer("program").start_as_current_span("call"):
            yield client
    finally:
        context.detach(token)
        client.end()


def seen_of(case: Case, server: Server, telemetry: Telemetry, *, asynchronous: bool) -> Any:
    """Make the request of `case`; what the program sees of it, the server and a sampler."""
    first = len(server.requests)
    with recording(telemetry):
        seen = asyncio.run(_async(case, server, telemetry)) if asynchronous else _sync(case, server, telemetry)
    spans = {trace.format_span_id(span.context.span_id): number for number, span in enumerate(telemetry.requests)}
    arrived = []
    for headers in server.requests[first:]:
        parent = headers.pop("traceparent", None)
        arrived.append((list(headers.items()), parent and (spans.get(parent.split("-")[2]), parent.split("-")[3])))
    return seen, arrived, telemetry.sampler.asked


_CERTIFICATES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""None: they take longer to load than all these requests, and none of them needs any."""
_SYNC: Final = (httpx.HTTPTransport, _Mounted, SyncOpenTelemetryTransport)
_ASYNC: Final = (httpx.AsyncHTTPTransport, _MountedAsync, AsyncOpenTelemetryTransport)


def _settings(case: Case, server: Server, telemetry: Telemetry, kinds: tuple[Any, ...]) -> dict[str, Any]:
    transport, mounted, around = kinds
    settings = {"timeout": 5, "verify": _CERTIFICATES, **case.client}
    if "proxy" in settings:
        settings["proxy"] = settings["proxy"].format(closed_port=server.closed_port)
    if case.pool_raises is not None:
        settings["transport"] = transport(verify=_CERTIFICATES)
        settings["transport"]._pool = _Raising(case.pool_raises())
    if case.wrapped:
        settings["transport"] = around(transport(verify=_CERTIFICATES), tracer_provider=telemetry.provider)
    if case.mounted:
        settings["mounts"] = {"http://": mounted(verify=_CERTIFICATES)}
    return settings


def _request(case: Case, server: Server, client: httpx.Client | httpx.AsyncClient) -> httpx.Request:
    url = case.url.format(port=server.port, closed_port=server.closed_port)
    return client.build_request(case.method, url, headers=case.headers, content=None if case.stream else b"{}")


def _sync(case: Case, server: Server, telemetry: Telemetry) -> Any:
    client = httpx.Client(**_settings(case, server, telemetry, _SYNC))
    request = _request(case, server, client)
    headers = request.headers
    try:
        response = client.send(request, stream=case.stream)
        response.read()
    except (Exception, asyncio.CancelledError, _Stop) as error:
        return _outcome(request, headers, error)
    finally:
        if not isinstance(getattr(client._transport, "_pool", None), _Raising):
            client.close()
    return _outcome(request, headers, response)


async def _async(case: Case, server: Server, telemetry: Telemetry) -> Any:
    client = httpx.AsyncClient(**_settings(case, server, telemetry, _ASYNC))
    request = _request(case, server, client)
    headers = request.headers
    try:
        response = await client.send(request, stream=case.stream)
        await response.aread()
    except (Exception, asyncio.CancelledError, _Stop) as error:
        return _outcome(request, headers, error)
    finally:
        if not isinstance(getattr(client._transport, "_pool", None), _Raising):
            await client.aclose()
    return _outcome(request, headers, response)


def _outcome(request: httpx.Request, before: httpx.Headers, result: httpx.Response | BaseException) -> Any:
    """What the request has become, whether its first headers are as they were, and what came back."""
    after = [(name, value if name != b"traceparent" else None) for name, value in request.headers.raw]
    facts = (str(request.url), after, type(request.headers), request.headers is before, list(before.multi_items()))
    if isinstance(result, BaseException):
        cause = result.__cause__
        return (*facts, type(result), str(result), type(cause), result.__context__ is cause)
    history = [answer.status_code for answer in result.history]
    return (*facts, result.status_code, result.text, history, result.http_version)
