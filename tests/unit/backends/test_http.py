"""The HTTP client on real sockets: deadlines, TLS, proxies, forks, and nothing of ours traced."""

from __future__ import annotations

import base64
import gzip
import logging
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
import trustme
from opentelemetry import context as otel_context
from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY

from otel_llm.backends.http import HttpClient, NoAnswerError, Tls
from otel_llm.backends.http_wire import Wire
from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.contracts import Delivered, Retry
from tests.fakes.http_server import HttpServer, Reply, Request, closed_port
from tests.fakes.opik import FakeOpik, ServerCertificate, needs_openapi
from tests.unit.backends.opik.helpers import batch_of, trace_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CA_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _no_ambient_network_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_PROXY_VARIABLES, *_CA_VARIABLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def _reason(client: HttpClient, timeout: float = 5.0) -> str:
    with pytest.raises(NoAnswerError) as caught:
        client.request("GET", "/x", timeout=timeout)
    return caught.value.reason


def _dripping_server() -> Iterator[int]:
    """A server whose status line comes a byte at a time, so that no single read ever waits long."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 1000:
                    if stop.wait(0.05):
                        return
                    try:
                        connection.sendall(bytes([byte]))
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join(10)


dripping_port = pytest.fixture(_dripping_server)


def test_deadline_holds_against_a_server_that_drips(dripping_port: int) -> None:
    """The deadline counts for the whole answer, also where each byte comes in time."""
    before = time.monotonic()
    assert _reason(HttpClient(f"http://127.0.0.1:{dripping_port}"), timeout=0.5) == "timeout"
    assert time.monotonic() - before < 20  # 1000 bytes at this rate take 50 s


def test_no_answer_reasons() -> None:
    """Refused, unresolvable, silent and non-HTTP servers each have a reason of their own."""
    assert _reason(HttpClient(f"http://127.0.0.1:{closed_port()}")) == "refused"
    assert _reason(HttpClient("http://no-such-host.invalid")) == "dns"
    with HttpServer(default=Reply(hang=True)) as server:
        assert _reason(HttpClient(server.url), timeout=0.3) == "timeout"
    with HttpServer(default=Reply(close=True)) as server:
        assert _reason(HttpClient(server.url)) in ("reset", "not_http")


def test_a_header_that_cannot_be_sent_is_not_shown() -> None:
    """A value with a line break is named as such, and not by its text, which may be a key."""
    with HttpServer() as server, pytest.raises(NoAnswerError, match="line break") as refused:
        HttpClient(server.url, {"Authorization": "key-canary\nx"}).request("POST", timeout=10)
    assert "canary" not in str(refused.value)


def test_redirects_are_answers() -> None:
    """A redirect is handed back, not followed."""
    with HttpServer(default=Reply(302, {"Location": "http://127.0.0.1:9/"})) as server:
        answer = HttpClient(server.url).request("POST", "/x", b"{}", timeout=5)
        assert answer.status == 302
        assert len(server.requests) == 1


def test_connection_is_kept_and_long_answers_are_cut() -> None:
    """Requests share a connection; of an endless answer only the first 64 KiB are read."""
    with HttpServer(default=Reply(200, body=b"ok")) as server:
        client = HttpClient(server.url)
        for _ in range(3):
            assert client.request("GET", "/x", timeout=5).body == b"ok"
        assert server.connections == 1
    with HttpServer(default=Reply(200, body=b"x" * 1_000_000)) as server:
        client = HttpClient(server.url)
        assert len(client.request("GET", "/x", timeout=5).body) == 64 * 1024
        assert len(client.request("GET", "/x", timeout=5).body) == 64 * 1024


FORKING = """
import os, sys
from otel_llm.backends.http_wire import Wire
from otel_llm.backends.http import HttpClient
client = HttpClient(sys.argv[1])
client.request("GET", "/parent", timeout=60)
child = os.fork()
if child == 0:
    try:
        client.request("GET", "/child", timeout=60)
    finally:
        os._exit(0)
