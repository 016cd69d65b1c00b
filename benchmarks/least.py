"""The least that a recorder of litellm's calls can do, in the place where a recorder does it.

An SDK span around the call, and behind it one thread that makes Opik's rows, writes them to SQLite and sends them: no
redaction, no limits, no counts, no prices, no retries. It loses what it cannot send and is of no use but as a floor.
"""

from __future__ import annotations

import functools
import http.client
import os
import sqlite3
import tempfile
import threading
from collections import deque
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE = 1.0
"""Seconds between two rounds of the thread, as ours gathers."""


class Least:
    """Records calls into Opik at `sink`."""

    def __init__(self, sink: str) -> None:
        from opentelemetry.sdk.trace import TracerProvider

        self._tracer = TracerProvider().get_tracer("bench")
        self._calls: deque[tuple[Any, dict[str, Any], Any]] = deque()
        self._connection = http.client.HTTPConnection(sink.removeprefix("http://"))
        self._lock = threading.Lock()
        self._wake = threading.Event()
        file = os.path.join(tempfile.mkdtemp(), "log.db")
        self._log = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._log.execute("PRAGMA journal_mode=WAL")
        self._log.execute("PRAGMA synchronous=NORMAL")
        self._log.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, body BLOB)")
        threading.Thread(target=self._run, daemon=True).start()

    def completion(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, recorded."""

        @functools.wraps(function)
        def recorded(**arguments: Any) -> Any:
            with self._tracer.start_as_current_span("chat") as span:
                answered = function(**arguments)
            self._calls.append((span, arguments, answered))
            return answered

        return recorded

    def flush(self) -> None:
        """Send what there is."""
        import orjson

        with self._lock:
            rows = [_row(*self._calls.popleft()) for _ in range(len(self._calls))]
            if not rows:
                return
            bodies = [orjson.dumps(row) for row in rows]
            self._log.execute("BEGIN")
            self._log.executemany("INSERT INTO log (body) VALUES (?)", [(body,) for body in bodies])
            self._log.execute("COMMIT")
            self._send("spans", bodies)
            self._send("traces", [orjson.dumps(_trace(row)) for row in rows])

    def _send(self, what: str, bodies: list[bytes]) -> None:
        body = b'{"%s":[%s]}' % (what.encode(), b",".join(bodies))
        path = f"/api/v1/private/{what}/batch"
        self._connection.request("POST", path, body, {"Content-Type": "application/json"})
        self._connection.getresponse().read()

    def _run(self) -> None:
        while True:
            self._wake.wait(_PAUSE)
            self.flush()


def _row(span: Any, arguments: dict[str, Any], answered: Any) -> dict[str, Any]:
    choice, usage = answered.choices[0], answered.usage
    context = span.context
    return {
        "id": _uuid(context.span_id << 64 | span.start_time),
        "trace_id": _uuid(context.trace_id),
        "project_name": "bench",
        "name": span.name,
        "type": "llm",
        "start_time": _time(span.start_time),
        "end_time": _time(span.end_time),
        "input": {"messages": arguments["messages"]},
        "output": {
            "choices": [
                {
                    "message": {"role": choice.message.role, "content": choice.message.content},
                    "finish_reason": choice.finish_reason,
                }
            ]
        },
        "metadata": {"model": arguments["model"]},
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
        },
        "model": answered.model,
        "provider": "openai",
    }


def _trace(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["trace_id"],
        **{key: row[key] for key in ("project_name", "name", "start_time", "end_time", "input", "output", "metadata")},
    }


def _uuid(number: int) -> str:
    text = f"{number & (1 << 128) - 1:032x}"
    return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-8{text[17:20]}-{text[20:]}"


def _time(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, timezone.utc).isoformat().replace("+00:00", "Z")
