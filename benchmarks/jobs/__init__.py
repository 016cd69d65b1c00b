"""What a job does, in the peer's environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.jobs import calls, floors, lateness, payload, raw, service, store

if TYPE_CHECKING:
    from collections.abc import Callable

JOBS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "calls": calls.calls,
    "latency": calls.latency,
    "payload": payload.payload,
    "raw": raw.raw,
    "burst": raw.burst,
    "floors": floors.floors,
    "lateness": lateness.lateness,
    "store": store.store,
    "outage": service.outage,
    "killed": service.killed,
    "again": service.again,
    "ending": service.ending,
    "visible": service.visible,
    "memory": service.memory,
}
