"""Import and start, in a process that has loaded nothing else: CPU, memory, modules.

    PEER/bin/python benchmarks/start.py '{"peer": "openinference", ...}'

`otel_llm_alone` and `stock_alone` are the libraries by themselves; every other peer is set up beside litellm and makes
one call.
"""

import json
import os
import sys
import time
from typing import Any

_BEGAN = time.process_time()
_CLOCK = time.perf_counter()


def _rss_mb() -> float:
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


_BEFORE_MB = _rss_mb()
_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _HERE]
sys.path.insert(0, os.path.dirname(_HERE))


def _otel_llm_alone(sink: str) -> None:
    import otel_llm

    otel_llm.configure(backend="opik", opik_url=f"{sink}/api", opik_project="bench", content="on", service_name="bench")


def _stock_alone(sink: str) -> None:
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{sink}/v1/traces")))
    trace.set_tracer_provider(provider)


def _with_litellm(job: dict[str, Any]) -> None:
    from benchmarks.conversation import call
    from benchmarks.peers import set_up

    peer = set_up(job)
    peer.completion(**call(1, job["provider_url"], mock_response="x"))
    peer.flush()


def main() -> None:
    """Start the peer, and say what that took."""
    job = json.loads(sys.argv[1])
    alone = {"otel_llm_alone": _otel_llm_alone, "stock_alone": _stock_alone}.get(job["peer"])
    modules = len(sys.modules)
    if alone is not None:
        alone(job["sink_url"])
    else:
        _with_litellm(job)
    found = {
        "cpu_ms": (time.process_time() - _BEGAN) * 1e3,
        "wall_ms": (time.perf_counter() - _CLOCK) * 1e3,
        "rss_mb": _rss_mb() - _BEFORE_MB,
        "modules": len(sys.modules) - modules,
        "guests": sorted({"litellm", "opik", "grpc", "httpx"} & set(sys.modules)) if alone is not None else [],
    }
    print("RESULT " + json.dumps({**found, "ended": time.time()}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
