"""OTLP receivers on loopback, over HTTP and over gRPC, that keep what they are sent.

Each keeps spans as they arrive: a span that is sent twice is there twice.
"""

from __future__ import annotations

import threading
from concurrent import futures
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otel_llm.conformance import spans_of
from tests.conformance.collecting import heard
from tests.fakes.http_server import HttpServer, Reply, Request
from tests.fakes.spans import all_spans

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["GrpcReceiver", "OtlpReceiver"]


class OtlpReceiver(HttpServer):
    """An OTLP/HTTP receiver at `url` (the path is `/v1/traces`); `script` and `always` make it misbehave."""

    def __init__(self, **options: Any) -> None:
        super().__init__(self._receive, **options)
        self._kept: list[Any] = []
        self.resources: list[Any] = []
        """The resource of every group of spans taken so far."""

    @property
    def spans(self) -> list[Any]:
        """Every span message taken so far."""
        return list(self._kept)

    def _receive(self, request: Request) -> Reply:
        if request.path != "/v1/traces":
            return Reply(404)
        if request.method != "POST":
            return Reply(405)
        if request.headers.get("content-type") != "application/x-protobuf":
            return Reply(415)
        try:
            message = ExportTraceServiceRequest.FromString(request.content)
        except DecodeError as error:
            return Reply(400, {"Content-Type": "text/plain"}, str(error).encode())
        self._kept.extend(all_spans(message))
        self.resources.extend(group.resource for group in message.resource_spans)
        heard(spans_of(message))
        return Reply(200, {"Content-Type": "application/x-protobuf"})


class GrpcReceiver:
    """An OTLP/gRPC receiver at `url`; set `abort_with` to (status code, words) to refuse, `hang` to stall."""

    def __init__(self, *, max_bytes: int = 64 * 1024 * 1024, credentials: Any = None) -> None:
        self.abort_with: tuple[grpc.StatusCode, str] | None = None
        self.response = ExportTraceServiceResponse()
        self.trailing_metadata: tuple[tuple[str, Any], ...] = ()
        self.metadata: list[dict[str, str]] = []
        self.hang = False
        self.spans: list[Any] = []
        self._stopped = threading.Event()
        # Without so_reuseport another server could share the port of one that was just stopped.
        self._server = grpc.server(
            futures.ThreadPoolExecutor(4),
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", max_bytes)],
        )
        handler = grpc.unary_unary_rpc_method_handler(
            self._export, response_serializer=ExportTraceServiceResponse.SerializeToString
        )
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"Export": handler}),))
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
            self.url = f"http://127.0.0.1:{self.port}"
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)
            self.url = f"https://127.0.0.1:{self.port}"

    def _export(self, payload: bytes, context: Any) -> ExportTraceServiceResponse:
        self.metadata.append({str(item.key): str(item.value) for item in context.invocation_metadata()})
        if self.hang:
            self._stopped.wait(60)
        if self.abort_with is not None:
            context.set_trailing_metadata(self.trailing_metadata)
            context.abort(*self.abort_with)
        try:
            message = ExportTraceServiceRequest.FromString(payload)
        except DecodeError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        self.spans.extend(all_spans(message))
        return self.response

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._stopped.set()
        self._server.stop(None).wait(5)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
