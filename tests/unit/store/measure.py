"""Fills a store with generated calls and times what people ask of it: the figures in docs/store.md.

    python -m tests.unit.store.measure 200000 /tmp/measured.db

Not a test: it prints seconds, and says nothing about right or wrong.
"""

from __future__ import annotations

import random
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otel_llm import semconv
from otel_llm.backends.local import LocalBackend
from otel_llm.contracts import Delivered
from otel_llm.store import queries
from tests.unit.store.building import MS, NOON, batch_of, call, span, used

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

_BATCH = 512
_CONTENT = '[{"role":"user","parts":[{"type":"text","content":"' + "lorem ipsum " * 90 + '"}]}]'


def _spans(rng: random.Random, count: int, first: float) -> list[Span]:
    """Nine in ten are calls with 2 kB of content, one in ten is an HTTP span; 200 tenants, six models.

    `first`, from 0 to 1, is how far into the 30 days of the store they begin.
    """
    made = []
    for _ in range(count):
        start = NOON + int((first * 30 * 86_400_000 + rng.random() * 60_000) * MS)
        if rng.random() < 0.1:
            made.append(span({"http.request.method": "POST"}, start=start, name="POST"))
            continue
        facts = used(rng.randrange(5000), rng.randrange(2000), rng.random() / 50)
        facts |= {semconv.INPUT_MESSAGES: _CONTENT, semconv.OUTPUT_MESSAGES: _CONTENT[:900], semconv.USER_ID: "u1"}
        if rng.random() < 0.3:
            facts[semconv.TIME_TO_FIRST_CHUNK] = rng.lognormvariate(-1, 1)
        facts |= {semconv.RESPONSE_MODEL: "gpt-4o-2024-08-06", semconv.RESPONSE_ID: f"chatcmpl-{rng.random()}"}
        tenant, model = f"tenant-{int(rng.paretovariate(0.5)) % 200}", f"model-{rng.randrange(6)}"
        made.append(call(tenant, model, attributes=facts, ms=rng.lognormvariate(6.5, 1), start=start))
    return made


def _timed(what: str, work: Callable[[], Any]) -> None:
    began, cpu = time.perf_counter(), time.process_time()
    work()
    print(f"{what:42} {time.perf_counter() - began:7.2f} s   CPU {time.process_time() - cpu:7.2f} s")


def main() -> None:
    """Fill and measure."""
    total, path = int(sys.argv[1]), Path(sys.argv[2])
    backend, sending, sending_cpu = LocalBackend(path), 0.0, 0.0
    rng = random.Random(7)
    for done in range(0, total, _BATCH):
        batch = batch_of(*_spans(rng, min(_BATCH, total - done), done / total))
        began, cpu = time.perf_counter(), time.process_time()
        outcome = backend.send(batch, timeout=30)
        sending += time.perf_counter() - began
        sending_cpu += time.process_time() - cpu
        assert isinstance(outcome, Delivered), outcome
    backend.close()
    print(f"{total} spans, {path.stat().st_size / 1e6:.0f} MB")
    print(f"send: {sending / total * 1e6:.0f} us per span, CPU {sending_cpu / total * 1e6:.0f} us")
    day = datetime(2026, 11, 10, tzinfo=timezone.utc)
    _timed("usage by tenant, model", lambda: queries.usage(path))
    _timed("the same again", lambda: queries.usage(path))
    _timed("usage by day", lambda: queries.usage(path, ("day",)))
    _timed("usage of one day", lambda: queries.usage(path, since=day, until=day + timedelta(days=1)))
    _timed("usage of one tenant", lambda: queries.usage(path, tenant="tenant-7"))
    _timed("newest 50 calls", lambda: queries.calls(path))
    _timed("newest 50 calls of one tenant", lambda: queries.calls(path, tenant="tenant-7"))
    _timed("newest 50 errors (there are none)", lambda: queries.errors(path))


if __name__ == "__main__":
    main()
