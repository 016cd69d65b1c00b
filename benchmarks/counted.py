"""The guard against slow decay: what a span costs, counted instead of timed, so that a loaded machine counts the same.

    python -m benchmarks.counted           # the counts beside their budgets

Counted are calls of functions (Python's and C's, with `sys.setprofile`), bytes, blocks of memory that stay, statements
of SQL and modules. The limits stand in `benchmarks/budgets.json`, `tests/house/test_budgets.py` holds them. A limit is
about a seventh above what was counted when it was set (other versions of Python and of the SDK count a little
differently); it is raised only with the reason in the commit message.
"""

from __future__ import annotations

import gc
import gzip
import json
import os
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

BUDGETS = Path(__file__).with_name("budgets.json")
SPANS = 64
NOWHERE = "http://127.0.0.1:9"
"""Nobody listens on the discard port."""
_OURS = ("otel_llm", "opentelemetry")
_BEHIND = (
    "otel_llm.processors",
    "otel_llm.instrumentation",
    "otel_llm.pricing",
    "otel_llm.values",
    "otel_llm.json_bytes",
)
"""Where the work on a span that has ended is done."""


def calls_of(work: Callable[[], object], *, within: tuple[str, ...] = ()) -> int:
    """Calls that `work` makes on this thread; with `within`, only those made by code of these packages."""
    counted = [0]

    def on_event(frame: Any, event: str, _: object) -> None:
        if event not in {"call", "c_call"}:
            return
        if within and not frame.f_globals.get("__name__", "").startswith(within):
            return
        counted[0] += 1

    sys.setprofile(on_event)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted[0]


class OnThread:
    """Counts calls on the thread called `name`, which has not begun yet."""

    def __init__(self, name: str, *, within: tuple[str, ...]) -> None:
        self.calls = 0
        self._name, self._within = name, within
        threading.setprofile(self._on_event)

    def _on_event(self, frame: Any, event: str, _: object) -> None:
        if threading.current_thread().name != self._name:
            sys.setprofile(None)
        elif event in {"call", "c_call"} and frame.f_globals.get("__name__", "").startswith(self._within):
            self.calls += 1


def blocks_of(work: Callable[[], object]) -> int:
    """Blocks of memory that are still held when `work` is done and its result is kept."""
    work()
    gc.collect()
    before = sys.getallocatedblocks()
    kept = work()
    gc.collect()
    found = sys.getallocatedblocks() - before
    del kept
    return found


def start() -> dict[str, float]:
    """Modules that importing and configuring load, before anything else does."""
    before = set(sys.modules)
    import otel_llm

    imported = len(set(sys.modules) - before)
    otel_llm.configure(
        backend="opik", opik_url=NOWHERE, opik_project="p", state_dir=tempfile.mkdtemp(), service_name="s", content="on"
    )
    loaded = set(sys.modules) - before
    return {
        "modules loaded by `import otel_llm`": imported,
        "modules loaded by `configure()`": len(loaded),
        "guests loaded by `configure()`": len(loaded & {"litellm", "opik", "httpx", "grpc", "dashboard"}),
    }


def _finished_spans() -> list[Any]:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    from benchmarks.raw import span_maker
    from otel_llm.backends.opik.ids import Uuid7IdGenerator

    spans: list[Any] = []

    class Keep(SpanExporter):
        def export(self, given: Any) -> SpanExportResult:
            spans.extend(given)
            return SpanExportResult.SUCCESS

    provider = TracerProvider(id_generator=Uuid7IdGenerator())
    provider.add_span_processor(SimpleSpanProcessor(Keep()))
    make = span_maker(provider.get_tracer("bench"))
    for number in range(SPANS):
        make(number)
    return spans


