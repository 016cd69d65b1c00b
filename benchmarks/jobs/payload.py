"""A few calls of every kind, and what of them arrives: content, form, and whether anything leaves this machine."""

from __future__ import annotations

import asyncio
import sys
from ipaddress import ip_address
from typing import Any

from benchmarks.jobs.calls import Calls, arrived
from benchmarks.peers import set_up
from benchmarks.workload import ask

_KINDS = ("mock", "sync", "stream", "async")


def payload(job: dict[str, Any]) -> dict[str, Any]:
    """For each kind of call: recorded calls that arrived whole, and unrecorded ones that arrived all the same."""
    elsewhere: set[str] = set()
    sys.addaudithook(lambda event, arguments: _watch(event, arguments, elsewhere))
    peer = set_up(job)
    found: dict[str, Any] = {}
    for place, kind in enumerate(_KINDS):
        blocks = Calls({**job, "kind": kind}, peer, 1000 * place)
        ask(job["control"], "/reset")
        if kind == "async":
            asyncio.run(_async_blocks(blocks))
        else:
            for on in (True, False):
                blocks.block(on=on)
        peer.functions(on=True)
        found[kind] = arrived(job, peer, blocks)
    return {"kinds": found, "elsewhere": sorted(elsewhere)}


async def _async_blocks(blocks: Calls) -> None:
    for on in (True, False):
        await blocks.ablock(on=on)


def _watch(event: str, arguments: tuple[Any, ...], elsewhere: set[str]) -> None:
    """Note every connection that is not to this machine, and every name that is looked up."""
    if event == "socket.getaddrinfo":
        host = str(arguments[0])
        if host not in {"localhost", "None", ""} and not _here(host):
            elsewhere.add(f"looks up {host}")
    elif event == "socket.connect" and isinstance(arguments[1], tuple) and not _here(str(arguments[1][0])):
        elsewhere.add(f"connects to {arguments[1][0]}")


def _here(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"
