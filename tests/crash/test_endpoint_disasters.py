"""Disasters at our own pages and receivers: idle, slow, hostile and very many clients, while a program records."""

from __future__ import annotations

import gzip
import http.client
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import otel_llm
from otel_llm.cli.lint.receiver import Receiver
from otel_llm.control import loopback_server
from tests.crash.kit import wait_until
from tests.crash.pipeline_kit import Rig, arrivals
from tests.fakes.otlp_receiver import OtlpReceiver
from tests.fakes.spans import make_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.crash.disaster_table import Verdict


def port_of(url: str | None) -> int:
    """The port of an address."""
    return int(urlsplit(str(url)).port or 0)


def ask(port: int, method: str, path: str, body: bytes = b"", **headers: str) -> int:
    """The status of the answer to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body or None, headers=named)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def slow_clients(port: int, count: int, stack: ExitStack) -> list[socket.socket]:
    """So many connections that have sent the beginning of a request, and no more."""
    made = []
    for _ in range(count):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        client.sendall(b"GET /healthz HT")
        made.append(client)
    return made


def test_slow_clients_do_not_shut_others_out(tmp_path: Path, verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty half requests lie on the health port: others are answered, the program records, and all are closed."""
    monkeypatch.setattr(loopback_server.LoopbackHandler, "timeout", 0.5)
    with OtlpReceiver() as receiver, ExitStack() as stack:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url, health_port=0)
        others = threading.active_count()  # litellm has a pool of them, once other tests have used it
        port = port_of(otel_llm.status().health_url)
        clients = slow_clients(port, 40, stack)
        assert [ask(port, "GET", path) for path in ("/healthz", "/readyz", "/status", "/metrics")] == [200] * 4
        rig.spans(10)
        assert rig.settled()
        assert threading.active_count() - others < 40
        assert wait_until(lambda: all(_is_closed(client) for client in clients), 30)
        rig.tell(verdict, 18, "forty slow clients at the health port", arrivals(receiver))


def _is_closed(client: socket.socket) -> bool:
    client.settimeout(0.01)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


HOSTILE_REQUESTS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "/../../etc/passwd", {}),
    ("GET", "/..%2f..%2fetc%2fpasswd", {}),
    ("GET", "/status/../../x", {}),
    ("POST", "/status", {}),
    ("DELETE", "/metrics", {}),
    ("OPTIONS", "*", {}),
    ("TRACE", "/", {}),
    ("GET", "/" + "a" * 60_000, {}),
    ("GET", "/healthz", {"Host": "evil.example"}),
    ("GET", "/healthz", {"Host": "127.0.0.1.evil.example"}),
    ("GET", "/healthz", {"X": "y" * 70_000}),
    ("GET", "http://evil.example/status", {}),
    ("GET", "/%00", {}),
    ("GET", "/<script>alert(1)</script>", {}),
]


def test_hostile_requests_and_many_clients(tmp_path: Path, verdict: Verdict) -> None:
    """Paths out of the directory, wrong methods and hosts get 4xx or 5xx; a hundred clients at once are all served."""
    with OtlpReceiver() as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url, health_port=0)
        port = port_of(otel_llm.status().health_url)
        with otel_llm.tenant('<script>alert(1)</script>"\n} 1'):
            rig.spans(10, **{"gen_ai.operation.name": "chat", "gen_ai.request.model": "</pre><b>"})
        for method, path, headers in HOSTILE_REQUESTS:
            try:
                status = ask(port, method, path, **headers)
            except (http.client.HTTPException, OSError, ValueError):
                continue  # not even answered
            assert status >= 400, (method, path[:80], headers)
        with ThreadPoolExecutor(100) as crowd:
            answers = list(crowd.map(lambda _: _patiently(port), range(100)))
        assert answers == [200] * 100
        assert rig.settled()
        rig.tell(verdict, 30, "hostile requests and a hundred clients at the health port", arrivals(receiver))


def _patiently(port: int) -> int:
    """As a scraper does, which tries again when it is hung up on."""
    for _ in range(50):
        try:
            return ask(port, "GET", "/metrics")
        except (http.client.HTTPException, OSError):
            continue
    return 0


@pytest.fixture
def lint() -> Iterator[Receiver]:
    """The receiver of `otel-llm lint --live`, the one place where we take OTLP from others."""
    with Receiver(0) as receiver:
        yield receiver


def nested(levels: int) -> bytes:
    """An OTLP request whose one attribute is a list in a list, so many times over."""
    value = b"\x0a\x01x"
    for _ in range(levels):
        value = b"\x2a" + _length(len(value) + 1 + len(_length(len(value)))) + b"\x0a" + _length(len(value)) + value
    pair = b"\x0a\x01k\x12" + _length(len(value)) + value
    span = b"\x4a" + _length(len(pair)) + pair
    scope = b"\x12" + _length(len(span)) + span
    group = b"\x12" + _length(len(scope)) + scope
    return b"\x0a" + _length(len(group)) + group


def _length(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


HOSTILE_BODIES: dict[str, tuple[bytes, dict[str, str], int]] = {
    "a length of 2**31": (b"\x0a\xff\xff\xff\xff\x07", {}, 400),
    "lists 5,000 levels deep": (nested(5_000), {}, 400),
    "a bomb of 128 MiB": (gzip.compress(bytes(1 << 27), 9), {"Content_Encoding": "gzip"}, 413),
    "another content type": (b"<xml/>", {"Content_Type": "text/xml"}, 415),
    "an unknown encoding": (b"x", {"Content_Encoding": "br"}, 415),
    "half a gzip": (gzip.compress(b"x" * 1000)[:20], {"Content_Encoding": "gzip"}, 400),
    "JSON 100,000 levels deep": (b"[" * 100_000, {"Content_Type": "application/json"}, 400),
    "noise": (bytes(range(256)) * 10, {}, 400),
}


def test_hostile_otlp(lint: Receiver, verdict: Verdict) -> None:
    """Everything that is no trace request is refused by its status; a good one before and after is taken."""
    port = port_of(lint.url)
    good = make_batch(10).payload
    kind = {"Content_Type": "application/x-protobuf"}
    assert ask(port, "POST", "/v1/traces", good, **kind) == 200
    for name, (body, headers, status) in HOSTILE_BODIES.items():
        assert ask(port, "POST", "/v1/traces", body, **{**kind, **headers}) == status, name
    with ExitStack() as stack:
        slow_clients(port, 50, stack)
        assert ask(port, "POST", "/v1/traces", good, **kind) == 200
    taken = sum(
        len(scope.spans)
        for request in (lint.requests.get_nowait(), lint.requests.get_nowait())
        for group in request.resource_spans
        for scope in group.scope_spans
    )
    verdict(29, "hostile OTLP at the receiver of `otel-llm lint --live`", created=20, delivered=taken)
    assert taken == 20
