"""One job in one process, in the peer's environment; its figures are one line of JSON.

    PEER/bin/python benchmarks/workload.py '{"scene": "calls", "peer": "openinference", ...}'

The jobs are in `benchmarks/jobs`. CPU is that of the process, background threads included; "caller" is the CPU of the
thread that makes the call.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
import warnings
from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _HERE]
sys.path.insert(0, os.path.dirname(_HERE))

MICRO = 1e6
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "OPENAI_API_KEY": "sk-bench",
    "DO_NOT_TRACK": "1",
    "OTEL_SERVICE_NAME": "bench",
    "OPIK_SENTRY_ENABLE": "false",
    "OPIK_ANALYTICS_ENABLE": "false",
    "OPIK_CONSOLE_LOGGING_LEVEL": "CRITICAL",
    "TRACELOOP_TELEMETRY": "false",
    "LANGFUSE_PUBLIC_KEY": "pk-lf-bench",
    "LANGFUSE_SECRET_KEY": "sk-lf-bench",
}
"""What every job runs with: peers report nothing about themselves to their makers, litellm fetches nothing."""


def ask(port: int, path: str) -> dict[str, Any]:
    """GET over a bare socket, which no peer's HTTP instrumentation sees."""
    with socket.create_connection(("127.0.0.1", port), 120) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        pieces = []
        while piece := connection.recv(1 << 20):
            pieces.append(piece)
    answer: dict[str, Any] = json.loads(b"".join(pieces).partition(b"\r\n\r\n")[2] or b"{}")
    return answer


def rss_mb() -> float:
    """Resident memory now."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def wait_until(true: Any, seconds: float, step: float = 0.1) -> bool:
    """Whether `true()` came true in time."""
    deadline = time.monotonic() + seconds
    while not (found := bool(true())) and time.monotonic() < deadline:
        time.sleep(step)
    return found


def tell(result: dict[str, Any]) -> None:
    """Print the figures, which the driver reads."""
    print("RESULT " + json.dumps({**result, "ended": time.time()}), flush=True)


def main() -> None:
    """Run the job of the command line."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    from benchmarks.jobs import JOBS

    job = json.loads(sys.argv[1])
    ends_itself = job.get("ends_itself", False)
    tell(JOBS[job["scene"]](job))
    if not ends_itself:
        os._exit(0)


if __name__ == "__main__":
    main()
