"""A small OTLP/HTTP receiver on loopback: JSON and protobuf, gzip or not.

Source: OTLP specification 1.x, "OTLP/HTTP". Metrics and logs are taken and forgotten, so that a program whose exporters
send all three is not disturbed.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import zlib
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm.control.loopback_server import ADDRESS, LoopbackHandler, LoopbackServer
from otel_llm.errors import ConfigError
from otel_llm.otlp_json import from_otlp_json
from otel_llm.wire import IllFormedPayloadError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Receiver"]

_logger = logging.getLogger(__name__)

_TRACES: Final = "/v1/traces"
_OTHERS: Final = frozenset({"/v1/metrics", "/v1/logs", "/v1development/profiles"})
_JSON: Final = "application/json"
_PROTOBUF: Final = frozenset({"application/x-protobuf", "application/protobuf"})
_MAX_BYTES: Final = 64 * 1024 * 1024
"""Of a request's body, before and after decompression."""
_MOST_WAITING: Final = 64
_READ_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.1


class _RefusedError(Exception):
    """A request that is not taken: the status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class Receiver:
    """Takes trace requests on 127.0.0.1:`port` (0: any that is free) from entering the block to leaving it."""

    def __init__(self, port: int) -> None:
        self.requests: queue.Queue[ExportTraceServiceRequest] = queue.Queue(_MOST_WAITING)
        """What has come and is not looked at yet. A request is here before its sender hears that it was taken."""
        try:
            self._server = _Server(port, self.requests)
        except OSError as error:
            raise ConfigError(
                f"Port {port} of {ADDRESS} cannot be opened ({error.strerror or error}); most likely a Collector or "
                "another receiver listens there. Stop it, or choose another with --port (0 takes any that is free)."
            ) from error
        self.url = f"http://{ADDRESS}:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="otel-llm-lint", daemon=True
        )
        thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(LoopbackServer):
    def __init__(self, port: int, requests: queue.Queue[ExportTraceServiceRequest]) -> None:
        self.requests = requests
        super().__init__(port, _Handler)


class _Handler(LoopbackHandler):
    protocol_version = "HTTP/1.1"
    timeout = _READ_SECONDS
    server: _Server

    def do_POST(self) -> None:  # noqa: N802  (the base class's name)
        """Take one export request."""
        try:
            kind = self._take()
        except _RefusedError as refused:
            self.close_connection = True
            self._answer(refused.status, "text/plain; charset=utf-8", refused.why.encode())
        else:
            self._answer(200, kind, b"{}" if kind == _JSON else b"")

    def _take(self) -> str:
        path = urlsplit(self.path).path
        if path not in {_TRACES, *_OTHERS}:
            raise _RefusedError(404, f"there is nothing at this path; traces go to {_TRACES}")
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != _JSON and kind not in _PROTOBUF:
            raise _RefusedError(415, f"Content-Type should be {_JSON} or application/x-protobuf")
        body = self._unpacked(self._body())
        if path == _TRACES:
            self.server.requests.put(_parsed(body, kind))
        return kind

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunks()
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            raise _RefusedError(411, "Content-Length is missing") from None
        if not 0 <= length <= _MAX_BYTES:
            raise _RefusedError(413, f"a body of over {_MAX_BYTES} bytes is not taken")
        return self.rfile.read(length)

    def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(1024).partition(b";")[0], 16)
            except ValueError:
                raise _RefusedError(400, "the chunked body is broken") from None
            if size < 0 or len(body) + size > _MAX_BYTES:
                raise _RefusedError(413, f"a body of over {_MAX_BYTES} bytes is not taken")
            body += self.rfile.read(size)
            self.rfile.readline(1024)  # the end of the chunk, or of the (empty) trailer
            if size == 0:
                return bytes(body)

    def _unpacked(self, body: bytes) -> bytes:
        encoding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding == "identity":
            return body
        if encoding not in {"gzip", "deflate"}:
            raise _RefusedError(415, "Content-Encoding should be gzip, deflate or none")
        unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either form, by its header
        try:
            unpacked = unpacking.decompress(body, _MAX_BYTES)
        except zlib.error as error:
            raise _RefusedError(400, f"the body is not {encoding} ({error})") from None
        if unpacking.unconsumed_tail:
            raise _RefusedError(413, f"a body of over {_MAX_BYTES} bytes is not taken")
        if not unpacking.eof:
            raise _RefusedError(400, f"the body is not {encoding} (it ends too early)")
        return unpacked

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _parsed(body: bytes, kind: str) -> ExportTraceServiceRequest:
    try:
        if kind == _JSON:
            return from_otlp_json(json.loads(body))
        return ExportTraceServiceRequest.FromString(body)
    except (DecodeError, IllFormedPayloadError, ValueError, RecursionError) as error:
        raise _RefusedError(400, f"the body is not an OTLP trace request ({type(error).__name__})") from error
