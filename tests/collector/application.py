"""A program that makes spans when told to, by lines of its input: the number of the first, and how many."""

from __future__ import annotations

import sys

from opentelemetry import trace

import otel_llm


def main() -> None:
    """Answer each line `FIRST COUNT` with `made`, having ended so many spans and handed them to the spool."""
    otel_llm.configure(backend="otlp")
    tracer = trace.get_tracer("application")
    for line in sys.stdin:
        first, count = map(int, line.split())
        for number in range(first, first + count):
            with tracer.start_as_current_span(f"span {number}", attributes={"gen_ai.operation.name": "chat"}):
                pass
        otel_llm.flush(0.1)
        sys.stdout.write("made\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
