"""Ends spans, thirty a second in each of two threads, and forks, until somebody ends it; says which have ended.

    python chaos_program.py FILE

A line for each span that has ended goes to FILE: process (of a child, its parent), whether it is a child, span id, the
monotonic clock. On SIGUSR1 it becomes another program, which is itself.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time

from opentelemetry import trace

import otel_llm


def work(told: int, spans: int, pause: float, child_of: int = 0) -> None:
    """So many spans, each told of when it has ended."""
    tracer = trace.get_tracer("chaos")
    for _ in range(spans):
        text = {"text": "x" * random.choice([10, 3000])}
        begin = tracer.start_as_current_span
        with begin("outer") as outer, begin("inner", attributes=text) as inner:
            time.sleep(random.uniform(0, 2 * pause))
        for span in (inner, outer):
            said = child_of or os.getpid(), child_of > 0, span.get_span_context().span_id, time.monotonic()
            os.write(told, b"%d %d %016x %.6f\n" % said)


def fork_now_and_then(told: int) -> None:
    """Children that end as those of job runners do."""
    while True:
        time.sleep(random.uniform(0.1, 1.0))
        me, child = os.getpid(), os.fork()
        if child == 0:
            work(told, random.randint(1, 4), 0.001, child_of=me)
            os._exit(0)
        os.waitpid(child, 0)


def become_another(told: int) -> None:
    """Be replaced; said before, because a signal that came meanwhile would go with what this was."""
    os.write(told, b"becomes %d\n" % os.getpid())
    os.execv(sys.executable, [sys.executable, *sys.argv])


if __name__ == "__main__":
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    signal.signal(signal.SIGUSR1, lambda *_: become_another(file))
    otel_llm.configure()
    for target, arguments in ((work, (file, 1_000_000, 1 / 30)), (fork_now_and_then, (file,))):
        threading.Thread(target=target, args=arguments, daemon=True).start()
    work(file, 1_000_000, 1 / 30)
