"""A program whose pipeline does what a test tells it, line by line, and says in JSON what came of it.

configure                       start recording, as the environment says
spans NAME COUNT                end so many spans; their ids and trace ids, and the time
flush SECONDS
status
cpu                             CPU seconds that this process has used
end                             leave by the end of the program
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from opentelemetry import trace

import otel_llm
from otel_llm.delivery import spool


def did(words: list[str]) -> Any:
    """Do one line."""
    if words[0] == "configure":
        spool._EXPIRE_EVERY = 0.0  # type: ignore[misc]  # what is too old goes at once, not within a minute
        return otel_llm.configure(instrument=[]).running
    if words[0] == "spans":
        now, contexts = time.time(), []
        for _ in range(int(words[2])):
            span = trace.get_tracer("app").start_span(words[1])
            span.end()
            contexts.append(span.get_span_context())
        ids = [f"{context.span_id:016x}" for context in contexts]
        return {"ids": ids, "traces": [f"{context.trace_id:032x}" for context in contexts], "now": now}
    if words[0] == "flush":
        report = otel_llm.flush(float(words[1]))
        return {"waiting": report.waiting, "seconds": report.seconds}
    if words[0] == "status":
        return otel_llm.status().as_dict()
    return time.process_time()


if __name__ == "__main__":
    for line in sys.stdin:
        if line.strip() == "end":
            break
        print(json.dumps(did(line.split())), flush=True)