def delivery() -> dict[str, float]:
    """From the finished span to the request: encode, keep, map, write."""
    from otel_llm.backends.opik.mapping import map_request
    from otel_llm.backends.opik.memory import TraceMemory
    from otel_llm.backends.opik.packing import pack
    from otel_llm.backends.opik.routing import Routing
    from otel_llm.delivery.codec import encode
    from otel_llm.wire import decode

    spans = _finished_spans()
    routing = Routing("bench", "bench")
    (batch,) = encode(spans)

    def rows() -> Any:
        return map_request(decode(batch), routing, TraceMemory())

    def bodies() -> list[bytes]:
        made = rows()
        return [parcel.body for kind in ("traces", "spans") for parcel in pack(kind, getattr(made, kind))]

    bodies()  # fills the caches
    sent = bodies()
    return {
        "calls to encode a span": calls_of(lambda: encode(spans)) / SPANS,
        "calls to make a span's rows and write them": calls_of(bodies) / SPANS,
        "blocks that a span's rows hold": blocks_of(rows) / SPANS,
        "bytes of a span in the spool": len(batch.payload) / SPANS,
        "bytes of a span in requests to Opik": sum(map(len, sent)) / SPANS,
        "bytes of a span in requests to Opik, gzipped": sum(len(gzip.compress(body, 1)) for body in sent) / SPANS,
        **_spool(batch),
    }


def _spool(batch: Any) -> dict[str, float]:
    from otel_llm.delivery.spool_log import SpoolLog
    from otel_llm.delivery.spool_types import SpoolSettings

    log = SpoolLog(Path(tempfile.mkdtemp()) / "log.db", SpoolSettings())
    statements = [0]

    def on_statement(_: str) -> None:
        statements[0] += 1

    def once(number: int) -> None:
        from dataclasses import replace

        log.append([(replace(batch, id=f"batch {number}"), ("opik",))], "origin")
        parcel = log.take("opik", 1 << 20)
        assert parcel is not None
        log.settle("opik", parcel, [])

    once(0)
    log.connection.set_trace_callback(on_statement)
    once(1)
    log.connection.set_trace_callback(None)
    log.close()
    return {"SQL statements for a batch in and out of the spool": statements[0]}


def recording(worker: OnThread) -> dict[str, float]:
    """What the program's own thread does for a span and for a call of litellm, and what `worker` does after it."""
    from opentelemetry import trace

    import otel_llm
    from benchmarks.raw import span_maker

    make = span_maker(trace.get_tracer("bench"))
    make(0)
    spans = calls_of(lambda: [make(number) for number in range(SPANS)]) / SPANS
    import litellm

    from benchmarks.conversation import answer, call
    from otel_llm.testing import FakeProvider

    def complete(number: int) -> None:
        litellm.completion(**call(number, NOWHERE, mock_response=answer(number)))

    for number in range(4):
        complete(number)
    with FakeProvider() as provider:  # the first of five fills caches and opens the connection
        ask = partial(litellm.completion, **call(5, provider.url))
        over_http = min(calls_of(ask, within=_OURS) for _ in range(5))
    counts, behind = [], []
    for _ in range(5):
        otel_llm.flush(1)
        before = worker.calls
        counts.append(calls_of(lambda: complete(5), within=_OURS))
        # A flush helps the worker along in the thread that asks for it; what both do at once is not always seen.
        behind.append(calls_of(lambda: otel_llm.flush(1), within=_BEHIND) + worker.calls - before)
    return {
        "calls on the caller's thread for a raw span": spans,
        "calls of ours on the caller's thread for a litellm call": min(counts),
        "calls of ours on the caller's thread for a litellm call over HTTP": over_http,
        "calls off the caller's thread until a litellm call's span is in the queue": max(behind),
    }


def measure() -> dict[str, float]:
    """All counts, in this process; the order matters, because the first looks at what is loaded."""
    worker = OnThread("otel-llm-hand-over", within=_BEHIND)
    counts = {**start(), **delivery(), **recording(worker)}
    return {name: round(value, 1) for name, value in counts.items()}


def main() -> None:
    """Print the counts (as JSON with `--json`)."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    counts = measure()
    if "--json" in sys.argv:
        print("RESULT " + json.dumps(counts), flush=True)
    else:
        budgets = json.loads(BUDGETS.read_text())
        for name, value in counts.items():
            print(f"{value:>10,.1f} of {budgets.get(name, 0):>8,}  {name}")
    sys.stdout.flush()
    os._exit(0)  # nobody waits for a backend that is not there


if __name__ == "__main__":
    main()
