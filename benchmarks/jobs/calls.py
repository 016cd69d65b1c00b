"""What recording adds to a call: pairs of recorded and unrecorded blocks, in one process.

Blocks alternate, so that what differs between processes, or while other programs load the machine, falls out of the
difference. Each block begins with calls that do not count, because a peer that has just been turned on is still at
its beginning, and ends with its own flush, which does count.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from typing import TYPE_CHECKING, Any

from benchmarks.conversation import answer, call
from benchmarks.peers import set_up
from benchmarks.workload import MICRO, ask, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.peers import Peer

IN_FLIGHT = 50
_NUMBERS_EACH = 1_000_000
"""Calls of each kind are numbered from a multiple of this on."""

Block = dict[str, float]


class Calls:
    """Makes blocks of calls of one kind, and remembers which of them were recorded."""

    def __init__(self, job: dict[str, Any], peer: Peer, first: int = 0) -> None:
        self.kind: str = job["kind"]
        self.size: int = job["content"]
        self.url: str = job["provider_url"]
        self.count: int = job["block"]
        self.warm = max(1, self.count // 4)
        self.peer = peer
        self.first = self.made = first
        self.recorded: set[int] = set()

    def _arguments(self, *, on: bool, count: int) -> list[dict[str, Any]]:
        prepared = []
        for _ in range(count):
            self.made += 1
            if on:
                self.recorded.add(self.made)
            prepared.append(arguments(self.kind, self.made, self.url, self.size))
        return prepared

    def block(self, *, on: bool) -> Block:
        """Calls one after the other, once some have been made that do not count."""
        function, _ = self.peer.functions(on=on)
        for entry in self._arguments(on=on, count=self.warm):
            _taken(function(**entry), self.kind)
        self.peer.flush()
        count = self.count
        prepared = self._arguments(on=on, count=count)
        gc.collect(0)
        each: list[float] = []
        process, thread, wall = time.process_time(), time.thread_time(), time.perf_counter()
        for entry in prepared:
            began = time.thread_time()
            _taken(function(**entry), self.kind)
            each.append(time.thread_time() - began)
        caller, waited = time.thread_time() - thread, time.perf_counter() - wall
        self.peer.flush()
        return {
            "cpu": (time.process_time() - process) / count * MICRO,
            "caller": caller / count * MICRO,
            "caller_median": statistics.median(each) * MICRO,
            "wall": waited / count * MICRO,
        }

    async def ablock(self, *, on: bool) -> Block:
        """The same with many in flight; the caller's thread is that of the event loop."""
        _, function = self.peer.functions(on=on)
        await _many(function, self._arguments(on=on, count=self.warm))
        await self.peer.aflush()
        count = self.count
        prepared = self._arguments(on=on, count=count)
        gc.collect(0)
        process, thread, wall = time.process_time(), time.thread_time(), time.perf_counter()
        await _many(function, prepared)
        caller, waited = time.thread_time() - thread, time.perf_counter() - wall
        await self.peer.aflush()
        caller_median = caller / count * MICRO  # calls overlap: there is no CPU of a single one
        return {
            "cpu": (time.process_time() - process) / count * MICRO,
            "caller": caller_median,
            "caller_median": caller_median,
            "wall": waited / count * MICRO,
        }


def arguments(kind: str, number: int, url: str, size: int) -> dict[str, Any]:
    """Of call `number`: answered by litellm itself, or over HTTP, whole or in pieces."""
    if kind == "mock":
        return call(number, url, size, mock_response=answer(number, size))
    if kind == "stream":
        return call(number, url, size, stream=True, stream_options={"include_usage": True})
    return call(number, url, size)


def _taken(answered: Any, kind: str) -> None:
    """Read a stream to its end; any other answer is there already."""
    if kind == "stream":
        for _ in answered:
            pass


async def _many(function: Callable[..., Any], prepared: list[dict[str, Any]]) -> None:
    waiting = iter(prepared)

    async def worker() -> None:
        for entry in waiting:
            await function(**entry)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))


