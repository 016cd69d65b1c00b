"""Raw spans: CPU from the start of a span to its delivery, and a burst at default settings."""

from __future__ import annotations

import gc
import time
from typing import Any

from benchmarks.raw import BURSTS, TRACE_SPANS, WAYS
from benchmarks.workload import MICRO, ask, wait_until

_WARM = 200
"""A multiple of `TRACE_SPANS`; these are numbered before the others and not counted."""


def raw(job: dict[str, Any]) -> dict[str, Any]:
    """CPU per span; the producer pauses while too much waits, so that nothing is lost by its haste."""
    producer = WAYS[job["peer"]](job["sink_url"])
    step = TRACE_SPANS if job["traces"] else 1
    make = producer.make_trace if job["traces"] else producer.make
    for number in range(0, _WARM, step):
        make(number)
    producer.flush()
    gc.collect()
    ask(job["control"], "/reset")
    count, every, most = job["count"], producer.every, producer.most
    process, thread, began = time.process_time(), time.thread_time(), time.perf_counter()
    paused, look_at = 0.0, every
    for number in range(0, count, step):
        make(_WARM + number)
        if number >= look_at:
            look_at = number + every
            before = time.thread_time()
            while producer.waiting() > most:
                time.sleep(0.01)
            paused += time.thread_time() - before
    created = (time.thread_time() - thread - paused) / count * MICRO
    producer.flush()
    cpu = (time.process_time() - process) / count * MICRO
    seconds = time.perf_counter() - began
    found: dict[str, Any] = {"count": count, "cpu": cpu, "created_us": created, "seconds": seconds}
    if job["arrives"]:
        wait_until(lambda: ask(job["control"], "/stats")["spans"] >= count, 10.0, step=1.0)
        found["arrived"] = ask(job["control"], "/stats")
    return found


def burst(job: dict[str, Any]) -> dict[str, Any]:
    """Spans as fast as they can be made; then the program ends as it would by default."""
    producer = BURSTS[job["peer"]](job["sink_url"])
    count = job["count"]
    producer.make(0)
    producer.flush()
    ask(job["control"], "/reset")
    thread, began = time.thread_time(), time.perf_counter()
    for number in range(1, count + 1):
        producer.make(number)
    return {
        "count": count,
        "produced_seconds": time.perf_counter() - began,
        "created_us": (time.thread_time() - thread) / count * MICRO,
    }
