"""How much later than asked for an event loop wakes up beside spans that are made in it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from benchmarks.raw import WAYS

MILLI = 1e3
_TICK_SECONDS = 0.002
"""The loop is asked to wake up after this again and again."""
_WARM = 200


def lateness(job: dict[str, Any]) -> dict[str, Any]:
    """At each rate (spans a second) percentiles in ms, and CPU per span in us: the whole program, flush included."""
    producer = WAYS[job["peer"]](job["sink_url"])
    for number in range(_WARM):
        producer.make(number)
    producer.flush()
    found, made = {}, _WARM
    for rate in job["rates"]:
        began = time.process_time()
        late, count = asyncio.run(_beside(producer.make, made, rate, job["seconds"]))
        producer.flush()
        made += count
        late.sort()
        found[str(rate)] = {
            **{name: late[int(len(late) * place)] * MILLI for name, place in (("p99", 0.99), ("p999", 0.999))},
            "longest": late[-1] * MILLI,
            "cpu": (time.process_time() - began) / count * MILLI**2,
            "made": count / job["seconds"] / rate,
        }
    return {"rates": found}


async def _beside(make: Any, first: int, rate: int, seconds: float) -> tuple[list[float], int]:
    """How late each tick was, in seconds, and how many spans were made."""
    end = time.perf_counter() + seconds
    late: list[float] = []

    async def tick() -> None:
        while time.perf_counter() < end:
            asked = time.perf_counter() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            late.append(time.perf_counter() - asked)

    ticking = asyncio.create_task(tick())
    number, due = first, time.perf_counter()
    while time.perf_counter() < end:
        make(number)
        number += 1
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    await ticking
    return late, number - first
