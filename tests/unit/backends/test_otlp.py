"""OTLP over HTTP against a real server that answers in every way a server can."""

from __future__ import annotations

import ssl
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_llm.backends.http import NoAnswerError, Tls, retry_after_seconds
from otel_llm.backends.otlp import OtlpBackend, OtlpOptions, create, create_for_opik, traces_url
from otel_llm.backends.otlp_answers import judge_silence
from otel_llm.config import load
from otel_llm.contracts import CheckStatus, Delivered, Outcome, Rejected, Rejection, Retry
from otel_llm.errors import BackendError
from tests.fakes.http_server import HttpServer, Reply, closed_port
from tests.fakes.opik import FakeOpik, ServerCertificate
from tests.fakes.otlp_receiver import GrpcReceiver, OtlpReceiver
from tests.fakes.spans import make_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

TIMEOUT = 20.0
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _no_ambient_network_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, *CA_VARIABLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """A receiver that behaves until it is told otherwise."""
    with OtlpReceiver() as opened:
        yield opened


def _send(url: str, timeout: float = TIMEOUT, spans: int = 1, **options: object) -> Outcome:
    backend = OtlpBackend(OtlpOptions(url, **options))  # type: ignore[arg-type]
    try:
        return backend.send(make_batch(spans), timeout=timeout)
    finally:
        backend.close()


# --- the request -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://host:4318", "http://host:4318/v1/traces"),
        ("http://host:4318/", "http://host:4318/v1/traces"),
        ("https://host", "https://host/v1/traces"),
        ("host:4318", "http://host:4318/v1/traces"),
        ("localhost", "http://localhost/v1/traces"),
        ("http://[::1]:4318", "http://[::1]:4318/v1/traces"),
        ("http://host/v1/traces", "http://host/v1/traces"),
        ("https://host/otlp/api?key=k", "https://host/otlp/api?key=k"),
        ("  http://host:4318  ", "http://host:4318/v1/traces"),
    ],
)
def test_endpoint_becomes_the_full_address(endpoint: str, url: str) -> None:
    """Whatever form people write an endpoint in, one address comes of it."""
    assert traces_url(endpoint) == url


@pytest.mark.parametrize("endpoint", ["", "ftp://host", "http://", "http://host:notaport", "http://host:99999", "://x"])
def test_endpoint_that_is_no_address_is_refused(endpoint: str) -> None:
    """Nonsense is an error at start, with an example of what is right."""
    with pytest.raises(BackendError, match=r"http://127\.0\.0\.1:4318"):
        OtlpBackend(OtlpOptions(endpoint))


def test_bytes_are_sent_as_they_are(receiver: OtlpReceiver) -> None:
    """The body is the batch's payload, as protobuf, with the configured headers."""
    batch = make_batch(2)
    backend = OtlpBackend(OtlpOptions(receiver.url, {"x-key": "v"}, compression="none"))
    assert backend.send(batch, timeout=TIMEOUT) == Delivered(2)
    (request,) = receiver.requests
    assert request.body == batch.payload
    assert request.path == "/v1/traces"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["x-key"] == "v"


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
def test_large_bodies_are_compressed(receiver: OtlpReceiver, compression: str) -> None:
    """A compressed body says so and decodes to the payload."""
    batch = make_batch(100)
    backend = OtlpBackend(OtlpOptions(receiver.url, compression=compression))  # type: ignore[arg-type]
    assert backend.send(batch, timeout=TIMEOUT) == Delivered(100)
    (request,) = receiver.requests
    assert request.headers["content-encoding"] == compression
    assert len(request.body) < len(batch.payload) / 2
    assert request.content == batch.payload


def test_connection_is_kept_and_replaced_when_the_server_drops_it(receiver: OtlpReceiver) -> None:
    """Batches share a connection; after the server closed it the next batch opens another."""
    backend = OtlpBackend(OtlpOptions(receiver.url))
    for _ in range(3):
        assert backend.send(make_batch(), timeout=TIMEOUT) == Delivered(1)
    assert receiver.connections == 1
    receiver.script(Reply(headers={"Connection": "close"}))
    assert backend.send(make_batch(), timeout=TIMEOUT) == Delivered(1)
    assert backend.send(make_batch(), timeout=TIMEOUT) == Delivered(1)
    assert receiver.connections == 2


