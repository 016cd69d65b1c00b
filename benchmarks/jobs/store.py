"""The local store, filled with raw spans; the driver asks it afterwards."""

from __future__ import annotations

import time
from typing import Any

from benchmarks.raw import WAYS
from benchmarks.workload import MICRO, rss_mb


def store(job: dict[str, Any]) -> dict[str, Any]:
    """Write `count` spans, and say what it cost and how large the files are."""
    from benchmarks.ours import store_path

    producer = WAYS[job["peer"]](job["sink_url"])
    count, every, most = job["count"], producer.every, producer.most
    process, began = time.process_time(), time.perf_counter()
    for number in range(count):
        producer.make(number)
        if not number % every:
            while producer.waiting() > most:
                time.sleep(0.01)
    producer.flush()
    seconds, cpu = time.perf_counter() - began, time.process_time() - process
    path = store_path()
    files = [path.with_name(path.name + ending) for ending in ("", "-wal", "-shm")]
    return {
        "spans": count,
        "seconds": seconds,
        "cpu": cpu / count * MICRO,
        "file_mb": sum(file.stat().st_size for file in files if file.exists()) / 1e6,
        "rss_mb": rss_mb(),
    }
