"""Run by the Python that has the official `opik` client, never by ours: writes or reads a project, prints JSON.

official_script.py write URL PROJECT
official_script.py read URL PROJECT
official_script.py track "" ""
"""

from __future__ import annotations

import inspect
import json
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import opik

if TYPE_CHECKING:
    from opik.api_objects.opik_client import Opik


def write(client: Opik) -> dict[str, Any]:
    """Log one trace with two spans, everything set, and a score; complete rows, so that no PATCH is sent."""
    end = datetime.now(timezone.utc)
    start = end - timedelta(seconds=2)
    error = {"exception_type": "RateLimitError", "message": "slow down", "traceback": "Traceback ..."}
    trace = client.trace(
        name="handle request",
        start_time=start,
        end_time=end,
        input={"messages": [{"role": "user", "content": "hi"}]},
        output={"choices": [{"message": {"role": "assistant", "content": "hello"}}]},
        metadata={"tenant.id": "acme"},
        tags=["acme", "prod"],
        thread_id="s1",
        error_info=error,
    )
    llm = trace.span(
        name="chat gpt-4o-mini",
        type="llm",
        start_time=start,
        end_time=end,
        model="gpt-4o-mini",
        provider="openai",
        usage={"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
        tags=["acme"],
        error_info=error,
    )
    llm.span(name="tool", type="tool", start_time=start, end_time=end, total_cost=0.5)
    trace.log_feedback_score("quality", 0.75, reason="good enough")
    return {"trace_id": trace.id, "flushed": client.flush(timeout=20)}


def read(client: Opik, project: str) -> dict[str, Any]:
    """Everything of the project through the client's public methods."""
    client.auth_check()
    traces = client.search_traces(project_name=project, truncate=False)
    spans = client.search_spans(project_name=project, truncate=False)
    return {
        "project": _plain(client.get_project(traces[0].project_id)) if traces else None,
        "traces": [_plain(client.get_trace_content(trace.id)) for trace in traces],
        "spans": [_plain(client.get_span_content(span.id)) for span in spans],
        "tagged": [span.id for span in client.search_spans(project_name=project, filter_string='tags contains "acme"')],
        "threads": [_plain(thread) for thread in client.get_threads_client().search_threads(project_name=project)],
    }


def _plain(model: Any) -> Any:
    return json.loads(model.json(exclude_none=True))


def track() -> dict[str, Any]:
    """The parameters of `@opik.track`."""
    return {"parameters": [name for name in inspect.signature(opik.track).parameters if name != "self"]}


def main(command: str, url: str, project: str) -> None:
    """Do one command against the server at `url` and print what came of it."""
    if command == "track":
        sys.stdout.write(json.dumps(track()))
        return
    client = opik.Opik(host=url, project_name=project)
    result = write(client) if command == "write" else read(client, project)
    client.end()
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