def test_ipv6_loopback_works() -> None:
    """An endpoint at ::1 is reached."""
    with OtlpReceiver(ipv6=True) as receiver:
        assert _send(receiver.url) == Delivered(1)


def test_user_and_password_in_the_address_become_a_header(receiver: OtlpReceiver) -> None:
    """Credentials are sent as basic authentication and shown nowhere."""
    backend = OtlpBackend(OtlpOptions(f"http://user:canary@127.0.0.1:{receiver.port}"))
    assert backend.send(make_batch(), timeout=TIMEOUT) == Delivered(1)
    assert receiver.requests[0].headers["authorization"] == "Basic dXNlcjpjYW5hcnk="
    assert "canary" not in backend.shown_url


# --- the answer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200),
        Reply(202, {"Content-Type": "text/plain"}, b"OK"),
        Reply(204),
        Reply.json({}),
        Reply(200, {"Content-Type": "application/x-protobuf"}, ExportTraceServiceResponse().SerializeToString()),
    ],
)
def test_success_in_every_form(receiver: OtlpReceiver, reply: Reply) -> None:
    """Any 2xx that is not a web page means that all spans were taken."""
    receiver.always(reply)
    assert _send(receiver.url, spans=3) == Delivered(3)


@pytest.mark.parametrize(("said", "counted"), [(2, 2), (99, 3), (0, 0), (-5, 0)])
def test_partial_success_is_read(receiver: OtlpReceiver, said: int, counted: int) -> None:
    """Spans that the receiver says it rejected are counted as rejected, never more than were sent."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = said
    response.partial_success.error_message = "too old"
    receiver.always(Reply(200, {"Content-Type": "application/x-protobuf"}, response.SerializeToString()))
    outcome = _send(receiver.url, spans=3)
    assert outcome == Delivered(3 - counted, (Rejection("", "invalid", "too old"),) * counted)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_temporary_answers_are_retried(receiver: OtlpReceiver, status: int) -> None:
    """Overload and faults of the server are waited out without anybody's help."""
    receiver.always(Reply(status, {"Retry-After": "7"}, b"busy"))
    outcome = _send(receiver.url)
    assert isinstance(outcome, Retry)
    assert outcome.after == 7.0
    assert not outcome.needs_action
    assert str(status) in outcome.why
    assert "busy" in outcome.why


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "otlp.headers"),
        (402, "account"),
        (403, "otlp.headers"),
        (404, "/v1/traces"),
        (405, "/v1/traces"),
        (407, "HTTPS_PROXY"),
        (415, "otlp.compression"),
        (501, "receiver"),
    ],
)
def test_wrong_settings_keep_the_spans_and_name_the_setting(receiver: OtlpReceiver, status: int, hint: str) -> None:
    """What a person can put right is not thrown away, and the sentence says where."""
    receiver.always(Reply(status))
    outcome = _send(receiver.url)
    assert isinstance(outcome, Retry)
    assert outcome.needs_action
    assert hint in outcome.why


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (400, b"bad span", "invalid"),
        (400, b"request body too large", "too_large"),
        (413, b"", "too_large"),
        (422, b"", "invalid"),
        (418, b"", "invalid"),
    ],
)
def test_refusals_are_for_good(receiver: OtlpReceiver, status: int, body: bytes, reason: str) -> None:
    """What is wrong with the spans themselves is rejected, with a reason that can be counted."""
    receiver.always(Reply(status, {"Content-Type": "text/plain"}, body))
    outcome = _send(receiver.url)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == reason
    assert body.decode() in outcome.why