def calls(job: dict[str, Any]) -> dict[str, Any]:
    """Of each kind: pairs of blocks, the first of which only warms up, and what arrived of the recorded ones.

    All kinds in one process, because its start would take longer than most of them do.
    """
    peer = set_up(job)
    found: dict[str, Any] = {}
    for place, kind in enumerate(job["kinds"]):
        for control in {job["provider_control"], job["control"]}:
            ask(control, f"/set?content={kind['content']}&chunks={kind['chunks']}")
        ask(job["control"], "/reset")
        blocks = Calls({**job, **kind}, peer, _NUMBERS_EACH * place)
        began = time.perf_counter()
        pairs = _pairs(blocks, kind["pairs"])
        found[kind["name"]] = {
            "pairs": pairs[1:],
            "arrived": arrived(job, peer, blocks),
            "switchable": peer.switchable,
            "seconds": time.perf_counter() - began,
        }
    return {"kinds": found}


def _pairs(blocks: Calls, pairs: int) -> list[dict[str, Block]]:
    if blocks.kind == "async":
        return asyncio.run(_apairs(blocks, pairs))
    return [{"on" if on else "off": blocks.block(on=on) for on in _order(number)} for number in range(pairs + 1)]


async def _apairs(blocks: Calls, pairs: int) -> list[dict[str, Block]]:
    return [{"on" if on else "off": await blocks.ablock(on=on) for on in _order(number)} for number in range(pairs + 1)]


def _order(number: int) -> tuple[bool, bool]:
    return (False, True) if number % 2 else (True, False)


def arrived(job: dict[str, Any], peer: Peer, blocks: Calls) -> dict[str, Any]:
    """What the backend has of the recorded calls, and of those that were not to be recorded."""
    looked: dict[str, Any] = {}

    def all_there() -> bool:
        looked.clear()
        looked.update(
            peer.arrivals(blocks.size, blocks.first)
            if peer.arrivals is not None
            else ask(job["control"], "/stats?numbers=1")
        )
        return blocks.recorded <= {int(number) for number in looked["numbers"]}

    patience = 0.0 if job["peer"] == "bare" else 3.0
    wait_until(all_there, patience, step=0.1)  # a sink in a process of its own may still be reading
    made = range(blocks.first + 1, blocks.made + 1)
    numbers = {int(number) for number in looked.pop("numbers") if int(number) in made}
    return {
        **looked,
        "recorded": len(blocks.recorded),
        "whole_recorded": len(numbers & blocks.recorded),
        "not_to_be_recorded": len(numbers - blocks.recorded),
    }


def latency(job: dict[str, Any]) -> dict[str, Any]:
    """What recording adds to a call on the caller's thread, CPU and wall time, in one state of the backend.

    First calls that are not recorded, with nothing going on beside them; then the recorded ones, as fast as they can
    be made, with all that goes on beside them: their own delivery, or its failing.
    """
    peer = set_up(job)
    prepared = [arguments("mock", number, job["provider_url"], 2000) for number in range(1, job["count"] + 1)]
    warm = prepared[: job["count"] // 4]
    for on in (True, False):
        _each(peer.functions(on=on)[0], warm)
    peer.flush()
    plain = _each(peer.functions(on=False)[0], prepared)
    function, _ = peer.functions(on=True)
    ask(job["control"], f"/mode?m={job['mode']}")
    recorded = _each(function, prepared)
    found = {}
    for name, place in (("p50", 0.5), ("p99", 0.99)):
        for clock in ("cpu", "wall"):
            found[f"{clock}_{name}"] = _at(recorded[clock], place) - _at(plain[clock], place)
            found[f"plain_{clock}_{name}"] = _at(plain[clock], place)
    return found


def _each(function: Callable[..., Any], prepared: list[dict[str, Any]]) -> dict[str, list[float]]:
    gc.collect(0)
    cpu, wall = [], []
    for entry in prepared:
        at, began = time.perf_counter(), time.thread_time()
        function(**entry)
        cpu.append((time.thread_time() - began) * MICRO)
        wall.append((time.perf_counter() - at) * MICRO)
    return {"cpu": sorted(cpu), "wall": sorted(wall)}


def _at(ordered: list[float], place: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * place))]
