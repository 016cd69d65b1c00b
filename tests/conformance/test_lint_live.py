"""`otel-llm lint --live`: a real OTLP exporter, JSON by hand, and how it ends."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import requests
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

from otel_llm.cli.lint.receiver import Receiver
from otel_llm.cli.lint.report import Report
from otel_llm.conformance import spans_of
from otel_llm.otlp_json import to_otlp_json
from otel_llm.wire import decode
from tests.conformance.test_lint import RIGHT, batch

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0


@contextmanager
def listening(*words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, running, and the address that it says it listens on."""
    command = [sys.executable, "-m", "otel_llm", "lint", "--live", "--port", "0", *words]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        try:
            assert process.stderr is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stderr.readline())
            assert found is not None, process.stderr.read()
            yield process, found[0]
        finally:
            if process.poll() is None:
                process.kill()


def export(url: str, attributes: dict[str, Any], compression: Compression) -> None:
    """Send one span with OpenTelemetry's own exporter."""
    provider = TracerProvider(shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{url}/v1/traces", compression=compression)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("app", schema_url="https://x/1")
    tracer.start_span("chat gpt-4o", kind=SpanKind.CLIENT, attributes=attributes).end()
    provider.shutdown()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_findings_are_printed_as_spans_come(ending: signal.Signals) -> None:
    """A violation is printed once, before the end; Ctrl-C and SIGTERM end with the sum and exit code 1."""
    with listening() as (process, url):
        export(url, {**RIGHT, "gen_ai.request.temperature": 1}, Compression.Gzip)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("violation  type: `gen_ai.request.temperature`")
        export(url, {**RIGHT, "gen_ai.request.temperature": 2}, Compression.NoCompression)
        process.send_signal(ending)
        rest = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 1
    assert "violation  " not in rest
    assert rest.splitlines()[-1] == "2 GenAI spans of 2 checked: 1 kind of violation, 0 of advice."


def test_json_lines_and_a_time_limit() -> None:
    """`--json` prints one object per finding and one for the sum; `--for` ends it, with exit code 0 if all is right."""
    with listening("--json", "--for", "3") as (process, url):
        body = json.dumps(to_otlp_json(decode(batch({**RIGHT, "gen_ai.request.stream": False}))))
        answer = requests.post(
            f"{url}/v1/traces", body, headers={"Content-Type": "application/json; charset=utf-8"}, timeout=PATIENCE
        )
        assert (answer.status_code, answer.json()) == (200, {})
        out = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0
    finding, total = (json.loads(line) for line in out.splitlines())
    assert (finding["event"], finding["rule"], finding["level"]) == ("finding", "condition", "advice")
    assert (total["event"], total["conforms"], total["genai_spans"], total["advice"]) == ("sum", True, 1, 1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """The receiver alone."""
    with Receiver(0) as running:
        yield running


PROTOBUF = {"Content-Type": "application/x-protobuf"}


def test_both_forms_packed_or_not_say_the_same(receiver: Receiver) -> None:
    """Protobuf and JSON, plain, gzip and in chunks, are taken alike; metrics and logs are taken and forgotten."""
    made = batch(RIGHT)
    as_json = json.dumps(to_otlp_json(decode(made))).encode()
    json_type = {"Content-Type": "application/json"}
    packed = {"Content-Encoding": "gzip"}
    url = f"{receiver.url}/v1/traces"
    for body, headers in (
        (made.payload, PROTOBUF),
        (gzip.compress(made.payload), {**PROTOBUF, **packed}),
        (as_json, json_type),
        (gzip.compress(as_json), {**json_type, **packed}),
        (iter([made.payload[:10], made.payload[10:]]), PROTOBUF),  # chunked
    ):
        assert requests.post(url, body, headers=headers, timeout=PATIENCE).status_code == 200
    for other in ("metrics", "logs"):
        assert requests.post(f"{receiver.url}/v1/{other}", b"", headers=PROTOBUF, timeout=PATIENCE).status_code == 200
    taken = [list(spans_of(receiver.requests.get_nowait())) for _ in range(receiver.requests.qsize())]
    assert len(taken) == 5
    assert all(spans == taken[0] for spans in taken)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/v1/traces", b"\xff\xff", PROTOBUF, 400),
        ("/v1/traces", b"{", {"Content-Type": "application/json"}, 400),
        ("/v1/traces", b"[]", {"Content-Type": "application/json"}, 400),
        ("/v1/traces", b"x", {**PROTOBUF, "Content-Encoding": "gzip"}, 400),
        ("/v1/traces", b"x", {**PROTOBUF, "Content-Encoding": "zstd"}, 415),
        ("/v1/traces", b"x", {"Content-Type": "text/plain"}, 415),
        ("/v1/traces", gzip.compress(b"\0" * (65 * 1024 * 1024)), {**PROTOBUF, "Content-Encoding": "gzip"}, 413),
        ("/", b"", PROTOBUF, 404),
    ],
    ids=["protobuf", "json", "list", "gzip", "zstd", "text", "bomb", "path"],
)
def test_a_request_that_cannot_be_read_is_refused(
    path: str, body: bytes, headers: dict[str, str], status: int, receiver: Receiver
) -> None:
    """A sender hears why with the right status, and nothing comes of it."""
    answer = requests.post(f"{receiver.url}{path}", body, headers=headers, timeout=PATIENCE)
    assert answer.status_code == status
    assert answer.text
    assert receiver.requests.qsize() == 0


@pytest.mark.parametrize(("length", "status"), [("999999999999", 413), ("-1", 413), ("many", 411)])
def test_a_length_that_cannot_be_is_refused_unread(length: str, status: int, receiver: Receiver) -> None:
    """A body that says it is too long, or not how long, is refused before it is read."""
    connection = http.client.HTTPConnection("127.0.0.1", int(receiver.url.rpartition(":")[2]), timeout=PATIENCE)
    connection.putrequest("POST", "/v1/traces")
    for name, value in {**PROTOBUF, "Content-Length": length}.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == status
    connection.close()


def test_a_port_that_is_taken_is_bad_input(receiver: Receiver) -> None:
    """When something listens there, it says so and what to do."""
    port = receiver.url.rpartition(":")[2]
    answer = subprocess.run(
        [sys.executable, "-m", "otel_llm", "lint", "--live", "--port", port, "--for", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert answer.returncode == 2
    assert f"Port {port} of 127.0.0.1 cannot be opened" in answer.stderr


def test_made_up_names_do_not_fill_the_memory() -> None:
    """A program that invents attribute names without end is cut off at a thousand kinds, and still fails."""
    report = Report()
    for start in range(0, 2000, 100):
        names = {f"gen_ai.{number}": 1 for number in range(start, start + 100)}
        for span in spans_of(decode(batch({**RIGHT, **names}))):
            report.add(span)
    found = report.as_dict()
    assert len(found["findings"]) == 1000
    assert found["further_findings"] == 1000
    assert report.has_violations
