"""OTLP over gRPC: the same bytes as over HTTP, through a channel of grpcio (extra `grpc`).

Source: OTLP specification 1.x, "OTLP/gRPC": which status codes may be retried, RetryInfo, partial success.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_llm.backends.http import retry_after_seconds
from otel_llm.backends.loopback import is_loopback
from otel_llm.backends.otlp import traces_url, unforeseen
from otel_llm.backends.otlp_answers import CA_VARIABLE, CLIENT_VARIABLE, partly_delivered
from otel_llm.backends.trouble import Refusal, Trouble, tls_remedy
from otel_llm.config import mask_url
from otel_llm.contracts import CheckStatus, Finding
from otel_llm.errors import BackendError
from otel_llm.untraced import untraced

try:
    import grpc  # type: ignore[import-untyped]
except ImportError as error:
    raise BackendError(
        "OTLP over gRPC needs the package grpcio, which is not installed. Install otel-llm[grpc], or set "
        "otlp.protocol (OTEL_LLM_OTLP_PROTOCOL) to http/protobuf."
    ) from error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_llm.backends.otlp import OtlpOptions
    from otel_llm.contracts import Batch, Outcome

__all__ = ["OtlpGrpcBackend"]

_logger = logging.getLogger(__name__)

_METHOD: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_DETAILS: Final = "grpc-status-details-bin"
_HTTP_PORT: Final = 4318
_CHECK_TIMEOUT_SECONDS: Final = 5.0
_ENDPOINT: Final = "otlp.endpoint (OTEL_LLM_OTLP_ENDPOINT)"
_HEADERS: Final = "otlp.headers (OTEL_LLM_OTLP_HEADERS)"
_MAX_WORDS: Final = 300


class OtlpGrpcBackend:
    """Sends batches by OTLP/gRPC. For one thread at a time; connects when the first batch comes.

    `http://` (or no scheme) is a channel without TLS, `https://` one with it; a path means nothing here. Raises
    `BackendError` for an endpoint that is no address.
    """

    name = "otlp"

    def __init__(self, options: OtlpOptions) -> None:
        parts = urlsplit(traces_url(options.endpoint))
        self._options = options
        self._target = parts.netloc.rpartition("@")[2]
        self._host = parts.hostname or ""
        self._secure = parts.scheme == "https"
        self._port = parts.port
        self.shown_url = mask_url(f"{parts.scheme}://{self._target}")
        """The address without secrets, for messages."""
        self._metadata = tuple((name.lower(), value) for name, value in options.headers.items())
        self._channel: Any = None
        self._owner = os.getpid()

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        """Call the receiver's Export with the batch's bytes as they are."""
        verdict = self._export(batch.payload, min(timeout, self._options.timeout))
        if isinstance(verdict, ExportTraceServiceResponse):
            return partly_delivered(verdict, batch.span_count)
        return verdict.outcome()

    def check(self) -> Sequence[Finding]:
        """Call Export with an empty request, which every OTLP receiver answers like a full one."""
        verdict = self._export(b"", _CHECK_TIMEOUT_SECONDS)
        if isinstance(verdict, ExportTraceServiceResponse):
            return [Finding("otlp endpoint", CheckStatus.OK, f"{self.shown_url} took an empty request over gRPC.")]
        return [verdict.finding("otlp endpoint")]

    def close(self) -> None:
        """Drop the channel; a later `send` would open a new one."""
        channel, self._channel = self._channel, None
        if channel is not None and self._owner == os.getpid():
            channel.close()

    def _export(self, payload: bytes, timeout: float) -> ExportTraceServiceResponse | Trouble | Refusal:
        try:
            with untraced():
                response: ExportTraceServiceResponse = self._call()(
                    payload, timeout=timeout, metadata=self._metadata, compression=self._compression()
                )
            return response  # noqa: TRY300  (the clauses below are about the call)
        except grpc.RpcError as error:
            return _judge(error, self.shown_url, self._port)
        except OSError as error:
            return _unreadable_certificate(self.shown_url, error)
        except Exception as error:  # the contract: send never raises, and nothing is lost
            _logger.debug("sending to %s failed", self.shown_url, exc_info=True)
            return unforeseen(self.shown_url, error)

    def _call(self) -> Any:
        if self._channel is None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._channel = self._new_channel()
        return self._channel.unary_unary(
            _METHOD, request_serializer=None, response_deserializer=ExportTraceServiceResponse.FromString
        )

    def _new_channel(self) -> Any:
        options = (
            ("grpc.enable_http_proxy", 0 if is_loopback(self._host) else 1),
            # Channels with equal arguments share a connection; a forked child must not share its parent's.
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_reconnect_backoff_ms", 5_000),
        )
        if not self._secure:
            return grpc.insecure_channel(self._target, options=options)
        tls = self._options.tls
        credentials = grpc.ssl_channel_credentials(
            _content(tls.ca_file or os.environ.get("SSL_CERT_FILE")),
            _content(tls.client_key),
            _content(tls.client_certificate),
        )
        return grpc.secure_channel(self._target, credentials, options=options)

    def _compression(self) -> Any:
        known = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
        return known.get(self._options.compression, grpc.Compression.NoCompression)


def _content(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _unreadable_certificate(url: str, error: OSError) -> Trouble:
    return Trouble(
        f"The certificate file {error.filename} for {url} cannot be read ({type(error).__name__}).",
        "Correct OTEL_EXPORTER_OTLP_CERTIFICATE, ..._CLIENT_CERTIFICATE or ..._CLIENT_KEY.",
        "tls",
        needs_action=True,
    )


def _judge(error: Any, url: str, port: int | None) -> Trouble | Refusal:
    """What a failed call means."""
    code, said = error.code(), _words(error)
    after = _retry_info(error)
    if code in _SETTINGS:
        what, remedy, reason = _SETTINGS[code]
        return Trouble(f"{url} answered {code.name}: {what}{said}.", remedy, reason, needs_action=True)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in said:
        return Refusal(f"{url} refused the batch{said}.", "too_large")
    if code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}:
        return Refusal(f"{url} refused the batch with {code.name}{said}.")
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unavailable(url, said, port, after)
    reason = {
        grpc.StatusCode.DEADLINE_EXCEEDED: "timeout",
        grpc.StatusCode.RESOURCE_EXHAUSTED: "throttled",
    }.get(code, "unavailable")
    return Trouble(f"{url} answered {code.name}{said}.", "It will be tried again; the spans wait.", reason, after)


_SETTINGS: Final = {
    grpc.StatusCode.UNAUTHENTICATED: (
        "the key or token is missing or wrong",
        f"Correct {_HEADERS}; the spans are kept.",
        "unauthorized",
    ),
    grpc.StatusCode.PERMISSION_DENIED: (
        "this key may not write there",
        f"Give the key the right to write, or correct {_HEADERS}; the spans are kept.",
        "forbidden",
    ),
    grpc.StatusCode.UNIMPLEMENTED: (
        "what listens there is no OTLP receiver for traces",
        f"Correct {_ENDPOINT}; OTLP over gRPC has port 4317.",
        "wrong_address",
    ),
}


_TLS_SIGNS: Final = ("handshake", "ssl", "certificate", "tsi_", "hostname verification")
"""Words of gRPC's for a connection that came to nothing for its TLS."""


