"""The fake provider as a server: life, connections, and the ways in which it breaks them."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from otel_llm.testing import FakeProvider

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]}).encode()


def _connect(provider: FakeProvider) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(provider.url.rpartition(":")[2])), timeout=5)


def _request_bytes(body: bytes = BODY, *headers: str) -> bytes:
    lines = [f"POST {CHAT} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _read_to_end(sock: socket.socket) -> bytes:
    received = b""
    while piece := sock.recv(65536):
        received += piece
    return received


def _post(provider: FakeProvider, body: Any = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(provider.url.removeprefix("http://"), timeout=5)
    connection.request("POST", CHAT, BODY if body is None else json.dumps(body))
    return connection.getresponse()


def _streamed(provider: FakeProvider) -> http.client.HTTPResponse:
    return _post(provider, {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello"}]})


def _provider_threads(besides: list[threading.Thread]) -> list[threading.Thread]:
    """Threads of providers, those left out that other tests of this process keep running."""
    found = [thread for thread in threading.enumerate() if thread.name == "otel-llm-fake-provider"]
    return [thread for thread in found if thread not in besides]


def test_it_listens_on_loopback_only_while_it_is_used() -> None:
    """The port is open inside the `with` block and closed behind it, and its thread is gone."""
    before = _provider_threads([])
    with FakeProvider() as provider:
        _connect(provider).close()
        assert len(_provider_threads(before)) == 1
    assert _provider_threads(before) == []
    with pytest.raises(ConnectionRefusedError):
        _connect(provider)


def test_two_providers_do_not_share_anything() -> None:
    """Each has its own port, script and memory."""
    with FakeProvider() as one, FakeProvider() as other:
        assert one.url != other.url
        one.error(500)
        assert _post(other).status == 200
        assert _post(one).status == 500
        assert (len(one.requests), len(other.requests)) == (1, 1)


async def test_it_is_an_async_context_manager_too() -> None:
    """`async with` serves the very loop that it runs on."""
    async with FakeProvider() as provider:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(provider.url.rpartition(":")[2]))
        writer.write(_request_bytes(BODY, "Connection: close"))
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


def test_stop_and_start_can_be_called_twice_and_again() -> None:
    """A stopped provider can serve once more, on another port perhaps; what it remembers stays."""
    provider = FakeProvider().start().start()
    _post(provider)
    provider.stop()
    provider.stop()
    provider.start()
    _post(provider)
    provider.stop()
    assert len(provider.requests) == 2


def test_a_connection_serves_several_requests() -> None:
    """Keep-alive works, also for requests that come in one packet."""
    with FakeProvider() as provider, _connect(provider) as sock:
        sock.sendall(_request_bytes() + _request_bytes(BODY, "Connection: close"))
        assert _read_to_end(sock).count(b"HTTP/1.1 200 OK") == 2


def test_a_chunked_request_is_read() -> None:
    """Clients that stream their request are understood."""
    with FakeProvider() as provider, _connect(provider) as sock:
        head = f"POST {CHAT} HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode()
        pieces = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (BODY[:7], BODY[7:], b""))
        sock.sendall(head + pieces)
        assert b"You said: hello" in _read_to_end(sock)
        assert provider.requests[0].body == BODY


@pytest.mark.parametrize("nonsense", [b"\r\n\r\n", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
def test_what_is_no_request_is_a_400(nonsense: bytes) -> None:
    """Nonsense is answered and the connection closed; the server goes on."""
    with FakeProvider() as provider:
        with _connect(provider) as sock:
            sock.sendall(nonsense)
            assert _read_to_end(sock).startswith(b"HTTP/1.1 400 ")
        assert _post(provider).status == 200


def test_a_client_that_leaves_in_the_middle_of_a_request_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Half a request is dropped without a word above debug."""
    with FakeProvider() as provider:
        with _connect(provider) as sock:
            sock.sendall(_request_bytes()[:-5])
        assert _post(provider).status == 200
        assert len(provider.requests) == 1
    assert not [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}]


def test_a_reset_reaches_the_client_as_one() -> None:
    """`reset` is a TCP reset, not an orderly end."""
    with FakeProvider() as provider:
        provider.reset()
        with pytest.raises(ConnectionResetError):
            _post(provider)
        assert provider.requests[0].status is None


def test_what_hangs_is_let_go_when_the_provider_stops() -> None:
    """A hanging request ends with the provider, so no test outlives its server."""
    with ThreadPoolExecutor(1) as pool, FakeProvider() as provider:
        provider.hang()
        answer = pool.submit(_post, provider)
        with provider._changed:
            assert provider._changed.wait_for(lambda: len(provider._requests) == 1, 5)
        assert not answer.done()
        provider.stop()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            answer.result(5)


def test_a_malformed_body_claims_to_be_json() -> None:
    """`malformed` answers 200 with JSON that breaks off."""
    with FakeProvider() as provider:
        provider.malformed()
        response = _post(provider)
        assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
        with pytest.raises(json.JSONDecodeError):
            json.loads(response.read())


def test_a_cut_stream_ends_too_early() -> None:
    """`fail_after` delivers so many pieces and then drops the connection within the body."""
    with FakeProvider() as provider:
        provider.stream(["a", "b", "c"], fail_after=2)
        with pytest.raises(http.client.IncompleteRead) as caught:
            _streamed(provider).read()
        assert caught.value.partial.count(b'"content":"') == 3  # the empty one of the role, and two
        [request] = provider.wait_for_requests(1)
        assert (request.status, request.complete, request.usage) == (200, False, None)


def test_a_stream_can_break_before_its_first_piece() -> None:
    """`fail_after=0` gives the client headers and no content."""
    with FakeProvider() as provider:
        provider.stream(["a"], fail_after=0)
        with pytest.raises(http.client.IncompleteRead) as caught:
            _streamed(provider).read()
        assert b'"content":"a"' not in caught.value.partial


def test_a_failing_stream_can_say_so() -> None:
    """`fail_with="error"` ends the stream in order, with the provider's error event."""
    with FakeProvider() as provider:
        provider.stream(["a", "b"], fail_after=1, fail_with="error")
        events = _streamed(provider).read().decode().strip().split("\n\n")
        assert json.loads(events[-1].removeprefix("data: "))["error"]["type"] == "server_error"


def test_a_client_that_walks_away_from_a_stream_is_noticed() -> None:
    """The request of a stream that was broken off is not complete, and no usage was told."""
    with FakeProvider() as provider:
        provider.stream(["word "] * 1000, chunk_delay=0.005)
        response = _streamed(provider)
        response.read(1)
        response.close()
        [request] = provider.wait_for_requests(1)
        assert (request.complete, request.usage) == (False, None)


def test_many_requests_at_once_are_all_answered_by_one_thread() -> None:
    """Thirty slow answers overlap; the server needs no thread for each."""
    before = _provider_threads([])
    with FakeProvider(latency=0.1) as provider, ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: _post(provider).status, range(30)))
        assert answers == [200] * 30
        assert len(_provider_threads(before)) == 1
        assert len(provider.wait_for_requests(30)) == 30


def test_waiting_for_requests_that_do_not_come_is_an_error() -> None:
    """`wait_for_requests` says how many came."""
    with FakeProvider() as provider:
        _post(provider)
        with pytest.raises(TimeoutError, match="1 of 2"):
            provider.wait_for_requests(2, timeout=0.05)


def test_it_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Serving, failing and stopping leave standard output and standard error alone."""
    with FakeProvider() as provider:
        _post(provider)
        provider.reset()
        with pytest.raises(ConnectionResetError):
            _post(provider)
    assert capfd.readouterr() == ("", "")
