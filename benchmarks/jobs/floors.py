"""What a span costs at least, part by part: CPU in microseconds per span of 2.8 kB, each part by the plainest means.

Nothing here uses otel_llm. Each figure is the smallest of a few tries in this process; the driver takes the median over
its rounds.
"""

from __future__ import annotations

import gzip
import os
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import conversation
from benchmarks.raw import span_maker
from benchmarks.workload import MICRO

if TYPE_CHECKING:
    from collections.abc import Callable

_SPANS = 512
_BATCH = 64
_TRIES = 5
_MEGABYTE = 1_000_000
_POSTS = 12


def floors(job: dict[str, Any]) -> dict[str, Any]:
    """All parts. Keys end in the unit."""
    spans = _spans()
    message = _message(spans)
    rows = [_row(number) for number in range(_SPANS)]
    body = _dumped(rows)
    row = body[: len(body) // _SPANS]
    found = {
        "span_us": _creating(),
        "encode_spans_us": _encoding(spans, _BATCH),
        "encode_spans_512_us": _encoding(spans, _SPANS),
        "protobuf_us": _best(lambda: [_direct(span) for span in spans], _SPANS),
        "protobuf_bytes": len(message) / _SPANS,
        "row_dict_us": _best(lambda: [_row(number) for number in range(_SPANS)], _SPANS),
        "row_json_us": _best(lambda: _dumped(rows), _SPANS),
        "row_bytes": len(body) / _SPANS,
        "gzip1_us": _best(lambda: gzip.compress(body, 1), _SPANS),
        "gzip1_bytes": len(gzip.compress(body, 1)) / _SPANS,
        **_writing(row),
        **_posting(job["sink_url"]),
    }
    found["post_us"] = found["post_megabyte_us"] * found["row_bytes"] / _MEGABYTE
    return found


def _best(work: Callable[[], object], count: int) -> float:
    found = []
    for _ in range(_TRIES):
        began = time.process_time()
        work()
        found.append((time.process_time() - began) / count * MICRO)
    return min(found)


def _spans() -> list[Any]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    make = span_maker(provider.get_tracer("bench"))
    for number in range(_SPANS):
        make(number)
    return list(exporter.get_finished_spans())


def _creating() -> float:
    """Span with its attributes, and nobody who wants it."""
    from opentelemetry.sdk.trace import TracerProvider

    make = span_maker(TracerProvider().get_tracer("bench"))
    return _best(lambda: [make(number) for number in range(_SPANS)], _SPANS)


def _encoding(spans: list[Any], batch: int) -> float:
    """The SDK's own way from spans to bytes, a batch at a time."""
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    def work() -> None:
        for at in range(0, len(spans), batch):
            encode_spans(spans[at : at + batch]).SerializeToString()

    return _best(work, len(spans))


def _message(spans: list[Any]) -> bytes:
    from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

    message: bytes = encode_spans(spans).SerializeToString()
    return message


def _direct(span: Any) -> bytes:
    """A span as protobuf, built without the SDK's encoder."""
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    context = span.context
    message = Span(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        name=span.name,
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=span.start_time,
        end_time_unix_nano=span.end_time,
    )
    for key, value in span.attributes.items():
        entry = message.attributes.add()
        entry.key = key
        target = entry.value
        if isinstance(value, str):
            target.string_value = value
        elif isinstance(value, bool):
            target.bool_value = value
        elif isinstance(value, int):
            target.int_value = value
        elif isinstance(value, float):
            target.double_value = value
        else:
            for part in value:
                target.array_value.values.add().string_value = part
    written: bytes = message.SerializeToString()
    return written


def _row(number: int) -> dict[str, Any]:
    """One row as Opik takes it."""
    reply = {"role": "assistant", "content": conversation.answer(number)}
    return {
        "id": f"0195fc00-0000-7000-8000-{number:012d}",
        "trace_id": f"0195fc00-0000-7000-8001-{number:012d}",
        "project_name": "bench",
        "name": "chat gpt-4o-mini",
        "type": "llm",
        "start_time": "2026-11-22T15:00:00.000000Z",
        "end_time": "2026-11-22T15:00:00.900000Z",
        "input": {"messages": conversation.messages(number)},
        "output": {"choices": [{"message": reply, "finish_reason": "stop"}]},
        "metadata": {"temperature": 0.2, "max_tokens": 256, "tenant": "tenant-7", "cache_hit": False},
        "usage": {"prompt_tokens": 412, "completion_tokens": 96, "total_tokens": 508},
        "model": "gpt-4o-mini",
        "provider": "openai",
        "total_estimated_cost": 0.000119,
    }


def _dumped(rows: list[dict[str, Any]]) -> bytes:
    import orjson

    return orjson.dumps({"spans": rows})


def _writing(row: bytes) -> dict[str, float]:
    """A row on disk, in batches of 64: SQLite's write-ahead log without and with sync, and a plain file with sync."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        return {
            "sqlite_us": min(_sqlite(directory, "NORMAL", row) for _ in range(_TRIES)),
            "sqlite_full_us": min(_sqlite(directory, "FULL", row) for _ in range(_TRIES)),
            "append_fdatasync_us": min(_appending(directory, row) for _ in range(_TRIES)),
        }


def _sqlite(directory: Path, synchronous: str, row: bytes) -> float:
    file = directory / "log.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, body BLOB)")
        began = time.process_time()
        for _ in range(0, _SPANS * 4, _BATCH):
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO log (body) VALUES (?)", [(row,)] * _BATCH)
            connection.execute("COMMIT")
        used = time.process_time() - began
    for ending in ("", "-wal", "-shm"):
        (directory / f"log.db{ending}").unlink(missing_ok=True)
    return used / (_SPANS * 4) * MICRO


def _appending(directory: Path, row: bytes) -> float:
    descriptor = os.open(directory / "log.bin", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    try:
        began = time.process_time()
        for _ in range(0, _SPANS, _BATCH):
            os.write(descriptor, b"".join([row] * _BATCH))
            os.fdatasync(descriptor)
        return (time.process_time() - began) / _SPANS * MICRO
    finally:
        os.close(descriptor)


def _posting(sink: str) -> dict[str, float]:
    """A request of a megabyte, by the standard library and by `requests`, which the OTLP exporter brings along."""
    import http.client

    import requests

    body = os.urandom(_MEGABYTE)
    connection = http.client.HTTPConnection(sink.removeprefix("http://"))
    session = requests.Session()

    def plainly() -> None:
        for _ in range(_POSTS):
            connection.request("POST", "/null", body)
            connection.getresponse().read()

    def by_requests() -> None:
        for _ in range(_POSTS):
            session.post(f"{sink}/null", data=body).raise_for_status()

    return {"post_megabyte_us": _best(plainly, _POSTS), "post_megabyte_requests_us": _best(by_requests, _POSTS)}