def test_words_of_a_protobuf_status_are_read(receiver: OtlpReceiver) -> None:
    """Receivers explain themselves in a google.rpc.Status; its message reaches the reader."""
    status = Status(code=3, message="span name\nis empty")
    receiver.always(Reply(400, {"Content-Type": "application/x-protobuf"}, status.SerializeToString()))
    outcome = _send(receiver.url)
    assert isinstance(outcome, Rejected)
    assert "(span name is empty)" in outcome.why


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>Log in</html>"),
        Reply(200, {}, b"  <!DOCTYPE html><title>Hotel WiFi</title>"),
        Reply(400, {"Content-Type": "text/html"}, b"<html>nginx</html>"),
    ],
)
def test_web_page_is_never_a_success(receiver: OtlpReceiver, reply: Reply) -> None:
    """A login page or a captive portal has not taken any spans."""
    receiver.always(reply)
    outcome = _send(receiver.url)
    assert isinstance(outcome, Retry)
    assert outcome.needs_action
    assert "web page" in outcome.why


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(receiver: OtlpReceiver, status: int) -> None:
    """Spans go to the configured address or nowhere; the sentence says where the server pointed."""
    with HttpServer() as elsewhere:
        receiver.always(Reply(status, {"Location": elsewhere.url + "/login?token=canary"}))
        outcome = _send(receiver.url)
        assert elsewhere.requests == []
    assert isinstance(outcome, Retry)
    assert outcome.needs_action
    assert "/login" in outcome.why
    assert "canary" not in outcome.why


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("12", 12.0),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("1000000000", 900.0),
        ("1e400", 900.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        (formatdate(1_000_060, usegmt=True), 60.0),
        (formatdate(900_000, usegmt=True), 0.0),
        (formatdate(5_000_000, usegmt=True), 900.0),
        ("Wed, 99 Foo 2026 00:00:00 GMT", None),
        (None, None),
    ],
)
def test_retry_after_in_every_form(value: str | None, seconds: float | None) -> None:
    """Numbers and dates are understood and bounded to 15 minutes; nonsense counts as not said."""
    assert retry_after_seconds(value, now=1_000_000.0) == seconds


# --- silence -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(reset=True), "reset"),
        (Reply(close=True), "reset"),
        (Reply(body=b"x" * 100, cut_after=10, reset=True), "reset"),
        (Reply(body=b"x" * 100, cut_after=10, close=True), "reset"),
        (Reply(200, {"Content-Encoding": "gzip"}, b"not gzip at all"), "reset"),
    ],
)
def test_broken_connections_are_retried(receiver: OtlpReceiver, reply: Reply, reason: str) -> None:
    """A server that breaks off may have taken the spans or not: they are sent again."""
    receiver.always(reply)
    outcome = _send(receiver.url)
    assert isinstance(outcome, Retry)
    assert outcome.reason == reason
    assert not outcome.needs_action


def test_nobody_listening_is_named() -> None:
    """A refused connection says so, and what to start."""
    outcome = _send(f"http://127.0.0.1:{closed_port()}")
    assert isinstance(outcome, Retry)
    assert outcome.reason == "refused"
    assert "start the Collector" in outcome.why


def test_unknown_host_is_named() -> None:
    """A host that does not resolve is told from one that does not answer."""
    outcome = _send("http://no-such-host.invalid:4318", timeout=10)
    assert isinstance(outcome, Retry)
    assert outcome.reason in {"dns", "timeout"}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(hang=True),
        Reply(body=b"x" * 1000, bytes_per_second=10),
        Reply(delay=50),
    ],
)
def test_deadline_is_total(receiver: OtlpReceiver, reply: Reply) -> None:
    """A server that drips a byte at a time is given up like one that says nothing."""
    receiver.always(reply)
    begun = time.monotonic()
    outcome = _send(receiver.url, timeout=0.5)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "timeout"
    assert time.monotonic() - begun < 20, "far less than the 50 to 100 s that the server would take"


def test_configured_timeout_holds_too(receiver: OtlpReceiver) -> None:
    """The shorter of the configured time and the caller's is kept."""
    receiver.always(Reply(hang=True))
    outcome = OtlpBackend(OtlpOptions(receiver.url, timeout=0.3)).send(make_batch(), timeout=300.0)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "timeout"


def test_something_that_is_not_http_is_named(receiver: OtlpReceiver) -> None:
    """A server that speaks another protocol is not retried in silence."""
    with _SshLike() as other:
        outcome = _send(f"http://127.0.0.1:{other.port}")
    assert isinstance(outcome, Retry)
    assert outcome.reason == "not_http"
    assert outcome.needs_action


class _SshLike(HttpServer):
    """Greets like an SSH server: the reply's head is not HTTP."""

    def __enter__(self) -> Self:
        handler = self._server.RequestHandlerClass
        self._before = handler.send_response
        handler.send_response = lambda this, *_args: this.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        super().__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.RequestHandlerClass.send_response = self._before
        super().__exit__(*args)  # type: ignore[arg-type]


# --- proxies and TLS ---------------------------------------------------------------------------------------


