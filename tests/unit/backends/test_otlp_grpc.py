"""OTLP over gRPC against a real gRPC server."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from otel_llm.backends.http import Tls
from otel_llm.backends.otlp import OtlpOptions, create
from otel_llm.backends.otlp_grpc import OtlpGrpcBackend
from otel_llm.config import load
from otel_llm.contracts import CheckStatus, Delivered, Outcome, Rejected, Rejection, Retry
from tests.fakes.http_server import closed_port
from tests.fakes.opik.tls import ServerCertificate
from tests.fakes.otlp_receiver import GrpcReceiver, OtlpReceiver
from tests.fakes.spans import make_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT = 20.0


@pytest.fixture
def receiver() -> Iterator[GrpcReceiver]:
    """A receiver that behaves until it is told otherwise."""
    with GrpcReceiver() as opened:
        yield opened


def _send(url: str, spans: int = 1, timeout: float = TIMEOUT, **options: object) -> Outcome:
    backend = OtlpGrpcBackend(OtlpOptions(url, **options))  # type: ignore[arg-type]
    try:
        return backend.send(make_batch(spans), timeout=timeout)
    finally:
        backend.close()


@pytest.mark.parametrize("compression", ["none", "gzip", "deflate"])
def test_spans_arrive(receiver: GrpcReceiver, compression: str) -> None:
    """Batches go through with every compression, with or without a scheme and a path."""
    assert _send(receiver.url, spans=20, compression=compression) == Delivered(20)
    assert _send(f"127.0.0.1:{receiver.port}") == Delivered(1)
    assert _send(f"{receiver.url}/v1/traces") == Delivered(1)
    assert len(receiver.spans) == 22


def test_headers_become_metadata(receiver: GrpcReceiver) -> None:
    """Keys travel in lower case, as gRPC wants them."""
    assert _send(receiver.url, headers={"Api-Key": "v"}) == Delivered(1)
    assert receiver.metadata[0]["api-key"] == "v"


def test_protocol_setting_chooses_grpc(receiver: GrpcReceiver) -> None:
    """`otlp.protocol = grpc` is enough."""
    backend = create(load({"otlp_endpoint": receiver.url, "otlp_protocol": "grpc"}))
    assert backend.send(make_batch(), timeout=TIMEOUT) == Delivered(1)
    backend.close()


def test_partial_success_is_read(receiver: GrpcReceiver) -> None:
    """Spans that the receiver says it rejected are counted as rejected."""
    receiver.response.partial_success.rejected_spans = 2
    receiver.response.partial_success.error_message = "too old"
    assert _send(receiver.url, spans=3) == Delivered(1, (Rejection("", "invalid", "too old"),) * 2)


@pytest.mark.parametrize(
    ("code", "reason", "needs_action", "hint"),
    [
        (grpc.StatusCode.UNAVAILABLE, "unavailable", False, "again"),
        (grpc.StatusCode.ABORTED, "unavailable", False, "again"),
        (grpc.StatusCode.INTERNAL, "unavailable", False, "again"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "throttled", False, "again"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "timeout", False, "again"),
        (grpc.StatusCode.UNAUTHENTICATED, "unauthorized", True, "otlp.headers"),
        (grpc.StatusCode.PERMISSION_DENIED, "forbidden", True, "otlp.headers"),
        (grpc.StatusCode.UNIMPLEMENTED, "wrong_address", True, "otlp.endpoint"),
    ],
)
def test_failures_keep_the_spans(
    receiver: GrpcReceiver, code: grpc.StatusCode, reason: str, needs_action: bool, hint: str
) -> None:
    """Every status that is not about the spans keeps them, and the sentence says what to do."""
    receiver.abort_with = (code, "because")
    outcome = _send(receiver.url)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.needs_action) == (reason, needs_action)
    assert hint in outcome.why
    assert "because" in outcome.why


@pytest.mark.parametrize(
    ("code", "words", "reason"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "bad span", "invalid"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 4)", "too_large"),
    ],
)
def test_refusals_are_for_good(receiver: GrpcReceiver, code: grpc.StatusCode, words: str, reason: str) -> None:
    """What is wrong with the batch itself is rejected, so that it can be halved."""
    receiver.abort_with = (code, words)
    outcome = _send(receiver.url)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == reason


@pytest.mark.parametrize(("asked", "expected"), [(7, 7.0), (100_000, 900.0), (-5, 0.0)])
def test_retry_info_is_honoured_within_bounds(receiver: GrpcReceiver, asked: int, expected: float) -> None:
    """The receiver's own delay is used, up to 15 minutes."""
    detail = AnyMessage()
    detail.Pack(RetryInfo(retry_delay=Duration(seconds=asked)))
    status = Status(code=8, details=[detail])
    receiver.trailing_metadata = (("grpc-status-details-bin", status.SerializeToString()),)
    receiver.abort_with = (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
    outcome = _send(receiver.url)
    assert isinstance(outcome, Retry)
    assert outcome.after == expected


def test_unreadable_retry_info_is_no_crash(receiver: GrpcReceiver) -> None:
    """Garbage in the details counts as not said."""
    receiver.trailing_metadata = (("grpc-status-details-bin", b"\xff\xff\xff"),)
    receiver.abort_with = (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
    outcome = _send(receiver.url)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "throttled"
    assert outcome.after is None


def test_nobody_listening_is_named() -> None:
    """A refused connection says so, and what to start."""
    outcome = _send(f"http://127.0.0.1:{closed_port()}", timeout=5)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "refused"


def test_http_server_does_not_pass_for_grpc() -> None:
    """A gRPC request to an HTTP receiver is not a success, and nothing is lost."""
    with OtlpReceiver() as http:
        outcome = _send(http.url, timeout=3)
    assert isinstance(outcome, Retry)


def test_receiver_that_comes_back_is_found_again(receiver: GrpcReceiver) -> None:
    """The same backend delivers after the receiver was unavailable."""
    backend = OtlpGrpcBackend(OtlpOptions(receiver.url))
    receiver.abort_with = (grpc.StatusCode.UNAVAILABLE, "starting")
    assert isinstance(backend.send(make_batch(), timeout=TIMEOUT), Retry)
    receiver.abort_with = None
    assert backend.send(make_batch(), timeout=TIMEOUT) == Delivered(1)
    backend.close()


def test_unreadable_certificate_is_named(tmp_path: object) -> None:
    """A CA file that is missing is an answer with the variable's name, not a crash."""
    outcome = _send("https://127.0.0.1:1", tls=Tls(ca_file=f"{tmp_path}/missing.pem"))
    assert isinstance(outcome, Retry)
    assert outcome.reason == "tls"
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in outcome.why


def test_a_receiver_that_wants_our_certificate(tmp_path: Path) -> None:
    """With our certificate spans arrive; without it, with a stranger's, or with a wrong key the remedy names it."""
    certificate, stranger = ServerCertificate(), ServerCertificate()
    ca = str(certificate.write_ca(tmp_path / "ca.pem"))
    (tmp_path / "other").mkdir()
    ours, key = certificate.write_client(tmp_path)
    theirs, their_key = stranger.write_client(tmp_path / "other")
    with GrpcReceiver(credentials=certificate.grpc_server()) as receiver:
        assert _send(receiver.url, tls=Tls(ca, ours, key)) == Delivered(1)
        for tls, word in (
            (Tls(ca), "CLIENT_CERTIFICATE"),
            (Tls(ca, theirs, their_key), "CLIENT_CERTIFICATE"),
            (Tls(ca, ours, their_key), "its own key"),
            (Tls(str(stranger.write_ca(tmp_path / "no.pem")), ours, key), "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ):
            outcome = _send(receiver.url, tls=tls)
            assert isinstance(outcome, Retry)
            assert word in outcome.why


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("failed to connect; last error: UNAVAILABLE: Unwrap failed (TSI_DATA_CORRUPTED)", "CLIENT_CERTIFICATE"),
        ("Custom verification check failed with error: Hostname Verification Check failed", "is for another host"),
        ("SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: certificate has expired: OK", "Renew the server's certificate"),
    ],
)
def test_what_grpc_says_of_tls_has_a_remedy(receiver: GrpcReceiver, said: str, remedy: str) -> None:
    """The words of gRPC before a Collector written in Go, and of its own checks, are read."""
    receiver.abort_with = (grpc.StatusCode.UNAVAILABLE, said)
    outcome = _send(receiver.url)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.needs_action) == ("tls", True)
    assert remedy in outcome.why


def test_check_sends_no_span(receiver: GrpcReceiver) -> None:
    """A check is answered like a batch but holds no span."""
    (finding,) = OtlpGrpcBackend(OtlpOptions(receiver.url)).check()
    assert finding.status is CheckStatus.OK
    assert receiver.spans == []


def test_missing_extra_is_named() -> None:
    """Without grpcio the error names the extra and the way around it, in a fresh interpreter."""
    program = (
        "import sys\n"
        "sys.modules['grpc'] = None\n"
        "from otel_llm import backends, errors\n"
        "from otel_llm.config import load\n"
        "try:\n"
        "    backends.build('otlp', load({'otlp_protocol': 'grpc'}))\n"
        "except errors.BackendError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert "otel-llm[grpc]" in done.stdout
    assert "http/protobuf" in done.stdout
