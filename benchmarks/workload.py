"""What is measured, in the peer's environment: one scene in one process, its figures as one line of JSON.

    PEER/bin/python benchmarks/workload.py '{"scene": "calls", "peer": "openinference", ...}'

CPU is that of the process, background threads and the last flush included; "caller" is the CPU of the thread that
makes the call. Recorded and unrecorded blocks alternate in one process, so that what differs between processes, or
while other programs load the machine, falls out of the difference.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import socket
import statistics
import sys
import time
import warnings
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _HERE]
sys.path.insert(0, os.path.dirname(_HERE))

MICRO = 1e6


def ask(port: int, path: str) -> dict[str, Any]:
    """GET over a bare socket, which no peer's HTTP instrumentation sees."""
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65536)
    answer: dict[str, Any] = json.loads(body or b"{}")
    return answer


def rss_mb() -> float:
    """Resident memory now."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def calls(job: dict[str, Any]) -> dict[str, Any]:  # noqa: C901  (one scene, its blocks inside it)
    """CPU that recording adds to one call: pairs of recorded and unrecorded blocks."""
    from benchmarks.conversation import answer, call
    from benchmarks.peers import PEERS

    peer = PEERS[job["peer"]](job["sink_url"])
    kind, size, count = job["kind"], job["content"], job["block"]
    made = [0]

    def arguments() -> dict[str, Any]:
        made[0] += 1
        more: dict[str, Any] = {}
        if kind == "mock":
            more["mock_response"] = answer(made[0], size)
        elif kind == "stream":
            more |= {"stream": True, "stream_options": {"include_usage": True}}
        return call(made[0], job["provider_url"], size, **more)

    def block(*, on: bool) -> dict[str, float]:
        function, _ = peer.functions(on=on)
        prepared = [arguments() for _ in range(count)]
        gc.collect(0)
        each: list[float] = []
        process, thread = time.process_time(), time.thread_time()
        for entry in prepared:
            began = time.thread_time()
            answered = function(**entry)
            if kind == "stream":
                for _ in answered:
                    pass
            each.append(time.thread_time() - began)
        caller = time.thread_time() - thread
        peer.flush()
        return {
            "cpu": (time.process_time() - process) / count * MICRO,
            "caller": caller / count * MICRO,
            "caller_median": statistics.median(each) * MICRO,
        }

    async def ablock(*, on: bool) -> dict[str, float]:
        _, function = peer.functions(on=on)
        prepared = iter([arguments() for _ in range(count)])
        gc.collect(0)
        process = time.process_time()

        async def worker() -> None:
            for entry in prepared:
                await function(**entry)

        await asyncio.gather(*(worker() for _ in range(50)))
        await peer.aflush()
        return {"cpu": (time.process_time() - process) / count * MICRO}

    async def apairs() -> list[dict[str, Any]]:
        return [await _apair(number) for number in range(job["pairs"] + 1)][1:]

    async def _apair(number: int) -> dict[str, Any]:
        order = (False, True) if number % 2 else (True, False)
        return {"on" if on else "off": await ablock(on=on) for on in order}

    def pair(number: int) -> dict[str, Any]:
        order = (False, True) if number % 2 else (True, False)
        return {"on" if on else "off": block(on=on) for on in order}

    pairs = asyncio.run(apairs()) if kind == "async" else [pair(number) for number in range(job["pairs"] + 1)][1:]
    stats = ask(job["sink"], "/_bench/stats")
    recorded = (job["pairs"] + 1) * count
    return {"pairs": pairs, "arrived": {**stats, "recorded_calls": recorded}}


def raw(job: dict[str, Any]) -> dict[str, Any]:
    """CPU per span, from its start to its delivery; or, for a burst, how many arrive at default settings."""
    from benchmarks.raw import producer

    make, flush, queued = producer(job["peer"], job["sink_url"], job.get("grpc", ""))
    for number in range(64):
        make(number)
    flush()
    gc.collect()
    ask(job["sink"], "/_bench/reset")
    count, burst = job["count"], job.get("burst", False)
    process, thread, began = time.process_time(), time.thread_time(), time.perf_counter()
    for number in range(count):
        make(number)
        if not burst and not number & 127:
            while queued() > 1024:
                time.sleep(0.002)
    created = (time.thread_time() - thread) / count * MICRO
    produced = time.perf_counter() - began
    if burst:
        return {"produced_seconds": produced, "created_us": created}  # the program ends as it would by default
    flush()
    cpu = (time.process_time() - process) / count * MICRO
    stats = ask(job["sink"], "/_bench/stats")
    return {"cpu": cpu, "created_us": created, "seconds": time.perf_counter() - began, "arrived": stats}


def start(job: dict[str, Any]) -> dict[str, Any]:
    """CPU and memory of importing and configuring, litellm aside where `job` says so."""
    before = rss_mb()
    began = time.process_time()
    if job["peer"] == "otel_llm_alone":
        from benchmarks.peers import configure_ours

        imported = time.process_time()
        configure_ours(job["sink_url"])
        return {
            "cpu_ms": (time.process_time() - began) * 1e3,
            "harness_ms": (imported - began) * 1e3,
            "rss_mb": rss_mb() - before,
            "guests": sorted({"litellm", "opik", "grpc", "httpx"} & set(sys.modules)),
        }
    from benchmarks.conversation import call
    from benchmarks.peers import PEERS

    peer = PEERS[job["peer"]](job["sink_url"])
    peer.completion(**call(1, job["provider_url"], mock_response="x"))
    peer.flush()
    return {"cpu_ms": (time.process_time() - began) * 1e3, "rss_mb": rss_mb() - before}


def latency(job: dict[str, Any]) -> dict[str, Any]:
    """CPU of the caller's thread per call while the backend is up, refuses, hangs or throttles: median and p99."""
    from benchmarks.conversation import answer, call
    from benchmarks.peers import PEERS

    peer = PEERS[job["peer"]](job["sink_url"])
    prepared = [call(n, job["provider_url"], mock_response=answer(n)) for n in range(job["count"])]

    def run(*, on: bool) -> list[float]:
        function, _ = peer.functions(on=on)
        each = []
        for entry in prepared:
            began = time.thread_time()
            function(**entry)
            each.append((time.thread_time() - began) * MICRO)
        return sorted(each)

    run(on=True)
    recorded, plain = run(on=True), run(on=False)
    at = {"p50": len(recorded) // 2, "p99": int(len(recorded) * 0.99)}
    return {name: recorded[place] - plain[place] for name, place in at.items()}


def outage(job: dict[str, Any]) -> dict[str, Any]:
    """Growth of memory over many recorded spans while nothing can be delivered; the rate is held, as in a service."""
    from benchmarks.raw import producer

    make, _, queued = producer(job["peer"], job["sink_url"], "")
    for number in range(2000):
        make(number)
    time.sleep(1.0)
    gc.collect()
    before, worst = rss_mb(), 0.0
    for number in range(job["count"]):
        make(number)
        if not number & 127:
            while queued() > 1024:
                time.sleep(0.002)
            if not number & 8191:
                worst = max(worst, rss_mb() - before)
    return {
        "growth_mb": max(worst, rss_mb() - before),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def ending(job: dict[str, Any]) -> dict[str, Any]:
    """A program that makes some calls and ends while the backend hangs or refuses; the driver measures the end."""
    from benchmarks.conversation import answer, call
    from benchmarks.peers import PEERS

    peer = PEERS[job["peer"]](job["sink_url"])
    for number in range(job["count"]):
        peer.completion(**call(number, job["provider_url"], mock_response=answer(number)))
    return {}


SCENES = {"calls": calls, "raw": raw, "start": start, "latency": latency, "outage": outage, "ending": ending}


def main() -> None:
    """Run the job of the command line."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    job = json.loads(sys.argv[1])
    result = SCENES[job["scene"]](job)
    print("RESULT " + json.dumps({**result, "ended": time.time()}), flush=True)
    if job["scene"] not in {"ending"} and not job.get("burst"):
        os._exit(0)


if __name__ == "__main__":
    main()
