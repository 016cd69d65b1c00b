"""Recording without a line of code: at interpreter start, or by OpenTelemetry's own auto-instrumentation.

otel-llm run python app.py                      our own way: waits until the program imports litellm
opentelemetry-instrument python app.py          upstream's way: finds `OtelLlmInstrumentor` by entry point
"""

from __future__ import annotations

from otel_llm.startup.bootstrap import run_environment, start_when_needed
from otel_llm.startup.distro import OtelLlmInstrumentor

__all__ = ["OtelLlmInstrumentor", "run_environment", "start_when_needed"]
