"""A service that calls models at a held rate, while its backend is well, away, or hanging."""

from __future__ import annotations

import gc
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from benchmarks.conversation import answer, call
from benchmarks.peers import set_up
from benchmarks.workload import ask, rss_mb, tell, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

_SAMPLE_EVERY = 500


class Service:
    """Makes numbered calls at a held rate, and remembers when each was answered."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.peer = set_up(job)
        self.url: str = job["provider_url"]
        self.control: int = job["control"]
        self.rate: float = job.get("rate", 50.0)
        self.answered: list[float] = []

    def call(self) -> None:
        """The next call."""
        number = len(self.answered) + 1
        self.peer.completion(**call(number, self.url, mock_response=answer(number)))
        self.answered.append(time.time())

    def go(self, seconds: float, each: Callable[[int], object] = lambda _: None) -> None:
        """Calls for so many seconds; a slow machine makes as many, and takes longer."""
        began = time.perf_counter()
        for number in range(int(seconds * self.rate)):
            ahead = began + number / self.rate - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)
            self.call()
            each(number)

    def warm(self) -> None:
        """Threads, connections and files are there, and the calls for that are forgotten."""
        for _ in range(5):
            self.call()
        self.peer.flush()
        ask(self.control, "/reset")
        self.answered.clear()

    def whole(self) -> int:
        """Calls that arrived."""
        count: int = ask(self.control, "/stats")["whole"]
        return count


def outage(job: dict[str, Any]) -> dict[str, Any]:
    """Well for a while, away for longer, and well again; then the service waits for a minute and ends as it would."""
    service = Service(job)
    service.warm()
    service.go(job["before"])
    ask(service.control, f"/mode?m={job['mode']}&for={job['away']}")
    over = time.monotonic() + job["away"]
    service.go(job["away"])
    time.sleep(max(0.0, over + 0.3 - time.monotonic()))
    back = time.monotonic()
    service.go(job["before"])
    made = len(service.answered)
    complete = wait_until(lambda: service.whole() >= made, job["patience"], step=1.0)
    return {"made": made, "arrived": service.whole(), "complete_after": time.monotonic() - back if complete else None}


def killed(job: dict[str, Any]) -> dict[str, Any]:
    """Well for a while, then away; in the middle of its work the process is killed as `kill -9` does."""
    service = Service(job)
    service.warm()
    service.go(job["before"])
    wait_until(lambda: service.whole() >= len(service.answered), job["patience"], step=0.5)
    before = service.whole()
    ask(service.control, "/mode?m=refuse")
    service.go(job["away"])
    now = time.time()
    settled = sum(1 for at in service.answered if at < now - 1.0)
    tell({"made": len(service.answered), "arrived": before, "answered_a_second_before": settled})
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def again(job: dict[str, Any]) -> dict[str, Any]:
    """The same program, started again: one call of its own, then it stays for a while."""
    service = Service(job)
    own = job["made"] + 1
    service.peer.completion(**call(own, service.url, mock_response=answer(own)))
    wait_until(lambda: service.whole() > job["made"], job["patience"], step=0.5)
    return {}


def ending(job: dict[str, Any]) -> dict[str, Any]:
    """Some calls while the backend is away or hangs; then the program ends as it would, which the driver times."""
    service = Service(job)
    for _ in range(job["count"]):
        service.call()
    return {"made": job["count"]}


def visible(job: dict[str, Any]) -> dict[str, Any]:
    """From the answer of a call until the backend has it, nobody flushing."""
    service = Service(job)
    service.warm()
    service.go(job["seconds"])
    made = len(service.answered)
    wait_until(lambda: service.whole() >= made, job["patience"], step=0.5)
    there = ask(service.control, "/stats?numbers=1")["numbers"]
    delays = [there[str(number)] - at for number, at in enumerate(service.answered, start=1) if str(number) in there]
    delays.sort()
    if not delays:
        return {"made": made, "arrived": 0}
    at = {"p50": len(delays) // 2, "p99": int(len(delays) * 0.99), "longest": len(delays) - 1}
    return {"made": made, "arrived": len(delays), **{name: delays[place] for name, place in at.items()}}


def memory(job: dict[str, Any]) -> dict[str, Any]:
    """Growth of resident memory over many calls while the backend is away."""
    service = Service(job)
    service.go(2000 / service.rate)
    time.sleep(1.0)
    gc.collect()
    before, most, began = rss_mb(), [0.0], time.monotonic()

    def look(number: int) -> None:
        if number % _SAMPLE_EVERY == 0:
            most[0] = max(most[0], rss_mb() - before)

    service.go(job["count"] / service.rate, look)
    most[0] = max(most[0], rss_mb() - before)
    return {
        "made": job["count"],
        "growth_mb": most[0],
        "before_mb": before,
        "rate": job["count"] / (time.monotonic() - began),
    }
