"""Disasters on the way to a backend: certificates, proxies, names; and backends that change or forget."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import warnings
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
import trustme

import otel_llm
from tests.crash.pipeline_kit import Rig, arrivals
from tests.fakes.http_server import HttpServer, Reply, closed_port
from tests.fakes.opik import FakeOpik, faults, needs_openapi
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.crash.disaster_table import Verdict

# --- row 19: servers that cannot prove who they are --------------------------------------------------------------

LONG_AGO = datetime.now(timezone.utc) - timedelta(days=3)


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """A server's side of TLS with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def expired(ca: trustme.CA) -> ssl.SSLContext:
    """The right name, vouched for, and over since yesterday."""
    return server_context(ca.issue_cert("127.0.0.1", not_before=LONG_AGO, not_after=LONG_AGO + timedelta(days=2)))


def for_another_host(ca: trustme.CA) -> ssl.SSLContext:
    """Vouched for, and somebody else's."""
    return server_context(ca.issue_cert("collector.example.test"))


def self_made(_: trustme.CA) -> ssl.SSLContext:
    """Nobody that we trust vouches for it."""
    return server_context(trustme.CA().issue_cert("127.0.0.1"))


def of_1999(ca: trustme.CA) -> ssl.SSLContext:
    """TLS 1.0, and nothing newer."""
    context = server_context(ca.issue_cert("127.0.0.1"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


def wants_to_know_us(ca: trustme.CA) -> ssl.SSLContext:
    """A good server that takes nothing from clients without a certificate of their own."""
    context = server_context(ca.issue_cert("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    ca.configure_trust(context)
    return context


BAD_SERVERS: dict[str, tuple[Callable[[trustme.CA], ssl.SSLContext | None], str]] = {
    "certificate expired": (expired, "Renew the server's certificate"),
    "certificate of another host": (for_another_host, "use the name that is in it in otlp.endpoint"),
    "certificate of an unknown CA": (self_made, "name the CA's file in OTEL_EXPORTER_OTLP_CERTIFICATE."),
    "TLS 1.0 only": (of_1999, "have it offer TLS 1.2"),
    "client certificate wanted": (wants_to_know_us, "It wants a certificate of ours"),
    "plain HTTP where https is expected": (lambda _: None, "with http://"),
}
"""What the server is like, and the remedy that only its sentence has."""


@pytest.mark.parametrize("injected", BAD_SERVERS)
def test_nothing_is_sent_to_a_server_that_is_not_proven(
    injected: str, tmp_path: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails closed: no request gets through, the cause says what to do; with the server put right all arrives."""
    make, remedy = BAD_SERVERS[injected]
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "ca.pem"))
    with OtlpReceiver(tls=make(ca)) as bad:
        rig = Rig(tmp_path / "state", otlp_endpoint=f"https://127.0.0.1:{bad.port}")
        rig.spans(10)
        cause = rig.attempted().cause or ""
        assert [other for other, (_, theirs) in BAD_SERVERS.items() if theirs in cause] == [injected], remedy
        assert bad.requests == []
    with OtlpReceiver(tls=server_context(ca.issue_cert("127.0.0.1")), port=bad.port) as good:
        assert rig.settled()
        rig.tell(verdict, 19, injected, arrivals(good))


# --- row 20: proxies ---------------------------------------------------------------------------------------------


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, int] | None]:
    """Names of hosts and where they are: an address and its family, None for nowhere; changed while the test runs."""
    known: dict[str, tuple[str, int] | None] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, family: int = 0, *rest: Any, **more: Any) -> list[Any]:
        if host not in known:
            return real(host, port, family, *rest, **more)
        found = known[host]
        if found is None or family not in (0, found[1]):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real(found[0], port, found[1], *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


@pytest.mark.parametrize("injected", ["proxy refuses connections", "proxy wants a login (407)", "proxy answers a page"])
def test_a_proxy_that_does_not_let_us_through(
    injected: str, tmp_path: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch, names: dict[str, Any]
) -> None:
    """The proxy is named, without its password; with NO_PROXY set right the next start delivers what waits."""
    names["collector.example.test"] = ("127.0.0.1", socket.AF_INET)
    reply = Reply(407) if "407" in injected else Reply(200, {"Content-Type": "text/html"}, b"<html>blocked</html>")
    with HttpServer(default=reply) as proxy, OtlpReceiver() as receiver:
        port = closed_port() if "refuses" in injected else proxy.port
        monkeypatch.setenv("HTTP_PROXY", f"http://me:s3cret@127.0.0.1:{port}")
        rig = Rig(tmp_path, otlp_endpoint=f"http://collector.example.test:{receiver.port}")
        rig.spans(10)
        cause = rig.attempted().cause or ""
        assert f"127.0.0.1:{port}" in cause or "proxy" in cause.lower() or "web page" in cause
        assert "s3cret" not in cause
        otel_llm.shutdown(0.3)
        monkeypatch.setenv("NO_PROXY", "collector.example.test")
        again = Rig(tmp_path, otlp_endpoint=f"http://collector.example.test:{receiver.port}")
        again.ids += rig.ids
        again.spans(1)
        assert again.settled()
        again.tell(verdict, 20, injected, arrivals(receiver))


def test_a_sidecar_is_reached_past_any_proxy(tmp_path: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment, dead or not, is not asked for 127.0.0.1, also without NO_PROXY."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{closed_port()}")
    with OtlpReceiver() as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url)
        rig.spans(10)
        assert rig.settled()
        rig.tell(verdict, 20, "dead proxy, backend on loopback", arrivals(receiver))


# --- row 21: names and addresses ---------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve_for_a_while(tmp_path: Path, verdict: Verdict, names: dict[str, Any]) -> None:
    """DNS fails, is said, and comes back: everything arrives without a restart."""
    names["collector.example.test"] = None
    with OtlpReceiver() as receiver:
        rig = Rig(tmp_path, otlp_endpoint=f"http://collector.example.test:{receiver.port}")
        rig.spans(10)
        assert "resolve" in (rig.attempted().cause or "")
        names["collector.example.test"] = ("127.0.0.1", socket.AF_INET)
        assert rig.settled()
        rig.tell(verdict, 21, "DNS fails for a while", arrivals(receiver))


def test_a_name_that_moves(tmp_path: Path, verdict: Verdict, names: dict[str, Any]) -> None:
    """The old address goes, the name has another: it is looked up again."""
    names["collector.example.test"] = ("127.0.0.1", socket.AF_INET)
    with OtlpReceiver() as old:
        rig = Rig(tmp_path, otlp_endpoint=f"http://collector.example.test:{old.port}")
        rig.spans(10)
        assert rig.settled()
    with OtlpReceiver(ipv6=True, port=old.port) as new:
        rig.spans(10)
        rig.attempted()
        names["collector.example.test"] = ("::1", socket.AF_INET6)
        assert rig.settled()
        rig.tell(verdict, 21, "the name moves to another address", [*arrivals(old), *arrivals(new)])


@pytest.mark.parametrize("host", ["[::1]", "localhost"])
def test_ipv6_only(host: str, tmp_path: Path, verdict: Verdict, names: dict[str, Any]) -> None:
    """A machine whose localhost is ::1 alone."""
    names["localhost"] = ("::1", socket.AF_INET6)
    with OtlpReceiver(ipv6=True) as receiver:
        rig = Rig(tmp_path, otlp_endpoint=f"http://{host}:{receiver.port}")
        rig.spans(10)
        assert rig.settled()
        rig.tell(verdict, 21, f"IPv6 only, as {host}", arrivals(receiver))


# --- row 32, 35: another backend, and one that forgets -----------------------------------------------------------


@needs_openapi
def test_spans_go_where_they_were_meant_to_go(tmp_path: Path, verdict: Verdict) -> None:
    """The backend is changed with a full spool: old spans wait for the old one, and go to the new one when told to."""
    with FakeOpik() as opik, OtlpReceiver() as receiver:
        opik.stop()
        opik_settings = {"opik_url": opik.url, "opik_project": "p"}
        before = Rig(tmp_path, backend="opik", service_name="shop", **opik_settings)
        before.spans(10)
        assert before.attempted().waiting == 10
        otel_llm.shutdown(0.3)
        rig = Rig(tmp_path, service_name="shop", otlp_endpoint=receiver.url)
        rig.spans(10)
        assert rig.settled()
        otel_llm.shutdown()
        assert set(arrivals(receiver)) == set(rig.ids), "the old spans went to a backend that they were not meant for"
        environ = {**os.environ, "OTEL_LLM_STATE_DIR": str(tmp_path), "OTEL_LLM_OTLP_ENDPOINT": receiver.url}
        done = subprocess.run(
            [sys.executable, "-m", "otel_llm", "replay", "--to", "otlp", "--service", "shop"], env=environ, check=False
        )
        assert done.returncode == 0
        opik.start()
        again = Rig(tmp_path, backend="opik", service_name="shop", **opik_settings)
        again.ids = [*before.ids]
        again.spans(1)
        assert again.settled()
        assert len(opik.spans()) == 11
        arrived = arrivals(receiver)
        assert sorted(arrived) == sorted([*rig.ids, *before.ids])
        verdict(
            32,
            "backend changed with 10 of 20 spans waiting; replayed to the new one; old one back",
            created=20,
            delivered=len(set(arrived)),
            duplicates=len(arrived) - len(set(arrived)),
            lost=20 - len(set(arrived)),
        )


@needs_openapi
def test_a_backend_that_takes_spans_and_does_not_have_them_is_found_out(tmp_path: Path, verdict: Verdict) -> None:
    """Opik answers 2xx for the span and 404 for its trace: the doctor says that it is not there, and exits with 1."""
    with FakeOpik() as opik:
        opik.faults.add("GET /v1/private/traces/*", faults.status(404), times=None)
        environ = {
            **os.environ,
            "OTEL_LLM_STATE_DIR": str(tmp_path),
            "OTEL_LLM_BACKEND": "opik",
            "OPIK_URL_OVERRIDE": opik.url,
            "OPIK_PROJECT_NAME": "p",
        }
        done = subprocess.run(
            [sys.executable, "-m", "otel_llm", "doctor", "--json"], env=environ, check=False, capture_output=True
        )
        found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}["probe.opik"]
        assert (done.returncode, found["status"]) == (1, "failed")
        assert "accepted the span" in found["evidence"]
        assert "cannot be read back" in found["evidence"]
        verdict(35, "2xx for a span that cannot be read back", created=1, delivered=len(opik.spans()))
