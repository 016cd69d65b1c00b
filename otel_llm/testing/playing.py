"""Writes an answer on a connection: whole, streamed at a pace, or broken in the way the script wants it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from otel_llm.testing.endpoints import SERVED, Computed, Spoken, endpoint_for, error_body, error_event
from otel_llm.testing.generation import generate
from otel_llm.testing.script import Canned, Hang, Reply, Reset

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from otel_llm.testing.generation import Event
    from otel_llm.testing.recorded import RecordedRequest
    from otel_llm.testing.script import Action, Usage
    from otel_llm.testing.server import ResponseWriter

__all__ = ["play"]

_JSON = "application/json"
_EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


async def play(action: Action | None, request: RecordedRequest, serial: int, out: ResponseWriter) -> None:
    """Answer `request`, the `serial`-th, as `action` says; as the operation itself would for None.

    Notes in `request` what was answered. Raises ConnectionError when the client goes away meanwhile.
    """
    if isinstance(action, Reset):
        out.reset()
    elif isinstance(action, Hang):
        await asyncio.get_running_loop().create_future()  # ends when the server stops and cancels it
    elif isinstance(action, Canned):
        body = action.body if action.body is not None else error_body(request.path, action.status)
        await _send(request, out, action.status, body, action.headers)
    else:
        await _serve(action, request, serial, out)


async def _serve(reply: Reply | None, request: RecordedRequest, serial: int, out: ResponseWriter) -> None:
    endpoint = endpoint_for(request.path)
    if endpoint is None:
        message = f"{request.method} {request.path} is not served here; served are {', '.join(SERVED)}"
        await _send(request, out, 404, error_body(request.path, 404, message))
    elif not request.json:
        await _send(request, out, 400, error_body(request.path, 400, "The body is neither a JSON object nor a form."))
    elif isinstance(endpoint, Computed):
        body, request.usage = endpoint.whole(request.json, serial)
        await _send(request, out, 200, body, {"Content-Type": endpoint.content_type})
    else:
        await _speak(endpoint, reply or endpoint.unscripted, request, serial, out)


async def _speak(
    endpoint: Spoken, reply: Reply | None, request: RecordedRequest, serial: int, out: ResponseWriter
) -> None:
    generation = generate(request.json, reply, serial)
    if endpoint.streamed is not None and request.json.get("stream") is True:
        await _stream(endpoint.streamed(request.json, generation), generation.usage, reply or Reply(), request, out)
    else:
        request.usage = generation.usage
        await _send(request, out, 200, endpoint.whole(request.json, generation))


async def _stream(
    events: Iterator[Event], usage: Usage, reply: Reply, request: RecordedRequest, out: ResponseWriter
) -> None:
    request.status = 200
    await out.begin(200, _EVENT_STREAM)
    pieces = 0
    for event in events:
        if event.content:
            if pieces == reply.fail_after:
                await _break(reply, request, out)
                return
            await asyncio.sleep(reply.chunk_delay if pieces else reply.first_chunk_delay)
            pieces += 1
        if event.usage:
            request.usage = usage  # before it is written: whoever has read it finds it noted
        await out.piece(event.encode())
    await out.end()
    request.complete = True


async def _break(reply: Reply, request: RecordedRequest, out: ResponseWriter) -> None:
    if reply.fail_with == "error":
        await out.piece(error_event(request.path).encode())
        await out.end()
    else:
        out.cut()


async def _send(
    request: RecordedRequest, out: ResponseWriter, status: int, body: Any, headers: Mapping[str, str] | None = None
) -> None:
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    request.status = status
    await out.send(status, {"Content-Type": _JSON, **(headers or {})}, raw)
    request.complete = True
