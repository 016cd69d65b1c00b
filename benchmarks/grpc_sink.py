"""A sink that speaks OTLP over gRPC, in a process of its own; its control is that of `server.py`.

python benchmarks/grpc_sink.py         # prints two ports: that of the traffic, that of the control
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

_HERE = __file__.rpartition("/")[0]
sys.path[:] = [entry for entry in sys.path if entry != _HERE]
sys.path.insert(0, _HERE.rpartition("/")[0])

import grpc  # noqa: E402  (started by path, from any environment)
import grpc.aio  # noqa: E402

from benchmarks.server import Server, serve  # noqa: E402

_MOST_BYTES = 64 * 1024 * 1024
_EXPORTS = {
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "/v1/traces",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export": "/v1/logs",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": "/v1/metrics",
}


class GrpcServer(Server):
    """As `Server`, over gRPC."""

    def __init__(self) -> None:
        super().__init__()
        self._serving: Any = None

    async def open(self) -> None:
        """Listen, on the same port as before if there was one."""
        if self._serving is None:
            options = [("grpc.max_receive_message_length", _MOST_BYTES), ("grpc.so_reuseport", 0)]
            self._serving = grpc.aio.server(options=options)
            self._serving.add_generic_rpc_handlers((_Exports(self),))
            self.port = self._serving.add_insecure_port(f"127.0.0.1:{self.port}")
            await self._serving.start()

    async def close(self) -> None:
        """Listen no more, and break what connections there are."""
        serving, self._serving = self._serving, None
        if serving is not None:
            await serving.stop(None)

    async def cut(self) -> None:
        """Begin anew: what hung is broken off."""
        await self.close()


class _Exports(grpc.GenericRpcHandler):
    """Takes the bytes of every export as they are."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def service(self, handler_call_details: Any) -> Any:
        """The handler of one method."""
        path = _EXPORTS.get(handler_call_details.method)
        if path is None:
            return None

        async def export(body: bytes, context: Any) -> bytes:
            state = self._server.state
            if state.mode != "ok":
                state.refused += 1
            if state.mode == "hang":
                await asyncio.Event().wait()
            if state.mode == "503":
                await context.abort(grpc.StatusCode.UNAVAILABLE, "told so")
            if state.mode == "429":
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "told so")
            state.take(path, {"content-type": "application/x-protobuf"}, body)
            return b""  # an ExportTraceServiceResponse without a word

        return grpc.unary_unary_rpc_method_handler(export)


if __name__ == "__main__":
    asyncio.run(serve(GrpcServer()))
