"""Provider and sinks do as they are told, each in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from benchmarks import conversation
from benchmarks.least import Least
from tests.benchmarks.test_payloads import PROTOBUF, conventions, otlp

if TYPE_CHECKING:
    from benchmarks.driver import Server

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def post(server: Server, path: str, body: bytes, timeout: float = 10.0, **headers: str) -> http.client.HTTPResponse:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, body, {"Content-Type": PROTOBUF, **told})
    return connection.getresponse()


def answer_to(server: Server, number: int, **more: Any) -> str:
    """What the provider answers."""
    body = json.dumps({"messages": conversation.messages(number), **more}).encode()
    return post(server, "/v1/chat/completions", body, Content_Type="application/json").read().decode()


def test_the_provider_answers_each_question_with_its_answer(sink: Server) -> None:
    """The number of the question comes back, in the length that was set."""
    assert json.loads(answer_to(sink, 7))["choices"][0]["message"]["content"] == conversation.answer(7)
    sink.tell("set?content=64000")
    assert json.loads(answer_to(sink, 7))["choices"][0]["message"]["content"] == conversation.answer(7, 64_000)


@pytest.mark.parametrize("chunks", [20, 500])
def test_a_stream_comes_in_as_many_chunks_as_set(sink: Server, chunks: int) -> None:
    """So many pieces of text, then the reason it ended, then the usage."""
    sink.tell(f"set?chunks={chunks}")
    events = [line[6:] for line in answer_to(sink, 7, stream=True).split("\n\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"] for event in events[:-1]]
    texts = [delta[0]["delta"]["content"] for delta in deltas if delta and delta[0]["delta"].get("content")]
    assert len(texts) == chunks
    assert "".join(texts) == conversation.answer(7)
    assert json.loads(events[-2])["usage"]["total_tokens"] == 508


def test_the_sink_counts_what_comes_and_forgets_when_told(sink: Server) -> None:
    """Bodies with a length and in chunks are read when somebody asks."""
    assert post(sink, "/v1/traces", otlp(conventions(1))).status == 200
    body = otlp(conventions(2), trace=2)
    halves = (b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:1000], body[1000:], b""))
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: {PROTOBUF}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", sink.port), 10) as connection:
        for part in (head.encode(), *halves):
            connection.sendall(part)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    before = time.time()
    stats = sink.tell("stats?numbers=1")
    assert (stats["whole"], stats["spans"], stats["unreadable"]) == (2, 2, 0)
    assert all(before - 60 < at <= before for at in stats["numbers"].values())
    sink.tell("reset")
    assert sink.tell("stats")["whole"] == 0


@pytest.mark.parametrize(("mode", "status"), [("503", 503), ("429", 429)])
def test_a_sink_that_refuses_says_so_and_keeps_nothing(sink: Server, mode: str, status: int) -> None:
    """A status, with `Retry-After` where that belongs; then well again."""
    sink.tell(f"mode?m={mode}")
    refused = post(sink, "/v1/traces", otlp(conventions(1)))
    assert refused.status == status
    assert (refused.getheader("Retry-After") is not None) is (mode == "429")
    assert (sink.tell("stats")["whole"], sink.tell("stats")["refused"]) == (0, 1)
    sink.tell("mode?m=ok")
    assert post(sink, "/v1/traces", otlp(conventions(1))).status == 200


def test_a_sink_that_hangs_never_answers_and_lets_go_when_it_is_well(sink: Server) -> None:
    """The request waits until the mode changes; then its connection breaks."""
    sink.tell("mode?m=hang")
    with socket.create_connection(("127.0.0.1", sink.port), 10) as connection:
        connection.sendall(b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        sink.tell("mode?m=ok")
        connection.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert sink.tell("stats")["refused"] == 1


def test_a_sink_that_is_away_comes_back_by_itself_on_the_same_port(sink: Server) -> None:
    """`refuse` closes the port for as long as was said; the control goes on answering."""
    sink.tell("mode?m=refuse&for=1")
    with pytest.raises(ConnectionRefusedError):
        post(sink, "/v1/traces", b"")
    assert sink.tell("stats")["whole"] == 0
    deadline = time.monotonic() + 20
    while True:
        try:
            assert post(sink, "/v1/traces", otlp(conventions(1))).status == 200
            break
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def export(server: Server, body: bytes, timeout: float = 10.0) -> None:
    """Send a request over gRPC."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        channel.unary_unary(EXPORT)(body, timeout=timeout)


def test_the_sink_for_grpc_counts_the_same(grpc_sink: Server) -> None:
    """Calls over gRPC are read as those over HTTP."""
    export(grpc_sink, otlp(conventions(1), conventions(2)))
    stats = grpc_sink.tell("stats")
    assert (stats["whole"], stats["spans"], stats["paths"]) == (2, 2, {"/v1/traces": 1})


def test_the_sink_for_grpc_refuses_hangs_and_comes_back(grpc_sink: Server) -> None:
    """Each mode has its status; after all of them the port is the same."""
    for mode, code in (
        ("503", grpc.StatusCode.UNAVAILABLE),
        ("429", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("hang", grpc.StatusCode.DEADLINE_EXCEEDED),
        ("refuse", grpc.StatusCode.UNAVAILABLE),
    ):
        grpc_sink.tell(f"mode?m={mode}")
        with pytest.raises(grpc.RpcError) as refusal:
            export(grpc_sink, otlp(conventions(1)), timeout=1.0 if mode == "hang" else 10.0)
        assert refusal.value.code() is code, mode
    assert grpc_sink.tell("stats")["whole"] == 0
    grpc_sink.tell("mode?m=ok")
    export(grpc_sink, otlp(conventions(1)))
    assert grpc_sink.tell("stats")["whole"] == 1


def test_the_least_recorder_delivers_whole_calls(sink: Server) -> None:
    """The floor in place is one: question, answer and usage arrive, of each call, in a span row and a trace row."""
    import litellm

    recorder = Least(sink.url)
    completion = recorder.completion(litellm.completion)
    for number in (1, 2, 3):
        completion(**conversation.call(number, sink.url, mock_response=conversation.answer(number)))
    recorder.flush()
    stats = sink.tell("stats?numbers=1")
    assert (stats["whole"], stats["spans"], stats["unreadable"]) == (3, 3, 0)
    assert set(stats["numbers"]) == {"1", "2", "3"}