def test_loopback_is_never_proxied(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sidecar is reached directly, whatever proxy the environment names."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert _send(receiver.url) == Delivered(1)


def test_proxy_of_the_environment_is_used_with_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to other hosts go through the proxy; its password reaches the proxy and no message."""
    with HttpServer() as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:canary@127.0.0.1:{proxy.port}")
        assert _send("http://collector.example:4318") == Delivered(1)
        (request,) = proxy.requests
        assert request.target == "http://collector.example:4318/v1/traces"
        assert request.headers["proxy-authorization"] == "Basic dXNlcjpjYW5hcnk="
        assert "authorization" not in request.headers
        proxy.always(Reply(407))
        refused = _send("http://collector.example:4318")
    monkeypatch.setenv("http_proxy", f"http://user:canary@127.0.0.1:{closed_port()}")
    silent = _send("http://collector.example:4318")
    for outcome in (refused, silent):
        assert isinstance(outcome, Retry)
        assert outcome.reason == "proxy"
        assert outcome.needs_action
        assert "canary" not in outcome.why


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that NO_PROXY names is reached directly."""
    with HttpServer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "collector.invalid")
        _send("http://collector.invalid:4318", timeout=5)
        assert proxy.requests == []


@pytest.fixture(scope="module")
def certificate() -> ServerCertificate:
    """A server certificate from an authority that nobody knows."""
    return ServerCertificate()


