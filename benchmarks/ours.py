"""This project as a peer, through what any program may use: `configure`, `flush`, `status`, `shutdown`, settings."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.conversation import answer, call
from benchmarks.payloads import Arrivals, Unit, unescaped
from benchmarks.peers import Peer, litellm_itself, patched

if TYPE_CHECKING:
    from collections.abc import Callable

FLUSH_SECONDS = 120.0
_NUMBER = re.compile(rb"<[qa](\d{9})<")
NOT_THIS_MACHINE = "backend.bench.invalid"
"""A name for the sink by which it is not known to be on this machine: what is sent there is compressed."""


def configure(sink: str, backend: str = "opik", **more: Any) -> Any:
    """`otel_llm.configure` as a user would call it, with content on; the state directory comes from the environment."""
    import otel_llm

    checkout = Path(__file__).parents[1]
    loaded = Path(otel_llm.__file__).parents[1]
    assert loaded == checkout, f"measures {loaded}, and should measure {checkout}"
    settings: dict[str, Any] = {"backend": backend, "content": "on", "service_name": "bench"}
    if backend == "opik":
        settings |= {"opik_url": f"{sink}/api", "opik_project": "bench"}
    elif backend == "otlp":
        settings |= {"otlp_endpoint": sink}
    otel_llm.configure(**settings, **more)
    return otel_llm


def seems_elsewhere(sink: str) -> str:
    """The sink's address under a name that only this process knows, so that it does not look like this machine."""
    resolve = socket.getaddrinfo

    def known(host: Any, *rest: Any, **more: Any) -> Any:
        return resolve("127.0.0.1" if host == NOT_THIS_MACHINE else host, *rest, **more)

    socket.getaddrinfo = known
    return sink.replace("127.0.0.1", NOT_THIS_MACHINE)


def flush(library: Any) -> None:
    """Have everything delivered, or say what was not."""
    report = library.flush(FLUSH_SECONDS)
    assert report.waiting == 0, report


def _peer(sink: str, backend: str = "opik", **more: Any) -> Peer:
    litellm = litellm_itself()
    library = configure(sink, backend, **more)
    state = {"on": True}

    def switch(on: bool) -> None:
        """Off as a program would: everything of ours is taken down, and litellm gets its own functions back."""
        if on and not state["on"]:
            configure(sink, backend, **more)
            litellm.completion(**call(0, sink, mock_response=answer(0)))  # threads, files and connections are there
            flush(library)
        elif not on and state["on"]:
            library.shutdown()
        state["on"] = on

    arrivals = (lambda size, first: stored(library, size, first)) if backend == "local" else None
    return Peer(*patched(litellm), flush_backend=lambda: flush(library), switch=switch, arrivals=arrivals)


def otel_llm(sink: str) -> Peer:
    """This project at its defaults: redaction, cost, spool on disk, delivery to Opik."""
    return _peer(sink)


def otel_llm_otlp(sink: str) -> Peer:
    """The same, delivering to an OTLP endpoint."""
    return _peer(sink, "otlp")


def otel_llm_local(sink: str) -> Peer:
    """The same, into the local store."""
    return _peer(sink, "local")


def otel_llm_no_http(sink: str) -> Peer:
    """To Opik, one span per call: without spans of the HTTP requests under it."""
    return _peer(sink, http_spans=False)


def otel_llm_uncut(sink: str) -> Peer:
    """To Opik, with limits that let a megabyte of content through."""
    return _peer(sink, max_value_bytes=4_000_000, max_span_bytes=8_000_000)


OURS: dict[str, Callable[[str], Peer]] = {
    function.__name__: function
    for function in (otel_llm, otel_llm_otlp, otel_llm_local, otel_llm_no_http, otel_llm_uncut)
}


def store_path() -> Path:
    """The local store's file, where it is by default below the state directory."""
    from otel_llm.config import load

    return Path(load({}).store_path)


def stored(library: Any, content_bytes: int, first: int) -> dict[str, Any]:
    """What the local store has of the calls after number `first`, read as its readers do."""
    from otel_llm.store.bodies import span_bodies

    flush(library)
    arrivals = Arrivals(content_bytes)
    for body in span_bodies(store_path()):
        text = json.dumps(body.attributes, ensure_ascii=False).encode()
        marked = _NUMBER.search(unescaped(text))
        if marked is not None and int(marked[1]) > first:
            arrivals.raw += len(text)
            arrivals.add(Unit("span", body.trace_id + body.span_id, text))
    arrivals.wire = arrivals.raw
    return {**arrivals.counts(), "numbers": arrivals.whole}