def _unavailable(url: str, said: str, port: int | None, after: float | None) -> Trouble:
    if "refused" in said.lower():
        remedy = f"Nothing listens there: start the Collector, or correct {_ENDPOINT}."
        return Trouble(f"{url} gave no answer{said}.", remedy, "refused", after)
    if port == _HTTP_PORT:
        remedy = "Use port 4317, or set otlp.protocol (OTEL_LLM_OTLP_PROTOCOL) to http/protobuf."
        return Trouble(
            f"{url} does not speak gRPC{said}: port {port} is for OTLP over HTTP.", remedy, "http_port", after
        )
    if any(sign in said.lower() for sign in _TLS_SIGNS):
        remedy = tls_remedy(said, ca=CA_VARIABLE, address=_ENDPOINT, client=CLIENT_VARIABLE)
        return Trouble(f"{url} gave no answer{said}.", remedy, "tls", after, needs_action=True)
    remedy = f"It will be tried again; if it stays so, look at the receiver's log and at {_ENDPOINT}."
    if url.startswith("https:") and "failed to connect" in said and "closed" in said:
        remedy = tls_remedy(said, ca=CA_VARIABLE, address=_ENDPOINT, client=CLIENT_VARIABLE)
    return Trouble(f"{url} gave no answer{said}.", remedy, "unavailable", after)


def _words(error: Any) -> str:
    text = "".join(letter if letter.isprintable() else " " for letter in error.details() or "")
    return f" ({text[:_MAX_WORDS].rstrip('.')})" if text else ""


def _retry_info(error: Any) -> float | None:
    """Seconds that the receiver asks for in a RetryInfo detail."""
    details = next((value for key, value in error.trailing_metadata() or () if key == _DETAILS), b"")
    info = RetryInfo()
    try:
        asks = any(detail.Unpack(info) for detail in Status.FromString(details).details)
    except DecodeError:
        return None
    return retry_after_seconds(str(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)) if asks else None