def test_unknown_authority_fails_closed_with_the_variable_to_set(certificate: ServerCertificate) -> None:
    """A certificate that nobody vouches for is not accepted, and the sentence names the remedy."""
    with OtlpReceiver(tls=certificate.context) as receiver:
        outcome = _send(receiver.url)
        assert receiver.requests == []
    assert isinstance(outcome, Retry)
    assert outcome.reason == "tls"
    assert outcome.needs_action
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in outcome.why


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_private_authority_of_the_environment_is_trusted(
    certificate: ServerCertificate, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual variables name a private CA."""
    monkeypatch.setenv(variable, str(certificate.write_ca(tmp_path / "ca.pem")))
    with OtlpReceiver(tls=certificate.context) as receiver:
        assert _send(receiver.url) == Delivered(1)


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"])
def test_private_authority_of_the_sdk_variables_is_trusted(
    certificate: ServerCertificate, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's own variables for the CA file work too, from settings to answer."""
    monkeypatch.setenv(variable, str(certificate.write_ca(tmp_path / "ca.pem")))
    with OtlpReceiver(tls=certificate.context) as receiver:
        backend = create(load({"otlp_endpoint": receiver.url}))
        assert backend.send(make_batch(), timeout=TIMEOUT) == Delivered(1)


def test_wrong_host_name_fails_closed(tmp_path: Path) -> None:
    """A trusted certificate for another host is not accepted."""
    other = ServerCertificate("elsewhere.example")
    ca = str(other.write_ca(tmp_path / "ca.pem"))
    with OtlpReceiver(tls=other.context) as receiver:
        outcome = _send(receiver.url, tls=Tls(ca_file=ca))
        assert receiver.requests == []
    assert isinstance(outcome, Retry)
    assert outcome.reason == "tls"


def test_a_receiver_that_wants_our_certificate(tmp_path: Path) -> None:
    """With our certificate spans arrive; without it, with an old one, or with a wrong key the remedy names it."""
    server, other = ServerCertificate(), ServerCertificate()
    server.require_client()
    for name in ("old", "other"):
        (tmp_path / name).mkdir()
    ca = str(server.write_ca(tmp_path / "ca.pem"))
    ours, key = server.write_client(tmp_path)
    _, strange_key = other.write_client(tmp_path / "other")
    with OtlpReceiver(tls=server.context) as receiver:
        assert _send(receiver.url, tls=Tls(ca, ours, key)) == Delivered(1)
        for tls, word in (
            (Tls(ca), "CLIENT_CERTIFICATE"),
            (Tls(ca, *server.write_client(tmp_path / "old", expired=True)), "CLIENT_CERTIFICATE"),
            (Tls(ca, ours, strange_key), "its own key"),
        ):
            outcome = _send(receiver.url, tls=tls)
            assert isinstance(outcome, Retry)
            assert word in outcome.why
            assert "Renew the server's" not in outcome.why


def test_unreadable_ca_file_is_named(tmp_path: Path) -> None:
    """A CA file that is missing or no certificate is an answer, not a crash."""
    missing = tmp_path / "missing.pem"
    outcome = _send("https://127.0.0.1:1", tls=Tls(ca_file=str(missing)))
    assert isinstance(outcome, Retry)
    assert outcome.reason == "tls"
    assert "missing.pem" in outcome.why


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_unchecked_tls_only_when_asked(certificate: ServerCertificate) -> None:
    """Believing any server is possible for tests, and never the default."""
    assert Tls().check
    with OtlpReceiver(tls=certificate.context) as receiver:
        assert _send(receiver.url, tls=Tls(check=False)) == Delivered(1)


def test_https_to_a_plain_server_is_a_tls_trouble(receiver: OtlpReceiver) -> None:
    """https:// before a server without TLS is named as such."""
    outcome = _send(receiver.url.replace("http:", "https:"), timeout=5)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "tls"
    assert "http://" in outcome.why


@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated:DeprecationWarning")
def test_old_tls_is_not_spoken() -> None:
    """A server that knows nothing newer than TLS 1.1 is refused, not humoured."""
    old = ServerCertificate()
    old.context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    try:
        old.context.maximum_version = ssl.TLSVersion.TLSv1_1
    except ValueError:
        pytest.skip("this OpenSSL has no TLS 1.1 at all")
    with OtlpReceiver(tls=old.context) as receiver:
        outcome = _send(receiver.url, timeout=5, tls=Tls(check=False))
    assert isinstance(outcome, Retry)


# --- settings and checks -----------------------------------------------------------------------------------


def test_settings_reach_the_request(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint, headers and compression come from the standard variables."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=se%20cret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    assert create(load()).send(make_batch(100), timeout=TIMEOUT) == Delivered(100)
    (request,) = receiver.requests
    assert request.headers["api-key"] == "se cret"
    assert "content-encoding" not in request.headers


def test_options_do_not_show_their_headers() -> None:
    """Keys are not in the options' repr."""
    assert "canary" not in repr(OtlpOptions("http://h", {"authorization": "canary"}))


def test_check_sends_an_empty_request(receiver: OtlpReceiver) -> None:
    """A check is answered like a batch but holds no span."""
    (finding,) = OtlpBackend(OtlpOptions(receiver.url)).check()
    assert finding.status is CheckStatus.OK
    assert receiver.requests[0].body == b""
    assert receiver.spans == []


def test_check_passes_on_what_to_do(receiver: OtlpReceiver) -> None:
    """A wrong key shows in the check as it would for a batch."""
    receiver.always(Reply(401))
    (finding,) = OtlpBackend(OtlpOptions(receiver.url)).check()
    assert finding.status is CheckStatus.FAILED
    assert "401" in finding.evidence
    assert "otlp.headers" in finding.remedy


def test_opik_takes_spans_over_its_otlp_route() -> None:
    """The backend `opik-otlp` puts spans into the configured project."""
    with FakeOpik(api_keys={"key": ["team"]}) as opik:
        given = {"opik_url": opik.url, "opik_api_key": "key", "opik_workspace": "team", "opik_project": "shop"}
        backend = create_for_opik(load(given))
        assert backend.name == "opik-otlp"
        assert backend.send(make_batch(name="over otlp"), timeout=TIMEOUT) == Delivered(1)
        assert [span["name"] for span in opik.spans("shop", workspace="team")] == ["over otlp"]


# --- the wrong one of two ports ----------------------------------------------------------------------------


def test_grpc_server_does_not_pass_for_http() -> None:
    """HTTP to a gRPC server fails as a connection, never as a success or a refusal of the spans."""
    with GrpcReceiver() as grpc_receiver:
        outcome = _send(grpc_receiver.url, timeout=5)
    assert isinstance(outcome, Retry)
    assert outcome.reason in {"reset", "not_http", "timeout"}


@pytest.mark.parametrize("reason", ["reset", "not_http", "timeout"])
def test_grpc_port_is_named(reason: str) -> None:
    """The commonest mistake of all gets a sentence of its own."""
    trouble = judge_silence(NoAnswerError(reason, "it hung up"), "http://collector:4317/v1/traces", None)
    assert trouble.reason == "grpc_port"
    assert trouble.needs_action
    assert "4318" in trouble.remedy
    assert "grpc" in trouble.remedy


def test_nobody_on_the_grpc_port_is_just_nobody() -> None:
    """A refused connection on port 4317 is not blamed on the protocol."""
    assert judge_silence(NoAnswerError("refused", "no"), "http://collector:4317/v1/traces", None).reason == "refused"