os.waitpid(child, 0)
client.request("GET", "/parent", timeout=60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_opens_a_connection_of_its_own() -> None:
    """A child that inherits an open connection does not speak on it."""
    with HttpServer(default=Reply(200)) as server:
        # not here: threads of other tests' libraries, gone in a child, may hold locks that it needs
        subprocess.run([sys.executable, "-c", FORKING, server.url], check=True, timeout=110)
        by_path = {request.path: request.connection for request in server.requests}
        assert [request.path for request in server.requests] == ["/parent", "/child", "/parent"]
        assert by_path["/child"] != by_path["/parent"]
        assert server.connections == 2


def test_own_traffic_is_not_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a request runs, HTTP instrumentations are told to keep still; afterwards no longer."""
    seen: list[object] = []
    exchange = Wire.exchange

    def spy(self: Wire, *args: object) -> object:
        seen.append(otel_context.get_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY))
        return exchange(self, *args)

    monkeypatch.setattr(Wire, "exchange", spy)
    with HttpServer(default=Reply(200)) as server:
        HttpClient(server.url).request("GET", "/x", timeout=5)
    assert seen == [True]
    assert otel_context.get_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY) is None


def test_proxy_of_the_environment_is_used_with_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY carries plain requests whole, with the login as a header; NO_PROXY and loopback go direct."""
    with HttpServer(default=Reply(204)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("http://", "http://user:pa%20ss@"))
        monkeypatch.setenv("NO_PROXY", "direct.invalid")
        assert HttpClient("http://opik.invalid/api").request("GET", "/x", timeout=5).status == 204
        (request,) = proxy.requests
        assert request.target == "http://opik.invalid/api/x"
        assert request.headers["proxy-authorization"] == "Basic dXNlcjpwYSBzcw=="
        assert HttpClient("http://direct.invalid").proxy is None
        assert HttpClient("http://127.0.0.1:1").proxy is None
        assert HttpClient("http://localhost:1").proxy is None


@pytest.mark.parametrize("password", ["pa/ss", "pa#ss", "pa?ss", "pa@ss"])
def test_proxy_password_with_letters_that_urls_cannot_hold(password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What people put into HTTP_PROXY as it is, is used as it is, and shown nowhere."""
    with HttpServer(default=Reply(204)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("http://", f"http://user:{password}@"))
        client = HttpClient("http://opik.invalid/api")
        assert client.request("GET", "/x", timeout=5).status == 204
        assert client.proxy == proxy.url
        login = base64.b64encode(f"user:{password}".encode()).decode()
        assert proxy.requests[0].headers["proxy-authorization"] == f"Basic {login}"


@pytest.mark.parametrize("address", ["127.0.0.1:abc", "[::1", "127.0.0.1:99999", "no such host:80"])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_proxy_that_is_no_address_is_named(scheme: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be used is the cause that is said, without its login."""
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://user:s3cret@{address}")
    with pytest.raises(NoAnswerError) as caught:
        HttpClient("https://opik.invalid/api").request("GET", "/x", timeout=5)
    assert caught.value.reason == "proxy"
    assert f"the proxy {scheme}://{address} failed" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_proxy_that_repeats_our_request_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in its status line nor in its body does a proxy bring the login that it was told into a sentence."""
    with HttpServer(answer=lambda request: Reply(407, body=str(request.headers).encode())) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("http://", "http://user:s3cret@"))
        answer = HttpClient("http://opik.invalid/api").request("GET", "/x", timeout=5)
        assert b"proxy-authorization: ***" in answer.body.lower()
    port = _connect_answer("407 Proxy-Authorization: Basic dXNlcjpzM2NyZXQ=")
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cret@127.0.0.1:{port}")
    with pytest.raises(NoAnswerError) as caught:
        HttpClient("https://opik.invalid/api").request("GET", "/x", timeout=5)
    assert str(caught.value).endswith("Tunnel connection failed: 407")


def test_a_compressed_answer_is_read_within_bounds() -> None:
    """Of what a few bytes of answer would become, no more is made than is read of any answer."""
    bomb = gzip.compress(bytes(20_000_000))
    with HttpServer(default=Reply(200, {"Content-Encoding": "gzip"}, bomb)) as server:
        assert HttpClient(server.url).request("GET", "/x", timeout=5).body == bytes(65536)
    with HttpServer(default=Reply(200, {"Content-Encoding": "gzip"}, b"no gzip")) as server:
        assert _reason(HttpClient(server.url)) == "reset"


def _connect_answer(answer_line: int | str) -> int:
    """Run a proxy that answers one CONNECT with this status; returns its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        connection, _ = listener.accept()
        with listener, connection:
            connection.recv(65536)
            connection.sendall(f"HTTP/1.1 {answer_line} Nope\r\nContent-Length: 0\r\n\r\n".encode())

    threading.Thread(target=answer, daemon=True).start()
    return int(listener.getsockname()[1])


def test_proxy_that_refuses_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that wants another login is a setting to correct; its password is in no sentence."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cret@127.0.0.1:{_connect_answer(407)}")
    outcome = OpikBackend(OpikOptions(url="https://opik.invalid/api")).send(batch_of(trace_bytes()), timeout=5)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.needs_action) == ("proxy", True)
    assert "407" in outcome.why
    assert "HTTPS_PROXY" in outcome.why
    assert "s3cret" not in outcome.why


@pytest.fixture
def certificate() -> ServerCertificate:
    """A certificate by a CA that nobody knows."""
    return ServerCertificate()


