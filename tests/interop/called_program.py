"""Runs in the environment of Opik's own SDK: a caller that it traces, and a service of ours that its headers reach.

called_program.py OPIK_URL DIRECTORY
"""

# ruff: noqa: D103  (functions of a program, whose names are those of spans)
from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

URL, DIRECTORY = sys.argv[1:]
os.environ |= {
    "OPIK_URL_OVERRIDE": URL,
    "OPIK_PROJECT_NAME": "shop",
    "OPIK_SENTRY_ENABLE": "false",
    "OPIK_ANALYTICS_ENABLE": "false",
    "OPIK_CONFIG_PATH": os.devnull,
}

import opik  # noqa: E402
from opik import opik_context  # noqa: E402

import otel_llm  # noqa: E402

headers: dict[str, str] = {}


@opik.track
def caller() -> None:
    headers.update(opik_context.get_distributed_trace_headers())


@opik.track
def theirs() -> None:
    with otel_llm.span("ours in theirs"):
        pass


async def application(scope: Any, receive: Any, send: Any) -> None:
    with otel_llm.span("work"):
        theirs()
    await send({"type": "http.response.start", "status": 204, "headers": []})


async def nothing(*_: Any) -> None:
    return None


caller()
opik.flush_tracker()
otel_llm.configure(backend="opik", state_dir=DIRECTORY)
raw = [(name.encode(), value.encode()) for name, value in headers.items()]
request = {"type": "http", "method": "GET", "path": "/", "headers": raw}
asyncio.run(otel_llm.AsgiMiddleware(application)(request, nothing, nothing))
try:
    from opik.integrations.otel import attach_to_parent
except ImportError:  # older than 2.1
    pass
else:
    from opentelemetry.trace import get_current_span

    with otel_llm.span("boundary"):
        attach_to_parent(get_current_span(), headers)
        with otel_llm.span("below"):
            theirs()
opik.flush_tracker()
otel_llm.shutdown()
