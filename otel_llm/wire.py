"""The one wire form that spool, Collector and backends share, read back: OTLP protobuf.

Writing spans into that form is `otel_llm.delivery.codec`; reading it is here, below both, because every backend
needs it. Source: opentelemetry-proto. Its JSON is `otel_llm.otlp_json`, which most programs have no use for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from otel_llm.contracts import Batch

__all__ = ["IllFormedPayloadError", "decode"]


class IllFormedPayloadError(ValueError):
    """Bytes or JSON that are not an OTLP trace request; caught inside the package, never shown to a program."""


def decode(batch: Batch) -> ExportTraceServiceRequest:
    """The message that `batch.payload` holds.

    Raises `IllFormedPayloadError` when the bytes are not an `ExportTraceServiceRequest`.
    """
    try:
        return ExportTraceServiceRequest.FromString(batch.payload)
    except DecodeError as error:
        raise IllFormedPayloadError(f"not an OTLP ExportTraceServiceRequest: {error}") from error