@needs_openapi
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_private_ca_by_each_usual_variable(
    certificate: ServerCertificate, variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server with a private CA is trusted when one of the usual variables names the CA."""
    monkeypatch.setenv(variable, str(certificate.write_ca(tmp_path / "ca.pem")))
    with FakeOpik(tls=certificate) as opik:
        backend = OpikBackend(OpikOptions(url=opik.url, service="shop"))
        assert backend.send(batch_of(trace_bytes()), timeout=10) == Delivered(2)
        assert len(opik.spans("shop")) == 2


@needs_openapi
def test_unknown_ca_fails_closed_and_says_the_remedy(certificate: ServerCertificate) -> None:
    """Without the CA nothing is sent, and the sentence names the variable; switched off, all is accepted."""
    with FakeOpik(tls=certificate) as opik:
        outcome = OpikBackend(OpikOptions(url=opik.url)).send(batch_of(trace_bytes()), timeout=10)
        assert isinstance(outcome, Retry)
        assert (outcome.reason, outcome.needs_action) == ("tls", True)
        assert "SSL_CERT_FILE" in outcome.why
        assert not opik.spans()
        unchecked = OpikBackend(OpikOptions(url=opik.url, check_tls=False))
        assert unchecked.send(batch_of(trace_bytes()), timeout=10) == Delivered(2)
        assert any("not checked" in finding.evidence for finding in unchecked.check())


def test_wrong_host_name_in_the_certificate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A certificate of another name is refused although its CA is known."""
    other = ServerCertificate("other.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.write_ca(tmp_path / "ca.pem")))
    with HttpServer(default=Reply(204), tls=other.context) as server:
        assert _reason(HttpClient(server.url)) == "tls"


def test_a_server_that_hangs_up_on_a_long_request_is_listened_to(tmp_path: Path) -> None:
    """One that wants a certificate of ours (TLS 1.3) says so while it is being written to, and is heard every time."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    wants_to_know_us = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(wants_to_know_us)
    wants_to_know_us.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(wants_to_know_us)
    heard = []
    with HttpServer(default=Reply(204), tls=wants_to_know_us) as server:
        for _ in range(10):
            client = HttpClient(server.url, tls=Tls(str(tmp_path / "ca.pem")))
            with pytest.raises(NoAnswerError) as caught:
                client.request("POST", "/x", b"x" * 4_000_000, timeout=10)
            heard.append(str(caught.value))
    assert all("alert certificate required" in words for words in heard), heard


def test_plain_server_behind_an_https_address() -> None:
    """https:// towards a plain server is a TLS problem whose remedy names http://."""
    with HttpServer(default=Reply(204)) as server:
        url = server.url.replace("http://", "https://")
        outcome = OpikBackend(OpikOptions(url=url)).send(batch_of(trace_bytes()), timeout=5)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "tls"
    assert "http://" in outcome.why


def test_missing_ca_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A variable that names a file that is not there is told apart from a wrong certificate."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "gone.pem"))
    with pytest.raises(NoAnswerError, match=r"REQUESTS_CA_BUNDLE is .*gone.pem") as caught:
        HttpClient("https://opik.invalid").request("GET", "/x", timeout=5)
    assert caught.value.reason == "tls"


@needs_openapi
def test_directory_of_cas(certificate: ServerCertificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A directory of certificates under their hashes, as OpenSSL keeps them, serves as well as a file."""
    ca = certificate.write_ca(tmp_path / "ca.pem")
    name = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", ca], capture_output=True, text=True, check=True)
    ca.rename(tmp_path / f"{name.stdout.strip()}.0")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    with FakeOpik(tls=certificate) as opik:
        assert OpikBackend(OpikOptions(url=opik.url)).send(batch_of(trace_bytes()), timeout=10) == Delivered(2)


def test_answers_of_a_server_that_closes_after_each() -> None:
    """`Connection: close` on every answer costs a connection each, and no request."""

    def close(request: Request) -> Reply:
        return Reply(200, {"Connection": "close"}, b"ok")

    with HttpServer(close) as server:
        client = HttpClient(server.url)
        assert [client.request("GET", "/x", timeout=5).body for _ in range(3)] == [b"ok"] * 3


def test_what_was_told_in_confidence_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal that quotes the request is read without the key, and the key in the query is in no log, yet is sent."""
    caplog.set_level(logging.DEBUG)
    refusal = Reply(400, {}, b"no such key: key-canary-1, at ?token=key-canary-2")
    headers = {"Authorization": "Bearer key-canary-1", "Accept": "no such"}
    with HttpServer() as server:
        server.always(refusal)
        answer = HttpClient(f"{server.url}?token=key-canary-2", headers).request("POST", timeout=5.0)
    assert server.requests[0].query == {"token": ["key-canary-2"]}
    assert answer.body == b"no such key: ***, at ?token=***"
    assert "canary" not in caplog.text
